//! All paths at once (Eq. 2): α on the host, whole searches on the adapter.

use std::path::PathBuf;

use crate::with;
use parsec_nas::config::{Config, Method};
use parsec_nas::files::tensors::Tensor;
use parsec_nas::search::Search;
use parsec_nas::space::{Darts, MixedAlpha, N_EDGES, Pair, Primitive, edge};

use super::super::replay::{close, distance};
use super::{all, config, minus, run, search};

fn darts() -> Config {
    with(config(), |c| c.algorithm.method = Method::Darts)
}

fn wave(n: usize) -> Vec<f64> {
    (0..n).map(|i| (1.7 * i as f64).sin()).collect()
}

#[test]
fn the_gradient_of_the_softmax() {
    let space = Darts::over(&[Primitive::None, Primitive::SkipConnect, Primitive::SepConv3x3]);
    let mut alpha = MixedAlpha::uniform(&space);
    assert_eq!(alpha.factors(), [1.0 / 3.0; 2 * N_EDGES * 3]);
    close("entropy", &alpha.entropy(), &[14.0 * 3f64.ln(); 2], 1e-12);
    let n = alpha.logits.len();
    alpha.logits = wave(n);
    let of_factors: Vec<f64> = wave(2 * n)[n..].to_vec();
    let value = |a: &MixedAlpha| a.factors().iter().zip(&of_factors).map(|(f, g)| f * g).sum::<f64>();
    let gradient = alpha.gradient(&of_factors);
    for i in [0, 1, 2, 40, n - 1] {
        let moved = |by: f64| {
            let mut a = alpha.clone();
            a.logits[i] += by;
            value(&a)
        };
        close("difference", &[gradient[i]], &[(moved(1e-5) - moved(-1e-5)) / 2e-5], 1e-8);
    }
    // The factors of each edge sum to 1 for all logits, also for very large ones.
    alpha.logits[4] = 1e4;
    assert!(alpha.factors().chunks(3).all(|f| (f.iter().sum::<f64>() - 1.0).abs() < 1e-12));
    assert!(alpha.entropy().iter().all(|h| h.is_finite()));
}

#[test]
fn decoding_keeps_the_two_strongest_edges_of_each_node_and_never_none() {
    use Primitive::{MaxPool3x3 as Max, None as Zero, SepConv3x3 as Sep, SkipConnect as Skip};
    let order = [Skip, Zero, Sep, Max];
    let space = Darts::over(&order);
    let mut alpha = MixedAlpha::uniform(&space);
    let mut set = |node: usize, input: usize, primitive: Primitive, logit: f64| {
        let p = order.iter().position(|o| *o == primitive).unwrap();
        alpha.logits[edge(node, input) * 4 + p] = logit;
    };
    // Node 2 has two edges. Both stay, the stronger one first.
    set(0, 1, Max, 1.0);
    // Node 3: `none` has by far the largest factor on edge 0, so that the other factors of this edge are small.
    set(1, 0, Zero, 9.0);
    set(1, 0, Sep, 3.0);
    set(1, 1, Sep, 0.5);
    set(1, 2, Max, 2.0);
    // Node 4: three edges are equally strong, and the two earlier ones stay.
    [1, 2, 3].into_iter().for_each(|input| set(2, input, Sep, 1.0));
    // Node 5: one edge with two strong primitives is still one edge.
    set(3, 4, Sep, 5.0);
    set(3, 4, Max, 4.9);
    set(3, 2, Max, 1.0);
    let pair = |primitive, input| Pair { input, primitive };
    let decoded = space.genotype(&alpha.decode(&space));
    let expected = [
        [pair(Max, 1), pair(Skip, 0)],
        [pair(Max, 2), pair(Sep, 1)],
        [pair(Sep, 1), pair(Sep, 2)],
        [pair(Sep, 4), pair(Max, 2)],
    ];
    assert_eq!(decoded.normal, expected);
    // If all logits are 0, the first inputs and the first primitive other than none are chosen.
    assert_eq!(decoded.reduce, [[pair(Skip, 0), pair(Skip, 1)]; 4]);
}

#[test]
fn going_on_is_bit_for_bit_and_alpha_moves_on_the_search_split() {
    let augmented = with(darts(), |c| {
        c.images.crop_pad = 2;
        c.images.flip = true;
        c.algorithm.warmup_epochs = 1;
        c.length.steps = 6;
    });
    let Some(mut unbroken) = search(augmented.clone()) else { return };
    let start = unbroken.snapshot().unwrap();
    let mut records = run(&mut unbroken, 3);
    let middle = unbroken.snapshot().unwrap();
    assert_eq!(all(&start, "alpha."), all(&middle, "alpha."), "the first epoch trains the weights alone");
    assert!(distance(&all(&start, "v."), &all(&middle, "v.")) > 0.0);
    records.extend(run(&mut unbroken, 1));
    // Adam's first step has the size of its learning rate for every gradient that is not zero.
    let after = unbroken.snapshot().unwrap();
    for (moved, m) in
        minus(&all(&after, "alpha."), &all(&middle, "alpha.")).iter().zip(all(&after, "adam.m."))
    {
        assert!(
            m.abs() < 1e-5 || (moved.abs() - 0.03).abs() < 1e-4 && moved.signum() == m.signum(),
            "{moved}"
        );
    }
    records.extend(run(&mut unbroken, 2));
    let end = unbroken.snapshot().unwrap();

    let mut resumed = search(augmented).unwrap();
    run(&mut resumed, 1);
    resumed.restore(3, &middle).unwrap();
    assert_eq!(resumed.snapshot().unwrap(), middle);
    assert_eq!(run(&mut resumed, 3), records[3..]);
    assert_eq!(resumed.snapshot().unwrap(), end);
    assert_eq!(resumed.genotype(), unbroken.genotype());

    let r = &records[5];
    assert_eq!((r.samples, r.log_likelihood.len(), &r.weights[..], r.skipped), (1, 1, &[1.0][..], 0));
    let entropy = unbroken.entropy();
    assert_eq!((r.entropy["normal"], r.entropy["reduce"]), (entropy[0], entropy[1]));
    assert!(entropy.iter().all(|h| *h < 14.0 * 3f64.ln()) && entropy.iter().all(|h| *h > 0.0));
    let evaluation = unbroken.evaluate(&unbroken.architecture()).unwrap();
    assert!(evaluation.n == 20 && evaluation.mean_log_likelihood.is_finite());

    for name in ["alpha.normal", "adam.m.reduce", "adam.v.normal", "v.stem.0.weight"] {
        let mut broken = middle.clone();
        broken.remove(name);
        let error = resumed.restore(3, &broken).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        broken.insert(name.into(), Tensor::f64(&[1], vec![0.0]));
        assert!(resumed.restore(3, &broken).is_err(), "{name}");
    }
}

/// The weights have the names and the initial values of Algorithm 1. The memory is different.
#[test]
fn weights_are_shared_with_the_other_methods_and_memory_is_not() {
    let Some(mut mixed) = search(darts()) else { return };
    let mut parsec = search(config()).unwrap();
    let weights = |search: &mut Search| {
        let state = search.snapshot().unwrap();
        state.into_iter().filter(|(name, _)| name.starts_with("v.")).collect::<Vec<_>>()
    };
    assert_eq!(weights(&mut mixed), weights(&mut parsec));
    let (all_paths, one) = (run(&mut mixed, 1)[0].arena_bytes, run(&mut parsec, 1)[0].arena_bytes);
    // The ratio is 1.99 here, and larger for larger networks.
    assert!(10 * all_paths > 19 * one, "{all_paths} and {one}");

    // Micro-batches need less memory, and have other statistics.
    let mut parts = search(with(darts(), |c| c.execution.micro_batch = Some(4))).unwrap();
    let record = run(&mut parts, 2).pop().unwrap();
    assert!(record.arena_bytes < all_paths && record.log_likelihood[0].is_finite());
    assert_ne!(all(&parts.snapshot().unwrap(), "alpha."), [0.0; 2 * N_EDGES * 3]);
}

#[test]
fn what_only_a_prior_over_children_has_is_refused() {
    for config in [
        with(darts(), |c| c.prior.prior_from = Some(PathBuf::from("runs/other"))),
        with(darts(), |c| c.execution.trace_steps = 3),
    ] {
        let error = config.check().unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("darts"), "{error}");
        with(config, |c| c.algorithm.method = Method::Parsec).check().unwrap();
    }
}
