//! The state of a search: snapshots, continuing from snapshots, and actions that must leave every bit unchanged.

use crate::with;
use parsec_nas::data::{Normalisation, eval_batches};
use parsec_nas::files::tensors::Tensor;
use parsec_nas::gpu::Child;
use parsec_nas::graph::Mode;
use parsec_nas::reference::network::{self, Batch};
use parsec_nas::space::NetworkKind;

use super::super::nets;
use super::super::replay::{close, numbers};
use super::{config, dataset, mode, run, search};
use crate::nets::Cells;

#[test]
fn going_on_from_a_snapshot_is_bit_for_bit() {
    let augmented = with(config(), |c| {
        c.images.crop_pad = 2;
        c.images.flip = true;
    });
    let Some(mut unbroken) = search(augmented.clone()) else { return };
    let mut records = run(&mut unbroken, 2);
    let middle = unbroken.snapshot().unwrap();
    records.extend(run(&mut unbroken, 2));
    let end = unbroken.snapshot().unwrap();

    // Another search, which has other weights and another step, continues from the state.
    let mut resumed = search(augmented).unwrap();
    run(&mut resumed, 1);
    resumed.restore(2, &middle).unwrap();
    assert_eq!(resumed.snapshot().unwrap(), middle);
    assert_eq!(run(&mut resumed, 2), records[2..]);
    assert_eq!(resumed.snapshot().unwrap(), end);

    // The same search continues from the earlier state too.
    unbroken.restore(2, &middle).unwrap();
    assert_eq!(run(&mut unbroken, 2), records[2..]);
    assert_eq!(unbroken.snapshot().unwrap(), end);

    // The error for a damaged state names the missing tensor.
    for name in
        ["v.stem.0.weight", "momentum.classifier.bias", "pi.normal.0", "adam.m.reduce.3", "adam.v.normal.1"]
    {
        let mut broken = middle.clone();
        broken.remove(name);
        let error = resumed.restore(2, &broken).unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().contains(name), "{error}");
        broken.insert(name.into(), Tensor::f32(&[1], vec![0.0]));
        assert!(resumed.restore(2, &broken).is_err(), "{name}");
    }
}

#[test]
fn the_number_of_loader_threads_changes_nothing() {
    let with = |threads| {
        let mut search = search(with(config(), |c| {
            c.session.threads = threads;
            c.images.crop_pad = 4;
            c.images.flip = true;
        }))?;
        Some((run(&mut search, 3), search.snapshot().unwrap()))
    };
    let Some(one) = with(1) else { return };
    assert_eq!(Some(one), with(4));
}

#[test]
fn another_seed_is_another_search() {
    let with = |seed| {
        search(with(config(), |c| c.session.seed = seed)).map(|mut s| (run(&mut s, 1), s.snapshot().unwrap()))
    };
    let Some((records, state)) = with(1) else { return };
    let (others, other) = with(2).unwrap();
    assert_ne!(records, others);
    assert_ne!(state["v.stem.0.weight"], other["v.stem.0.weight"]);
}

pub(super) fn spec() -> Cells {
    Cells { in_channels: 1, n_classes: 10, ..nets::small(NetworkKind::Search, 4, 28) }
}

/// Likelihood, accuracy and batches of an evaluation, against the oracle.
#[test]
fn evaluation_is_the_reference_s() {
    let Some(mut search) = search(config()) else { return };
    run(&mut search, 1);
    let (genotype, alpha) = (mode(&search), search.architecture());
    let found = search.evaluate(&alpha).unwrap();
    assert_eq!(found, search.evaluate(&alpha).unwrap());

    let dataset = dataset();
    let net = nets::child(&spec(), &genotype);
    let state = search.snapshot().unwrap();
    let weights = state.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("v.")?;
        Some((name.to_owned(), (tensor.shape.clone(), numbers(&state, &format!("v.{name}")))))
    });
    let weights = weights.collect();
    let (mut sizes, mut sum, mut n_correct) = (Vec::new(), 0.0, 0);
    for batch in
        eval_batches(&dataset.test, &Normalisation::of(&dataset.train), 8).unwrap().map(Result::unwrap)
    {
        sizes.push(batch.n);
        let images: Vec<f64> = batch.images.iter().map(|x| f64::from(*x)).collect();
        let labels: Vec<usize> = batch.labels.iter().map(|l| *l as usize).collect();
        let batch = Batch::from_nchw([batch.n, batch.channels, batch.height, batch.width], &images, &labels);
        let outcome = network::evaluate(&net, &weights, &batch, network::Mode::Train, false).unwrap();
        sum += outcome.log_likelihood.iter().sum::<f64>();
        for (logits, label) in outcome.logits.chunks_exact(10).zip(labels) {
            n_correct += usize::from((0..10).all(|k| k == label || logits[k] < logits[label]));
        }
    }
    assert_eq!(sizes, [8, 12], "in file order, the remainder joined to the last");
    assert_eq!((found.n, found.n_correct), (20, n_correct));
    close("mean log-likelihood", &[found.mean_log_likelihood], &[sum / 20.0], 1e-5);
    assert_eq!(found.accuracy(), n_correct as f64 / 20.0);
}

/// An evaluation between steps does not change the search, although the evaluation uses the same buffers.
#[test]
fn evaluation_disturbs_nothing() {
    let Some(mut plain) = search(config()) else { return };
    let mut evaluated = search(config()).unwrap();
    run(&mut plain, 2);
    run(&mut evaluated, 1);
    let alpha = evaluated.architecture();
    evaluated.evaluate(&alpha).unwrap();
    let net = nets::child(&spec(), &mode(&evaluated));
    let likelihood = Child::new(&net, Mode::Likelihood, 0);
    evaluated.network().run(likelihood).unwrap();
    run(&mut evaluated, 1);
    assert_eq!(plain.snapshot().unwrap(), evaluated.snapshot().unwrap());
}
