//! The metrics of one step of a training.

use serde::Serialize;

/// Seconds by phase of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Waiting for the batch and uploading it.
    pub data: f64,
    /// Forward, backward and update.
    pub train: f64,
    /// Evaluation on the held-out images.
    pub evaluate: f64,
}

/// One line of the metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainRecord {
    /// Number of steps done, from 1.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Mean loss of the classifier on the batch before the update, without the auxiliary head. Label smoothing is
    /// included if it is on.
    pub loss: f64,
    /// Fraction of the batch that was classified correctly.
    pub accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Probability of drop-path.
    pub drop_path: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Factor by which the gradient was clipped.
    pub clip_factor: f64,
    /// Accuracy on the held-out images with running statistics, if the network was evaluated after this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_accuracy: Option<f64>,
    /// Mean cross-entropy on the held-out images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
    /// Bytes of activation memory.
    pub arena_bytes: u64,
    /// Seconds by phase.
    pub seconds: Phases,
}
