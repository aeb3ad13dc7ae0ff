//! A network's cells → its layers that own parameters, in the reference's registration order.
//!
//! Both counters (parameters, MACs) and the parameter list are read from this one list. Layers that
//! own nothing (ReLU, pools, identity, sums) are absent.

use crate::space::{CellKind, Pair, Primitive};

use super::{CellSpec, NetworkKind, NetworkSpec, ParamRole, ParamSpec, StemKind};

/// One layer that owns parameters.
pub(super) struct Layer {
    /// Name of the module in the reference, e.g. `cells.3.preprocess0.op.1`.
    pub name: String,
    pub kind: LayerKind,
    /// Whether it belongs to the auxiliary head.
    pub auxiliary: bool,
}

pub(super) enum LayerKind {
    /// A convolution without bias; `h` and `w` are those of its output.
    Conv { c_in: usize, c_out: usize, kernel: usize, groups: usize, h: usize, w: usize },
    /// An affine batch norm; `buffers` where running statistics are kept.
    Norm { c: usize, buffers: bool },
    /// A linear layer with bias.
    Linear { n_in: usize, n_out: usize },
}

/// One operation of a cell: the prefix of its names, and what it is.
pub(super) struct Op {
    pub prefix: String,
    pub primitive: Primitive,
    pub stride: usize,
}

impl CellSpec {
    /// Stride of an operation on `input`: 2 in a reduction cell's edges from nodes 0 and 1.
    pub fn stride(&self, input: usize) -> usize {
        if self.kind == CellKind::Reduce && input < 2 { 2 } else { 1 }
    }

    pub(super) fn op(&self, prefix: String, pair: Pair) -> Op {
        Op { prefix, primitive: pair.primitive, stride: self.stride(pair.input) }
    }
}

impl Layer {
    /// Multiply-adds for one image; batch norms are not counted.
    pub fn macs(&self) -> u64 {
        match self.kind {
            LayerKind::Conv { c_in, c_out, kernel, groups, h, w } => {
                (c_in / groups * kernel * kernel) as u64 * (c_out * h * w) as u64
            }
            LayerKind::Linear { n_in, n_out } => (n_in * n_out) as u64,
            LayerKind::Norm { .. } => 0,
        }
    }

    /// Its entries in a state dictionary: parameters, then buffers.
    pub fn params(&self) -> Vec<ParamSpec> {
        let entry = |suffix: &str, shape: &[usize], role| ParamSpec {
            name: format!("{}.{suffix}", self.name),
            shape: shape.to_vec(),
            role,
            auxiliary: self.auxiliary,
        };
        match self.kind {
            LayerKind::Conv { c_in, c_out, kernel, groups, .. } => {
                let fan_in = c_in / groups * kernel * kernel;
                let shape = [c_out, c_in / groups, kernel, kernel];
                vec![entry("weight", &shape, ParamRole::Weight { fan_in })]
            }
            LayerKind::Norm { c, buffers } => {
                let mut list =
                    vec![entry("weight", &[c], ParamRole::BnWeight), entry("bias", &[c], ParamRole::BnBias)];
                if buffers {
                    list.push(entry("running_mean", &[c], ParamRole::RunningMean));
                    list.push(entry("running_var", &[c], ParamRole::RunningVar));
                    list.push(entry("num_batches_tracked", &[], ParamRole::NumBatchesTracked));
                }
                list
            }
            LayerKind::Linear { n_in, n_out } => vec![
                entry("weight", &[n_out, n_in], ParamRole::Weight { fan_in: n_in }),
                entry("bias", &[n_out], ParamRole::Bias { fan_in: n_in }),
            ],
        }
    }
}

/// The layers of `spec` with the given operations in each cell.
pub(super) fn layers(spec: &NetworkSpec, ops: impl Fn(&CellSpec) -> Vec<Op>) -> Vec<Layer> {
    let mut b = Builder { list: Vec::new(), is_final: spec.kind == NetworkKind::Final, auxiliary: false };
    b.stem(spec);
    let cells = spec.cells();
    for cell in &cells {
        b.cell(cell, ops(cell));
    }
    if spec.auxiliary
        && let Some(cell) = cells.get(spec.auxiliary_cell())
    {
        b.auxiliary = true;
        b.auxiliary_head(spec, cell);
        b.auxiliary = false;
    }
    if let Some(last) = cells.last() {
        b.push("classifier".into(), LayerKind::Linear { n_in: last.c_out(), n_out: spec.n_classes });
    }
    b.list
}

struct Builder {
    list: Vec<Layer>,
    is_final: bool,
    auxiliary: bool,
}

/// Extents (height, width) of a layer's output.
type Size = (usize, usize);

impl Builder {
    fn push(&mut self, name: String, kind: LayerKind) {
        self.list.push(Layer { name, kind, auxiliary: self.auxiliary });
    }

    fn conv(&mut self, name: String, c_in: usize, c_out: usize, kernel: usize, (h, w): Size) {
        self.push(name, LayerKind::Conv { c_in, c_out, kernel, groups: 1, h, w });
    }

    fn depthwise(&mut self, name: String, c: usize, kernel: usize, (h, w): Size) {
        self.push(name, LayerKind::Conv { c_in: c, c_out: c, kernel, groups: c, h, w });
    }

    fn norm(&mut self, name: String, c: usize) {
        self.push(name, LayerKind::Norm { c, buffers: self.is_final });
    }

    /// A batch norm inside a cell: affine in the final network only.
    fn cell_norm(&mut self, name: String, c: usize) {
        if self.is_final {
            self.norm(name, c);
        }
    }

    fn stem(&mut self, spec: &NetworkSpec) {
        let c = spec.channels;
        let full = (spec.height, spec.width);
        match spec.stem {
            StemKind::Cifar => {
                self.conv("stem.0".into(), spec.in_channels, 3 * c, 3, full);
                self.norm("stem.1".into(), 3 * c);
            }
            StemKind::ImageNet => {
                let [half, quarter, eighth] = imagenet_sizes(full);
                self.conv("stem0.0".into(), spec.in_channels, c / 2, 3, half);
                self.norm("stem0.1".into(), c / 2);
                self.conv("stem0.3".into(), c / 2, c, 3, quarter);
                self.norm("stem0.4".into(), c);
                self.conv("stem1.1".into(), c, c, 3, eighth);
                self.norm("stem1.2".into(), c);
            }
        }
    }

    fn cell(&mut self, cell: &CellSpec, ops: Vec<Op>) {
        let prefix = format!("cells.{}", cell.index);
        let size = (cell.h_prev, cell.w_prev);
        let pre0 = format!("{prefix}.preprocess0");
        if cell.prev_reduction {
            self.factorized_reduce(&pre0, cell.c_prev_prev, cell.c, size);
        } else {
            self.relu_conv_bn(&pre0, cell.c_prev_prev, cell.c, size);
        }
        self.relu_conv_bn(&format!("{prefix}.preprocess1"), cell.c_prev, cell.c, size);
        for op in ops {
            // Stride 2 halves to the cell's size; nodes 2..=5 have that size already.
            self.op(&op, cell.c, (cell.h, cell.w));
        }
    }

    fn relu_conv_bn(&mut self, prefix: &str, c_in: usize, c_out: usize, size: Size) {
        self.conv(format!("{prefix}.op.1"), c_in, c_out, 1, size);
        self.cell_norm(format!("{prefix}.op.2"), c_out);
    }

    fn factorized_reduce(&mut self, prefix: &str, c_in: usize, c_out: usize, size: Size) {
        self.conv(format!("{prefix}.conv_1"), c_in, c_out / 2, 1, size);
        self.conv(format!("{prefix}.conv_2"), c_in, c_out / 2, 1, size);
        self.cell_norm(format!("{prefix}.bn"), c_out);
    }

    fn op(&mut self, op: &Op, c: usize, size: Size) {
        let prefix = &op.prefix;
        match op.primitive {
            Primitive::None | Primitive::MaxPool3x3 | Primitive::AvgPool3x3 => {}
            Primitive::SkipConnect if op.stride == 2 => self.factorized_reduce(prefix, c, c, size),
            Primitive::SkipConnect => {}
            Primitive::SepConv3x3 | Primitive::SepConv5x5 => {
                let kernel = if op.primitive == Primitive::SepConv3x3 { 3 } else { 5 };
                self.separable(prefix, 1, c, kernel, size);
                self.separable(prefix, 5, c, kernel, size);
            }
            Primitive::DilConv3x3 => self.separable(prefix, 1, c, 3, size),
            Primitive::DilConv5x5 => self.separable(prefix, 1, c, 5, size),
        }
    }

    /// Depthwise, pointwise, norm at positions `at..at + 3` of an op's sequence.
    fn separable(&mut self, prefix: &str, at: usize, c: usize, kernel: usize, size: Size) {
        self.depthwise(format!("{prefix}.op.{at}"), c, kernel, size);
        self.conv(format!("{prefix}.op.{}", at + 1), c, c, 1, size);
        self.cell_norm(format!("{prefix}.op.{}", at + 2), c);
    }

    /// The pool before it leaves 2x2 maps, whatever came in.
    fn auxiliary_head(&mut self, spec: &NetworkSpec, cell: &CellSpec) {
        self.conv("auxiliary_head.features.2".into(), cell.c_out(), 128, 1, (2, 2));
        self.norm("auxiliary_head.features.3".into(), 128);
        self.conv("auxiliary_head.features.5".into(), 128, 768, 2, (1, 1));
        if spec.stem == StemKind::Cifar {
            self.norm("auxiliary_head.features.6".into(), 768);
        }
        self.push("auxiliary_head.classifier".into(), LayerKind::Linear { n_in: 768, n_out: spec.n_classes });
    }
}

/// Sizes after the three stride-2 convolutions of the ImageNet stem (3x3, pad 1: halves, rounded up).
pub(super) fn imagenet_sizes((h, w): Size) -> [Size; 3] {
    let half = |(h, w): Size| (h.div_ceil(2), w.div_ceil(2));
    let first = half((h, w));
    let second = half(first);
    [first, second, half(second)]
}
