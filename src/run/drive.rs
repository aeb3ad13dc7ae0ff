//! A job → steps, metrics and checkpoints in a run folder, from wherever it stands.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::metrics::{self, Metrics};
use super::{Progress, RunDir, Warning};
use crate::export::tensors::Tensors;
use crate::{Error, Result};

/// Something that is trained step by step and whose state can be saved.
///
/// Two jobs with equal state must do equal steps: everything else that a step depends on is fixed at
/// construction or keyed by the step's number.
pub trait Job {
    /// What a step leaves in the metrics: an object whose `step` counts from 1.
    type Record: Serialize;

    /// Steps done so far.
    fn step_index(&self) -> u64;

    /// Steps in all.
    fn total_steps(&self) -> u64;

    /// Does the next step.
    fn step(&mut self) -> Result<Self::Record>;

    /// The whole state: what [`Self::restore`] needs to go on with the same bits.
    fn snapshot(&mut self) -> Result<Tensors>;

    /// Takes on the state that [`Self::snapshot`] gave after `step` steps.
    fn restore(&mut self, step: u64, state: &Tensors) -> Result<()>;

    /// What is worth showing of a record.
    fn progress(&self, record: &Self::Record) -> Progress;

    /// How good the state is, larger being better; a function of the state. The best checkpoint is kept.
    fn score(&self) -> Option<f64> {
        None
    }
}

/// How a job is driven.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps between checkpoints; 0 = only the first and the last.
    pub checkpoint_every: u64,
    /// How many of the last checkpoints are kept.
    pub keep: usize,
}

/// How driving ended, if not with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were already done.
    AlreadyDone,
    /// All steps are done.
    Done,
}

/// Sets `job` to the newest good checkpoint of `run` and cuts the metrics back to it. A run that was
/// ended before its first checkpoint starts from its beginning.
pub fn resume<J: Job>(job: &mut J, run: &RunDir) -> Result<Vec<Warning>> {
    if run.checkpoints().steps()?.is_empty() {
        return metrics::cut_back(&run.metrics_path(), 0);
    }
    let (newest, mut warnings) = run.checkpoints().newest_good()?;
    job.restore(newest.step, &newest.state)?;
    warnings.extend(metrics::cut_back(&run.metrics_path(), newest.step)?);
    Ok(warnings)
}

/// Drives `job` to its last step: a line of metrics for each step; a checkpoint before the first step,
/// every so many steps, at the end, and when `stop` is raised.
///
/// # Errors
/// [`Error::Interrupted`] after saving, if `stop` was raised before the last step. If a step or a
/// write fails, the checkpoints stay as they were.
pub fn drive<J: Job>(
    job: &mut J,
    run: &RunDir,
    options: Options,
    show: &mut dyn FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<Outcome> {
    let total = job.total_steps();
    if job.step_index() == 0 {
        save(job, run, options)?;
    }
    if job.step_index() >= total {
        return Ok(Outcome::AlreadyDone);
    }
    let mut metrics = Metrics::open(&run.metrics_path())?;
    while job.step_index() < total {
        let record = job.step()?;
        metrics.append(&record)?;
        show(&job.progress(&record));
        let step = job.step_index();
        let stopped = stop.load(Ordering::SeqCst);
        // With 0 this is never so.
        let due = step.is_multiple_of(options.checkpoint_every);
        if due || stopped || step >= total {
            // The lines first: a checkpoint must find those of all its steps.
            metrics.sync()?;
            save(job, run, options)?;
        }
        if stopped && step < total {
            return Err(Error::Interrupted { step, run: run.path().to_owned() });
        }
    }
    Ok(Outcome::Done)
}

fn save<J: Job>(job: &mut J, run: &RunDir, options: Options) -> Result<()> {
    let checkpoints = run.checkpoints();
    let state = job.snapshot()?;
    checkpoints.save(job.step_index(), job.score(), &state)?;
    checkpoints.prune(options.keep)
}
