//! Whole searches of a small chain: every method, resuming, likelihoods against the oracle, and the results that
//! sharing must not change.

use crate::with;
use parsec_nas::config::{Config, Method, Samples};
use parsec_nas::files::tensors;
use parsec_nas::reference::network::{self, Batch, Tensors as Weights};
use parsec_nas::space::{Alpha, Paths};

use crate::replay::{close, distance, norm, numbers};
use crate::search::{all, minus, peaked, run, search};

const CHOICES: [&str; 3] = ["identity", "mb1_k3", "mb3_k5"];

/// Three layers in two stages, three children, batches of eight images of 28x28 pixels.
fn config() -> Config {
    with(crate::search::config(), |c| {
        c.network.space = "macro".into();
        c.network.stages = Some(vec![1, 2]);
        c.network.choices = Some(CHOICES.map(String::from).to_vec());
        c.network.head = Some(12);
    })
}

#[test]
fn every_method_searches_a_chain() {
    for method in [Method::Parsec, Method::Random, Method::RandomSearch, Method::Darts] {
        let Some(mut search) = search(with(config(), |c| c.algorithm.method = method)) else { return };
        let start = search.snapshot().unwrap();
        let records = run(&mut search, 3);
        let end = search.snapshot().unwrap();
        assert_eq!(search.steps_done(), 3);
        let uniform = 3.0 * 3f64.ln();
        for r in &records {
            assert!(r.log_likelihood.iter().all(|l| (-200.0..0.0).contains(l)) && r.grad_norm > 0.0, "{r:?}");
            assert!(r.entropy["layers"] > 0.0 && r.entropy["layers"] <= uniform + 1e-12, "{r:?}");
            assert!(r.skips["layers"] <= 1 && r.pools["layers"] == 0, "{r:?}");
            assert_eq!(r.arena_bytes, records[0].arena_bytes, "{method}");
        }
        for prefix in ["v.stem", "v.features.0.", "v.features.2.", "v.out", "v.classifier", "momentum."] {
            assert!(distance(&all(&start, prefix), &all(&end, prefix)) > 0.0, "{method}: {prefix} moves");
        }
        let logits = if method == Method::Darts { "alpha." } else { "pi." };
        assert_eq!(all(&start, logits), [0.0; 9]);
        let moves = matches!(method, Method::Parsec | Method::Darts);
        assert_eq!(all(&end, logits) != [0.0; 9], moves, "{method}");
        let (text, alpha) = (search.genotype(), search.architecture());
        assert_eq!((text.len(), search.space().parse(&text).unwrap()), (3, alpha.clone()));
        let evaluation = search.evaluate(&alpha).unwrap();
        assert!(evaluation.n == 20 && evaluation.mean_log_likelihood.is_finite(), "{method}");
    }
}

#[test]
fn going_on_from_a_snapshot_is_bit_for_bit() {
    for (method, logits) in [(Method::Parsec, "pi.2"), (Method::Darts, "alpha.2")] {
        let config = with(config(), |c| {
            c.algorithm.method = method;
            c.images.crop_pad = 2;
            c.images.flip = true;
        });
        let Some(mut unbroken) = search(config.clone()) else { return };
        let mut records = run(&mut unbroken, 2);
        let middle = unbroken.snapshot().unwrap();
        records.extend(run(&mut unbroken, 2));
        let end = unbroken.snapshot().unwrap();

        // Another search, which has other weights and another step, continues from the state.
        let mut resumed = search(config).unwrap();
        run(&mut resumed, 1);
        resumed.restore(2, &middle).unwrap();
        assert_eq!(resumed.snapshot().unwrap(), middle);
        assert_eq!(run(&mut resumed, 2), records[2..]);
        assert_eq!(resumed.snapshot().unwrap(), end);
        assert_eq!(resumed.genotype(), unbroken.genotype());

        // The error for a damaged state names the missing tensor.
        for name in [logits, "adam.m.0", "v.features.1.2.conv.3.weight", "momentum.out.0.weight"] {
            let mut broken = middle.clone();
            assert!(broken.remove(name).is_some(), "{name}");
            let error = resumed.restore(2, &broken).unwrap_err();
            assert!(error.exit_code() == 1 && error.to_string().contains(name), "{error}");
        }
    }
}

/// The trace of the first step has the batch, the children, and the weights before the step.
#[test]
fn the_first_likelihoods_are_the_reference_s() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = Some(folder.path().into());
    let config = with(config(), |c| {
        c.execution.trace_steps = 1;
        c.session.run = run_folder;
        c.algorithm.samples = Samples::Fixed(5);
    });
    let Some(mut search) = search(config) else { return };
    let record = run(&mut search, 1).remove(0);
    let (trace, metadata) = tensors::read(&folder.path().join("trace/step-00001.safetensors")).unwrap();
    assert_eq!((metadata["stages"].as_str(), metadata["choices"].clone()), ("1,2", CHOICES.join(",")));
    assert_eq!((&trace["alpha"].shape[..], &trace["pi.2.before"].shape[..]), (&[5, 3][..], &[3][..]));

    let before = trace.iter().filter_map(|(name, tensor)| {
        let short = name.strip_prefix("v.before.")?;
        Some((short.to_owned(), (tensor.shape.clone(), numbers(&trace, name))))
    });
    let before: Weights = before.collect();
    let labels: Vec<usize> = numbers(&trace, "search.labels").iter().map(|l| *l as usize).collect();
    let batch = Batch::from_nchw([8, 1, 28, 28], &numbers(&trace, "search.images"), &labels);
    let likelihood = |choices: &[f64]| -> f64 {
        let alpha = Alpha(choices.iter().map(|c| *c as u16).collect());
        let net = search.spec().net(Paths::Child(&alpha));
        let outcome = network::evaluate(&net, &before, &batch, network::Mode::Train, false).unwrap();
        outcome.log_likelihood.iter().sum()
    };
    let expected: Vec<f64> = numbers(&trace, "alpha").chunks(3).map(likelihood).collect();
    assert!(expected.iter().any(|l| (l - expected[0]).abs() > 1e-2), "children differ: {expected:?}");
    close("log-likelihoods", &record.log_likelihood, &expected, 1e-5);
}

/// Equal children run once, and the stem runs once for all children. Likelihoods keep their bits and the update changes
/// only by rounding, whether the batch runs whole or in micro-batches.
#[test]
fn merging_and_sharing_the_trunk_change_nothing_but_rounding() {
    for (height, samples, micro_batch) in [(6.0, 6, None), (0.0, 3, None), (0.0, 3, Some(4))] {
        let base = with(config(), |c| {
            c.algorithm.samples = Samples::Fixed(samples);
            c.algorithm.drop_mass = 0.0;
            c.execution.micro_batch = micro_batch;
        });
        let Some(mut shared) = search(base.clone()) else { return };
        let mut literal = search(with(base, |c| c.algorithm.reference = true)).unwrap();
        let prior = peaked(shared.space(), height);
        shared.set_prior(prior.clone());
        literal.set_prior(prior);
        let alpha = shared.architecture();
        let net = shared.evaluator().net(&alpha);
        assert!(shared.network().has_trunk(&net, micro_batch.unwrap_or(8) as u32));
        let start = shared.snapshot().unwrap();
        let (a, b) = (run(&mut shared, 1).remove(0), run(&mut literal, 1).remove(0));
        assert!(height == 0.0 || a.shared >= 1, "some of {samples} children are the same");
        assert_eq!((b.shared, a.skipped, b.skipped), (0, 0, 0));
        assert_eq!((&a.log_likelihood, &a.weights), (&b.log_likelihood, &b.weights));
        let (a, b) = (shared.snapshot().unwrap(), literal.snapshot().unwrap());
        // π and Adam's moments follow from weights and children, which are the same.
        assert_eq!((all(&a, "pi."), all(&a, "adam.")), (all(&b, "pi."), all(&b, "adam.")));
        for prefix in ["v.stem", "v.features.", "v.out", "v.classifier", "momentum."] {
            let moved = |state| minus(&all(state, prefix), &all(&start, prefix));
            assert!(norm(&moved(&b)) > 0.0, "{prefix} moves");
            close(prefix, &moved(&a), &moved(&b), 1e-5);
        }
    }
}
