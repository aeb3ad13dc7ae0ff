//! The forward pass as the backward pass needs it: a list of steps.

use crate::ops::batch_norm::BatchNorm;
use crate::ops::conv::Conv;
use crate::ops::depthwise::Depthwise;
use crate::ops::head::Linear;
use crate::ops::mix::Mix;
use crate::ops::pointwise::Pointwise;
use crate::ops::pool::Pool;
use crate::ops::subsample::Subsample;
use crate::ops::window_pool::WindowPool;
use crate::ops::{Array, Tensor, View};

/// One step of the forward pass, as far as the backward pass needs it.
pub(super) enum Step {
    Conv {
        op: Conv,
        data_gradient: bool,
    },
    Depthwise(Depthwise),
    Pointwise(Pointwise),
    Pool(Pool),
    Subsample(Subsample),
    /// A batch norm over blocks of channels; without fusion also what made norm(x) real.
    Norm(BatchNorm),
    /// A view made real: channels `from` of x at `to` of y.
    Apply {
        view: View,
        y: Tensor,
        blocks: Vec<(u32, u32)>,
        channels: u32,
    },
    /// Identity terms of a node: dx[to] += scale * dz[from].
    Identity {
        z: Tensor,
        from: u32,
        x: Tensor,
        to: u32,
        channels: u32,
        scale: f32,
    },
    /// Terms of a mixed node; identities, whose gradient is passed on here, or outputs of operations.
    Mix {
        op: Mix,
        identities: bool,
    },
    WindowPool(WindowPool),
    /// Pooling of x to the features from `first` on.
    GlobalPool {
        x: Tensor,
        pooled: Array,
        first: u32,
    },
    Linear {
        op: Linear,
        x: Features,
        dlogits: Array,
    },
    Loss {
        n: u32,
        k: u32,
        logits: Array,
        dlogits: Array,
        weight: f32,
    },
}

/// What a linear layer reads.
#[derive(Clone, Copy)]
pub(super) enum Features {
    /// Globally pooled features, [C][N].
    Pooled(Array),
    /// One-pixel maps, [C][N][1][1].
    Maps(Tensor),
}
