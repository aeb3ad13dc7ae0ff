//! The likelihood of given genotypes on held-out images, with the shared weights of a search.
//!
//! `cargo run --release --example evaluate [RUN]`: with RUN, the weights, the network and the data are those of the
//! run. Without RUN, the weights are initial weights, and the likelihoods are near the likelihood of a guess.

use std::path::Path;
use std::sync::Arc;

use parsec_nas::Result;
use parsec_nas::config::Config;
use parsec_nas::data::{self, LoadOptions, Normalisation};
use parsec_nas::gpu::{Gpu, Options};
use parsec_nas::run::RunDir;
use parsec_nas::search::{Search, Settings};
use parsec_nas::space::genotype::NAMES;

fn main() -> Result<()> {
    let run = std::env::args().nth(1).map(|path| RunDir::open(Path::new(&path))).transpose()?;
    let config = match &run {
        Some(run) => run.config()?,
        None => Config::preset()?,
    };
    let size = config.images.size;
    let dataset = data::load(&config.images.data, &LoadOptions { size, ..LoadOptions::default() })?;
    let normalisation = Normalisation::of(&dataset.train);
    let guessing = -(dataset.class_names.len() as f64).ln();
    let gpu = Gpu::open(config.session.device.as_deref(), Options::default())?;
    let settings = Settings::of(config, normalisation, gpu.lowering())?;
    let mut search = Search::new(settings, Arc::new(dataset), gpu)?;
    if let Some(run) = &run {
        // Damaged checkpoints are skipped, and the warnings name them.
        let (checkpoint, warnings) = run.checkpoints().newest_good()?;
        warnings.iter().for_each(|w| eprintln!("warning: {w}"));
        search.restore(checkpoint.step, &checkpoint.state)?;
    }
    println!("after {} steps; guessing gives {guessing:.3} nats per image", search.steps_done());

    // Some genotypes may be outside of the run's space, because the run's list of primitives may be shorter.
    let space = search.space();
    let published = NAMES[..3].iter().filter_map(|name| Some((*name, space.named(name)?)));
    let candidates: Vec<_> = published.chain([("mode of the prior", search.architecture())]).collect();
    for (name, alpha) in candidates {
        let result = search.evaluate(&alpha)?;
        println!(
            "{name:18} log-likelihood per image {:7.3} nats, accuracy {:5.1} % of {}",
            result.mean_log_likelihood,
            100.0 * result.accuracy(),
            result.n
        );
    }
    Ok(())
}
