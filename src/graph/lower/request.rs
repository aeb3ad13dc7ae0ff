//! Everything that a plan depends on.

use super::head::AUXILIARY_WEIGHT;
use crate::graph::layout::Layout;
use crate::graph::memory::PAGE_BYTES;
use crate::network::Net;
use crate::ops::Tuning;

/// The quantities that a plan computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Log-likelihoods, with the batch's statistics in every batch norm.
    Likelihood,
    /// Log-likelihoods with running statistics (final networks).
    Evaluate,
    /// Log-likelihoods (with label smoothing: minus each example's loss). Then the gradient of the mean loss
    /// ([`Loss`]), times `scalars[0]`, is added to `Grad`.
    Train,
    /// Log-likelihoods. Then the gradient of the mean loss with respect to the factors of a mixed network's paths,
    /// times `scalars[0]`, is added to `MixGrad`. All examples share a factor.
    Factors,
}

/// The part of a network that a plan computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Extent {
    /// The whole network.
    #[default]
    Whole,
    /// The part that is the same for every architecture, such as the stem and the layers that read only the stem.
    /// The outputs go into `Trunk`. With [`Mode::Train`] the trunk is computed again, and then its backward pass
    /// runs from `TrunkGrad`.
    Trunk,
    /// The rest of the child, from `Trunk`. Its gradient with respect to `Trunk` is added to `TrunkGrad`.
    Branch,
}

/// How a plan is lowered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lowering {
    /// Whether ops are fused: views, shared launches, and (with `stored_dy` 0) batch norm's backward while loading.
    pub fuse: bool,
    /// The form of each kernel.
    pub tuning: Tuning,
    /// The loss that training minimises.
    pub loss: Loss,
    /// Which tensors the backward pass computes again.
    pub memory: Memory,
    /// Largest tensor in bytes, at most [`PAGE_BYTES`].
    pub page_bytes: u64,
}

/// The loss that [`Mode::Train`] minimises: the mean over the batch of w·((1-ε)·CE(target) + ε·mean_k CE(k)) for the
/// classifier, plus the weighted mean for the auxiliary head. The weight w of the target's class is in `ClassWeights`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// ε, PyTorch's `label_smoothing`.
    pub label_smoothing: f32,
    /// Weight of the auxiliary head's loss.
    pub auxiliary: f32,
}

impl Default for Loss {
    fn default() -> Self {
        Self { label_smoothing: 0.0, auxiliary: AUXILIARY_WEIGHT }
    }
}

/// Which tensors of the forward pass are kept for the backward pass. Gradients have the same bits in both cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// Everything is kept except pools and subsampled maps, which cost next to nothing to compute again.
    #[default]
    Normal,
    /// Inputs of cells and operations, nodes, and the middle of separable convolutions are kept. The rest is
    /// computed again when the backward pass needs it.
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
    /// A child, a mixed network or a final network.
    pub net: &'a Net,
    /// The places of the parameters.
    pub layout: &'a Layout,
    /// Examples of a batch.
    pub batch: u32,
    /// The quantities to compute.
    pub mode: Mode,
    /// The part of the network to compute.
    pub extent: Extent,
    /// The input slot to read: the buffers `Images(input)` and `Labels(input)`.
    pub input: u8,
    /// Whether drop-path factors are given in `DropPath`.
    pub drop_path: bool,
    /// How the plan is lowered.
    pub lowering: Lowering,
}
