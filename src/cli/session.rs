//! A resolved configuration → data, adapter and a search, ready to be driven; and what is left when it ends.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::consensus::check_weights;
use super::open::{self, Facts, Opened, Wanted};
use super::{Ui, variants};
use crate::Result;
use crate::bench::Shape;
use crate::config::{Config, Method, Resolved};
use crate::data::{Dataset, Identity};
use crate::error::Error;
use crate::export::tensors::{self, Tensors};
use crate::graph::Lowering;
use crate::report;
use crate::report::trust::{self, Trust};
use crate::run::{self, Job, Manifest, Options, Progress, RunDir, stop};
use crate::search::{Evaluation, Search, Settings, StepRecord, take_prior};
use crate::space::transfer::carry;
use crate::space::{Alpha, ByGroup, Prior, Space};

impl Job for Search {
    type Record = StepRecord;

    fn step_index(&self) -> u64 {
        self.steps_done()
    }

    fn total_steps(&self) -> u64 {
        if self.has_settled() { self.steps_done() } else { self.config().length.steps }
    }

    fn step(&mut self) -> Result<StepRecord> {
        Search::step(self)
    }

    fn snapshot(&mut self) -> Result<Tensors> {
        Search::snapshot(self)
    }

    fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        Search::restore(self, step, state)
    }

    fn reopen(&mut self) -> Result<()> {
        Search::reopen(self)
    }

    fn is_whole_after(&self, error: &Error) -> bool {
        matches!(error, Error::NonFinite { .. })
    }

    fn progress(&self, r: &StepRecord) -> Progress {
        let entropy = r.entropy.values().sum();
        let mut numbers = vec![("accuracy", r.accuracy), ("ESS", r.ess), ("entropy", entropy)];
        numbers.extend(r.mode_accuracy.map(|a| ("held-out", a)));
        let work = Some(self.work());
        Progress { step: r.step, total: self.config().length.steps, epoch: r.epoch, numbers, work }
    }

    fn score(&self) -> Option<f64> {
        self.score_now()
    }
}

/// Random architectures that a result is compared with, and the batches of held-out images for that.
const N_RANDOM: usize = 16;
const N_BATCHES: usize = 4;

/// A search and what it was made from.
pub struct Session {
    /// The search, at its beginning.
    pub search: Search,
    /// Identity of the data.
    pub identity: Identity,
    manifest: Manifest,
}

/// The content of `result.json`.
#[derive(Serialize)]
struct Outcomes {
    genotype: String,
    method: String,
    /// Accuracy of the genotype with the shared weights on the held-out images.
    accuracy: f64,
    #[serde(flatten)]
    evaluation: Evaluation,
    entropy: ByGroup<f64>,
    entropy_uniform: f64,
    steps: u64,
    seconds: f64,
    seed: u64,
    adapter: String,
    arena_bytes: u64,
    /// Of a search by draws from a prior that moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<Trust>,
    run: String,
}

impl Session {
    /// Loads the data, opens the adapter and builds the search; one that is resumed runs the kernel variants of
    /// its manifest.
    pub fn open(config: Config, resumed: Option<&Manifest>, ui: &Ui) -> Result<Self> {
        let Opened { dataset, normalisation, mut gpu } = open::open(
            &Wanted {
                data: &config.images.data,
                size: config.images.size,
                mean: config.images.mean.as_deref(),
                std: config.images.std.as_deref(),
                device: config.session.device.as_deref(),
            },
            ui,
        )?;
        let tuned = match resumed {
            Some(manifest) => variants::from_manifest(&manifest.variants, &gpu, ui)?,
            None => variants::choose(config.execution.tune, &gpu, &shape(&config, &dataset)?, ui)?,
        };
        gpu.read_through_textures(tuned.variants.textures == 1);
        let lowering = Lowering {
            fuse: !config.session.reference_kernels,
            tuning: tuned.variants.tuning,
            memory: crate::train::memory(config.session.memory),
            ..Lowering::default()
        };
        let identity = dataset.identity.clone();
        let facts = Facts::of(&dataset, &normalisation, gpu.info(), &tuned)?;
        let (prior_from, weights_from) =
            (config.prior.prior_from.clone(), config.execution.weights_from.clone());
        let settings = Settings::of(config, normalisation, lowering)?;
        let mut search = Search::new(settings, dataset, gpu)?;
        if let Some(run) = prior_from {
            let prior = carried(&run, search.space(), ui)?;
            search.set_prior(prior.softened(search.config().prior.prior_temperature.unwrap_or(1.0)));
        }
        if let Some(from) = weights_from {
            if from.is_file() {
                search.set_weights(&tensors::read(&from)?.0, &from, "")?;
            } else {
                let run = RunDir::open(&from)?;
                check_weights(&run)?;
                let (newest, warnings) = run.checkpoints().newest_good()?;
                warnings.iter().for_each(|w| ui.warn(w));
                search.set_weights(&newest.state, &newest.state_path(), "v.")?;
            }
        }
        let manifest = facts.manifest(search.config())?;
        Ok(Self { search, identity, manifest })
    }

    /// A new run folder for this search.
    pub fn create(&self, path: &Path) -> Result<RunDir> {
        RunDir::create(path, self.search.config(), &self.manifest)
    }

    /// Whether this is what `run` was started on: data, adapter and driver.
    pub fn check(&self, run: &RunDir, ui: &Ui) -> Result<()> {
        open::check(&self.manifest, run, ui)
    }

    /// Whether the data are those that `run` was started with.
    pub fn check_data(&self, run: &RunDir) -> Result<()> {
        run.manifest()?.check_data(&self.manifest.data, &run.file("manifest.json"))
    }

    /// Drives the search to its end and writes what it found.
    pub fn drive(mut self, run: &RunDir, ui: &Ui) -> Result<()> {
        let started = Instant::now();
        let stop = stop::on_interrupt()?;
        let config = self.search.config();
        let options = Options {
            checkpoint_every: config
                .session
                .checkpoint_every
                .steps(self.search.steps_per_epoch())
                .unwrap_or(0),
            keep: config.session.keep_checkpoints,
        };
        let bar = ui.bar();
        let compiling = bar.clone();
        let gpu = self.search.network().gpu();
        gpu.listen(move |ready, known| compiling.lock().compiling(ready, known));
        let done = run::drive(&mut self.search, run, options, &mut |p| bar.lock().update(p), stop);
        bar.lock().close();
        variants::keep_compiled(self.search.network().gpu(), ui);
        if let Err(Error::Interrupted { .. }) = done {
            self.draw(run)?;
        }
        done?;
        self.draw(run)?;
        let mode = self.search.architecture();
        let evaluation = self.search.evaluate(&mode)?;
        let trust = self.trust(run, &mode)?;
        let uniform = self.search.entropy_uniform();
        let space = std::sync::Arc::clone(&self.search.spec().space);
        let result = Outcomes {
            genotype: space.print(&mode),
            method: self.search.config().algorithm.method.to_string(),
            accuracy: evaluation.accuracy(),
            evaluation,
            entropy: space.by_group(&self.search.entropy()),
            entropy_uniform: uniform.iter().sum(),
            steps: self.search.steps_done(),
            seconds: started.elapsed().as_secs_f64(),
            seed: self.search.config().session.seed,
            adapter: self.manifest.adapter.clone(),
            arena_bytes: self.search.network().arena_bytes(),
            trust,
            run: run.path().display().to_string(),
        };
        run.write_result(&result)?;
        ui.emit(&result)?;
        ui.say(&summary(&result, &self.identity))
    }

    /// Whether the result is more than chance.
    fn trust(&mut self, run: &RunDir, mode: &Alpha) -> Result<Option<Trust>> {
        let config = self.search.config();
        if config.algorithm.method != Method::Parsec || config.prior.freeze_prior {
            return Ok(None);
        }
        let images = config.search_batch();
        let evidence = trust::evidence(&run.metrics_path(), self.search.space(), images)?;
        let better = self.search.better_than_random(mode, N_RANDOM, N_BATCHES)?;
        Ok(Some(Trust::of(evidence.as_ref(), mode, [better, N_RANDOM])))
    }

    /// Genotype, drawings and plots.
    fn draw(&mut self, run: &RunDir) -> Result<()> {
        let space = self.search.space();
        let mode = self.search.architecture();
        run.write("genotype.txt", format!("{}\n", space.print(&mode)).as_bytes())?;
        let svg = report::architecture_svg(space, &mode);
        run.write("cells.svg", svg.as_bytes())?;
        run.write("cells.png", &report::png(&svg, 2.0)?)?;
        if let Some(alpha) = self.search.mixture() {
            run.write("alpha.svg", report::mixture_svg(space, &alpha.factors()).as_bytes())?;
        }
        if let Some(prior) = self.search.prior() {
            run.write("prior.svg", report::prior_svg(space, prior).as_bytes())?;
        }
        if let Some(svg) = report::metrics_svg(&run.metrics_path())? {
            run.write("metrics.svg", svg.as_bytes())?;
        }
        Ok(())
    }
}

/// The prior of the run `from`, over the slots and choices of `space` that it has.
fn carried(from: &Path, space: &dyn Space, ui: &Ui) -> Result<Prior> {
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
    warnings.iter().for_each(|w| ui.warn(w));
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
        ui.note(&format!(
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
        batch: config.part(),
        size: dataset.train.height,
        in_channels: dataset.train.channels,
        classes: dataset.class_names.len(),
        seed: config.session.seed,
        memory: crate::train::memory(config.session.memory),
    })
}

fn summary(r: &Outcomes, identity: &Identity) -> String {
    let entropy: f64 = r.entropy.values().sum();
    let what = if r.method == Method::Darts.to_string() { "softmax of alpha" } else { "prior" };
    let trust = r.trust.map(|trust| format!("{}\n", trust.text())).unwrap_or_default();
    format!(
        "{}\n\nheld-out accuracy {:.1} % ({} of {} images, shared weights, batch statistics; chance {:.1} %)\n\
         entropy of the {what} {entropy:.1} nats (uniform {:.1})\n{trust}{} steps in {:.0} s on {}\n\n\
         {run}/cells.svg    the architecture\n{run}/metrics.jsonl one line per step\n{run}/checkpoints  weights, prior, optimiser\n\
         next: parsec show {run}",
        r.genotype,
        100.0 * r.accuracy,
        r.evaluation.n_correct,
        r.evaluation.n,
        100.0 / identity.n_classes as f64,
        r.entropy_uniform,
        r.steps,
        r.seconds,
        r.adapter,
        run = r.run,
    )
}
