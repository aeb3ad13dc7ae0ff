//! A job → steps, metrics and checkpoints in a run folder, from the current step of the job.

use super::metrics::{self, Metrics};
use super::{Control, Event, Events, Job, RunDir, Warning};
use crate::{Error, Result};

/// Options for driving a job.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of steps between checkpoints; 0 = only the first and the last.
    pub checkpoint_every: u64,
    /// Number of last checkpoints that are kept.
    pub keep: usize,
}

/// Result of driving a job without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were already done.
    AlreadyDone,
    /// All steps are done.
    Done,
}

/// Sets `job` to the newest undamaged checkpoint of `run` and cuts the metrics back to it. A run that
/// ended before its first checkpoint starts from its beginning.
///
/// # Errors
/// [`Error::File`] if no checkpoint is undamaged, or if there is none although steps were done.
pub fn resume<J: Job>(job: &mut J, run: &RunDir) -> Result<Vec<Warning>> {
    let (checkpoints, path) = (run.checkpoints(), run.metrics_path());
    if checkpoints.steps()?.is_empty() && !metrics::has_lines(&path)? {
        return metrics::cut_back(&path, 0);
    }
    let (newest, mut warnings) = checkpoints.newest_good()?;
    job.restore(newest.step, &newest.state)?;
    warnings.extend(metrics::cut_back(&path, newest.step)?);
    Ok(warnings)
}

/// Drives `job` to its last step. It writes a line of metrics for each step, and a checkpoint before the first step,
/// at the configured interval, at the end, and when `control` asks to save or to stop.
///
/// A lost adapter is opened again, and the run continues from its newest checkpoint with the same bits. An
/// adapter that is lost twice at the same step stops the run.
///
/// # Errors
/// [`Error::Interrupted`] after saving, if `control` asked to stop before the last step. [`Error::NonFinite`].
/// [`Error::Stopped`] if a step or a write failed for another reason; the checkpoints are unchanged.
pub fn drive<J: Job>(
    job: &mut J,
    run: &RunDir,
    options: Options,
    events: &Events,
    control: &Control,
) -> Result<Outcome> {
    let mut lost_at = None;
    loop {
        let error = match steps(job, run, options, events, control) {
            Err(e) => e,
            done => return done,
        };
        let step = job.step_index();
        // Without a checkpoint the run cannot continue.
        let again = matches!(error, Error::Lost { .. })
            && lost_at != Some(step)
            && run.checkpoints().steps().is_ok_and(|steps| !steps.is_empty());
        if !again {
            return Err(stopped(error, run));
        }
        lost_at = Some(step);
        events.warn(format!("{error}\n  opening it again"));
        let reopened = job.reopen().and_then(|()| resume(job, run));
        reopened.map_err(|e| stopped(e, run))?.iter().for_each(|w| events.warn(w));
    }
}

fn steps<J: Job>(
    job: &mut J,
    run: &RunDir,
    options: Options,
    events: &Events,
    control: &Control,
) -> Result<Outcome> {
    if job.step_index() == 0 {
        save(job, run, options)?;
    } else {
        // If the run ended between saving and pruning, there is one checkpoint too many.
        run.checkpoints().prune(job.step_index(), options.keep)?;
    }
    if job.step_index() >= job.total_steps() {
        return Ok(Outcome::AlreadyDone);
    }
    let mut metrics = Metrics::open(&run.metrics_path())?;
    // A step may reduce the total number of steps.
    while job.step_index() < job.total_steps() {
        let record = match job.step() {
            Ok(record) => record,
            Err(e) => {
                if job.is_whole_after(&e) {
                    metrics.sync()?;
                    save(job, run, options)?;
                }
                return Err(e);
            }
        };
        let line = metrics.append(&record)?;
        events.tell(Event::Step { progress: job.progress(&record), line });
        let (step, total) = (job.step_index(), job.total_steps());
        let stopped = control.wait();
        // This is never true if `checkpoint_every` is 0.
        let due = step.is_multiple_of(options.checkpoint_every);
        let asked = control.takes_save();
        if due || asked || stopped || step >= total {
            // The lines are synced first, because a checkpoint needs the lines of all its steps.
            metrics.sync()?;
            save(job, run, options)?;
            if asked {
                events.note(format!("saved after step {step}"));
            }
        }
        if stopped && step < total {
            return Err(Error::Interrupted { step, run: run.path().to_owned() });
        }
    }
    Ok(Outcome::Done)
}

/// `error` with the way to continue, if continuing makes sense.
fn stopped(error: Error, run: &RunDir) -> Error {
    // The same step would give the same loss again.
    if matches!(error, Error::Interrupted { .. } | Error::NonFinite { .. }) {
        return error;
    }
    let newest = run.checkpoints().steps().unwrap_or_default().pop();
    let (source, run) = (Box::new(error), run.path().to_owned());
    Error::Stopped { source, step: newest.unwrap_or(0), run }
}

fn save<J: Job>(job: &mut J, run: &RunDir, options: Options) -> Result<()> {
    let (checkpoints, step) = (run.checkpoints(), job.step_index());
    let state = job.snapshot()?;
    checkpoints.save(step, job.score(), &state)?;
    checkpoints.prune(step, options.keep)
}
