//! The one description of a network: its layers in order, with names, inputs and shapes.
//!
//! A space builds it from an architecture, or with all that any architecture may use. Parameters, multiply-adds,
//! launches, the ONNX graph, the Python file and the structure that the f64 reference walks are read from it. How a
//! layer is computed is not said here.

mod build;
mod count;
mod param;

pub use build::Builder;
pub use param::{ParamRole, ParamSpec};

/// Extents of a layer's value for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    /// The extents behind a window: `floor((n + 2 pad - dilation (k - 1) - 1) / stride) + 1` rows and columns.
    pub fn behind(self, window: Window) -> Self {
        let side = |n: usize| (n + 2 * window.pad).saturating_sub(window.span()) / window.stride + 1;
        Self { c: self.c, h: side(self.h), w: side(self.w) }
    }
}

/// The window of a convolution or a pool. Operations of one level run in the order of these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Distance between taps.
    pub dilation: usize,
    /// Taps along a side.
    pub k: usize,
    /// Distance between outputs.
    pub stride: usize,
    /// Zeros around the map.
    pub pad: usize,
}

impl Window {
    /// One pixel.
    pub const POINT: Self = Self { dilation: 1, k: 1, stride: 1, pad: 0 };

    /// A window of odd side that keeps the extents, or halves them with stride 2.
    pub const fn same(k: usize, stride: usize, dilation: usize) -> Self {
        Self { dilation, k, stride, pad: dilation * (k / 2) }
    }

    /// Pixels from its first to its last tap.
    fn span(self) -> usize {
        self.dilation * (self.k - 1) + 1
    }
}

/// How an input of a sum counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// How often: 2 where a child of a search drew the same operation twice.
    pub times: u32,
    /// Which row of the drop-path factors it is multiplied with.
    pub drop: Option<usize>,
    /// Which factor of a mixed network it is multiplied with.
    pub factor: Option<usize>,
}

/// What a layer computes. Operations of one level run in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The batch itself; always the first layer.
    Images,
    /// The largest of a window.
    MaxPool(Window),
    /// The mean of a window's pixels, zeros around the map left out.
    AvgPool(Window),
    /// max(x, 0).
    Relu,
    /// Two 1x1 convolutions of stride 2, of the pixels at even and at odd places, each giving half the channels. Their
    /// weights are called `conv_1` and `conv_2`.
    FactorizedReduce,
    /// A convolution of each channel by itself, without bias.
    Depthwise(Window),
    /// A convolution of all channels, without bias.
    Conv(Window),
    /// Batch norm.
    Norm {
        /// Whether it has a scale and a shift.
        affine: bool,
        /// Whether it keeps running statistics.
        running: bool,
    },
    /// The sum of its inputs; zeros without any.
    Sum(Vec<Term>),
    /// Its inputs side by side in channels.
    Concat,
    /// Means over what leaves 2x2 maps: a 5x5 window with this stride, or adaptive ones.
    PoolTo2x2 {
        /// The stride of the 5x5 window.
        window: Option<usize>,
    },
    /// The mean of each channel.
    GlobalPool,
    /// A linear layer with bias.
    Linear,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// The name of its module in PyTorch, e.g. `cells.3.preprocess0.op.1`.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// The layers that it reads, by position.
    pub inputs: Vec<usize>,
    /// The extents of its value.
    pub shape: Shape,
    /// Which block of the network it is in: the stem, a cell, the head. Blocks run in order.
    pub block: usize,
    /// Whether paths begin here: any number of layers may read it. What is no joint has one reader.
    pub joint: bool,
    /// Whether every architecture has it, with the same value.
    pub fixed: bool,
    /// Whether it belongs to the auxiliary head, which only training runs.
    pub auxiliary: bool,
}

/// A network as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    /// The layers, each after those it reads; those with parameters in the order in which PyTorch registers them.
    pub layers: Vec<Layer>,
    /// The layer whose value are the logits.
    pub logits: usize,
    /// The same of the auxiliary head.
    pub auxiliary_logits: Option<usize>,
    /// Rows of drop-path factors.
    pub n_drops: usize,
    /// Factors of a mixed network.
    pub n_factors: usize,
}

impl Net {
    /// The extents of an image.
    pub fn image(&self) -> Shape {
        self.layers[0].shape
    }

    /// Outputs of the classifier.
    pub fn n_classes(&self) -> usize {
        self.layers[self.logits].shape.c
    }

    /// The extents of what a layer reads first.
    pub fn input_shape(&self, layer: &Layer) -> Shape {
        self.layers[layer.inputs[0]].shape
    }
}
