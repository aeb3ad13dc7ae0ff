//! A search as a run.

use super::{Search, StepRecord};
use crate::Result;
use crate::error::Error;
use crate::files::tensors::Tensors;
use crate::run::{Job, Progress};

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
