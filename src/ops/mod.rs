//! Operations on tensors → launches as plain data. One file per op, forward and backward together.
//!
//! A tensor here is a name with a shape. The planner decides later where the tensor lies in the arena: the bindings
//! show when each tensor is first and last used. A kernel serves several convolutions of the same shape at once
//! ("tasks"): the inputs are channel blocks of one tensor, the outputs are blocks of another. No op allocates, and
//! no op knows an architecture.

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

use crate::kernel::{Buf, Launch, Params, Range};

/// Invocations per workgroup of every kernel except `fill`, which has 256.
pub const WORKGROUP: u32 = 64;
/// Entries of a kernel's task table.
pub const MAX_TASKS: usize = 16;
/// Largest range that every adapter can bind as storage: 128 MiB.
pub const BINDING_BYTES: u64 = 128 << 20;
/// Largest range that can be bound as a uniform.
pub const UNIFORM_BYTES: u64 = 65_536;
/// Range that is bound where there are no coefficients. The kernel does not read the range.
pub(crate) const NO_COEFS: Range = Range { buf: Buf::Coefs, offset_bytes: 0, len_bytes: 16 };
/// A word that means "no offset" in task tables.
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
    /// The map after an operation of stride `s` with "same" padding.
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
    /// The buffer that holds the tensor: `Buf::Tensor(id)` until the tensor is placed, or an input buffer.
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
    /// The buffer that holds the array.
    pub buf: Buf,
    /// First byte in the buffer; a multiple of 256.
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

/// How an op reads a tensor: relu(norm(x)), where both ReLU and norm are optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The tensor.
    pub x: Tensor,
    /// Batch-norm coefficients of the channels of x, where consumers read norm(x).
    pub coefs: Option<Array>,
    /// Whether ReLU is applied on top.
    pub relu: bool,
}

impl View {
    /// ReLU without norm is compiled as ReLU with norm, with the coefficients of the identity. That halves the
    /// number of pipelines and costs three operations per element.
    fn overrides(&self) -> Vec<(&'static str, u32)> {
        vec![
            ("NORM", u32::from(self.relu || self.coefs.is_some())),
            ("RELU", u32::from(self.relu)),
            ("RAGGED", self.x.map.ragged()),
        ]
    }
    /// Bytes of a gradient in blocks at `firsts`. Blocks that `accumulate` names are read as well as written. With
    /// ReLU, the same blocks of x are read too.
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
    /// The coefficients of the view, or those of the identity.
    fn coefs_range(&self) -> Range {
        let len_bytes = u64::from(self.x.channels) * 16;
        self.coefs.map_or(Range { buf: Buf::Identity, offset_bytes: 0, len_bytes }, Array::range)
    }
}

/// How an op reads the gradient of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradView {
    /// The tensor that holds the gradient of norm(y) where `bn` is set, otherwise the gradient of y.
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
    /// Bytes read for the gradients of `channels` channels of y, in blocks at `firsts` = (channel of dz, channel of
    /// y).
    fn bytes(&self, y: Tensor, channels: u32, firsts: impl Iterator<Item = (u32, u32)> + Clone) -> u64 {
        let dz = blocks_bytes(self.dz, channels, firsts.clone().map(|(dz, _)| dz));
        let y = if self.bn.is_some() { blocks_bytes(y, channels, firsts.map(|(_, y)| y)) } else { 0 };
        dz + y + self.drop.map_or(0, |drop| drop.bytes)
    }
}

/// The place of a parameter in `v`: the offset is a multiple of 64 elements, the padded length of 4 elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Param {
    /// First element; a multiple of 64.
    pub offset: u32,
    /// Elements including the padding of rows.
    pub len: u32,
}

/// The input channels of a convolution that its x holds. x holds a part of the channels if a tensor of all channels
/// would be larger than a page. Every part but the last has a multiple of four channels. The first part writes the
/// output, and the others add to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First input channel that x holds.
    pub first: u32,
    /// Input channels of the convolution.
    pub of: u32,
}

impl Part {
    /// All of the `ci` input channels.
    pub fn all(ci: u32) -> Self {
        Self { first: 0, of: ci }
    }
    fn overrides(self) -> (&'static str, u32) {
        ("ADD", u32::from(self.first > 0))
    }
}

/// The range of `v` (or of a buffer with the same layout) that covers `params`, and the first element of the range.
pub fn cover(buf: Buf, params: &[Param]) -> (Range, u32) {
    // A part of a parameter may start anywhere, but a binding must start at a multiple of 64 elements.
    let first = params.iter().map(|p| p.offset).min().unwrap_or(0) / 64 * 64;
    let end = params.iter().map(|p| p.offset + p.len).max().unwrap_or(4).next_multiple_of(4);
    let range = Range { buf, offset_bytes: u64::from(first) * 4, len_bytes: u64::from(end - first) * 4 };
    (range, first)
}

/// Splits `items` among invocations. The result is (rounds per invocation, chunks), with one workgroup per chunk.
/// `parallel` is the number of workgroups that run side by side for each chunk. There are only as many chunks as
/// keep a large GPU busy, because each chunk costs a reduction and partial sums. The rounds stay far below
/// lavapipe's limit of 65,535 iterations.
pub fn chunked(items: u32, parallel: u32) -> (u32, u32) {
    let waves = items.div_ceil(WORKGROUP);
    let wanted = (512 / parallel.max(1)).clamp(1, 16);
    let rounds = waves.div_ceil(wanted).clamp(4.min(waves), 1024);
    (rounds, waves.div_ceil(rounds))
}

fn groups(items: u32) -> u32 {
    items.div_ceil(WORKGROUP)
}

/// The form of each kernel that runs. The form is chosen per adapter and recorded in a run's manifest.
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
    /// Pointwise: quads per invocation (1 to 4). Channels times quads is at most 64, because the quads are in
    /// registers.
    pub pointwise_quads: u32,
    /// Pointwise weight gradient: side of the register tile (4, 8 or 16).
    pub weight_tile: u32,
    /// Batch norm's backward: 1 to store its result, 0 to apply batch norm's backward wherever the result would be
    /// loaded.
    pub stored_dy: u32,
    /// Loads that an invocation has under way at once, as a multiple of the least number (1, 2 or 4). Used by
    /// pointwise and by batch norm's sums.
    pub unroll: u32,
    /// Linear layer, forward: 1 for a workgroup per example and 16 classes, 0 for an invocation per output.
    pub linear_by_example: u32,
}

impl Tuning {
    /// Whether the kernels have a form for every number.
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

    /// For adapters that are programs on the CPU: few launches, and few but wide loads. Registers cost nothing
    /// there.
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

    /// For discrete GPUs: small tiles, so that a launch has workgroups for every multiprocessor, and neighbouring
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

    /// For GPUs that share the CPU's memory. They have fewer multiprocessors and less bandwidth, so each load of
    /// the input serves more output channels.
    pub const INTEGRATED: Self = Self { pointwise_channels: 16, unroll: 2, ..Self::DISCRETE };

    /// Estimate, for choosing forms, of the 32-bit registers that the largest kernel keeps per invocation. The
    /// values that are live in the innermost loop are counted: accumulators, loaded values, and [`Self::ADDRESSES`]
    /// for addresses and counters. Values that are the same for a whole workgroup (weights, coefficients) are left
    /// out, because GPUs keep them in scalar registers or a constant cache.
    pub fn registers(&self) -> u32 {
        let (tc, tq, tile) = (self.pointwise_channels, self.pointwise_quads, self.weight_tile);
        let (rows, quads) = (self.depthwise_rows, self.depthwise_quads);
        [
            // Pointwise: TC·TQ sums, and U times four channels of TQ quads.
            4 * tc * tq + 16 * tq * self.unroll,
            // Weight gradient of pointwise: a square of sums, a column of x, one quad of dy.
            tile * tile + 4 * tile + 4,
            // Depthwise at stride 2: R·Q sums, and a row of 2 + 2Q quads.
            4 * rows * quads + 4 * (2 + 2 * quads),
            // Weight gradient of depthwise: 25 sums, R·Q quads of dy, and a row of x. A kernel of side 7 has 49
            // sums, and its Q is 1 at stride 2.
            25 + 4 * rows * quads + 4 * (2 + 2 * quads),
            49 + 4 * rows * quads + 4 * (2 + quads),
            // Backward pass of pools at stride 2: two quads per row, three quads of dy and three of taps.
            8 * self.pool_rows + 24,
        ]
        .into_iter()
        .fold(0, u32::max)
            + Self::ADDRESSES
    }

    /// Registers for addresses and counters in [`Self::registers`].
    pub const ADDRESSES: u32 = 16;
}

/// The forms that version 0.1.0 ran on every adapter. A setting that a manifest of version 0.1.0 does not name has
/// this value.
impl Default for Tuning {
    fn default() -> Self {
        Self::SOFTWARE
    }
}

/// Bytes of a block of `channels` channels of `x` at each of `firsts`. A block that occurs several times is counted
/// once.
fn blocks_bytes(x: Tensor, channels: u32, firsts: impl IntoIterator<Item = u32>) -> u64 {
    let distinct: std::collections::BTreeSet<u32> = firsts.into_iter().collect();
    distinct.len() as u64 * u64::from(channels) * x.channel_bytes()
}

/// A launch without flops, whose bytes are those of all bindings. An op replaces the fields that differ.
fn launch(
    shader: &'static str,
    entry: &'static str,
    overrides: Vec<(&'static str, u32)>,
    bindings: Vec<(&'static str, Range)>,
    params: Params,
    grid: [u32; 3],
) -> Launch {
    let bytes = bindings.iter().map(|(_, r)| r.len_bytes).sum();
    Launch { shader, entry, overrides, bindings, params, grid, flops: 0, bytes }
}
