//! A resolved configuration → data, adapter and a search, ready to be driven; and what is left when it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::Ui;
use crate::Result;
use crate::config::{self, Config};
use crate::data::{self, Dataset, Identity, LoadOptions, Normalisation};
use crate::error::Error;
use crate::export::tensors::Tensors;
use crate::gpu::{Gpu, Options as GpuOptions};
use crate::graph::{self, Lowering};
use crate::report;
use crate::run::{self, Job, Manifest, Options, Progress, RunDir, stop};
use crate::search::{Evaluation, PerKind, Search, Settings, StepRecord, take_prior};

impl Job for Search {
    type Record = StepRecord;

    fn step_index(&self) -> u64 {
        self.steps_done()
    }

    fn total_steps(&self) -> u64 {
        self.config().steps
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

    fn progress(&self, r: &StepRecord) -> Progress {
        let entropy = r.entropy.normal + r.entropy.reduce;
        let mut numbers = vec![("accuracy", r.accuracy), ("ESS", r.ess), ("entropy", entropy)];
        numbers.extend(r.mode_accuracy.map(|a| ("held-out", a)));
        Progress { step: r.step, total: self.config().steps, epoch: r.epoch, numbers }
    }

    fn score(&self) -> Option<f64> {
        self.score_now()
    }
}

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
    /// Accuracy of the mode of π with the shared weights on the held-out images.
    accuracy: f64,
    #[serde(flatten)]
    evaluation: Evaluation,
    entropy: PerKind<f64>,
    entropy_uniform: f64,
    steps: u64,
    seconds: f64,
    seed: u64,
    adapter: String,
    arena_bytes: u64,
    run: String,
}

impl Session {
    /// Loads the data, opens the adapter and builds the search.
    pub fn open(config: Config, ui: &Ui) -> Result<Self> {
        let dataset = data::load(&config.data, &LoadOptions { size: config.size.map(|s| s as usize) })?;
        let normalisation = normalisation(&config, &dataset)?;
        let device = ui.device.as_deref().or(config.device.as_deref());
        let gpu = Gpu::open(device, GpuOptions::default())?;
        let info = gpu.info().clone();
        ui.note(&format!("on {} ({})", info.name, info.driver));
        let identity = dataset.identity.clone();
        let memory = memory(config.memory);
        let lowering = Lowering { fuse: !config.reference_kernels, memory, ..Lowering::default() };
        let values = serde_json::to_value(&normalisation).unwrap_or_default();
        let (prior_from, weights_from) = (config.prior_from.clone(), config.weights_from.clone());
        let settings = Settings { config, normalisation, lowering };
        let mut search = Search::new(settings, Arc::new(dataset), gpu)?;
        if let Some(run) = prior_from {
            let (state, warnings) = run::read_prior(&run)?;
            warnings.iter().for_each(|w| ui.warn(w));
            let prior = take_prior(&state, &run, search.prior())?;
            search.set_prior(prior);
        }
        if let Some(run) = weights_from {
            let (newest, warnings) = RunDir::open(&run)?.checkpoints().newest_good()?;
            warnings.iter().for_each(|w| ui.warn(w));
            search.set_weights(&newest.state, &newest.state_path())?;
        }
        let mut manifest = Manifest::new(search.config())?;
        manifest.adapter = info.name.clone();
        manifest.driver = format!("{} {}", info.driver, info.driver_info);
        manifest.backend = info.backend.clone();
        let limits = serde_json::to_value(&info.limits).unwrap_or_default();
        let numbers = limits.as_object().into_iter().flatten();
        manifest.limits = numbers.filter_map(|(k, v)| Some((k.clone(), v.as_u64()?))).collect();
        manifest.data = serde_json::to_value(&identity).unwrap_or_default();
        manifest.normalisation = values;
        manifest.variants = variants(&lowering);
        Ok(Self { search, identity, manifest })
    }

    /// A new run folder for this search.
    pub fn create(&self, path: &Path) -> Result<RunDir> {
        RunDir::create(path, self.search.config(), &self.manifest)
    }

    /// Whether this is what `run` was started on: data, adapter and driver.
    pub fn check(&self, run: &RunDir, ui: &Ui) -> Result<()> {
        let was = run.manifest()?;
        was.check_data(&self.manifest.data, &run.file("manifest.json"))?;
        if (&was.adapter, &was.driver) != (&self.manifest.adapter, &self.manifest.driver) {
            ui.warn(&format!(
                "the run was started on {} ({}); on this adapter it goes on, but not with the same bits",
                was.adapter, was.driver
            ));
        }
        Ok(())
    }

    /// Drives the search to its end and writes what it found.
    pub fn drive(mut self, run: &RunDir, ui: &Ui) -> Result<()> {
        let started = Instant::now();
        let stop = stop::on_interrupt()?;
        let config = self.search.config();
        let options = Options { checkpoint_every: config.checkpoint_every, keep: config.keep_checkpoints };
        let mut bar = ui.bar();
        let done = run::drive(&mut self.search, run, options, &mut |p| bar.update(p), stop);
        bar.close();
        if let Err(Error::Interrupted { .. }) = done {
            self.draw(run)?;
        }
        done?;
        self.draw(run)?;
        let mode = self.search.mode();
        let evaluation = self.search.evaluate(&mode)?;
        let [normal, reduce] = self.search.prior().entropy();
        let uniform = crate::space::Prior::uniform(self.search.space()).entropy();
        let result = Outcomes {
            genotype: mode.to_string(),
            accuracy: evaluation.accuracy(),
            evaluation,
            entropy: PerKind { normal, reduce },
            entropy_uniform: uniform.iter().sum(),
            steps: self.search.steps_done(),
            seconds: started.elapsed().as_secs_f64(),
            seed: self.search.config().seed,
            adapter: self.manifest.adapter.clone(),
            arena_bytes: self.search.network().arena_bytes(),
            run: run.path().display().to_string(),
        };
        run.write_result(&result)?;
        ui.emit(&result)?;
        ui.say(&summary(&result, &self.identity))
    }

    /// Genotype, drawings and plots.
    fn draw(&mut self, run: &RunDir) -> Result<()> {
        let mode = self.search.mode();
        run.write("genotype.txt", format!("{mode}\n").as_bytes())?;
        let svg = report::cells_svg(&mode);
        run.write("cells.svg", svg.as_bytes())?;
        run.write("cells.png", &report::png(&svg, 2.0)?)?;
        run.write("prior.svg", report::prior_svg(self.search.space(), self.search.prior()).as_bytes())?;
        if let Some(svg) = report::metrics_svg(&run.metrics_path())? {
            run.write("metrics.svg", svg.as_bytes())?;
        }
        Ok(())
    }
}

fn summary(r: &Outcomes, identity: &Identity) -> String {
    let entropy = r.entropy.normal + r.entropy.reduce;
    format!(
        "{}\n\nheld-out accuracy {:.1} % ({} of {} images, shared weights, batch statistics; chance {:.1} %)\n\
         entropy of the prior {entropy:.1} nats (uniform {:.1})\n{} steps in {:.0} s on {}\n\n\
         {run}/cells.svg    the two cells\n{run}/metrics.jsonl one line per step\n{run}/checkpoints  weights, prior, optimiser\n\
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

/// The planner's name for what a configuration asks.
pub fn memory(memory: config::Memory) -> graph::Memory {
    match memory {
        config::Memory::Normal => graph::Memory::Normal,
        config::Memory::Low => graph::Memory::Low,
    }
}

fn variants(lowering: &Lowering) -> std::collections::BTreeMap<String, String> {
    let tuning = serde_json::to_value(lowering.tuning).unwrap_or_default();
    let entries = tuning.as_object().into_iter().flatten();
    entries.map(|(k, v)| (k.clone(), v.to_string())).collect()
}

/// As given, or computed from the training images.
fn normalisation(config: &Config, dataset: &Dataset) -> Result<Normalisation> {
    let mut out = Normalisation::of(&dataset.train);
    let channels = dataset.train.channels;
    for (name, given, values) in [("mean", &config.mean, &mut out.mean), ("std", &config.std, &mut out.std)] {
        if let Some(given) = given {
            if given.len() != channels {
                let expected = format!("{channels} numbers, one per channel of the images");
                return Err(Error::usage(format!("--{name}"), expected, given.len().to_string(), ""));
            }
            *values = given.iter().map(|x| *x as f32).collect();
        }
    }
    Ok(out)
}
