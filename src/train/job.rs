//! A training as a run.

use super::{TrainRecord, Training};
use crate::Result;
use crate::files::tensors::Tensors;
use crate::run::{Job, Progress};

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
