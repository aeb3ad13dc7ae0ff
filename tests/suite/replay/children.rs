//! `parsec replay`'s library call on whole networks: forward, gradients, running statistics.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parsec_nas::files::tensors::{self, Metadata, Tensor, Tensors};
use parsec_nas::space::{Darts, Genotype, NetworkKind, StemKind};
use parsec_nas::train::replay::{Replay, replay_on};
use serde_json::Value;

use super::{close, distance, fixture, norm, numbers, open, read, read_json};

pub fn request(index: usize, info: &Value, folder: &Path) -> Replay {
    let count = |key: &str| info[key].as_u64().unwrap() as usize;
    let stem = if info["stem"] == "imagenet" { StemKind::ImageNet } else { StemKind::Cifar };
    let space = Darts::all().stacked(count("layers"), stem);
    let genotype = Genotype::parse(info["genotype"].as_str().unwrap()).unwrap();
    Replay {
        alpha: space.alpha(&genotype).unwrap(),
        space: Arc::new(space),
        weights: fixture(&format!("child_{index}.weights.safetensors")),
        batch: fixture(&format!("child_{index}.batch.safetensors")),
        out: folder.join("out.safetensors"),
        channels: count("channels"),
        kind: if info["network"] == "search" { NetworkKind::Search } else { NetworkKind::Final },
        train: info["mode"] == "train",
        reference_kernels: false,
        variants: None,
        device: None,
    }
}

/// Adds the weights that are too large to store. These are given by a formula.
fn add_formula_weights(info: &Value, weights: &mut Tensors) {
    for (name, formula) in info["formula_weights"].as_object().unwrap() {
        let shape: Vec<usize> =
            formula["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let scale = formula["scale"].as_f64().unwrap();
        let element = |i: usize| {
            let bits = ((i as u64).wrapping_mul(2_654_435_761) % (1 << 32)) >> 8;
            (scale * (2.0 * bits as f64 / f64::from(1 << 24) - 1.0)) as f32
        };
        let data = (0..shape.iter().product()).map(element).collect();
        weights.insert(name.clone(), Tensor::f32(&shape, data));
    }
}

fn check(index: usize) {
    if !super::super::gpu::has_gpu() {
        return;
    }
    let info = read_json(&format!("child_{index}.json"));
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(index, &info, folder.path());
    let mut weights = read(&format!("child_{index}.weights.safetensors"));
    add_formula_weights(&info, &mut weights);
    request.weights = folder.path().join("weights.safetensors");
    tensors::write_atomic(&request.weights, &weights, &Metadata::new()).unwrap();
    let expected = read(&format!("child_{index}.expected.safetensors"));
    for reference_kernels in [false, true] {
        request.reference_kernels = reference_kernels;
        replay_on(&request, || Ok(open().unwrap())).unwrap();
        let (found, _) = tensors::read(&request.out).unwrap();
        compare(&format!("child {index}, plain kernels: {reference_kernels}"), &info, &found, &expected);
    }
}

pub fn compare(what: &str, info: &Value, found: &Tensors, expected: &Tensors) {
    for (name, tensor) in expected {
        if name.starts_with("sampled_grad.") || name.starts_with("norm_grad.") {
            continue;
        }
        let there = found.get(name).unwrap_or_else(|| panic!("{what}: {name} is missing"));
        assert_eq!(there.shape, tensor.shape, "{what}: {name}");
        if !name.starts_with("grad.") {
            close(&format!("{what}, {name}"), &numbers(found, name), &numbers(expected, name), 2e-5);
        }
    }

    // The gradients are for the same parameters as in PyTorch.
    let gradients = |tensors: &Tensors| -> BTreeSet<String> {
        let names =
            tensors.keys().filter_map(|k| k.strip_prefix("sampled_").unwrap_or(k).strip_prefix("grad."));
        names.map(str::to_owned).collect()
    };
    assert_eq!(gradients(found), gradients(expected), "{what}");
    let stride = info["sample_stride"].as_u64().unwrap() as usize;
    // (name, found, expected)
    let pairs: Vec<(String, Vec<f64>, Vec<f64>)> = gradients(expected)
        .into_iter()
        .map(|name| {
            let all = numbers(found, &format!("grad.{name}"));
            match expected.contains_key(&format!("grad.{name}")) {
                true => (name.clone(), all, numbers(expected, &format!("grad.{name}"))),
                false => {
                    let length = numbers(expected, &format!("norm_grad.{name}"));
                    close(&format!("{what}, norm of {name}"), &[norm(&all)], &length, 1e-4);
                    let sampled = all.into_iter().step_by(stride).collect();
                    (name.clone(), sampled, numbers(expected, &format!("sampled_grad.{name}")))
                }
            }
        })
        .collect();
    let all_found: Vec<f64> = pairs.iter().flat_map(|p| p.1.clone()).collect();
    let all_expected: Vec<f64> = pairs.iter().flat_map(|p| p.2.clone()).collect();
    if info["mode"] == "train" {
        assert!(norm(&all_expected) > 0.0);
        close(&format!("{what}, the whole gradient"), &all_found, &all_expected, 1e-4);
    }
    for (name, found, expected) in &pairs {
        if norm(expected) == 0.0 {
            assert!(found.iter().all(|g| *g == 0.0), "{what}: {name} cannot reach the loss");
        }
        let allowed = 1e-3 * norm(expected) + 1e-6 * norm(&all_expected);
        let error = distance(found, expected);
        assert!(error <= allowed, "{what}, {name}: off by {error:.2e}, allowed {allowed:.2e}");
    }
}

macro_rules! children {
    ($($name:ident: $index:literal,)*) => {
        $(#[test]
        fn $name() {
            check($index);
        })*
    };
}

children! {
    search_of_one_cell: 0,
    search_with_pairs_drawn_twice: 1,
    search_with_none: 2,
    search_of_five_cells: 3,
    search_of_six_channels: 4,
    search_in_eval_mode: 5,
    final_with_drop_path: 6,
    final_in_eval_mode: 7,
    final_with_auxiliary_head_of_the_preset: 8,
    final_with_imagenet_stem: 9,
    final_with_adaptive_auxiliary_head: 10,
    final_with_class_weights_and_auxiliary_head: 11,
    search_with_class_weights: 12,
}

/// The comparison finds an error of one percent in the gradient of one tensor.
#[test]
fn the_comparison_can_fail() {
    let info = read_json("child_1.json");
    let expected = read("child_1.expected.safetensors");
    compare("itself", &info, &expected, &expected);
    let name = "grad.cells.0.preprocess1.op.1.weight";
    let mut wrong = expected.clone();
    let values: Vec<f32> = numbers(&expected, name).iter().map(|g| 1.01 * *g as f32).collect();
    wrong.insert(name.into(), Tensor::f32(&expected[name].shape, values));
    assert!(std::panic::catch_unwind(|| compare("wrong", &info, &wrong, &expected)).is_err());
    wrong.remove(name);
    assert!(std::panic::catch_unwind(|| compare("missing", &info, &wrong, &expected)).is_err());
}
