//! A network's description and genotype → its layers: stem, cells, primitives and heads in turn.

use super::chains::{Builder, Out};
use super::{Kind, Layer, Layers, Net, Stem};
use crate::reference::{Window, avg_pool};
use crate::space::{CellArch, CellKind, Genotype, Pair, Paths, Primitive};

/// The layers of `net` with the cells of `paths`.
pub(in crate::reference) fn build(net: &Net, paths: Paths<'_>) -> Layers {
    let mut b = Builder { kind: net.kind, list: vec![Layer::Images] };
    let (mut s0, mut s1) = match net.stem {
        Stem::Cifar => {
            let x = b.conv_bn((0, net.in_channels), 3 * net.channels, 1, "stem.0", "stem.1");
            (x, x)
        }
        Stem::ImageNet => {
            let c = net.channels;
            let x = b.conv_bn((0, net.in_channels), c / 2, 2, "stem0.0", "stem0.1");
            let x = b.relu(x);
            let s0 = b.conv_bn(x, c, 2, "stem0.3", "stem0.4");
            let x = b.relu(s0);
            (s0, b.conv_bn(x, c, 2, "stem1.1", "stem1.2"))
        }
    };
    let mut c = net.channels;
    let mut reduced = net.stem == Stem::ImageNet;
    let mut aux_logits = None;
    for cell in 0..net.layers {
        let reduce = cell == net.layers / 3 || cell == 2 * net.layers / 3;
        let kind = if reduce { CellKind::Reduce } else { CellKind::Normal };
        if reduce {
            c *= 2;
        }
        let out = b.cell(cell, kind, paths, [s0, s1], c, reduced);
        (s0, s1, reduced) = (s1, out, reduce);
        if net.auxiliary && cell == 2 * net.layers / 3 {
            aux_logits = Some(b.auxiliary_head(out, net));
        }
    }
    let x = b.push(Layer::GlobalPool { x: s1.0 });
    let logits = b.linear((x, s1.1), "classifier", net.classes);
    Layers { list: b.list, logits, aux_logits }
}

impl Builder {
    fn cell(
        &mut self,
        cell: usize,
        kind: CellKind,
        paths: Paths<'_>,
        inputs: [Out; 2],
        c: usize,
        after_reduction: bool,
    ) -> Out {
        let name0 = format!("cells.{cell}.preprocess0");
        let first = if after_reduction {
            self.factorized_reduce(inputs[0], c, &name0)
        } else {
            self.relu_conv_bn(inputs[0], c, &name0)
        };
        let second = self.relu_conv_bn(inputs[1], c, &format!("cells.{cell}.preprocess1"));
        let mut nodes = vec![first, second];
        match paths {
            Paths::Child(genotype) => self.nodes(cell, kind, genotype, c, &mut nodes),
            Paths::All(primitives) => self.mixed_nodes(cell, kind, primitives, c, &mut nodes),
        }
        let parts = nodes[2..].iter().map(|node| node.0).collect();
        (self.push(Layer::Concat { parts }), 4 * c)
    }

    /// Two terms each (Eq. 1).
    fn nodes(&mut self, cell: usize, kind: CellKind, genotype: &Genotype, c: usize, nodes: &mut Vec<Out>) {
        let arch: &CellArch = match kind {
            CellKind::Normal => &genotype.normal,
            CellKind::Reduce => &genotype.reduce,
        };
        for (node, slots) in arch.iter().enumerate() {
            let (mut terms, mut drop) = ([0; 2], [None; 2]);
            for (slot, pair) in slots.iter().enumerate() {
                let stride = if kind == CellKind::Reduce && pair.input < 2 { 2 } else { 1 };
                let op = 2 * node + slot;
                let name = match self.kind {
                    Kind::Search => search_op_name(cell, node, *pair),
                    Kind::Final => format!("cells.{cell}._ops.{op}"),
                };
                terms[slot] = self.primitive(pair.primitive, nodes[pair.input], stride, &name).0;
                let identity = pair.primitive == Primitive::SkipConnect && stride == 1;
                if self.kind == Kind::Final && !identity {
                    drop[slot] = Some((cell, op));
                }
            }
            nodes.push((self.push(Layer::Sum { terms, drop }), c));
        }
    }

    /// Every primitive on every earlier node, each with its factor (Eq. 2); factors are numbered by kind of
    /// cell, then by edge, node by node and input by input, then by primitive.
    fn mixed_nodes(
        &mut self,
        cell: usize,
        kind: CellKind,
        primitives: &[Primitive],
        c: usize,
        nodes: &mut Vec<Out>,
    ) {
        let n_edges = 2 + 3 + 4 + 5;
        let n_factors = 2 * n_edges * primitives.len();
        let mut factor = if kind == CellKind::Reduce { n_factors / 2 } else { 0 };
        for node in 0..4 {
            let mut terms = Vec::new();
            for (input, &x) in nodes.iter().enumerate() {
                let stride = if kind == CellKind::Reduce && input < 2 { 2 } else { 1 };
                for &primitive in primitives {
                    let name = search_op_name(cell, node, Pair { input, primitive });
                    terms.push((self.primitive(primitive, x, stride, &name).0, factor));
                    factor += 1;
                }
            }
            nodes.push((self.push(Layer::Mix { terms, n_factors }), c));
        }
    }

    fn primitive(&mut self, primitive: Primitive, (x, c): Out, stride: usize, name: &str) -> Out {
        match primitive {
            Primitive::None => (self.push(Layer::Zero { x, stride }), c),
            Primitive::MaxPool3x3 => {
                let y = self.push(Layer::MaxPool { x, stride });
                self.bn_after_pool((y, c))
            }
            Primitive::AvgPool3x3 => {
                let y = self.push(Layer::AvgPool { x, win: avg_pool::window(stride) });
                self.bn_after_pool((y, c))
            }
            Primitive::SkipConnect if stride == 1 => (x, c),
            Primitive::SkipConnect => self.factorized_reduce((x, c), c, name),
            Primitive::SepConv3x3 => self.sep_conv((x, c), 3, stride, name),
            Primitive::SepConv5x5 => self.sep_conv((x, c), 5, stride, name),
            Primitive::DilConv3x3 => self.dil_conv((x, c), 3, stride, name),
            Primitive::DilConv5x5 => self.dil_conv((x, c), 5, stride, name),
        }
    }

    fn auxiliary_head(&mut self, x: Out, net: &Net) -> usize {
        let (side, stride) = match net.stem {
            Stem::Cifar => (8, 3),
            Stem::ImageNet => (7, 2),
        };
        let (y, c) = self.relu(x);
        let y = self.push(Layer::AuxPool { x: y, side, stride });
        let y = self.pointwise((y, c), 128, "auxiliary_head.features.2");
        let y = self.affine_bn(y, "auxiliary_head.features.3");
        let y = self.relu(y);
        let win = Window { k: 2, stride: 1, pad: 0, dilation: 1 };
        let mut y = self.conv(y, 768, win, "auxiliary_head.features.5");
        if net.stem == Stem::Cifar {
            y = self.affine_bn(y, "auxiliary_head.features.6");
        }
        let y = self.relu(y);
        self.linear(y, "auxiliary_head.classifier", net.classes)
    }
}

/// The prefix of a path's parameters in the search parent: edges are numbered node by node, input by input.
fn search_op_name(cell: usize, node: usize, pair: Pair) -> String {
    let before: usize = (0..node).map(|n| 2 + n).sum();
    format!("cells.{cell}._ops.{}._ops.{}", before + pair.input, pair.primitive.index())
}
