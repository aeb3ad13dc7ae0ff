//! What a plan depends on.

use super::head::AUXILIARY_WEIGHT;
use crate::graph::layout::Layout;
use crate::graph::memory::PAGE_BYTES;
use crate::network::Net;
use crate::ops::Tuning;

/// What a plan computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Log-likelihoods, with the batch's statistics in every batch norm.
    Likelihood,
    /// Log-likelihoods with running statistics (final networks).
    Evaluate,
    /// Log-likelihoods (with label smoothing: minus each example's loss), then the gradient of the mean loss
    /// ([`Loss`]), added to `Grad` times `scalars[0]`.
    Train,
    /// Log-likelihoods, then the gradient of the mean loss with respect to the factors of a mixed network's
    /// paths, each shared by all examples, added to `MixGrad` times `scalars[0]`.
    Factors,
}

/// Which part of a child a plan computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Extent {
    /// All of it.
    #[default]
    Whole,
    /// What no architecture changes, such as the stem and what reads only it, into `Trunk`.
    /// With [`Mode::Train`] this is computed again and then the backward pass, from `TrunkGrad`.
    Trunk,
    /// The rest, from `Trunk`; its gradient is added to `TrunkGrad`.
    Branch,
}

/// How a plan is lowered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lowering {
    /// Views, batch norm's backward while loading, shared dispatches.
    pub fuse: bool,
    /// Which form of each kernel.
    pub tuning: Tuning,
    /// What is minimised.
    pub loss: Loss,
    /// What the backward pass computes again.
    pub memory: Memory,
    /// Largest tensor, in bytes: at most [`PAGE_BYTES`].
    pub page_bytes: u64,
}

/// What [`Mode::Train`] minimises: the mean over the batch of
/// (1-ε)·CE(target) + ε·mean_k CE(k), of the classifier and, weighted, of the auxiliary head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// ε, PyTorch's `label_smoothing`.
    pub label_smoothing: f32,
    /// Weight of the auxiliary head's part.
    pub auxiliary: f32,
}

impl Default for Loss {
    fn default() -> Self {
        Self { label_smoothing: 0.0, auxiliary: AUXILIARY_WEIGHT }
    }
}

/// What of the forward pass is kept for the backward pass. Gradients are the same, bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// All but what costs next to nothing to compute again: pools and subsampled maps.
    #[default]
    Normal,
    /// Inputs of cells and operations, nodes, and the middle of separable convolutions; the rest is
    /// computed again when the backward pass comes to it.
    Low,
}

impl Default for Lowering {
    fn default() -> Self {
        Self {
            fuse: true,
            tuning: Tuning::default(),
            loss: Loss::default(),
            memory: Memory::Normal,
            page_bytes: PAGE_BYTES,
        }
    }
}

/// Everything that determines a plan.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The child, or the mixed network.
    pub net: &'a Net,
    /// Where its parameters lie.
    pub layout: &'a Layout,
    /// Examples.
    pub batch: u32,
    /// What to compute.
    pub mode: Mode,
    /// Which part of the child.
    pub extent: Extent,
    /// Which of the input buffers (`Images(split)`, `Labels(split)`) to read.
    pub split: u8,
    /// Whether drop-path factors are given in `DropPath`.
    pub drop_path: bool,
    /// How.
    pub lowering: Lowering,
}
