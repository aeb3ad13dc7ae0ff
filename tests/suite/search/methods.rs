//! The result of a search by each method.

use std::path::Path;

use crate::with;
use parsec_nas::config::{Config, Draws, Method, Samples, TrainWeights};
use parsec_nas::files::tensors::{self, Metadata, Tensor, Tensors};
use parsec_nas::search::{StepRecord, random_architecture};
use parsec_nas::space::{Alpha, Prior};
use toml::Table;

use super::{all, config, run, search};

#[test]
fn a_random_search_ends_with_a_draw_that_the_seed_decides() {
    let random = |seed| {
        search(with(config(), |c| {
            c.algorithm.method = Method::Random;
            c.session.seed = seed;
        }))
    };
    let Some(mut first) = random(0) else { return };
    let start = first.snapshot().unwrap();
    let drawn = first.genotype();
    run(&mut first, 1);
    let end = first.snapshot().unwrap();
    assert_eq!(all(&start, "pi."), all(&end, "pi."), "the prior stays");
    assert_ne!(all(&start, "v."), all(&end, "v."), "the weights do not");
    assert_eq!(drawn, first.genotype());
    assert_eq!(drawn, random(0).unwrap().genotype());
    let others: Vec<_> = (1..4).map(|seed| random(seed).unwrap().genotype()).collect();
    assert!(others.iter().all(|other| *other != drawn), "{others:?}");
    // The mode of a uniform prior has the first pair in every slot, whatever the seed is.
    let mode = first.prior().unwrap().mode();
    assert_ne!(first.architecture(), mode);
}

fn random_search() -> Config {
    let draws = Draws::Stratified;
    with(config(), |c| {
        c.algorithm.method = Method::RandomSearch;
        c.algorithm.warmup = 0.5;
        c.algorithm.search_batch = Some(24);
        c.algorithm.draws = draws;
    })
}

/// The child in the records with the largest log-likelihood per image minus the mean over the children of its step.
fn best(records: &[StepRecord]) -> Alpha {
    let scored = records.iter().filter(|r| !r.warm_up).flat_map(|r| {
        let mean = r.log_likelihood.iter().sum::<f64>() / r.log_likelihood.len() as f64;
        r.alpha.iter().zip(&r.log_likelihood).map(move |(alpha, log_lik)| ((log_lik - mean) / 24.0, alpha))
    });
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1.clone()
}

#[test]
fn a_random_search_with_shared_weights_ends_with_the_best_child_it_saw() {
    let Some(mut shared) = search(random_search()) else { return };
    // A search by `random` whose children train v alike does the same steps.
    let alike = with(random_search(), |c| {
        c.algorithm.method = Method::Random;
        c.algorithm.train_weights = TrainWeights::Uniform;
    });
    let mut plain = search(alike).unwrap();
    let start = shared.snapshot().unwrap();
    let draw = random_architecture(&Prior::uniform(shared.space()), 0);
    assert_eq!(shared.architecture(), draw);

    let mut records = run(&mut shared, 2);
    assert!(records.iter().all(|r| r.warm_up && r.weights == [1.0 / 3.0; 3] && r.skipped == 0));
    assert_eq!(shared.architecture(), draw, "no likelihood was seen");
    for _ in 0..2 {
        records.extend(run(&mut shared, 1));
        assert_eq!(shared.architecture(), best(&records));
    }
    let others = run(&mut plain, 4);
    for (r, other) in records[2..].iter().zip(&others[2..]) {
        assert!(!r.warm_up && r.weights == [1.0 / 3.0; 3] && (r.ess - 3.0).abs() < 1e-12, "{r:?}");
        assert_eq!((&r.alpha, &r.log_likelihood), (&other.alpha, &other.log_likelihood));
        assert_eq!((r.skipped, r.shared, &r.entropy), (0, other.shared, &other.entropy));
    }
    let end = shared.snapshot().unwrap();
    assert_eq!(all(&start, "pi."), all(&end, "pi."), "the prior stays");
    assert_eq!(all(&end, "v."), all(&plain.snapshot().unwrap(), "v."));

    // Without a warm-up every step has likelihoods.
    let mut at_once = search(with(random_search(), |c| c.algorithm.warmup = 0.0)).unwrap();
    let records = run(&mut at_once, 1);
    assert_eq!(at_once.architecture(), best(&records));
}

#[test]
fn a_random_search_with_shared_weights_goes_on_with_its_best_child() {
    let Some(mut unbroken) = search(random_search()) else { return };
    let mut records = run(&mut unbroken, 1);
    let early = unbroken.snapshot().unwrap();
    records.extend(run(&mut unbroken, 2));
    let middle = unbroken.snapshot().unwrap();
    records.extend(run(&mut unbroken, 1));
    let (end, found) = (unbroken.snapshot().unwrap(), unbroken.architecture());
    let shapes = |state: &Tensors| ["best.score", "best.alpha"].map(|name| state[name].shape.clone());
    assert_eq!((shapes(&early), shapes(&middle)), ([vec![0], vec![0, 16]], [vec![1], vec![1, 16]]));

    let mut resumed = search(random_search()).unwrap();
    for (step, state) in [(3, &middle), (1, &early)] {
        // The state goes through the bytes of a file.
        let path = Path::new("state.safetensors");
        let bytes = tensors::to_bytes(state, &Metadata::new(), path).unwrap();
        let (state, _) = tensors::parse(&bytes, path).unwrap();
        resumed.restore(step, &state).unwrap();
        assert_eq!(resumed.snapshot().unwrap(), state);
        assert_eq!(run(&mut resumed, 4 - step as usize), records[step as usize..]);
        assert_eq!((resumed.snapshot().unwrap(), resumed.architecture()), (end.clone(), found.clone()));
    }

    // The error for a wrong best child names the tensor, and the state is not changed.
    let before = resumed.snapshot().unwrap();
    let bad = [
        ("best.score", None),
        ("best.alpha", None),
        ("best.score", Some(Tensor::f64(&[0], vec![]))),
        ("best.score", Some(Tensor::f64(&[1], vec![f64::NAN]))),
        ("best.alpha", Some(Tensor::i64(&[1, 16], vec![1 << 20; 16]))),
        ("best.alpha", Some(Tensor::i64(&[1, 3], vec![0; 3]))),
    ];
    for (name, tensor) in bad {
        let mut broken = middle.clone();
        broken.remove(name);
        broken.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        let error = resumed.restore(3, &broken).unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().contains(name), "{error}");
        assert_eq!(all(&resumed.snapshot().unwrap(), "best."), all(&before, "best."));
    }
    // Other searches have no such state.
    let parsec = search(config()).unwrap().snapshot().unwrap();
    assert!(parsec.keys().all(|name| !name.starts_with("best.")));
}

#[test]
fn what_means_nothing_to_random_search_is_refused() {
    random_search().check().unwrap();
    with(random_search(), |c| {
        c.algorithm.samples = Samples::Auto(0.1);
        c.prior.prior_from = Some("runs/other".into());
        c.execution.trace_steps = 1;
    })
    .check()
    .unwrap();
    for (config, key) in [
        (with(random_search(), |c| c.prior.freeze_prior = true), "`freeze_prior`"),
        (with(random_search(), |c| c.algorithm.explore = 0.1), "`explore`"),
        (with(random_search(), |c| c.algorithm.samples = Samples::Fixed(1)), "`samples`"),
    ] {
        let error = config.check().unwrap_err();
        let text = error.to_string();
        assert!(error.exit_code() == 2 && text.contains(key) && text.contains("random_search"), "{text}");
        with(config, |c| c.algorithm.method = Method::Parsec).check().unwrap();
    }
}

#[test]
fn a_method_is_a_setting_like_any_other() {
    let flags = |method: &str| Table::from_iter([("method".to_owned(), method.into())]);
    let config = Config::resolve(None, &flags("random")).unwrap();
    assert_eq!(config.algorithm.method, Method::Random);
    assert!(config.to_toml().unwrap().contains("method = \"random\""));
    assert_eq!(Config::preset().unwrap().algorithm.method, Method::Parsec);
    let error = Config::resolve(None, &flags("enas")).unwrap_err().to_string();
    assert!(
        error.contains("--method") && error.contains("parsec, darts, random or random_search"),
        "{error}"
    );
}
