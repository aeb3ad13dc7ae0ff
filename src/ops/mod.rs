//! Operations on tensors → dispatches as plain data. One file per op, forward and backward together.
//!
//! A tensor here is a name with a shape; where it lies in the arena is decided later by the planner,
//! which sees from the bindings when each tensor is first and last used. Kernels serve several
//! convolutions of the same shape at once ("tasks"): inputs are channel blocks of one tensor, outputs
//! blocks of another. No op allocates, and none knows an architecture.

pub mod batch_norm;
pub mod conv;
pub mod depthwise;
pub mod elementwise;
pub mod head;
pub mod lane;
pub mod mix;
pub mod optimizer;
pub mod pack;
pub mod pointwise;
pub mod pool;
pub mod probe;
pub mod reduce;
pub mod subsample;
pub mod window_pool;

use crate::kernel::{Buf, Dispatch, Params, Range};

/// Invocations per workgroup of every kernel.
pub const WORKGROUP: u32 = 64;
/// Entries of a kernel's task table.
pub const MAX_TASKS: usize = 16;
/// Largest range that every adapter can bind as storage: 128 MiB.
pub const BINDING_BYTES: u64 = 128 << 20;
/// Largest range that can be bound as a uniform.
pub const UNIFORM_BYTES: u64 = 65_536;
/// What is bound where there are no coefficients; not read.
pub(crate) const NO_COEFS: Range = Range { buf: Buf::Coefs, offset_bytes: 0, len_bytes: 16 };
/// A word that stands for "no offset" in task tables.
pub const NOWHERE: u32 = u32::MAX;

/// The spatial layout of an activation: `n` images of `h` x `w`, rows padded to quads of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Images.
    pub n: u32,
    /// Rows.
    pub h: u32,
    /// Columns.
    pub w: u32,
}

impl Map {
    /// Quads per row.
    pub fn wq(self) -> u32 {
        self.w.div_ceil(4)
    }
    /// Quads of one channel.
    pub fn quads(self) -> u32 {
        self.n * self.h * self.wq()
    }
    /// Quads from one channel to the next: every channel starts at a multiple of 256 bytes.
    pub fn pitch(self) -> u32 {
        self.quads().next_multiple_of(16)
    }
    /// Elements of one channel that hold data.
    pub fn count(self) -> u32 {
        self.n * self.h * self.w
    }
    /// The map after a stride-`s` operation with "same" padding.
    pub fn strided(self, s: u32) -> Self {
        Self { n: self.n, h: self.h.div_ceil(s), w: self.w.div_ceil(s) }
    }
    /// 1 where rows end in padding.
    pub fn ragged(self) -> u32 {
        u32::from(!self.w.is_multiple_of(4))
    }
    /// The words of the shaders' `Map`.
    pub fn words(self) -> [u32; 8] {
        let wq = self.wq();
        [self.n, self.h, self.w, wq, self.pitch(), self.quads(), self.h * wq, self.count()]
    }
}

/// An activation (or its gradient): `channels` channel maps, channel-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Where it lives: `Buf::Tensor(id)` until planned, or an input buffer.
    pub buf: Buf,
    /// Channels.
    pub channels: u32,
    /// Layout of one channel.
    pub map: Map,
}

impl Tensor {
    /// Bytes of one channel.
    pub fn channel_bytes(self) -> u64 {
        u64::from(self.map.pitch()) * 16
    }
    /// Bytes of all channels.
    pub fn bytes(self) -> u64 {
        self.channel_bytes() * u64::from(self.channels)
    }
    /// The range of all channels.
    pub fn range(self) -> Range {
        self.block(0, self.channels)
    }
    /// The range of `count` channels from `first`.
    pub fn block(self, first: u32, count: u32) -> Range {
        Range {
            buf: self.buf,
            offset_bytes: self.channel_bytes() * u64::from(first),
            len_bytes: self.channel_bytes() * u64::from(count),
        }
    }
}

/// A plain array in the arena: coefficients, partial sums, pooled features, logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// Where it lives.
    pub buf: Buf,
    /// First byte there; a multiple of 256.
    pub offset_bytes: u64,
    /// Length in bytes; a multiple of 16.
    pub bytes: u64,
}

impl Array {
    /// The whole array.
    pub fn range(self) -> Range {
        Range { buf: self.buf, offset_bytes: self.offset_bytes, len_bytes: self.bytes }
    }
}

/// How an op reads a tensor: relu(norm(x)), both optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The tensor.
    pub x: Tensor,
    /// Batch-norm coefficients of its channels, where its consumers see norm(x).
    pub coefs: Option<Array>,
    /// Whether ReLU is applied on top.
    pub relu: bool,
}

impl View {
    /// What is rectified counts as normalised too, by the identity where it is not: half as many pipelines for
    /// three operations per element.
    fn overrides(&self) -> Vec<(&'static str, u32)> {
        vec![
            ("NORM", u32::from(self.relu || self.coefs.is_some())),
            ("RELU", u32::from(self.relu)),
            ("RAGGED", self.x.map.ragged()),
        ]
    }
    /// Bytes of a gradient in blocks at `firsts`, of which those that `accumulate` names are read too; and those of x
    /// where ReLU asks for them.
    fn gradient_bytes(
        &self,
        channels: u32,
        firsts: impl Iterator<Item = u32> + Clone,
        accumulate: impl Fn(u32) -> bool,
    ) -> u64 {
        let written = blocks_bytes(self.x, channels, firsts.clone());
        let read = blocks_bytes(self.x, channels, firsts.filter(|first| accumulate(*first)));
        written + read + if self.relu { written } else { 0 }
    }
    /// The coefficients, those of the identity where there are none.
    fn coefs_range(&self) -> Range {
        let len_bytes = u64::from(self.x.channels) * 16;
        self.coefs.map_or(Range { buf: Buf::Identity, offset_bytes: 0, len_bytes }, Array::range)
    }
}

/// How an op reads the gradient of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradView {
    /// The tensor that holds it: gradients of norm(y) where `bn` is set, of y otherwise.
    pub dz: Tensor,
    /// Coefficients of batch norm's backward pass, by channel of y.
    pub bn: Option<Array>,
    /// Drop-path factors, f32, where there are any.
    pub drop: Option<Array>,
}

impl GradView {
    fn overrides(&self) -> Vec<(&'static str, u32)> {
        vec![("BN", u32::from(self.bn.is_some())), ("DROP", u32::from(self.drop.is_some()))]
    }
    fn coefs_range(&self) -> Range {
        self.bn.map_or(NO_COEFS, Array::range)
    }
    fn drop_range(&self) -> Range {
        self.drop.map_or_else(|| self.dz.range(), Array::range)
    }
    /// Bytes read for the gradients of `channels` channels of y in blocks at `firsts`, as (channel of dz, channel of y).
    fn bytes(&self, y: Tensor, channels: u32, firsts: impl Iterator<Item = (u32, u32)> + Clone) -> u64 {
        let dz = blocks_bytes(self.dz, channels, firsts.clone().map(|(dz, _)| dz));
        let y = if self.bn.is_some() { blocks_bytes(y, channels, firsts.map(|(_, y)| y)) } else { 0 };
        dz + y + self.drop.map_or(0, |drop| drop.bytes)
    }
}

/// Where a parameter lies in `v`: offset and padded length in elements, both multiples of 64 and 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Param {
    /// First element; a multiple of 64.
    pub offset: u32,
    /// Elements including the padding of rows.
    pub len: u32,
}

/// Which of a convolution's input channels its x holds: all of them, or a part, where a tensor of all would
/// be larger than a page. Parts but the last have a multiple of four channels; the first writes the output,
/// the others add to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First input channel in x.
    pub first: u32,
    /// Input channels of the convolution.
    pub of: u32,
}

impl Part {
    /// All of `ci` channels.
    pub fn all(ci: u32) -> Self {
        Self { first: 0, of: ci }
    }
    fn overrides(self) -> (&'static str, u32) {
        ("ADD", u32::from(self.first > 0))
    }
}

/// The range of `v` (or a buffer laid out like it) that covers `params`, and its first element.
pub fn cover(buf: Buf, params: &[Param]) -> (Range, u32) {
    // Part of a parameter may start anywhere, a binding may not.
    let first = params.iter().map(|p| p.offset).min().unwrap_or(0) / 64 * 64;
    let end = params.iter().map(|p| p.offset + p.len).max().unwrap_or(4).next_multiple_of(4);
    let range = Range { buf, offset_bytes: u64::from(first) * 4, len_bytes: u64::from(end - first) * 4 };
    (range, first)
}

/// Splits `items` among invocations: (rounds per invocation, chunks = workgroups), where `parallel`
/// workgroups run side by side anyway. As few chunks as keep a large GPU busy: each costs a reduction and
/// partial sums. The rounds stay far from lavapipe's limit of 65,535 iterations.
pub fn chunked(items: u32, parallel: u32) -> (u32, u32) {
    let waves = items.div_ceil(WORKGROUP);
    let wanted = (512 / parallel.max(1)).clamp(1, 16);
    let rounds = waves.div_ceil(wanted).clamp(4.min(waves), 1024);
    (rounds, waves.div_ceil(rounds))
}

fn groups(items: u32) -> u32 {
    items.div_ceil(WORKGROUP)
}

/// Which form of a kernel runs; chosen per adapter, recorded in a run's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// Depthwise: rows per invocation (1, 2 or 4).
    pub depthwise_rows: u32,
    /// Depthwise: quads per invocation and row (1 or 2).
    pub depthwise_quads: u32,
    /// Pool: rows per invocation (1, 2 or 4).
    pub pool_rows: u32,
    /// Pointwise: output channels per invocation (4 to 64).
    pub pointwise_channels: u32,
    /// Pointwise: quads per invocation (1 to 4; with the channels at most 64 quads in registers).
    pub pointwise_quads: u32,
    /// Pointwise weight gradient: side of the register tile (4, 8 or 16).
    pub weight_tile: u32,
    /// Batch norm's backward: 1 to store its result, 0 to apply it wherever it is loaded.
    pub stored_dy: u32,
    /// Loads that an invocation has under way at once, in units of the least (1, 2 or 4): pointwise, and batch norm's sums.
    pub unroll: u32,
    /// Linear layer, forward: 1 for a workgroup per example and 16 classes, 0 for an invocation per output.
    pub linear_by_example: u32,
}

impl Tuning {
    /// Whether every number is one that the kernels have a form for.
    pub fn is_known(&self) -> bool {
        [1, 2, 4].contains(&self.depthwise_rows)
            && [1, 2].contains(&self.depthwise_quads)
            && [1, 2, 4].contains(&self.pool_rows)
            && [4, 8, 16, 32, 64].contains(&self.pointwise_channels)
            && (1..=4).contains(&self.pointwise_quads)
            && self.pointwise_channels * self.pointwise_quads <= 64
            && [4, 8, 16].contains(&self.weight_tile)
            && self.stored_dy <= 1
            && [1, 2, 4].contains(&self.unroll)
            && self.linear_by_example <= 1
    }

    /// For adapters that are programs on the CPU: few launches and few, wide loads; registers cost nothing.
    pub const SOFTWARE: Self = Self {
        depthwise_rows: 4,
        depthwise_quads: 2,
        pool_rows: 4,
        pointwise_channels: 16,
        pointwise_quads: 4,
        weight_tile: 8,
        stored_dy: 1,
        unroll: 1,
        linear_by_example: 0,
    };

    /// For discrete GPUs: small tiles, so that a launch has workgroups for every multiprocessor and neighbouring
    /// invocations read neighbouring quads.
    pub const DISCRETE: Self = Self {
        depthwise_rows: 4,
        depthwise_quads: 1,
        pool_rows: 2,
        pointwise_channels: 8,
        pointwise_quads: 1,
        weight_tile: 8,
        stored_dy: 1,
        unroll: 4,
        linear_by_example: 1,
    };

    /// For GPUs that share the CPU's memory: fewer multiprocessors, less bandwidth, so that each load of the input
    /// serves more output channels.
    pub const INTEGRATED: Self = Self { pointwise_channels: 16, unroll: 2, ..Self::DISCRETE };

    /// Registers of 32 bits that the largest kernel keeps per invocation, by counting what is live in its innermost
    /// loop: accumulators, loaded values, and [`Self::ADDRESSES`] for addresses and counters. What is the same for a
    /// whole workgroup (weights, coefficients) is left out: GPUs keep it in scalar registers or a constant cache.
    /// An estimate for choosing forms.
    pub fn registers(&self) -> u32 {
        let (tc, tq, tile) = (self.pointwise_channels, self.pointwise_quads, self.weight_tile);
        let (rows, quads) = (self.depthwise_rows, self.depthwise_quads);
        [
            // Pointwise: TC·TQ sums, U times four channels of TQ quads.
            4 * tc * tq + 16 * tq * self.unroll,
            // Its weight gradient: a square of sums, a column of x, one quad of dy.
            tile * tile + 4 * tile + 4,
            // Depthwise at stride 2: R·Q sums, a row of 2 + 2Q quads.
            4 * rows * quads + 4 * (2 + 2 * quads),
            // Its weight gradient: 25 sums, R·Q quads of dy, a row of x; for a kernel of side 7 49 sums, and Q is 1 at
            // stride 2.
            25 + 4 * rows * quads + 4 * (2 + 2 * quads),
            49 + 4 * rows * quads + 4 * (2 + quads),
            // Pool backward at stride 2: two quads per row, three of dy and three of taps.
            8 * self.pool_rows + 24,
        ]
        .into_iter()
        .fold(0, u32::max)
            + Self::ADDRESSES
    }

    /// See [`Self::registers`].
    pub const ADDRESSES: u32 = 16;
}

/// The forms that version 0.1.0 ran everywhere: what its manifests do not name.
impl Default for Tuning {
    fn default() -> Self {
        Self::SOFTWARE
    }
}

/// Bytes of a block of `channels` channels of `x` at each of `firsts`, blocks that occur several times counted once.
fn blocks_bytes(x: Tensor, channels: u32, firsts: impl IntoIterator<Item = u32>) -> u64 {
    let distinct: std::collections::BTreeSet<u32> = firsts.into_iter().collect();
    distinct.len() as u64 * u64::from(channels) * x.channel_bytes()
}

/// A dispatch without flops that touches all it binds; ops fill in what differs.
fn dispatch(
    shader: &'static str,
    entry: &'static str,
    overrides: Vec<(&'static str, u32)>,
    bindings: Vec<(&'static str, Range)>,
    params: Params,
    grid: [u32; 3],
) -> Dispatch {
    let bytes = bindings.iter().map(|(_, r)| r.len_bytes).sum();
    Dispatch { shader, entry, overrides, bindings, params, grid, flops: 0, bytes }
}
