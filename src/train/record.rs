//! What one step of a training leaves in the metrics.

use serde::Serialize;

/// Seconds by phase of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Waiting for and uploading the batch.
    pub data: f64,
    /// Forward, backward and update.
    pub train: f64,
    /// Evaluation on the held-out images.
    pub evaluate: f64,
}

/// One line of the metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainRecord {
    /// Steps done, from 1.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Mean loss of the classifier on the batch before the update, with label smoothing where it is on,
    /// without the auxiliary head.
    pub loss: f64,
    /// Part of the batch that was classified correctly.
    pub accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Probability of drop-path.
    pub drop_path: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Factor by which it was clipped.
    pub clip_factor: f64,
    /// Accuracy on the held-out images with running statistics, where it was evaluated after this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_accuracy: Option<f64>,
    /// Mean cross-entropy there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
    /// Bytes of activation memory.
    pub arena_bytes: u64,
    /// Seconds by phase.
    pub seconds: Phases,
}
