//! Exports of trained networks: safetensors written and read again, the structure of the ONNX graph, the Python text,
//! the command.
//!
//! `tests/pytorch/check_export.py` checks that PyTorch, ONNX's checker and onnxruntime accept the files and give the
//! same logits.

use std::path::Path;
use std::sync::Arc;

use parsec_nas::export::network::{Extents, of_checkpoint};
use parsec_nas::export::{About, Trained};
use parsec_nas::files::tensors::{self, Data, Tensor, Tensors};
use parsec_nas::network::ParamRole;
use parsec_nas::space::genotype::named;
use parsec_nas::space::{Darts, Genotype, NetworkKind, Pair, Primitive, StemKind};
use tempfile::TempDir;

use crate::nets::Cells;

mod command;
pub mod onnx;
mod python;

/// A network of 3 cells. Its numbers differ from place to place, and its variances are positive.
pub(super) fn trained(genotype: &Genotype, kind: NetworkKind, stem: StemKind, auxiliary: bool) -> Trained {
    let side = if stem == StemKind::ImageNet { 64 } else { 12 };
    let spec = Cells {
        kind,
        stem,
        in_channels: 3,
        height: side,
        width: side,
        n_classes: 5,
        layers: 3,
        channels: 4,
        auxiliary,
    };
    let mut next = 0u32;
    let mut number = || {
        next += 1;
        (next.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32
    };
    let tensors = spec.params(Some(genotype), &Primitive::ALL[1..]).into_iter().map(|p| {
        let tensor = match p.role {
            ParamRole::NumBatchesTracked => Tensor::i64(&[], vec![7]),
            ParamRole::RunningVar => Tensor::f32(&p.shape, (0..p.len()).map(|_| 0.5 + number()).collect()),
            _ => Tensor::f32(&p.shape, (0..p.len()).map(|_| number() - 0.5).collect()),
        };
        (p.name, tensor)
    });
    let about = About {
        mean: vec![0.25, 0.5, 0.125],
        std: vec![0.5; 3],
        class_names: ["cat", "dog", "a \"quoted\" one", "Käfer", "@GENOTYPE@"].map(String::from).to_vec(),
    };
    let tensors = tensors.collect();
    let alpha = Darts::all().alpha(genotype).unwrap();
    Trained::new(alpha, spec.spec(), tensors, about, Path::new("made")).unwrap()
}

fn v2() -> Genotype {
    named("DARTS_V2").unwrap()
}

/// DARTS_V2 with `none` in both slots of a normal node and in one of a reduction node.
fn with_none() -> Genotype {
    let mut genotype = v2();
    let none = Pair { input: 0, primitive: Primitive::None };
    genotype.normal[1] = [none; 2];
    genotype.reduce[2][0] = none;
    genotype
}

fn extents(network: &Trained) -> Extents {
    let spec = &network.spec;
    let space = spec.space.auxiliary(false).unwrap();
    Extents { space, kind: spec.kind, channels: spec.channels, size: [spec.height, spec.width] }
}

/// A small final network. Most tests start from it.
fn small() -> Trained {
    trained(&v2(), NetworkKind::Final, StemKind::Cifar, false)
}

#[test]
fn networks_come_back_from_safetensors_as_they_were() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.safetensors");
    for (kind, stem, auxiliary) in [
        (NetworkKind::Final, StemKind::Cifar, false),
        (NetworkKind::Final, StemKind::Cifar, true),
        (NetworkKind::Final, StemKind::ImageNet, true),
        (NetworkKind::Search, StemKind::Cifar, false),
    ] {
        for genotype in [v2(), with_none()] {
            let network = trained(&genotype, kind, stem, auxiliary);
            let bytes = network.to_safetensors(&path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let (alpha, about) = (network.alpha.clone(), network.about.clone());
            let again = Trained::read(&path, alpha, &extents(&network), about).unwrap();
            assert_eq!(again, network);
            assert_eq!(again.to_safetensors(&path).unwrap(), bytes);
            let (_, metadata) = tensors::read(&path).unwrap();
            assert_eq!(metadata["genotype"], genotype.to_string());
            assert_eq!(metadata["mean"], "[0.25,0.5,0.125]");
        }
    }
}

/// State dictionaries that PyTorch wrote are read unchanged.
#[test]
fn the_state_dictionaries_of_pytorch_are_read() {
    for (name, stem, side) in [("child_7", StemKind::Cifar, 16), ("child_9", StemKind::ImageNet, 64)] {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.weights.safetensors"));
        let kind = NetworkKind::Final;
        let space = Darts::all().stacked(3, stem);
        let alpha = space.alpha(&v2()).unwrap();
        let extents = Extents { space: Arc::new(space), kind, channels: 4, size: [side, side] };
        let network = Trained::read(&path, alpha, &extents, About::default()).unwrap();
        let (file, _) = tensors::read(&path).unwrap();
        assert_eq!(network.tensors, file);
        assert_eq!(network.tensors["cells.0.preprocess1.op.2.num_batches_tracked"].shape, [0usize; 0]);
        assert_eq!(network.spec.in_channels, 1);
    }
}

#[test]
fn the_first_tensor_that_does_not_fit_is_named() {
    let network = small();
    let read = |tensors: Tensors| {
        let path = Path::new("w.safetensors");
        let read =
            Trained::of_tensors(network.alpha.clone(), &extents(&network), tensors, About::default(), path);
        read.map_err(|e| {
            assert_eq!(e.exit_code(), 1);
            e.to_string()
        })
    };
    let changed = |name: &str, tensor: Option<Tensor>| {
        let mut tensors = network.tensors.clone();
        match tensor {
            Some(tensor) => tensors.insert(name.into(), tensor),
            None => tensors.remove(name),
        };
        tensors
    };
    let name = "cells.1._ops.2.bn.running_mean";
    assert!(!network.tensors.contains_key(name));
    let e = read(changed(name, Some(Tensor::f32(&[8], vec![0.0; 8])))).unwrap_err();
    assert!(e.contains(name) && e.contains("only names of this network"), "{e}");
    let name = "cells.1._ops.2.op.1.weight";
    let e = read(changed("cells.0._ops.1.op.6.weight", None)).unwrap_err();
    assert!(
        e.contains("cells.0._ops.1.op.6.weight of shape [4, 4, 1, 1]") && e.contains("no such name"),
        "{e}"
    );
    assert!(!network.tensors.contains_key(name), "reduction node 3 begins with a skip connection");
    let name = "stem.1.running_var";
    let e = read(changed(name, Some(Tensor::f32(&[6], vec![1.0; 6])))).unwrap_err();
    assert!(e.contains("stem.1.running_var of shape [12]") && e.contains("[6]"), "{e}");
    let e = read(changed(name, Some(Tensor::f64(&[12], vec![1.0; 12])))).unwrap_err();
    assert!(e.contains("of type F32") && e.contains("F64"), "{e}");
    let e = read(changed("classifier.weight", None)).unwrap_err();
    assert!(e.contains("classifier.weight"), "{e}");
    let e = read(changed("classifier.weight", Some(Tensor::f32(&[5], vec![0.0; 5])))).unwrap_err();
    assert!(e.contains("2 axes"), "{e}");
    // If one entry of an auxiliary head is there, all entries must be there.
    let e =
        read(changed("auxiliary_head.classifier.bias", Some(Tensor::f32(&[5], vec![0.0; 5])))).unwrap_err();
    assert!(e.contains("auxiliary_head.features.2.weight"), "{e}");

    // Old versions of PyTorch wrote no counters.
    let mut old = network.tensors.clone();
    old.retain(|name, _| !name.ends_with("num_batches_tracked"));
    assert!(old.len() < network.tensors.len());
    let counter = &read(old).unwrap().tensors["stem.1.num_batches_tracked"];
    assert_eq!((counter.shape.as_slice(), &counter.data), (&[0usize; 0][..], &Data::I64(vec![0])));
}

#[test]
fn names_and_normalisation_must_fit_the_network() {
    let network = small();
    let with = |about: About| {
        let n = network.clone();
        Trained::new(n.alpha, n.spec, n.tensors, about, Path::new("w")).map_err(|e| e.to_string())
    };
    assert!(with(About::default()).is_ok());
    let e = with(About { mean: vec![0.5], ..network.about.clone() }).unwrap_err();
    assert!(e.contains("means: expected 3, one per channel"), "{e}");
    let e = with(About { class_names: vec!["one".into()], ..network.about.clone() }).unwrap_err();
    assert!(e.contains("class names: expected 5, one per class, found 1"), "{e}");
}

#[test]
fn a_checkpoint_gives_weights_and_running_statistics() {
    let tensor = || Tensor::f32(&[1], vec![1.0]);
    let state: Tensors =
        ["v.a.weight", "momentum.a.weight", "state.a.running_mean", "pi.normal.0", "adam.v.normal.0"]
            .map(|name| (name.to_owned(), tensor()))
            .into();
    let names: Vec<String> = of_checkpoint(state).into_keys().collect();
    assert_eq!(names, ["a.running_mean", "a.weight"]);
}
