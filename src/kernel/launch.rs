//! One kernel launch as plain data: plans consist of launches, and `gpu` runs them.
//!
//! Nothing here names a GPU type, so a list of launches can be printed, compared and counted anywhere.

use super::params::Params;

/// A buffer of the executor, named by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Buf {
    /// Page `i` of the arena: activations, their gradients, scratch (at most 128 MiB each).
    Page(u16),
    /// The shared weights `v` (f32), each tensor at a 256-byte boundary.
    V,
    /// The gradient accumulated over children, Σ_k ω̃_k ∇_v; same layout as `V`.
    Grad,
    /// Partial sum of level `i` over lanes of children: first the sum of `Grad`, then the sums of the trunk's
    /// gradients.
    Lanes(u8),
    /// SGD's momentum buffer; same layout as `V`.
    Momentum,
    /// Running statistics of batch norms, which are not trained (final networks).
    State,
    /// The images of a batch, f32 \[C\]\[N\]\[H\]\[W\] with the arena's padding of rows and channels; one buffer
    /// per input slot.
    Images(u8),
    /// The labels of a batch, u32 \[N\]; one buffer per input slot.
    Labels(u8),
    /// Weight of each class in the loss, f32 \[classes\].
    ClassWeights,
    /// Log-likelihood and correctness of each example of the child that ran last, f32 \[2\]\[N\].
    Results,
    /// Results of several children, kept until they are read back together.
    Kept,
    /// Logits of the child that ran last, f32 \[N\]\[classes\]: 0 for the classifier, 1 for the auxiliary head.
    Logits(u8),
    /// Drop-path factors, f32 [cells * 8]\[N\].
    DropPath,
    /// Factors of the paths of a mixed network, f32 \[paths\]\[N\].
    Mix,
    /// The accumulated gradient of the factors in `Mix`, f32 \[paths\].
    MixGrad,
    /// Scalars of a step. The host writes the weight ω̃_k before each child, and the learning rate and others before
    /// the update. The adapter writes the norm and the clip factor.
    Scalars,
    /// Tensor `i` of a plan whose tensors are not placed yet. The planner puts the tensor into a page.
    Tensor(u32),
    /// Partial sums of the squared norm of the gradient.
    Norms,
    /// The weights that the running child uses, side by side.
    Packed,
    /// Batch-norm coefficients of the running child, forward and backward, a quad per channel.
    Coefs,
    /// Coefficients `i` of a plan whose tensors are not placed yet. The planner puts them into `Coefs`.
    Small(u32),
    /// Output `i` of the trunk before batch norm. All children of a batch start from the outputs.
    Trunk(u8),
    /// The sum of the children's gradients of output `i` of the trunk.
    TrunkGrad(u8),
    /// Batch-norm coefficients of the trunk's outputs, a quad per channel.
    TrunkCoefs,
    /// Batch-norm coefficients that change nothing, a quad per channel, as many as a uniform binding holds. The
    /// executor always has this buffer.
    Identity,
    /// Any other buffer that a test or a caller wants to bind.
    Extra(u16),
}

/// A range of a buffer. The range is bound under a variable name of the shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The buffer.
    pub buf: Buf,
    /// First byte in the buffer; a multiple of 256.
    pub offset_bytes: u64,
    /// Length in bytes; a multiple of 16.
    pub len_bytes: u64,
}

/// One launch of one entry point.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Stem of the file in `shaders/`.
    pub shader: &'static str,
    /// Entry point in that file.
    pub entry: &'static str,
    /// Values of `override` constants, by name. A constant that is left out keeps the shader's default.
    pub overrides: Vec<(&'static str, u32)>,
    /// Ranges by the shader's variable names, without `params`.
    pub bindings: Vec<(&'static str, Range)>,
    /// The members of the uniform `params`, by name.
    pub params: Params,
    /// Workgroups in x, y, z; each at most 65,535.
    pub grid: [u32; 3],
    /// Multiplications plus additions of the launch.
    pub flops: u64,
    /// Bytes of activations and weights that are read or written, each counted once.
    pub bytes: u64,
}
