//! A genotype with the shared weights → its accuracy on the held-out images.

use super::Search;
use super::passes::SEARCH;
use crate::data::eval_batches;
use crate::error::Result;
use crate::gpu::Child;
use crate::graph::Mode;
use crate::space::{Genotype, Paths};

/// How well a genotype does with the shared weights.
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
    /// Evaluates `genotype` on the held-out images, in batches of the configured size, or of its parts, in
    /// file order (the remainder joined to the last), with each batch's statistics.
    pub fn evaluate(&mut self, genotype: &Genotype) -> Result<Evaluation> {
        let dataset = std::sync::Arc::clone(&self.dataset);
        let batch = self.settings.config.part().min(dataset.test.n);
        let net = std::sync::Arc::new(self.spec.net(Paths::Child(genotype)));
        let mut total = Evaluation { n: 0, n_correct: 0, mean_log_likelihood: 0.0 };
        for batch in eval_batches(&dataset.test, &self.settings.normalisation, batch)? {
            self.network.upload(SEARCH, &batch.images, &batch.labels)?;
            self.network.run(Child::new(&net, Mode::Likelihood, SEARCH))?;
            let result = self.network.last_result(SEARCH)?;
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

    /// Accuracy of the mode, at the steps at which it is wanted.
    pub(super) fn evaluate_if_due(&mut self) -> Result<Option<f64>> {
        let every = self.settings.config.eval_every;
        if every == 0 || !self.step.is_multiple_of(every) {
            return Ok(None);
        }
        let accuracy = self.evaluate(&self.genotype())?.accuracy();
        self.mode_accuracy = Some((self.step, accuracy));
        Ok(Some(accuracy))
    }
}
