//! A resolved configuration → data, adapter and a training, driven to its end.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::open::{self, Facts, Opened, Wanted};
use super::{Ui, variants};
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::export::tensors::{self, Tensors};
use crate::report;
use crate::run::{self, Job, Manifest, Options, Progress, RunDir, stop};
use crate::space::read_architecture;
use crate::train::weights::Weights;
use crate::train::{Evaluation, Settings, TrainRecord, Training};

impl Job for Training {
    type Record = TrainRecord;

    fn step_index(&self) -> u64 {
        self.steps_done()
    }

    fn total_steps(&self) -> u64 {
        self.config().length.steps
    }

    fn step(&mut self) -> Result<TrainRecord> {
        Training::step(self)
    }

    fn snapshot(&mut self) -> Result<Tensors> {
        Training::snapshot(self)
    }

    fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        Training::restore(self, step, state)
    }

    fn reopen(&mut self) -> Result<()> {
        Training::reopen(self)
    }

    fn progress(&self, r: &TrainRecord) -> Progress {
        let mut numbers = vec![("loss", r.loss), ("accuracy", r.accuracy)];
        numbers.extend(r.held_out_accuracy.map(|a| ("held-out", a)));
        Progress { step: r.step, total: self.config().length.steps, epoch: r.epoch, numbers, work: None }
    }

    fn score(&self) -> Option<f64> {
        self.score_now()
    }
}

/// A training and what its manifest says.
struct Session {
    training: Training,
    manifest: Manifest,
}

/// The content of `result.json`.
#[derive(Serialize)]
struct Outcomes {
    genotype: String,
    /// Accuracy of the last weights on the held-out images, with running statistics.
    accuracy: f64,
    #[serde(flatten)]
    evaluation: Evaluation,
    /// The best held-out accuracy among the checkpoints, and its step.
    best_accuracy: f64,
    best_step: u64,
    /// Without the auxiliary head.
    parameters: u64,
    auxiliary_parameters: u64,
    macs: u64,
    steps: u64,
    seconds: f64,
    seed: u64,
    adapter: String,
    arena_bytes: u64,
    run: String,
}

/// Starts a training in a new run folder.
pub fn start(mut config: TrainConfig, path: &Path, ui: &Ui) -> Result<()> {
    config.session.run = Some(path.to_owned());
    let session = Session::open(config, None, ui)?;
    let run = RunDir::create(path, session.training.config(), &session.manifest)?;
    ui.note(&format!("run folder {}", path.display()));
    session.drive(&run, ui)
}

/// Goes on with the training in the folder `path`, which is locked as `run`.
pub fn resume(path: &Path, run: &RunDir, ui: &Ui) -> Result<()> {
    let mut config = run.train_config()?;
    // The folder may have been moved since. What the run started from may be gone, and is only needed if not
    // even the first checkpoint was written.
    let fresh = run.checkpoints().steps()?.is_empty();
    config.architecture.weights = config.architecture.weights.filter(|_| fresh);
    config.session.run = Some(path.to_owned());
    let mut session = Session::open(config, Some(&run.manifest()?), ui)?;
    open::check(&session.manifest, run, ui)?;
    for warning in run::resume(&mut session.training, run)? {
        ui.warn(&warning);
    }
    ui.note(&format!("going on after step {}", session.training.steps_done()));
    session.drive(run, ui)
}

impl Session {
    fn open(config: TrainConfig, resumed: Option<&Manifest>, ui: &Ui) -> Result<Self> {
        let space = config.space()?;
        let alpha = read_architecture(&*space, &config.architecture.genotype)?;
        // Weights that are none are told before the data are read.
        let weights = config
            .architecture
            .weights
            .clone()
            .map(|path| Ok((tensors::read(&path)?.0, path)))
            .transpose()?;
        let wanted = Wanted {
            data: &config.images.data,
            size: config.images.size,
            mean: config.images.mean.as_deref(),
            std: config.images.std.as_deref(),
            device: config.session.device.as_deref(),
        };
        let Opened { dataset, normalisation, gpu } = open::open(&wanted, ui)?;
        let tuned = match resumed {
            Some(manifest) => variants::from_manifest(&manifest.variants, &gpu, ui)?,
            None => variants::of_adapter(&gpu, ui)?,
        };
        let facts = Facts::of(&dataset, &normalisation, gpu.info(), &tuned)?;
        let mut training = Training::new(Settings { config, space, alpha, normalisation }, dataset, gpu)?;
        training.use_variants(tuned.variants);
        if let Some((tensors, path)) = weights {
            let weights = Weights::from_tensors(&tensors, &path, training.network().layout(), false)?;
            training.set_weights(&weights)?;
        }
        let manifest = facts.manifest(training.config())?;
        Ok(Self { training, manifest })
    }

    fn drive(mut self, run: &RunDir, ui: &Ui) -> Result<()> {
        let started = Instant::now();
        let stop = stop::on_interrupt()?;
        let training = &mut self.training;
        let genotype = training.genotype();
        run.write("genotype.txt", format!("{genotype}\n").as_bytes())?;
        let options = Options {
            checkpoint_every: training.checkpoint_every().unwrap_or(0),
            keep: training.config().session.keep_checkpoints,
        };
        let bar = ui.bar();
        let compiling = bar.clone();
        let gpu = training.network().gpu();
        gpu.listen(move |ready, known| compiling.lock().compiling(ready, known));
        let done = run::drive(training, run, options, &mut |p| bar.lock().update(p), stop);
        bar.lock().close();
        variants::keep_compiled(training.network().gpu(), ui);
        if let Ok(_) | Err(Error::Interrupted { .. }) = done {
            draw(run)?;
        }
        done?;
        let evaluation = training.evaluate()?;
        let best = run.checkpoints().best()?;
        let best = best.and_then(|b| Some((b.score?, b.step)));
        let (best_accuracy, best_step) = best.unwrap_or((evaluation.accuracy(), training.steps_done()));
        let result = Outcomes {
            genotype,
            accuracy: evaluation.accuracy(),
            evaluation,
            best_accuracy,
            best_step,
            parameters: training.net().parameter_count(false),
            auxiliary_parameters: training.net().parameter_count(true),
            macs: training.net().macs(),
            steps: training.steps_done(),
            seconds: started.elapsed().as_secs_f64(),
            seed: training.config().session.seed,
            adapter: self.manifest.adapter.clone(),
            arena_bytes: training.network().arena_bytes(),
            run: run.path().display().to_string(),
        };
        run.write_result(&result)?;
        ui.emit(&result)?;
        ui.say(&summary(&result))
    }
}

/// The curves of the metrics.
fn draw(run: &RunDir) -> Result<()> {
    if let Some(svg) = report::metrics_svg(&run.metrics_path())? {
        run.write("metrics.svg", svg.as_bytes())?;
    }
    Ok(())
}

fn summary(r: &Outcomes) -> String {
    format!(
        "held-out accuracy {:.2} % ({} of {} images, running statistics); best {:.2} % after step {}\n\
         {} parameters, {} multiply-adds per image\n{} steps in {:.0} s on {}\n\n\
         {run}/metrics.jsonl one line per step\n{run}/checkpoints  weights, running statistics, optimiser\n\
         next: parsec eval {run}",
        100.0 * r.accuracy,
        r.evaluation.n_correct,
        r.evaluation.n,
        100.0 * r.best_accuracy,
        r.best_step,
        r.parameters,
        r.macs,
        r.steps,
        r.seconds,
        r.adapter,
        run = r.run,
    )
}
