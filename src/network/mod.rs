//! The one description of a network: its layers in order, with names, inputs and shapes.
//!
//! A space builds the network from an architecture, or with everything that any architecture may use. Parameters,
//! multiply-adds, launches, the ONNX graph, the Python file and the layers of the oracle are read from this
//! description. The description does not say how a layer is computed.

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

/// The window of a convolution or a pool. Operations of one level are sorted by these fields in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Distance between taps.
    pub dilation: usize,
    /// Taps along a side.
    pub k: usize,
    /// Distance between outputs.
    pub stride: usize,
    /// Zeros on each side of the map.
    pub pad: usize,
}

impl Window {
    /// One pixel.
    pub const POINT: Self = Self { dilation: 1, k: 1, stride: 1, pad: 0 };

    /// A window of odd side that keeps the extents, or halves the extents with stride 2.
    pub const fn same(k: usize, stride: usize, dilation: usize) -> Self {
        Self { dilation, k, stride, pad: dilation * (k / 2) }
    }

    /// Number of pixels from the first to the last tap.
    fn span(self) -> usize {
        self.dilation * (self.k - 1) + 1
    }
}

/// How an input enters a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Number of times that the input is added: 2 if a child of a search drew the same operation twice.
    pub times: u32,
    /// Row of the drop-path factors that the input is multiplied with.
    pub drop: Option<usize>,
    /// Factor of a mixed network that the input is multiplied with.
    pub factor: Option<usize>,
}

/// The operation of a layer. Operations of one level run in the order of these variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The batch itself; always the first layer.
    Images,
    /// The maximum of a window.
    MaxPool(Window),
    /// The mean of the pixels of a window. Zeros around the map are left out.
    AvgPool(Window),
    /// max(x, 0).
    Relu,
    /// Two 1x1 convolutions of stride 2, one of the pixels at even places and one of the pixels at odd places. Each
    /// gives half of the channels. The weights are called `conv_1` and `conv_2`.
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
    /// The sum of the inputs; zeros if there are no inputs.
    Sum(Vec<Term>),
    /// The inputs side by side in channels.
    Concat,
    /// Means that result in maps of 2x2: of a 5x5 window with this stride, or of adaptive windows.
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
    /// The name of the layer's module in PyTorch, e.g. `cells.3.preprocess0.op.1`.
    pub name: String,
    /// The operation of the layer.
    pub kind: Kind,
    /// The layers that the layer reads, by position.
    pub inputs: Vec<usize>,
    /// The extents of the layer's value.
    pub shape: Shape,
    /// The block that the layer is in: the stem, a cell, the head. Blocks run in order.
    pub block: usize,
    /// Whether paths begin at the layer. Any number of layers may read a joint; every other layer has one reader.
    pub joint: bool,
    /// Whether every architecture has the layer, with the same value.
    pub fixed: bool,
    /// Whether the layer belongs to the auxiliary head, which runs in training only.
    pub auxiliary: bool,
}

/// A network as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    /// The layers, each after the layers that it reads. Layers with parameters are in the order in which PyTorch
    /// registers them.
    pub layers: Vec<Layer>,
    /// The layer whose values are the logits.
    pub logits: usize,
    /// The layer whose values are the logits of the auxiliary head.
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

    /// Number of outputs of the classifier.
    pub fn n_classes(&self) -> usize {
        self.layers[self.logits].shape.c
    }

    /// The extents of the first input of a layer.
    pub fn input_shape(&self, layer: &Layer) -> Shape {
        self.layers[layer.inputs[0]].shape
    }
}
