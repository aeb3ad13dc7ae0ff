//! The metrics of one step.

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
    /// Sampling, planning, preparing (with the compilation of new kernels) and encoding children on the host. The
    /// adapter may be working at the same time.
    pub plan: f64,
    /// Log-likelihoods of the children on the search batch: uploading and waiting for the adapter.
    pub search: f64,
    /// Gradients of the kept children on the train batch and the update of v: uploading and waiting for the adapter.
    pub train: f64,
    /// The update of π, tracing and evaluation.
    pub host: f64,
}

impl Phases {
    /// Seconds of the whole step.
    pub fn total(&self) -> f64 {
        self.data + self.plan + self.search + self.train + self.host
    }
}

/// One line of the metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// Number of steps done, from 1.
    pub step: u64,
    /// Epoch of the train split, from 1.
    pub epoch: u64,
    /// Number K of drawn children.
    pub samples: usize,
    /// The children α_k, as one choice per slot.
    pub alpha: Vec<Alpha>,
    /// Whether the step only trained v. In that case likelihoods and accuracy are those of the train batch.
    pub warm_up: bool,
    /// log p(y|X, v, α_k) of each child on the search batch, nats.
    pub log_likelihood: Vec<f64>,
    /// Importance weights ω̃_k.
    pub weights: Vec<f64>,
    /// Effective sample size of the weights.
    pub ess: f64,
    /// Exponent of the weights; the paper's is 1.
    pub beta: f64,
    /// Entropy of π in nats, by group of slots.
    pub entropy: ByGroup<f64>,
    /// Number of identities in the current architecture ([`Search::architecture`]).
    pub skips: ByGroup<usize>,
    /// Number of pools in the current architecture ([`Search::architecture`]).
    pub pools: ByGroup<usize>,
    /// Weighted mean cross-entropy of the kept children on the train batch.
    pub train_loss: f64,
    /// Weighted accuracy of the kept children on the train batch.
    pub train_accuracy: f64,
    /// Weighted accuracy of all children on the search batch, which never trains v.
    pub accuracy: f64,
    /// Accuracy of the current architecture on the held-out images, if it was evaluated at this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_accuracy: Option<f64>,
    /// Learning rate of v.
    pub lr: f64,
    /// Norm of the gradient of v before clipping.
    pub grad_norm: f64,
    /// Factor by which the gradient was clipped.
    pub clip_factor: f64,
    /// Number of children without a backward pass.
    pub skipped: usize,
    /// Number of children that were the same network as another child and ran once with it.
    pub shared: usize,
    /// Bytes of activation memory.
    pub arena_bytes: u64,
    /// Seconds by phase.
    pub seconds: Phases,
}

impl StepRecord {
    /// The record of the last step, without its seconds and the values that observers add.
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
