//! The time at which π begins to move, and the π from which a search starts.

use std::path::Path;

use crate::with;
use parsec_nas::config::{Baseline, Samples};
use parsec_nas::search::take_prior;
use parsec_nas::space::{Darts, Primitive};

use super::super::replay::{close, distance};
use super::{all, config, minus, peaked, run, search};

#[test]
fn a_frozen_prior_stays_while_v_moves() {
    let Some(mut search) = search(with(config(), |c| c.prior.freeze_prior = true)) else { return };
    let start = search.snapshot().unwrap();
    run(&mut search, 2);
    let end = search.snapshot().unwrap();
    for prefix in ["pi.", "adam."] {
        assert_eq!(all(&start, prefix), all(&end, prefix));
    }
    assert!(distance(&all(&start, "v."), &all(&end, "v.")) > 0.0);
}

#[test]
fn warm_up_trains_the_weights_alone_for_its_epochs() {
    let Some(mut search) = search(with(config(), |c| c.algorithm.warmup_epochs = 1)) else { return };
    let start = search.snapshot().unwrap();
    run(&mut search, 3);
    let warm = search.snapshot().unwrap();
    assert_eq!(all(&start, "pi."), all(&warm, "pi."));
    assert!(all(&warm, "adam.").iter().all(|m| *m == 0.0));
    assert!(distance(&all(&start, "v."), &all(&warm, "v.")) > 0.0);

    // Adam's first step has the size of its learning rate for every gradient that is not zero.
    run(&mut search, 1);
    let end = search.snapshot().unwrap();
    let (steps, moments) = (minus(&all(&end, "pi."), &all(&warm, "pi.")), all(&end, "adam.m."));
    assert!(moments.iter().any(|m| *m != 0.0));
    for (step, m) in steps.iter().zip(&moments).filter(|(_, m)| m.abs() > 1e-6) {
        assert!((step.abs() - 0.03).abs() < 1e-6 && step.signum() == m.signum(), "{step} along {m}");
    }
}

#[test]
fn the_baseline_changes_the_prior_s_gradient_only() {
    let Some(mut plain) = search(config()) else { return };
    let mut mean = search(with(config(), |c| c.prior.baseline = Baseline::Mean)).unwrap();
    assert_eq!(run(&mut plain, 1)[0].weights, run(&mut mean, 1)[0].weights);
    let (a, b) = (plain.snapshot().unwrap(), mean.snapshot().unwrap());
    assert_eq!(all(&a, "v."), all(&b, "v."));
    assert_ne!(all(&a, "adam.m."), all(&b, "adam.m."));
}

/// A larger network starts from the π of a smaller one, and has weights of its own.
#[test]
fn a_prior_goes_over_to_another_network() {
    let Some(mut small) = search(config()) else { return };
    run(&mut small, 2);
    let learnt = small.snapshot().unwrap();
    let mut larger = search(with(config(), |c| {
        c.network.layers = 4;
        c.network.channels = 6;
    }))
    .unwrap();
    let fresh = larger.snapshot().unwrap();
    let prior = take_prior(&learnt, Path::new("other run"), larger.space()).unwrap();
    assert_eq!(Some(&prior), small.prior());
    larger.set_prior(prior);
    let started = larger.snapshot().unwrap();
    assert_eq!(all(&started, "pi."), all(&learnt, "pi."));
    assert!(all(&started, "adam.").iter().all(|m| *m == 0.0), "Adam starts anew");
    assert_eq!(all(&started, "v."), all(&fresh, "v."));
    run(&mut larger, 1);
    assert_ne!(all(&larger.snapshot().unwrap(), "pi."), all(&learnt, "pi."));

    // A prior over other primitives is refused.
    let other = Darts::over(&[Primitive::SkipConnect, Primitive::SepConv3x3]);
    let error = take_prior(&learnt, Path::new("other run"), &other).unwrap_err();
    let text = error.to_string();
    assert!(error.exit_code() == 1 && text.contains("other run") && text.contains("same choices"), "{text}");
    let error = take_prior(&Default::default(), Path::new("other run"), &other).unwrap_err();
    assert!(error.to_string().contains("pi.normal.0"), "{error}");
}

/// Children are drawn from π, each from its own stream. A nearly certain π draws its mode.
#[test]
fn children_are_drawn_from_the_prior() {
    let Some(mut search) = search(with(config(), |c| {
        c.algorithm.samples = Samples::Fixed(5);
        c.algorithm.primitives = vec![Primitive::SkipConnect, Primitive::DilConv3x3];
    })) else {
        return;
    };
    let certain = peaked(search.space(), 60.0);
    search.set_prior(certain.clone());
    let record = run(&mut search, 1).remove(0);
    assert_eq!(record.shared, 4, "all five are the mode");
    close("weights", &record.weights, &[0.2; 5], 1e-15);
    assert_eq!(search.architecture(), certain.mode());
}

#[test]
fn the_weights_of_another_search_of_the_same_network_are_a_start_too() {
    let Some(mut other) = search(config()) else { return };
    run(&mut other, 2);
    let state = other.snapshot().unwrap();
    let path = std::path::Path::new("state.safetensors");
    let mut fresh = search(with(config(), |c| c.session.seed = 5)).unwrap();
    assert_ne!(all(&state, "v."), all(&fresh.snapshot().unwrap(), "v."));
    fresh.set_weights(&state, path, "v.").unwrap();
    let start = fresh.snapshot().unwrap();
    assert_eq!(all(&state, "v."), all(&start, "v."));
    assert!(all(&start, "momentum.").iter().all(|m| *m == 0.0));
    let mut wider = search(with(config(), |c| c.network.channels = 6)).unwrap();
    let error = wider.set_weights(&state, path, "v.").unwrap_err().to_string();
    assert!(error.contains("state.safetensors") && error.contains("of shape"), "{error}");
}
