//! The lengths of a run that was made longer or shorter → the length that the schedules of a step use.
//!
//! A schedule such as the cosine of the learning rate is a function of the step and of the number of all steps. After a
//! change of length the schedule is stretched: later steps use the new length, and earlier steps use the old length. If
//! an earlier step is done again, because a later checkpoint is damaged, the step has the same bits as before.

use serde::{Deserialize, Serialize};

/// From step `from` (counted from 0) on, schedules are those of a run of `steps` steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The first step.
    pub from: u64,
    /// Number of all steps.
    pub steps: u64,
}

/// The parts of a run between changes of its length, in order. Empty if the length never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lengths(Vec<Part>);

impl Lengths {
    /// Whether the length never changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts. The first one is the length at the start.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The present number of all steps, if the length changed.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|part| part.steps)
    }

    /// The number of all steps that the schedules of `step` (from 0) use. `steps` if the length never changed.
    pub fn at(&self, step: u64, steps: u64) -> u64 {
        self.0.iter().rev().find(|part| part.from <= step).map_or(steps, |part| part.steps)
    }

    /// The lengths after a change from `was` to `steps` when `done` steps are done.
    pub fn changed(&self, was: u64, done: u64, steps: u64) -> Self {
        let mut parts = self.0.clone();
        if parts.is_empty() {
            parts.push(Part { from: 0, steps: was });
        }
        // Steps after `done` will be done again with the new length.
        parts.retain(|part| part.from < done || part.from == 0);
        parts.push(Part { from: done, steps });
        Self(parts)
    }

    /// The end of a phase at the start of the run whose length depends on the number of all steps: `end` returns the
    /// first step after the phase for a number of all steps. A phase that is over stays over. A phase in progress is
    /// stretched, and never ends before the step at which the length changed.
    pub fn phase(&self, steps: u64, end: impl Fn(u64) -> u64) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return end(steps) };
        rest.iter().fold(end(first.steps), |now, part| {
            if part.from >= now { now } else { end(part.steps).max(part.from) }
        })
    }
}
