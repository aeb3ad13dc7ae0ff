//! What one step leaves in the metrics.

use serde::Serialize;

use super::importance;
use super::search::Search;
use super::strategy::Step;
use crate::space::{Alpha, ByGroup};

/// Seconds by phase of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Waiting for batches.
    pub data: f64,
    /// Sampling, planning, preparing (with the compilation of kernels not met before) and encoding children
    /// on the host. The adapter may be at work meanwhile.
    pub plan: f64,
    /// Log-likelihoods of the children on the search batch: uploading and waiting for the adapter.
    pub search: f64,
    /// Gradients of the kept children on the train batch and the update of v, likewise.
    pub train: f64,
    /// The update of π, tracing and evaluation.
    pub host: f64,
}

impl Phases {
    /// Seconds of the step.
    pub fn total(&self) -> f64 {
        self.data + self.plan + self.search + self.train + self.host
    }
}

/// One line of the metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// Steps done, from 1.
    pub step: u64,
    /// Epoch of the train split, from 1.
    pub epoch: u64,
    /// Children drawn, K.
    pub samples: usize,
    /// The children α_k: a choice per slot.
    pub alpha: Vec<Alpha>,
    /// Whether the step only trained v. Then likelihoods and accuracy are those of the train batch.
    pub warm_up: bool,
    /// log p(y|X, v, α_k) of each child on the search batch, nats.
    pub log_likelihood: Vec<f64>,
    /// Importance weights ω̃_k.
    pub weights: Vec<f64>,
    /// Effective sample size of the weights.
    pub ess: f64,
    /// Exponent of the weights (1: the paper's).
    pub beta: f64,
    /// Entropy of π in nats, by group of slots.
    pub entropy: ByGroup<f64>,
    /// Identities in the mode of π.
    pub skips: ByGroup<usize>,
    /// Pools in the mode of π.
    pub pools: ByGroup<usize>,
    /// Weighted mean cross-entropy of the kept children on the train batch.
    pub train_loss: f64,
    /// Weighted accuracy of the kept children on the train batch.
    pub train_accuracy: f64,
    /// Weighted accuracy of all children on the search batch, which never trains v.
    pub accuracy: f64,
    /// Accuracy of the mode on the held-out images, where it was evaluated at this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_accuracy: Option<f64>,
    /// Learning rate of v.
    pub lr: f64,
    /// Norm of the gradient of v before clipping.
    pub grad_norm: f64,
    /// Factor by which it was clipped.
    pub clip_factor: f64,
    /// Children without a backward pass.
    pub skipped: usize,
    /// Children that were the same network as another and ran once with it.
    pub shared: usize,
    /// Bytes of activation memory.
    pub arena_bytes: u64,
    /// Seconds by phase.
    pub seconds: Phases,
}

impl StepRecord {
    /// Of the step that was done last, but for its seconds and what observers add.
    pub(super) fn of(search: &Search, step: &Step) -> Self {
        let (n_correct, shared, skipped) = search.evaluator.counts();
        let n = search.settings.config.search_batch() as f64;
        let on_search = step.weights.iter().zip(n_correct).map(|(w, c)| w * *c as f64 / n).sum();
        let (space, mode) = (&*search.settings.space, search.architecture());
        Self {
            step: search.step,
            epoch: search.epoch(),
            samples: step.log_likelihood.len(),
            alpha: step.alphas.clone(),
            warm_up: step.warm_up,
            ess: importance::ess(&step.weights),
            log_likelihood: step.log_likelihood.clone(),
            weights: step.weights.clone(),
            beta: step.beta,
            entropy: space.by_group(&search.entropy()),
            skips: space.tallies(&mode, |tally| tally.skips),
            pools: space.tallies(&mode, |tally| tally.pools),
            train_loss: step.trained.loss,
            train_accuracy: step.trained.accuracy,
            accuracy: if n_correct.is_empty() || step.traced.is_some() {
                step.trained.accuracy
            } else {
                on_search
            },
            mode_accuracy: None,
            lr: step.lr,
            grad_norm: step.trained.clip.norm,
            clip_factor: step.trained.clip.factor,
            skipped,
            shared,
            arena_bytes: search.evaluator.arena_bytes(),
            seconds: Phases::default(),
        }
    }
}
