//! `parsec replay`'s library call on whole networks of the chain space: forward, gradients, running statistics.

use std::sync::Arc;

use parsec_nas::files::tensors::{self, Tensor};
use parsec_nas::train::replay::{Replay, replay_on};

use super::of_fixture;
use crate::gpu::has_gpu;
use crate::replay::children::compare;
use crate::replay::{fixture, open, read, read_json};

fn check(index: usize) {
    if !has_gpu() {
        return;
    }
    let info = read_json(&format!("chain_{index}.json"));
    let folder = tempfile::tempdir().unwrap();
    let spec = of_fixture(&info);
    let alpha = spec.space.parse(info["genotype"].as_str().unwrap()).unwrap();
    assert_eq!(spec.space.print(&alpha), info["genotype"].as_str().unwrap());
    let file = |part: &str| fixture(&format!("chain_{index}.{part}.safetensors"));
    let mut request = Replay {
        space: Arc::clone(&spec.space),
        alpha,
        weights: file("weights"),
        batch: file("batch"),
        out: folder.path().join("out.safetensors"),
        channels: spec.channels,
        kind: spec.kind,
        train: info["mode"] == "train",
        reference_kernels: false,
        variants: None,
        device: None,
    };
    let expected = read(&format!("chain_{index}.expected.safetensors"));
    for reference_kernels in [false, true] {
        request.reference_kernels = reference_kernels;
        replay_on(&request, || Ok(open().unwrap())).unwrap();
        let (found, _) = tensors::read(&request.out).unwrap();
        compare(&format!("chain {index}, plain kernels: {reference_kernels}"), &info, &found, &expected);
    }
}

macro_rules! chains {
    ($($name:ident: $index:literal,)*) => {
        $(#[test]
        fn $name() {
            check($index);
        })*
    };
}

chains! {
    search_of_the_published_form: 0,
    search_with_kernels_of_seven: 1,
    search_on_28_pixels: 2,
    search_whose_first_choice_is_no_identity: 3,
    search_in_eval_mode: 4,
    search_of_thirteen_choices: 5,
    search_of_identities_alone: 6,
    final_of_the_published_form: 7,
    final_in_eval_mode: 8,
    final_without_identities: 9,
    final_of_thirteen_choices: 10,
    final_in_eval_mode_with_three_blocks: 11,
}

/// The gradient of a batch norm's bias is zero if a 1x1 convolution and another batch norm follow. A found gradient may
/// only differ from zero by the rounding of the whole gradient.
#[test]
fn a_gradient_of_zero_is_bounded_by_the_whole() {
    let info = read_json("chain_7.json");
    let expected = read("chain_7.expected.safetensors");
    let name = "grad.features.0.conv.7.bias";
    let shape = &expected[name].shape;
    let passes = |each: f32| {
        let mut found = expected.clone();
        found.insert(name.into(), Tensor::f32(shape, vec![each; shape[0]]));
        std::panic::catch_unwind(|| compare("a bias", &info, &found, &expected)).is_ok()
    };
    assert!(passes(1e-6) && !passes(1e-4));
}
