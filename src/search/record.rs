//! What one step leaves in the metrics.

use std::time::Instant;

use serde::Serialize;

/// Seconds by phase of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Waiting for and uploading batches.
    pub data: f64,
    /// Log-likelihoods of the children on the search batch.
    pub search: f64,
    /// Gradients of the kept children on the train batch, and the update of v.
    pub train: f64,
    /// The update of π, tracing and evaluation.
    pub host: f64,
}

/// Entropy or counts of both cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PerKind<T> {
    /// Normal cells.
    pub normal: T,
    /// Reduction cells.
    pub reduce: T,
}

/// One line of the metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// Steps done, from 1.
    pub step: u64,
    /// Epoch of the train split, from 1.
    pub epoch: u64,
    /// log p(y|X, v, α_k) of each child on the search batch, nats.
    pub log_likelihood: Vec<f64>,
    /// Importance weights ω̃_k.
    pub weights: Vec<f64>,
    /// Effective sample size of the weights.
    pub ess: f64,
    /// Exponent of the weights (1: the paper's).
    pub beta: f64,
    /// Entropy of π in nats.
    pub entropy: PerKind<f64>,
    /// Skip connections in the mode of π.
    pub skips: PerKind<usize>,
    /// Pools in the mode of π.
    pub pools: PerKind<usize>,
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

/// Seconds since the last lap.
pub(super) struct Clock(Instant);

impl Clock {
    pub fn new() -> Self {
        Self(Instant::now())
    }
    pub fn lap(&mut self) -> f64 {
        let lap = self.0.elapsed().as_secs_f64();
        self.0 = Instant::now();
        lap
    }
}
