//! An architecture with the shared weights → its accuracy on the held-out images.

use std::sync::Arc;

use super::record::StepRecord;
use super::search::{Done, Observer, Search};
use crate::data::mixed_batches;
use crate::error::Result;
use crate::space::Alpha;

/// How well an architecture does with the shared weights.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Images.
    pub n: usize,
    /// Images classified correctly.
    pub n_correct: usize,
    /// Mean log-likelihood per image, nats.
    pub mean_log_likelihood: f64,
}

impl Evaluation {
    /// Part of the images classified correctly.
    pub fn accuracy(&self) -> f64 {
        self.n_correct as f64 / self.n.max(1) as f64
    }
}

impl Search {
    /// Evaluates `alpha` on the held-out images, in batches of the configured size, or of its parts, with each batch's
    /// statistics. Images are taken in file order (the remainder joined to the last), unless that is class by class.
    pub fn evaluate(&mut self, alpha: &Alpha) -> Result<Evaluation> {
        let dataset = Arc::clone(&self.dataset);
        let batch = self.settings.config.part().min(dataset.test.n);
        let net = self.evaluator.net(alpha);
        let mut total = Evaluation { n: 0, n_correct: 0, mean_log_likelihood: 0.0 };
        for batch in mixed_batches(&dataset.test, &self.settings.normalisation, batch)? {
            let result = self.evaluator.result(&net, &batch)?;
            total.n += batch.n;
            total.n_correct += result.n_correct;
            total.mean_log_likelihood += result.sum();
        }
        total.mean_log_likelihood /= total.n.max(1) as f64;
        Ok(total)
    }

    /// Accuracy of the mode if it was evaluated after the step that was done last.
    pub fn score_now(&self) -> Option<f64> {
        self.mode_accuracy.filter(|(step, _)| *step == self.step).map(|(_, accuracy)| accuracy)
    }
}

/// Evaluates the mode at the steps at which it is wanted.
pub(super) struct EvaluateMode;

impl Observer for EvaluateMode {
    fn wants_before(&self, _search: &Search) -> bool {
        false
    }

    fn seen(&self, search: &mut Search, _done: &Done<'_>, record: &mut StepRecord) -> Result<()> {
        let every = search.settings.config.eval_every;
        if every == 0 || !search.step.is_multiple_of(every) {
            return Ok(());
        }
        let accuracy = search.evaluate(&search.architecture())?.accuracy();
        search.mode_accuracy = Some((search.step, accuracy));
        record.mode_accuracy = Some(accuracy);
        Ok(())
    }
}
