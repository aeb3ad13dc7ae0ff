//! A run's content: steps that leave a record, and a state that can be saved.

use serde::Serialize;

use crate::files::tensors::Tensors;
use crate::{Error, Result};

/// Progress of a run after a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Number of steps done.
    pub step: u64,
    /// Number of all steps.
    pub total: u64,
    /// Work of this step and work of the remaining steps, in the same unit. `None` if all steps need the same work.
    pub work: Option<[f64; 2]>,
    /// Number of epochs begun, from 1; 0 if there are none.
    pub epoch: u64,
    /// Other numbers to show, such as ("accuracy", 0.61).
    pub numbers: Vec<(&'static str, f64)>,
}

/// Something that is trained step by step and whose state can be saved.
///
/// Two jobs with equal state must do equal steps. Everything else on which a step depends is fixed at
/// construction or keyed by the step's number.
pub trait Job {
    /// Record of a step in the metrics: an object whose `step` counts from 1.
    type Record: Serialize;

    /// Number of steps done so far.
    fn step_index(&self) -> u64;

    /// Number of all steps.
    fn total_steps(&self) -> u64;

    /// Does the next step.
    fn step(&mut self) -> Result<Self::Record>;

    /// The whole state, from which [`Self::restore`] can continue with the same bits.
    fn snapshot(&mut self) -> Result<Tensors>;

    /// Restores the state that [`Self::snapshot`] returned after `step` steps.
    fn restore(&mut self, step: u64, state: &Tensors) -> Result<()>;

    /// Opens the adapter of the job again after the adapter was lost. [`Self::restore`] sets the state afterwards.
    fn reopen(&mut self) -> Result<()> {
        Err(Error::device("this job has no adapter to open again", ""))
    }

    /// Whether a step that failed with `error` left the state unchanged.
    fn is_whole_after(&self, _error: &Error) -> bool {
        false
    }

    /// The progress to show after a record.
    fn progress(&self, record: &Self::Record) -> Progress;

    /// Score of the state, a function of the state. Larger is better. The best checkpoint is kept.
    fn score(&self) -> Option<f64> {
        None
    }
}
