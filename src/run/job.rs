//! What a run consists of: steps that leave a record, and a state that can be saved.

use serde::Serialize;

use crate::files::tensors::Tensors;
use crate::{Error, Result};

/// Where a run stands after a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total: u64,
    /// Work of this step and of those left, in one unit; without it all steps are alike.
    pub work: Option<[f64; 2]>,
    /// Epochs begun, from 1; 0 if there are none.
    pub epoch: u64,
    /// What else is worth seeing, such as ("accuracy", 0.61).
    pub numbers: Vec<(&'static str, f64)>,
}

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

    /// Opens its adapter again after it was lost; the state is then set by [`Self::restore`].
    fn reopen(&mut self) -> Result<()> {
        Err(Error::device("this job has no adapter to open again", ""))
    }

    /// Whether a step that failed with `error` left the state as it was before it.
    fn is_whole_after(&self, _error: &Error) -> bool {
        false
    }

    /// What is worth showing of a record.
    fn progress(&self, record: &Self::Record) -> Progress;

    /// How good the state is, larger being better; a function of the state. The best checkpoint is kept.
    fn score(&self) -> Option<f64> {
        None
    }
}
