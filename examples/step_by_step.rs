//! Runs a search step by step: Algorithm 1 on the embedded images, without a run folder.
//!
//! `cargo run --release --example step_by_step [STEPS]` (default 10).

use std::sync::Arc;

use parsec_nas::Result;
use parsec_nas::config::{Config, Samples};
use parsec_nas::data::{self, LoadOptions, Normalisation};
use parsec_nas::gpu::{Gpu, Options};
use parsec_nas::search::{Search, Settings};
use parsec_nas::space::Prior;

fn main() -> Result<()> {
    let mut config = Config::preset()?;
    // The learning rate follows a cosine over all steps, so the length belongs to the configuration.
    config.steps = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10);
    config.samples = Samples::Fixed(4);
    config.batch = 16;

    let dataset = data::load(&config.data, &LoadOptions::default())?;
    let normalisation = Normalisation::of(&dataset.train);
    // The fastest class of adapter; with Some("llvmpipe") the one of that name.
    let gpu = Gpu::open(None, Options::default())?;
    println!("on {}", gpu.info().name);
    let settings = Settings::of(config, normalisation, gpu.lowering())?;
    let mut search = Search::new(settings, Arc::new(dataset), gpu)?;

    let uniform: f64 = Prior::uniform(search.space()).entropy().iter().sum();
    println!("entropy of the uniform prior {uniform:.3} nats");
    println!(
        "{:>4} {:>6} {:>7} {:>9} {:>9} {:>7}",
        "step", "ESS", "entropy", "best ll", "worst ll", "seconds"
    );
    while search.steps_done() < search.config().steps {
        let record = search.step()?;
        let best = record.log_likelihood.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let worst = record.log_likelihood.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "{:4} {:6.2} {:7.3} {best:9.3} {worst:9.3} {:7.2}",
            record.step,
            record.ess,
            record.entropy.values().sum::<f64>(),
            record.seconds.total(),
        );
    }
    println!("mode of the prior: {}", search.genotype());
    Ok(())
}
