//! A search from its configuration to its result.

use std::path::Path;

use serde::Serialize;

use super::open::{self, Facts, Opened, Wanted};
use super::{About, Runnable, variants};
use crate::Result;
use crate::bench::Shape;
use crate::config::{Choose, Config, Method, Outcome, Resolved};
use crate::data::{Account, Dataset, Size};
use crate::error::{Error, word};
use crate::files::weights;
use crate::gpu::Network;
use crate::graph::Lowering;
use crate::report;
use crate::report::trust::{self, Trust};
use crate::run::{self, Events, Manifest, RunDir};
use crate::search::best::best;
use crate::search::evidence::Seen;
use crate::search::{Evaluation, Search, Settings, take_prior};
use crate::space::transfer::carry;
use crate::space::{Alpha, ByGroup, Prior, Space};

/// Number of random architectures with which a result is compared, and number of batches of held-out images for this.
const N_RANDOM: usize = 16;
const N_BATCHES: usize = 4;

/// Result of a search: the content of `result.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The architecture as text.
    pub genotype: String,
    /// The most probable architecture of the prior. `None` if there is no prior.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The method of the search.
    pub method: String,
    /// Accuracy of the genotype with the shared weights on the held-out images.
    pub accuracy: f64,
    /// Evaluation of the genotype.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Entropy of the prior, nats.
    pub entropy: ByGroup<f64>,
    /// Entropy of the uniform prior, nats.
    pub entropy_uniform: f64,
    /// Number of steps done.
    pub steps: u64,
    /// Seconds of the steps in this process.
    pub seconds: f64,
    /// Key of the random numbers.
    pub seed: u64,
    /// Name of the adapter.
    pub adapter: String,
    /// Bytes of activation memory.
    pub arena_bytes: u64,
    /// Trust in the result. `None` unless the search drew children from a prior that moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// The account of the data.
    pub data: Account,
    /// The run folder.
    pub run: String,
    #[serde(skip)]
    n_classes: usize,
}

impl Runnable for Search {
    type Config = Config;
    type Outcome = Found;

    /// Loads the data, opens the adapter and builds the search. A resumed search uses the kernel variants of its
    /// manifest.
    fn open(config: Config, resumed: Option<&Manifest>, events: &Events) -> Result<(Self, Manifest)> {
        let wanted = Wanted::of(&config.images, &config.session, resumed);
        let Opened { dataset, normalisation, mut gpu } = open::open(&wanted, events)?;
        open::class_weights(&config.images, &dataset, events)?;
        let tuned = match resumed {
            Some(manifest) => variants::from_manifest(&manifest.variants, &gpu, events)?,
            None => variants::choose(config.execution.tune, &gpu, &shape(&config, &dataset)?, events)?,
        };
        gpu.read_through_textures(tuned.variants.textures == 1);
        let lowering = Lowering {
            fuse: !config.session.reference_kernels,
            tuning: tuned.variants.tuning,
            memory: crate::train::memory(config.session.memory),
            ..Lowering::default()
        };
        let facts = Facts::of(&dataset, &normalisation, gpu.info(), &tuned)?;
        let (prior_from, weights_from) =
            (config.prior.prior_from.clone(), config.execution.weights_from.clone());
        let settings = Settings::of(config, normalisation, lowering)?;
        let mut search = Search::new(settings, dataset, gpu)?;
        // In a resumed run the warm-up can take all steps only if it is given in epochs and the run was made shorter.
        let by_epochs = search.config().algorithm.warmup_epochs > 0;
        if resumed.is_none_or(|manifest| by_epochs && !manifest.lengths.is_empty()) {
            check_warm_up(&search)?;
        }
        if let Some(run) = prior_from {
            let prior = carried(&run, search.space(), events)?;
            search.set_prior(prior.softened(search.config().prior.prior_temperature.unwrap_or(1.0)));
        }
        if let Some(from) = weights_from {
            if from.is_file() {
                search.set_weights(&weights::read(&from)?, &from, "")?;
            } else {
                let run = RunDir::open(&from)?;
                run.check_weights()?;
                let kind = run.manifest()?.kind;
                if kind != Config::KIND {
                    let expected = "a search, whose shared weights serve any architecture";
                    let try_this = "a search of the same space";
                    return Err(Error::file(from, None, expected, format!("a {kind}"), try_this));
                }
                let (newest, warnings) = run.checkpoints().newest_good()?;
                warnings.iter().for_each(|w| events.warn(w));
                search.set_weights(&newest.state, &newest.state_path(), "v.")?;
            }
        }
        let manifest = facts.manifest(search.config())?;
        Ok((search, manifest))
    }

    fn configuration(&self) -> &Config {
        self.config()
    }

    fn network(&mut self) -> &mut Network {
        Search::network(self)
    }

    fn epoch(&self) -> u64 {
        self.steps_per_epoch()
    }

    fn rate(&self) -> f64 {
        self.update().lr
    }

    /// Writes genotype, drawings and plots.
    fn draw(&mut self, run: &RunDir) -> Result<()> {
        let mode = chosen(self, seen(self, run)?.as_deref());
        let space = self.space();
        run.write("genotype.txt", format!("{}\n", space.print(&mode)).as_bytes())?;
        let svg = report::architecture_svg(space, &mode);
        run.write("cells.svg", svg.as_bytes())?;
        run.write("cells.png", &report::png(&svg, 2.0)?)?;
        if let Some(alpha) = self.mixed_alpha() {
            run.write("alpha.svg", report::mixed_svg(space, &alpha.factors()).as_bytes())?;
        }
        if let Some(prior) = self.prior() {
            run.write("prior.svg", report::prior_svg(space, prior).as_bytes())?;
        }
        if let Some(svg) = report::metrics_svg(&run.metrics_path())? {
            run.write("metrics.svg", svg.as_bytes())?;
        }
        Ok(())
    }

    fn outcome(&mut self, run: &RunDir, about: About) -> Result<Found> {
        let seen = seen(self, run)?;
        let chosen = chosen(self, seen.as_deref());
        let evaluation = self.evaluate(&chosen)?;
        let trust = match &seen {
            Some(seen) => Some(trust(self, seen, &chosen)?),
            None => None,
        };
        let space = std::sync::Arc::clone(&self.spec().space);
        Ok(Found {
            genotype: space.print(&chosen),
            mode: self.prior().map(|prior| space.print(&prior.mode())),
            method: self.config().algorithm.method.to_string(),
            accuracy: evaluation.accuracy(),
            evaluation,
            entropy: space.by_group(&self.entropy()),
            entropy_uniform: self.entropy_uniform().iter().sum(),
            steps: self.steps_done(),
            seconds: about.seconds,
            seed: self.config().session.seed,
            adapter: about.adapter,
            arena_bytes: Search::network(self).arena_bytes(),
            trust,
            data: self.account().clone(),
            run: run.path().display().to_string(),
            n_classes: self.spec().n_classes,
        })
    }
}

/// Refuses a warm-up after which no step is left for the prior.
fn check_warm_up(search: &Search) -> Result<()> {
    let (config, epoch) = (search.config(), search.steps_per_epoch());
    match config.warm_up_steps(epoch) {
        Some(steps) if steps >= config.length.steps => {
            let expected = format!("a warm-up shorter than the search of {} steps", config.length.steps);
            let found = format!("{} epochs of {epoch} steps", config.algorithm.warmup_epochs);
            let try_this = "--warmup FRACTION, or more --steps";
            Err(Error::usage("`warmup_epochs`", expected, found, try_this))
        }
        _ => Ok(()),
    }
}

/// The children that the search has seen. `None` unless the search has a prior that moves.
fn seen(search: &Search, run: &RunDir) -> Result<Option<Vec<Seen>>> {
    let config = search.config();
    if config.algorithm.method != Method::Parsec || config.prior.freeze_prior {
        return Ok(None);
    }
    trust::seen(&run.metrics_path(), search.space(), config.search_batch()).map(Some)
}

/// The result of the search: the best architecture according to its children, or the one of its strategy.
fn chosen(search: &Search, seen: Option<&[Seen]>) -> Alpha {
    let Outcome { choose, max_skips, .. } = search.config().outcome;
    let seen = seen.filter(|_| choose == Choose::Evidence);
    let best = seen.and_then(|seen| best(search.space(), seen, max_skips));
    best.map_or_else(|| search.architecture(), |best| best.alpha)
}

/// The trust in the result: whether it is more than chance.
fn trust(search: &mut Search, seen: &[Seen], chosen: &Alpha) -> Result<Trust> {
    let evidence = trust::evidence(search.space(), seen);
    let best = best(search.space(), seen, None);
    let better = search.better_than_random(chosen, N_RANDOM, N_BATCHES)?;
    Ok(Trust::of(evidence.as_ref(), best.as_ref(), chosen, [better, N_RANDOM]))
}

/// The prior of the run `from`, for the slots and choices of `space` that the run has.
fn carried(from: &Path, space: &dyn Space, events: &Events) -> Result<Prior> {
    let run = RunDir::open(from)?;
    let kind = run.manifest()?.kind;
    if kind != Config::KIND && kind != run::CONSENSUS {
        return Err(Error::file(from, None, "a search, which has a prior", format!("a {kind}"), ""));
    }
    let config = run.config()?;
    if config.algorithm.method == Method::Darts {
        let expected = "a search that draws children from a prior";
        let try_this = "a run of --method parsec";
        return Err(Error::file(from, None, expected, "one by --method darts, which has none", try_this));
    }
    let was = config.space()?;
    let (state, warnings) = run::read_prior(from)?;
    warnings.iter().for_each(|w| events.warn(w));
    let prior = take_prior(&state, from, &*was)?;
    if was.name() != space.name() {
        let expected = format!("a prior over the space {}", space.name());
        let try_this = format!("another run, or --space {}", was.name());
        return Err(Error::file(from, None, expected, was.name(), try_this));
    }
    let Some(carried) = carry(&*was, &prior, space) else {
        let expected = "a prior with a slot and a choice of this search";
        let names: Vec<String> = was.settings().into_iter().map(|(k, v)| format!("{k} {v}")).collect();
        return Err(Error::file(from, None, expected, names.join(", "), "another run"));
    };
    let ([slots, all_slots], [choices, all_choices]) = (carried.n_slots, carried.n_choices);
    if slots < all_slots || choices < all_choices {
        events.note(format!(
            "the prior of {} has {slots} of {all_slots} slots of this search, and {choices} of the {all_choices} choices in \
             them; the others start uniform",
            from.display()
        ));
    }
    Ok(carried.prior)
}

/// The extents of the search, for a trial of kernel variants.
fn shape(config: &Config, dataset: &Dataset) -> Result<Shape> {
    let space = config.space()?;
    Ok(Shape {
        layers: space.depth(),
        space,
        channels: config.network.channels,
        batch: config.micro_batch(),
        size: Size { height: dataset.train.height, width: dataset.train.width },
        in_channels: dataset.train.channels,
        classes: dataset.class_names.len(),
        seed: config.session.seed,
        memory: crate::train::memory(config.session.memory),
    })
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let r = self;
        let entropy: f64 = r.entropy.values().sum();
        let what = if r.method == Method::Darts.to_string() { "softmax of alpha" } else { "prior" };
        let trust = r.trust.map(|trust| format!("{}\n", trust.text())).unwrap_or_default();
        let chosen = match &r.mode {
            Some(mode) if r.trust.is_some() && *mode != r.genotype => {
                "chosen by the likelihoods of all children; the mode of the prior is another (result.json)\n"
            }
            _ => "",
        };
        write!(
            f,
            "{}\n\n{chosen}held-out accuracy {:.1} % ({} of {} images, shared weights, batch statistics; chance {:.1} %)\n\
             entropy of the {what} {entropy:.1} nats (uniform {:.1})\n{trust}{} steps in {:.0} s on {}\n\n\
             {run}/cells.svg    the architecture\n{run}/metrics.jsonl one line per step\n{run}/checkpoints  weights, prior, optimiser\n\
             next: parsec show {word}",
            r.genotype,
            100.0 * r.accuracy,
            r.evaluation.n_correct,
            r.evaluation.n,
            100.0 / r.n_classes as f64,
            r.entropy_uniform,
            r.steps,
            r.seconds,
            r.adapter,
            run = r.run,
            word = word(Path::new(&r.run)),
        )
    }
}

/// The search of `run`, a search with the configuration `config`, with its newest good shared weights.
///
/// # Errors
/// The errors of the checkpoints, the data and the adapter.
pub fn with_weights(run: &RunDir, mut config: Config, events: &Events) -> Result<Search> {
    let (newest, warnings) = run.checkpoints().newest_good()?;
    warnings.iter().for_each(|w| events.warn(w));
    // The origin of the run may be gone. It is not needed, because the run has its own weights.
    config.forget_origin();
    let manifest = run.manifest()?;
    config.session.run = Some(run.path().to_owned());
    config.lengthen(&manifest.lengths);
    let (mut search, now) = Search::open(config, Some(&manifest), events)?;
    let spec = manifest.data_at.as_ref().unwrap_or(&search.config().images.data);
    open::check_data(&manifest, &now.data, spec, run.path())?;
    search.set_weights(&newest.state, &newest.state_path(), "v.")?;
    events.note(format!("shared weights after step {} of {}", newest.step, search.config().length.steps));
    Ok(search)
}
