//! Input that `replay` refuses: the kind of the error, its exit code and its words. Nothing is written.

use std::sync::Arc;

use parsec_nas::Error;
use parsec_nas::files::tensors::{self, Data, Metadata, Tensor, Tensors};
use parsec_nas::space::{Darts, NetworkKind, StemKind, read_genotype};
use parsec_nas::train::replay::{Replay, replay};

use super::super::gpu::has_gpu;
use super::children::request;
use super::{numbers, read, read_json};

struct Input {
    request: Replay,
    weights: Tensors,
    batch: Tensors,
}

/// Changes the input of child 0 (search) and returns the error and its exit code.
fn refused(change: impl FnOnce(&mut Input)) -> (String, u8) {
    let folder = tempfile::tempdir().unwrap();
    let mut input = Input {
        request: request(0, &read_json("child_0.json"), folder.path()),
        weights: read("child_0.weights.safetensors"),
        batch: read("child_0.batch.safetensors"),
    };
    change(&mut input);
    input.request.weights = folder.path().join("weights.safetensors");
    input.request.batch = folder.path().join("batch.safetensors");
    tensors::write_atomic(&input.request.weights, &input.weights, &Metadata::new()).unwrap();
    tensors::write_atomic(&input.request.batch, &input.batch, &Metadata::new()).unwrap();
    let error = replay(&input.request).unwrap_err();
    assert!(!input.request.out.exists(), "nothing is written");
    let code = error.exit_code();
    assert_eq!(code, if matches!(error, Error::Usage { .. }) { 2 } else { 1 });
    assert!(matches!(error, Error::Usage { .. } | Error::File { .. }), "{error:?}");
    (error.to_string(), code)
}

#[track_caller]
fn says(change: impl FnOnce(&mut Input), code: u8, words: &[&str]) {
    let (text, found) = refused(change);
    assert_eq!(found, code, "{text}");
    for word in words {
        assert!(text.contains(word), "expected {word:?} in {text:?}");
    }
}

const NAME: &str = "cells.0.preprocess1.op.1.weight";

fn with_shape(tensors: &mut Tensors, name: &str, shape: &[usize]) {
    tensors.insert(name.into(), Tensor::f32(shape, vec![0.5; shape.iter().product()]));
}

#[test]
fn a_name_that_is_missing() {
    says(|i| drop(i.weights.remove(NAME)), 1, &["weights.safetensors", NAME, "[8, 12, 1, 1]", "--layers"]);
    says(|i| drop(i.weights.remove("classifier.weight")), 1, &["classifier.weight", "classifier.bias"]);
    says(|i| drop(i.batch.remove("images")), 1, &["batch.safetensors", "images"]);
    says(|i| drop(i.batch.remove("labels")), 1, &["batch.safetensors", "labels"]);
}

#[test]
fn a_name_of_another_network() {
    says(
        |i| with_shape(&mut i.weights, "cells.0._ops.14._ops.4.op.1.weight", &[8, 1, 3, 3]),
        1,
        &["_ops.14.", "--network"],
    );
    says(
        |i| with_shape(&mut i.weights, "cells.1.preprocess1.op.1.weight", &[8, 12, 1, 1]),
        1,
        &["cells.1.", "--layers"],
    );
    // Running statistics are ignored, because a search parent has none.
    let (text, _) = refused(|i| {
        with_shape(&mut i.weights, "stem.1.running_mean", &[12]);
        i.weights.remove(NAME);
    });
    assert!(text.contains(NAME), "{text}");
}

#[test]
fn a_wrong_shape() {
    says(
        |i| with_shape(&mut i.weights, NAME, &[8, 16, 1, 1]),
        1,
        &[NAME, "[8, 12, 1, 1]", "[8, 16, 1, 1]", "--channels"],
    );
    says(|i| with_shape(&mut i.weights, "classifier.weight", &[320]), 1, &["[classes, features]", "[320]"]);
    says(|i| with_shape(&mut i.batch, "images", &[3, 3, 256]), 1, &["[N, C, H, W]", "[3, 3, 256]"]);
    says(|i| with_shape(&mut i.batch, "images", &[0, 3, 16, 16]), 1, &["at least one image"]);
    // The stem's weights do not fit images of two channels.
    says(
        |i| with_shape(&mut i.batch, "images", &[3, 2, 16, 16]),
        1,
        &["stem.0.weight", "[12, 2, 3, 3]", "[12, 3, 3, 3]"],
    );
    says(
        |i| drop(i.batch.insert("labels".into(), Tensor::i64(&[2], vec![0, 1]))),
        1,
        &["labels", "[3]", "[2]"],
    );
    // The weights do not fit a network with other channels.
    says(|i| i.request.channels = 6, 1, &["[12, 1, 5, 5]", "[8, 1, 5, 5]", "--channels"]);
}

#[test]
fn a_wrong_type() {
    let as_f64 = |tensors: &mut Tensors, name: &str| {
        let tensor = Tensor::f64(&tensors[name].shape.clone(), numbers(tensors, name));
        tensors.insert(name.into(), tensor);
    };
    says(|i| as_f64(&mut i.batch, "images"), 1, &["images", "F32", "F64"]);
    says(|i| as_f64(&mut i.batch, "labels"), 1, &["labels", "I64", "F64"]);
    says(
        |i| drop(i.batch.insert("labels".into(), Tensor { shape: vec![3], data: Data::I32(vec![0, 1, 2]) })),
        1,
        &["labels", "I64", "I32"],
    );
    // The types of the weights are checked last, when the weights are uploaded to the adapter.
    if has_gpu() {
        let as_i32 = |tensors: &mut Tensors, name: &str| {
            let shape = tensors[name].shape.clone();
            let data = Data::I32(vec![0; shape.iter().product()]);
            tensors.insert(name.into(), Tensor { shape, data });
        };
        says(|i| as_i32(&mut i.weights, NAME), 1, &[NAME, "F32", "I32"]);
    }
}

#[test]
fn a_label_that_is_no_class() {
    let labels = |values: [i64; 3]| Tensor::i64(&[3], values.to_vec());
    says(|i| drop(i.batch.insert("labels".into(), labels([0, 10, 1]))), 1, &["0 to 9", "10", "position 1"]);
    says(|i| drop(i.batch.insert("labels".into(), labels([0, 1, -1]))), 1, &["0 to 9", "-1", "position 2"]);
    says(
        |i| drop(i.batch.insert("labels".into(), labels([1 << 32, 1, 1]))),
        1,
        &["0 to 9", "4294967296", "position 0"],
    );
}

#[test]
fn extents_that_cannot_be_built() {
    says(|i| with_shape(&mut i.batch, "images", &[3, 3, 15, 16]), 2, &["image size", "15x16", "16x16"]);
    says(|i| i.request.channels = 5, 2, &["channels", "even", "found 5", "4 or 6"]);
    says(
        |i| i.request.space = Arc::new(Darts::all().stacked(0, StemKind::Cifar)),
        2,
        &["layers", "1 to", "found 0"],
    );
    says(|i| with_shape(&mut i.weights, "classifier.weight", &[1, 32]), 2, &["classes", "2 to", "found 1"]);
}

#[test]
fn drop_path_where_there_is_none() {
    says(|i| with_shape(&mut i.batch, "drop_path.0.0", &[3]), 1, &["drop_path.0.0", "--network final"]);
    let in_final = |name: &'static str, shape: &'static [usize]| {
        move |i: &mut Input| {
            i.request.kind = NetworkKind::Final;
            with_shape(&mut i.batch, name, shape);
        }
    };
    says(in_final("drop_path.1.0", &[3]), 1, &["drop_path.1.0", "CELL below 1"]);
    says(in_final("drop_path.0.8", &[3]), 1, &["drop_path.0.8", "OP below 8"]);
    says(in_final("drop_path.0.x", &[3]), 1, &["drop_path.0.x"]);
    says(in_final("drop_path.0.0", &[4]), 1, &["drop_path.0.0", "[3]", "[4]"]);
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut r = request(0, &read_json("child_0.json"), folder.path());
    let whole = std::fs::read(&r.weights).unwrap();
    let missing = folder.path().join("missing.safetensors");
    let truncated = folder.path().join("truncated.safetensors");
    std::fs::write(&truncated, &whole[..whole.len() - 4]).unwrap();
    r.weights = truncated;
    let error = replay(&r).unwrap_err();
    assert!(matches!(error, Error::File { .. }) && error.exit_code() == 1);
    assert!(error.to_string().contains("truncated.safetensors"), "{error}");
    r.weights = missing;
    let error = replay(&r).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.exit_code() == 1);
    assert!(error.to_string().contains("missing.safetensors"), "{error}");
}

#[test]
fn a_genotype_that_does_not_parse() {
    let text = read_json("child_0.json")["genotype"]
        .as_str()
        .unwrap()
        .replace("sep_conv_3x3', 4", "sep_conv_3x3', 5");
    let error = read_genotype(&text).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let (said, column) = (error.to_string(), text.find("3', 5").unwrap() + 5);
    for word in ["genotype", "an input of node 5: 0 to 4", &format!("column {column}")] {
        assert!(said.contains(word), "expected {word:?} in {said:?}");
    }
    let said = read_genotype(&text.replace("avg_pool_3x3", "avg_pool_3x")).unwrap_err().to_string();
    assert!(said.contains("avg_pool_3x3") && said.contains("a primitive"), "{said}");
}
