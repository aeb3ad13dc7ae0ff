//! Algorithm 1 written out step by step, on the embedded images: the search of `parsec search` without a run folder.
//!
//! `cargo run --release --example step_by_step [STEPS]` (default 10).

use std::sync::Arc;

use parsec_nas::Result;
use parsec_nas::config::{Baseline, Config};
use parsec_nas::data::{self, LoadOptions, Normalisation};
use parsec_nas::gpu::{Gpu, Options, Update};
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::search::prior_update::{self, Adam, Moments};
use parsec_nas::search::{Evaluator, Settings, batch_sources, importance};
use parsec_nas::space::Prior;

fn main() -> Result<()> {
    let mut config = Config::paper()?;
    config.length.batch = 16;
    let steps = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10);
    let (k, seed) = (4, config.session.seed);
    let update = Update {
        lr: config.sgd.lr,
        momentum: config.sgd.momentum,
        weight_decay: config.sgd.weight_decay,
        max_norm: config.sgd.grad_clip,
    };
    let adam =
        Adam { lr: config.prior.prior_lr, beta1: config.prior.prior_beta1, beta2: config.prior.prior_beta2 };

    let dataset = Arc::new(data::load(&config.images.data, &LoadOptions::default())?);
    let normalisation = Normalisation::of(&dataset.train);
    // `None` opens an adapter of the fastest class. Some("llvmpipe") would open the adapter of that name.
    let gpu = Gpu::open(None, Options::default())?;
    println!("on {}", gpu.info().name);
    let settings = Settings::of(config, normalisation, gpu.lowering())?;
    let [search, train] = batch_sources(&settings.config, &settings.normalisation, &dataset)?;

    // v is on the adapter, and π is in this program.
    let mut evaluator = Evaluator::new(gpu, settings.spec(&dataset), &settings.config, settings.lowering)?;
    evaluator.reserve()?;
    let mut prior = Prior::uniform(&*settings.space);
    let mut moments = Moments::zeros(&prior);

    println!("{:>4} {:>6} {:>7} {:>9} {:>9} {:>7}", "step", "ESS", "entropy", "best ll", "worst ll", "loss");
    for t in 0..steps {
        // α_k ~ p(α|π)
        let alphas: Vec<_> = (0..k).map(|k| prior.sample(&mut stream(seed, Purpose::Sample, t, k))).collect();
        // log ω_k with ω_k = p(y|X, v, α_k), and then the normalised weights ω̃_k
        let log_omega = evaluator.log_likelihoods(&alphas, &search.batch(t)?)?;
        let weights = importance::weights(&log_omega, 1.0);
        // v moves along Σ_k ω̃_k ∇_v log p(y|X, v, α_k)
        evaluator.accumulate(&alphas, &weights, &train.batch(t)?)?;
        let trained = evaluator.update(update)?;
        // π moves along Σ_k ω̃_k ∇_π log p(α_k|π)
        let gradient = prior_update::gradient(&prior, &alphas, &weights, Baseline::None, &[]);
        prior_update::ascend(&mut prior, &mut moments, &gradient, t + 1, adam);

        let best = log_omega.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let worst = log_omega.iter().copied().fold(f64::INFINITY, f64::min);
        let entropy: f64 = prior.entropy().iter().sum();
        println!(
            "{:4} {:6.2} {entropy:7.3} {best:9.3} {worst:9.3} {:7.3}",
            t + 1,
            importance::ess(&weights),
            trained.loss
        );
    }
    println!("mode of the prior: {}", settings.space.print(&prior.mode()));
    Ok(())
}
