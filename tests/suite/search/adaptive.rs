//! K from the entropy of π: the number of children at each step, which is a function of the state alone.

use crate::with;
use parsec_nas::config::{Config, Samples, Temper};
use parsec_nas::search::importance;
use parsec_nas::space::Prior;

use super::{config, peaked, run, search};

/// Three primitives have an entropy of 36.7 nats, which gives eleven children at first. π moves fast, so that K falls.
fn adaptive() -> Config {
    with(config(), |c| {
        c.algorithm.samples = Samples::Auto(0.3);
        c.prior.prior_lr = 1.0;
    })
}

#[test]
fn k_is_that_of_the_entropy_before_the_step() {
    let Some(mut search) = search(adaptive()) else { return };
    let mut entropy: f64 = Prior::uniform(search.space()).entropy().iter().sum();
    let mut drawn = Vec::new();
    for record in run(&mut search, 4) {
        assert_eq!(record.samples, (0.3 * entropy).round() as usize, "{entropy} nats");
        assert_eq!((record.log_likelihood.len(), record.weights.len()), (record.samples, record.samples));
        entropy = record.entropy.values().sum();
        drawn.push(record.samples);
    }
    assert!(drawn[0] == 11 && drawn[3] < 11, "{drawn:?}");

    // A nearly certain π still gives two children.
    let certain = peaked(search.space(), 60.0);
    search.set_prior(certain);
    assert_eq!(run(&mut search, 1)[0].samples, 2);
}

#[test]
fn going_on_from_a_snapshot_draws_as_many_children() {
    let Some(mut unbroken) = search(adaptive()) else { return };
    let mut records = run(&mut unbroken, 2);
    let middle = unbroken.snapshot().unwrap();
    records.extend(run(&mut unbroken, 2));
    assert_ne!(records[0].samples, records[2].samples);

    let mut resumed = search(adaptive()).unwrap();
    resumed.restore(2, &middle).unwrap();
    assert_eq!(run(&mut resumed, 2), records[2..]);
    assert_eq!(resumed.snapshot().unwrap(), unbroken.snapshot().unwrap());
}

/// If the target size were larger than K, all children would have equal weight and nothing would be learnt. The target
/// is therefore at most K/2.
#[test]
fn a_target_sample_size_gives_way_to_a_small_k() {
    let Some(mut search) = search(with(adaptive(), |c| c.prior.temper = Temper::Ess(6.0))) else { return };
    let record = run(&mut search, 1).remove(0);
    assert_eq!(record.samples, 11);
    assert!(record.ess >= 5.5 - 1e-6, "half of eleven: {}", record.ess);
    let sharp = peaked(search.space(), 5.0);
    search.set_prior(sharp);
    let record = run(&mut search, 1).remove(0);
    assert!((2..=5).contains(&record.samples), "{}", record.samples);
    let target = 0.5 * record.samples as f64;
    assert_eq!(record.beta, importance::exponent(Temper::Ess(target), &record.log_likelihood, &[]));
    assert_eq!(record.weights, importance::weights(&record.log_likelihood, record.beta));
}
