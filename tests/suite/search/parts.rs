//! Batches in micro-batches of M examples. [`super::trace`] compares such steps with the oracle.

use std::sync::Arc;

use crate::with;
use parsec_nas::Error;
use parsec_nas::config::Config;
use parsec_nas::data::{Dataset, Images, Normalisation};
use parsec_nas::graph::Lowering;
use parsec_nas::search::{Search, Settings};

use super::super::replay::{distance, norm, open};
use super::{all, config, dataset, minus, run, search};

fn parts_of(m: usize) -> Config {
    with(config(), |c| {
        c.execution.micro_batch = Some(m);
        c.algorithm.drop_mass = 0.0;
    })
}

#[test]
fn a_part_that_is_the_batch_changes_no_bit() {
    let Some(mut whole) = search(with(config(), |c| c.algorithm.drop_mass = 0.0)) else { return };
    let mut one_part = search(parts_of(8)).unwrap();
    assert_eq!(run(&mut whole, 2), run(&mut one_part, 2));
    assert_eq!(whole.snapshot().unwrap(), one_part.snapshot().unwrap());
}

/// Micro-batches need the memory of a batch of their size. Their step differs from the step of the whole batch, because
/// batch norm uses other statistics.
#[test]
fn parts_take_the_memory_of_a_part() {
    let Some(mut whole) = search(with(config(), |c| c.algorithm.drop_mass = 0.0)) else { return };
    let mut parts = search(parts_of(4)).unwrap();
    let mut small = search(with(config(), |c| c.length.batch = 4)).unwrap();
    assert_eq!(parts.network().arena_bytes(), small.network().arena_bytes());
    assert!(10 * parts.network().arena_bytes() < 6 * whole.network().arena_bytes());

    let mode = parts.architecture();
    let (of_parts, of_small) = (parts.evaluate(&mode).unwrap(), small.evaluate(&mode).unwrap());
    assert_eq!(of_parts, of_small, "evaluation sees as many examples at a time");

    let start = all(&whole.snapshot().unwrap(), "v.");
    let (a, b) = (run(&mut whole, 1).remove(0), run(&mut parts, 1).remove(0));
    assert_eq!(b.arena_bytes, small.network().arena_bytes());
    assert!(a.log_likelihood.iter().zip(&b.log_likelihood).all(|(a, b)| a != b && (a / b - 1.0).abs() < 0.3));
    let [a, b] = [&mut whole, &mut parts].map(|s| minus(&all(&s.snapshot().unwrap(), "v."), &start));
    let apart = distance(&a, &b) / norm(&a);
    assert!(apart > 1e-3, "{apart}");
}

#[test]
fn going_on_in_parts_is_bit_for_bit() {
    let Some(mut unbroken) = search(parts_of(2)) else { return };
    run(&mut unbroken, 1);
    let middle = unbroken.snapshot().unwrap();
    let rest = run(&mut unbroken, 2);
    let mut resumed = search(parts_of(2)).unwrap();
    resumed.restore(1, &middle).unwrap();
    assert_eq!(run(&mut resumed, 2), rest);
}

/// One channel of 130 images of 512x512 pixels is larger than any page.
#[test]
fn a_lack_of_memory_names_the_parts_that_would_fit() {
    let Some(gpu) = open() else { return };
    let all = dataset();
    let large = |n: usize| Images {
        n,
        height: 512,
        width: 512,
        pixels: vec![0; n * 512 * 512].into(),
        labels: vec![0; n],
        ..all.train.clone()
    };
    let dataset = Arc::new(Dataset { train: large(260), test: large(1), ..(*all).clone() });
    let config = with(config(), |c| c.length.batch = 130);
    let normalisation = Normalisation { mean: vec![0.0], std: vec![1.0] };
    let settings = Settings::of(config, normalisation, Lowering::default()).unwrap();
    let error = Search::new(settings, dataset, gpu).err().unwrap();
    assert!(matches!(error, Error::Memory { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("--micro-batch ") && text.contains(" --batch "), "{text}");
}
