//! Whole steps: the effects of merging children, of leaving out children, and of the number of children.

use crate::with;
use parsec_nas::config::{Samples, Temper};
use parsec_nas::gpu::{Child, LimitsChoice};
use parsec_nas::graph::Mode;
use parsec_nas::kernel::Buf;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::search::importance;

use super::super::nets;
use super::super::replay::{close, distance, norm};
use super::{all, config, minus, peaked, run, search};

#[test]
fn a_step_fits_webgpu_s_default_limits_and_reports_what_it_did() {
    let Some(mut search) = search(with(config(), |c| {
        c.images.crop_pad = 2;
        c.images.flip = true;
        c.session.eval_every = parsec_nas::config::Every::Steps(2);
    })) else {
        return;
    };
    assert_eq!(
        search.network().gpu().max_binding_bytes(),
        128 << 20,
        "opened with {:?}",
        LimitsChoice::Floor
    );
    let start = search.snapshot().unwrap();
    let records = run(&mut search, 4);
    assert_eq!(search.steps_done(), 4);
    for (i, r) in records.iter().enumerate() {
        assert_eq!((r.step, r.epoch), (i as u64 + 1, i as u64 / 3 + 1), "three steps to an epoch");
        assert_eq!(r.weights, importance::weights(&r.log_likelihood, 1.0));
        assert_eq!((r.ess, r.beta), (importance::ess(&r.weights), 1.0));
        assert!(r.log_likelihood.iter().all(|l| (-200.0..0.0).contains(l)), "{r:?}");
        assert!((1.0..10.0).contains(&r.train_loss) && (0.0..=1.0).contains(&r.train_accuracy), "{r:?}");
        assert!((0.0..=1.0).contains(&r.accuracy) && r.mode_accuracy.is_some() == (r.step % 2 == 0));
        assert!(r.grad_norm > 0.0 && (r.clip_factor - (5.0 / (r.grad_norm + 1e-6)).min(1.0)).abs() < 1e-6);
        assert!(r.entropy.values().all(|entropy| *entropy > 0.0) && r.arena_bytes > 0);
        let part = 0.5 * (1.0 + (std::f64::consts::PI * i as f64 / 4.0).cos());
        assert!((r.lr - (0.001 + 0.024 * part)).abs() < 1e-12, "cosine from 0.025 to 0.001: {}", r.lr);
    }
    let end = search.snapshot().unwrap();
    for prefix in ["v.stem", "v.cells", "v.classifier", "pi.normal", "pi.reduce", "momentum."] {
        assert!(distance(&all(&start, prefix), &all(&end, prefix)) > 0.0, "{prefix} moves");
    }
}

/// Equal children are one network with one backward pass and the sum of their weights. Only the rounding differs from
/// the literal Algorithm 1.
#[test]
fn merging_identical_children_changes_nothing_but_rounding() {
    let several = with(config(), |c| {
        c.algorithm.samples = Samples::Fixed(6);
        c.algorithm.drop_mass = 0.0;
    });
    let Some(mut merged) = search(several.clone()) else { return };
    let mut literal = search(with(several, |c| c.algorithm.reference = true)).unwrap();
    let prior = peaked(merged.space(), 6.0);
    merged.set_prior(prior.clone());
    literal.set_prior(prior);
    let start = all(&merged.snapshot().unwrap(), "v.");
    let (a, b) = (run(&mut merged, 1).remove(0), run(&mut literal, 1).remove(0));
    assert!(a.shared >= 1, "some of {} children are the same", a.weights.len());
    assert_eq!((b.shared, b.skipped, a.skipped), (0, 0, 0));
    assert_eq!(a.log_likelihood, b.log_likelihood);
    assert_eq!(a.weights, b.weights);
    let (a, b) = (merged.snapshot().unwrap(), literal.snapshot().unwrap());
    let moved = |state| minus(&all(state, "v."), &start);
    // The literal step also runs the trunk once per child.
    close("the step of v", &moved(&a), &moved(&b), 1e-5);
    close("momentum", &all(&a, "momentum."), &all(&b, "momentum."), 1e-5);
    // π and Adam's moments follow from weights and children, which are the same.
    assert_eq!(all(&a, "pi."), all(&b, "pi."));
    assert_eq!(all(&a, "adam."), all(&b, "adam."));
}

/// The trunk runs once for all children, and its backward pass runs from the sum of their gradients. Likelihoods keep
/// their bits and the update changes only by rounding, whether the batch runs whole or in micro-batches.
#[test]
fn sharing_the_trunk_changes_nothing_but_rounding() {
    for micro_batch in [None, Some(4)] {
        let base = with(config(), |c| {
            c.algorithm.drop_mass = 0.0;
            c.execution.micro_batch = micro_batch;
        });
        let Some(mut shared) = search(base.clone()) else { return };
        let mut literal = search(with(base, |c| c.algorithm.reference = true)).unwrap();
        let start = shared.snapshot().unwrap();
        let (a, b) = (run(&mut shared, 1).remove(0), run(&mut literal, 1).remove(0));
        assert_eq!((a.shared, a.skipped), (0, 0));
        assert_eq!((&a.log_likelihood, &a.weights), (&b.log_likelihood, &b.weights));
        let (a, b) = (shared.snapshot().unwrap(), literal.snapshot().unwrap());
        assert_eq!(all(&a, "pi."), all(&b, "pi."));
        for prefix in ["v.stem", "v.cells.0.preprocess", "v.cells.1.preprocess0", "v.cells.1", "v.classifier"]
        {
            let moved = |state| minus(&all(state, prefix), &all(&start, prefix));
            assert!(norm(&moved(&b)) > 0.0, "{prefix} moves");
            close(prefix, &moved(&a), &moved(&b), 1e-5);
        }
        // A second step starts from gradients of zero.
        let (a, b) = (run(&mut shared, 1).remove(0), run(&mut literal, 1).remove(0));
        close("norm of the second gradient", &[a.grad_norm], &[b.grad_norm], 1e-4);
    }
}

/// The effect of leaving out children of weight ω̃_k. Let Δ = Σ_left-out ω̃_k g_k. Clipping does not increase the
/// distance of two gradients. After a first step the momenta, clip·g + decay·v, therefore differ by at most
/// `|Δ| ≤ Σ_left-out ω̃_k |g_k| ≤ m · max_k |g_k|`, where m is the dropped mass. Relative to the momentum this is m times
/// the norm of the largest gradient left out, divided by the norm of the momentum. The steps of v differ by lr times
/// this bound.
#[test]
fn children_of_negligible_weight_are_left_out_and_hardly_missed() {
    // An exponent of 10 spreads the weights of an untrained network as a large batch would.
    let spread = with(config(), |c| {
        c.algorithm.samples = Samples::Fixed(8);
        c.prior.temper = Temper::Beta(10.0);
    });
    assert_eq!(spread.algorithm.drop_mass, 1e-3, "the default");
    let Some(mut some) = search(spread.clone()) else { return };
    let mut every = search(with(spread.clone(), |c| c.algorithm.drop_mass = 0.0)).unwrap();
    let start = some.snapshot().unwrap();
    let prior = some.prior().unwrap().clone();
    let (a, b) = (run(&mut some, 1).remove(0), run(&mut every, 1).remove(0));
    assert_eq!(a.weights, b.weights);
    let kept = importance::kept(&a.weights, 1e-3);
    let left_out: Vec<usize> = (0..kept.len()).filter(|k| !kept[*k]).collect();
    assert!(!left_out.is_empty(), "{:?}", a.weights);
    assert_eq!((a.skipped, b.skipped), (left_out.len(), 0));
    let (a_end, b_end) = (some.snapshot().unwrap(), every.snapshot().unwrap());
    assert_eq!(all(&a_end, "pi."), all(&b_end, "pi."), "π uses all children");

    // The gradients that were left out, with the weights before the step, on the train batch of the step.
    some.restore(0, &start).unwrap();
    let n_v = some.network().layout().v_len as usize;
    let mut norm_of = |k: usize| {
        let alpha = prior.sample(&mut stream(spread.session.seed, Purpose::Sample, 0, k as u64));
        let genotype = super::cells(&some).genotype(&alpha);
        let net = nets::child(&super::state::spec(), &genotype);
        let network = some.network();
        network.write_all(Buf::Grad, &vec![0.0; n_v]).unwrap();
        network.set_child_weight(1.0).unwrap();
        network.run(Child::new(&net, Mode::Train, 1)).unwrap();
        let gradient: Vec<f64> = network.read_all(Buf::Grad).unwrap().iter().map(|g| f64::from(*g)).collect();
        norm(&gradient)
    };
    let gradients: Vec<(f64, f64)> = left_out.iter().map(|&k| (a.weights[k], norm_of(k))).collect();
    let mass: f64 = gradients.iter().map(|(w, _)| w).sum();
    let largest = gradients.iter().map(|(_, g)| *g).fold(0.0, f64::max);
    assert!(mass <= 1e-3 && largest > 0.0);
    let bound: f64 = gradients.iter().map(|(w, g)| w * g).sum();
    assert!(bound <= mass * largest * (1.0 + 1e-12));

    // Each of the two f32 sums may have an error of a few roundings of 6e-8.
    let [a, b] = [&a_end, &b_end].map(|state| all(state, "momentum."));
    let (change, rounding) = (distance(&a, &b), 1e-6 * norm(&b));
    assert!(change > 0.0 && change <= bound + rounding, "{change:.2e}, at most {bound:.2e} + {rounding:.0e}");
    let relative = change / norm(&b);
    let factor = largest / norm(&b);
    assert!(
        relative <= mass * factor + 1e-6,
        "{relative:.1e} of itself, at most {mass:.1e} times {factor:.1}"
    );
}

/// Only the activations of one child are in memory, so that the arena is the same for 64 children as for one. Buffers
/// and kept plans do not grow with the steps, although every step draws other children.
#[test]
fn memory_depends_neither_on_the_number_of_children_nor_on_the_steps() {
    let bytes = |samples, steps| {
        let mut search = search(with(config(), |c| c.algorithm.samples = Samples::Fixed(samples)))?;
        let before = search.network().arena_bytes();
        assert!(before > 0);
        let mut allocated = Vec::new();
        for _ in 0..steps {
            let record = run(&mut search, 1).remove(0);
            assert_eq!(record.arena_bytes, before);
            allocated.push(search.network().gpu().allocated_bytes());
            assert!(search.network().n_plans() <= 64, "{}", search.network().n_plans());
        }
        assert!(allocated.iter().all(|bytes| *bytes == allocated[0]), "{allocated:?}");
        Some((before, search.network().n_plans()))
    };
    let Some((one, few)) = bytes(1, 4) else { return };
    let (many, plans) = bytes(64, 2).unwrap();
    assert_eq!(one, many);
    // Four children have two passes each, and the trunk has three.
    assert!(few <= 11 && plans == 64, "a plan for each pass of a child up to 64: {few} and {plans}");
}
