//! One kernel launch as plain data: what a plan consists of and what `gpu` runs.
//!
//! Nothing here names a GPU type: a list of dispatches can be printed, compared and counted anywhere.

use super::params::Params;

/// A buffer of the executor, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Buf {
    /// Page `i` of the arena: activations, their gradients, scratch (at most 128 MiB each).
    Page(u16),
    /// The shared weights `v` (f32), each tensor at a 256-byte boundary.
    V,
    /// The gradient accumulated over children: Σ_k ω̃_k ∇_v, same layout as `V`.
    Grad,
    /// Partial sum of level `i` over lanes of children: the gradient, then the trunk's gradients.
    Lanes(u8),
    /// SGD's momentum buffer, same layout as `V`.
    Momentum,
    /// Running statistics and other non-trained state of batch norms (final networks).
    State,
    /// The images of a batch, f32 \[C\]\[N\]\[H\]\[W\] with the arena's row and channel padding; one
    /// buffer per split.
    Images(u8),
    /// The labels of a batch, u32 \[N\]; one buffer per split.
    Labels(u8),
    /// Log-likelihood and correctness of each example of the child that ran last, f32 \[2\]\[N\].
    Results,
    /// Results of several children, kept until they are read back together.
    Kept,
    /// Logits of the child that ran last, f32 \[N\]\[classes\]; 1: those of the auxiliary head.
    Logits(u8),
    /// Drop-path factors, f32 [cells * 8]\[N\].
    DropPath,
    /// Factors of the paths of a mixed network, f32 \[paths\]\[N\].
    Mix,
    /// The accumulated gradient of those factors, f32 \[paths\].
    MixGrad,
    /// Numbers that the host sets once per step (scale ω̃_k per child, learning rate, ...).
    Scalars,
    /// Tensor `i` of a plan that is not laid out yet: the planner puts it into a page.
    Tensor(u32),
    /// Partial sums of the norm of the gradient.
    Norms,
    /// The weights that the running child uses, side by side.
    Packed,
    /// Batch-norm coefficients of the running child, forward and backward, a quad per channel.
    Coefs,
    /// Coefficients `i` of a plan that is not laid out yet: the planner puts them into `Coefs`.
    Small(u32),
    /// What all children of a batch start from: output `i` of the trunk, before batch norm.
    Trunk(u8),
    /// The sum of the children's gradients of output `i` of the trunk.
    TrunkGrad(u8),
    /// Batch-norm coefficients of the trunk's outputs, a quad per channel.
    TrunkCoefs,
    /// Batch-norm coefficients that change nothing, a quad per channel, as many as a uniform binding holds. Always there.
    Identity,
    /// Anything else a test or a caller wants to bind.
    Extra(u16),
}

/// A range of a buffer, bound under a name of the shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// Which buffer.
    pub buf: Buf,
    /// First byte; a multiple of 256.
    pub offset_bytes: u64,
    /// Length in bytes; a multiple of 16.
    pub len_bytes: u64,
}

/// One launch of one entry point.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// Stem of the file in `shaders/`.
    pub shader: &'static str,
    /// Entry point in that file.
    pub entry: &'static str,
    /// Values of `override` constants, by name; those left out keep the shader's default.
    pub overrides: Vec<(&'static str, u32)>,
    /// Ranges by the shader's variable names. `params` is not among them.
    pub bindings: Vec<(&'static str, Range)>,
    /// The members of the uniform `params`, by name.
    pub params: Params,
    /// Workgroups in x, y, z; each at most 65,535.
    pub grid: [u32; 3],
    /// Multiplications plus additions done.
    pub flops: u64,
    /// Bytes of activations and weights read and written if each is touched once.
    pub bytes: u64,
}
