//! A job → steps, metrics and checkpoints in a run folder, from wherever it stands.

use super::metrics::{self, Metrics};
use super::{Control, Event, Events, Job, RunDir, Warning};
use crate::{Error, Result};

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
///
/// # Errors
/// [`Error::File`] if no checkpoint is whole, or none is there although steps were done.
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

/// Drives `job` to its last step: a line of metrics for each step; a checkpoint before the first step,
/// every so many steps, at the end, and when `control` asks to stop.
///
/// A lost adapter is opened again and the run goes on from its newest checkpoint, with the same bits; an
/// adapter that is lost twice at one step stops the run.
///
/// # Errors
/// [`Error::Interrupted`] after saving, if it was asked to stop before the last step. [`Error::NonFinite`].
/// [`Error::Stopped`] where a step or a write failed otherwise; the checkpoints are as they were.
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
        // Without a checkpoint there is nothing to go on from.
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
        // A run that was ended between saving and removing has one too many.
        run.checkpoints().prune(job.step_index(), options.keep)?;
    }
    if job.step_index() >= job.total_steps() {
        return Ok(Outcome::AlreadyDone);
    }
    let mut metrics = Metrics::open(&run.metrics_path())?;
    // What a job learns may bring its end forward.
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

/// `error` with how to go on, where going on is of use.
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
