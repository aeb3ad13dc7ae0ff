//! What one step leaves in the metrics.

use std::time::Instant;

use serde::Serialize;

use super::Search;
use super::children::Children;
use crate::gpu::ChildResult;
use crate::space::CellKind;

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
    /// Children drawn, K.
    pub samples: usize,
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

impl Search {
    /// What there is to say about the step just done, but for what only [`Search::step`] knows.
    pub(super) fn record(
        &self,
        children: &Children,
        weights: &[f64],
        results: &[ChildResult],
        trained: &[(usize, f64)],
        outcome: &[ChildResult],
    ) -> StepRecord {
        let n = self.settings.config.batch as f64;
        let mode = self.genotype();
        let [normal, reduce] = self.prior.entropy();
        let mass: f64 = trained.iter().map(|(_, w)| w).sum();
        let mean = |f: &dyn Fn(&ChildResult) -> f64| {
            trained.iter().zip(outcome).map(|((_, w), r)| w / mass * f(r) / n).sum::<f64>()
        };
        let mut search_weights = vec![0.0; results.len()];
        for (&network, w) in children.network_of.iter().zip(weights) {
            search_weights[network] += w;
        }
        StepRecord {
            step: self.step,
            epoch: (self.step - 1) / self.sources[1].batches_per_epoch() + 1,
            samples: children.alphas.len(),
            log_likelihood: Vec::new(),
            weights: Vec::new(),
            ess: 0.0,
            beta: 1.0,
            entropy: PerKind { normal, reduce },
            skips: PerKind { normal: mode.n_skips(CellKind::Normal), reduce: mode.n_skips(CellKind::Reduce) },
            pools: PerKind { normal: mode.n_pools(CellKind::Normal), reduce: mode.n_pools(CellKind::Reduce) },
            train_loss: -mean(&|r| r.sum()),
            train_accuracy: mean(&|r| r.n_correct as f64),
            accuracy: results.iter().zip(&search_weights).map(|(r, w)| w * r.n_correct as f64 / n).sum(),
            mode_accuracy: None,
            lr: 0.0,
            grad_norm: 0.0,
            clip_factor: 1.0,
            skipped: 0,
            shared: children.alphas.len() - children.distinct.len(),
            arena_bytes: self.network.arena_bytes(),
            seconds: Phases::default(),
        }
    }
}
