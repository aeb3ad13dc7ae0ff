//! Whole steps: what merging, leaving out and the number of children change, and what they do not.

use parsec_nas::config::{Config, Temper};
use parsec_nas::gpu::LimitsChoice;
use parsec_nas::search::importance;

use super::super::replay::{close, distance, norm};
use super::{all, config, minus, peaked, run, search};

#[test]
fn a_step_fits_webgpu_s_default_limits_and_reports_what_it_did() {
    let Some(mut search) = search(Config { crop_pad: 2, flip: true, eval_every: 2, ..config() }) else {
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
        assert!(r.entropy.normal > 0.0 && r.entropy.reduce > 0.0 && r.arena_bytes > 0);
        let part = 0.5 * (1.0 + (std::f64::consts::PI * i as f64 / 4.0).cos());
        assert!((r.lr - (0.001 + 0.024 * part)).abs() < 1e-12, "cosine from 0.025 to 0.001: {}", r.lr);
    }
    let end = search.snapshot().unwrap();
    for prefix in ["v.stem", "v.cells", "v.classifier", "pi.normal", "pi.reduce", "momentum."] {
        assert!(distance(&all(&start, prefix), &all(&end, prefix)) > 0.0, "{prefix} moves");
    }
}

/// The same children drawn again: one network, one backward pass, the sum of the weights. Only rounding
/// tells it from Algorithm 1 taken literally.
#[test]
fn merging_identical_children_changes_nothing_but_rounding() {
    let several = Config { samples: 6, drop_mass: 0.0, ..config() };
    let Some(mut merged) = search(several.clone()) else { return };
    let mut literal = search(Config { reference: true, ..several }).unwrap();
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
    close("the step of v", &moved(&a), &moved(&b), 1e-6);
    assert_eq!(all(&a, "pi."), all(&b, "pi."));
}

#[test]
fn children_without_duplicates_are_the_same_to_the_bit() {
    let Some(mut merged) = search(Config { drop_mass: 0.0, ..config() }) else { return };
    let mut literal = search(Config { reference: true, ..config() }).unwrap();
    let (a, b) = (run(&mut merged, 2), run(&mut literal, 2));
    assert!(a.iter().all(|r| r.shared == 0));
    assert_eq!(a, b);
    assert_eq!(merged.snapshot().unwrap(), literal.snapshot().unwrap());
}

#[test]
fn children_of_negligible_weight_are_left_out_and_hardly_missed() {
    // An exponent of 10 spreads the weights of an untrained network as a large batch would.
    let spread = Config { samples: 8, temper: Temper::Beta(10.0), ..config() };
    assert_eq!(spread.drop_mass, 1e-3, "the default");
    let Some(mut some) = search(spread.clone()) else { return };
    let mut every = search(Config { drop_mass: 0.0, ..spread }).unwrap();
    let start = all(&some.snapshot().unwrap(), "v.");
    let (a, b) = (run(&mut some, 1).remove(0), run(&mut every, 1).remove(0));
    assert_eq!(a.weights, b.weights);
    let left_out = importance::kept(&a.weights, 1e-3).iter().filter(|k| !**k).count();
    assert!(left_out >= 1, "{:?}", a.weights);
    assert_eq!((a.skipped, b.skipped), (left_out, 0));
    let (a, b) = (some.snapshot().unwrap(), every.snapshot().unwrap());
    let [a_moved, b_moved] = [&a, &b].map(|state| minus(&all(state, "v."), &start));
    let change = distance(&a_moved, &b_moved) / norm(&b_moved);
    assert!(change > 0.0 && change < 1e-3, "the step of v changes by {change:.1e} of itself");
    assert_eq!(all(&a, "pi."), all(&b, "pi."), "π uses all children");
}

/// Activations are those of one child: the arena is the same for two children as for seven, and no child
/// makes it grow.
#[test]
fn memory_does_not_depend_on_the_number_of_children() {
    let bytes = |samples| {
        let mut search = search(Config { samples, ..config() })?;
        let before = search.network().arena_bytes();
        let records = run(&mut search, 3);
        assert!(before > 0 && records.iter().all(|r| r.arena_bytes == before));
        Some(before)
    };
    assert_eq!(bytes(2), bytes(7));
}
