//! A network of cells, but for its architecture, and its architecture → its layers.

use super::{NetworkKind, NetworkSpec, StemKind};
use crate::network::{Builder, Net, Shape, Term, Window};
use crate::space::primitive::factorized_reduce;
use crate::space::{CellKind, Genotype, N_EDGES, N_KINDS, N_NODES, N_SLOTS, Pair, Paths, Primitive, edge};

impl NetworkSpec {
    /// The layers of a child or of the genotype's network, or, with all paths, of the mixed network.
    pub fn net(&self, paths: Paths<'_>) -> Net {
        match paths {
            Paths::Child(genotype) => self.build(|b, cell, nodes| self.nodes(b, cell, genotype, nodes)),
            Paths::All(primitives) => {
                let mut net = self.build(|b, cell, nodes| mixed_nodes(b, cell, primitives, nodes));
                net.n_factors = N_KINDS * N_EDGES * primitives.len();
                net
            }
        }
    }

    /// The network whose cells get their nodes 2 to 5 from `nodes`.
    fn build(&self, mut nodes: impl FnMut(&mut Builder, &Cell, &mut Vec<usize>)) -> Net {
        let is_final = self.kind == NetworkKind::Final;
        let mut b = Builder::new(self.image(), is_final);
        let (mut s0, mut s1) = self.stem(&mut b);
        let (mut c, mut reduced) = (self.channels, self.stem == StemKind::ImageNet);
        let mut auxiliary = None;
        for index in 0..self.layers {
            let kind = if self.is_reduction(index) { CellKind::Reduce } else { CellKind::Normal };
            c *= if kind == CellKind::Reduce { 2 } else { 1 };
            b.next_block();
            let cell = Cell { index, kind, c, is_final };
            let out = cell.add(&mut b, [s0, s1], reduced, &mut nodes);
            if self.auxiliary && index == self.auxiliary_cell() {
                auxiliary = Some(out);
            }
            (s0, s1, reduced) = (s1, out, kind == CellKind::Reduce);
        }
        // Registered behind all cells, wherever it is attached.
        let auxiliary = auxiliary.map(|x| b.auxiliary(x, |b| self.auxiliary_head(b, x)));
        b.next_block();
        let pooled = b.global_pool("global_pooling", s1);
        let logits = b.linear("classifier", pooled, self.n_classes);
        let mut net = b.finish(logits, auxiliary);
        net.n_drops = N_NODES * N_SLOTS * self.layers;
        net
    }

    /// What cell 0 reads.
    fn stem(&self, b: &mut Builder) -> (usize, usize) {
        let c = self.channels;
        let conv = |b: &mut Builder, x, c, stride, name: &str, norm: &str| {
            let y = b.conv(name, x, c, Window::same(3, stride, 1));
            b.norm(norm, y, true)
        };
        match self.stem {
            StemKind::Cifar => {
                let s = conv(b, 0, 3 * c, 1, "stem.0", "stem.1");
                let s = b.joint(s);
                (s, s)
            }
            StemKind::ImageNet => {
                let half = conv(b, 0, c / 2, 2, "stem0.0", "stem0.1");
                let half = b.relu(half);
                let s0 = conv(b, half, c, 2, "stem0.3", "stem0.4");
                let s0 = b.joint(s0);
                let quarter = b.relu(s0);
                let s1 = conv(b, quarter, c, 2, "stem1.1", "stem1.2");
                (s0, b.joint(s1))
            }
        }
    }

    /// One operation per slot; in a search child a pair drawn twice is one operation that counts twice.
    fn nodes(&self, b: &mut Builder, cell: &Cell, genotype: &Genotype, nodes: &mut Vec<usize>) {
        for (node, slots) in genotype.cell(cell.kind).iter().enumerate() {
            let mut terms: Vec<(usize, Term)> = Vec::new();
            let mut drawn: Vec<Pair> = Vec::new();
            for (slot, &pair) in slots.iter().enumerate() {
                if let (NetworkKind::Search, Some(at)) = (self.kind, drawn.iter().position(|p| *p == pair)) {
                    terms[at].1.times += 1;
                    continue;
                }
                let prefix = self.op_prefix(cell.index, node, slot, pair);
                let x = nodes[pair.input];
                let Some(y) = cell.op(b, &prefix, pair, x) else { continue };
                drawn.push(pair);
                let row = (cell.index * N_NODES + node) * N_SLOTS + slot;
                let drop = (cell.is_final && y != x).then_some(row);
                terms.push((y, Term { times: 1, drop, factor: None }));
            }
            nodes.push(cell.sum(b, node, terms, nodes[0]));
        }
    }

    /// ReLU, average pool to 2x2, conv 1x1 → 128, BN, ReLU, conv 2x2 → 768, BN (CIFAR), ReLU, linear.
    fn auxiliary_head(&self, b: &mut Builder, x: usize) -> usize {
        // The presets' maps are 8x8 (CIFAR) and 7x7 (ImageNet); any other size is pooled adaptively.
        let Shape { h, w, .. } = b.shape(x);
        let window = match (self.stem, h, w) {
            (StemKind::Cifar, 8, 8) => Some(3),
            (StemKind::ImageNet, 7, 7) => Some(2),
            _ => None,
        };
        let y = b.relu(x);
        let y = b.pool_to_2x2("auxiliary_head.features.1", y, window);
        let y = b.conv("auxiliary_head.features.2", y, 128, Window::POINT);
        let y = b.norm("auxiliary_head.features.3", y, true);
        let y = b.relu(y);
        let mut y = b.conv("auxiliary_head.features.5", y, 768, Window { k: 2, ..Window::POINT });
        if self.stem == StemKind::Cifar {
            y = b.norm("auxiliary_head.features.6", y, true);
        }
        let y = b.relu(y);
        b.linear("auxiliary_head.classifier", y, self.n_classes)
    }
}

/// A cell in the making.
struct Cell {
    index: usize,
    kind: CellKind,
    c: usize,
    is_final: bool,
}

impl Cell {
    /// Both inputs preprocessed, nodes 2 to 5, and these side by side.
    fn add(
        &self,
        b: &mut Builder,
        [s0, s1]: [usize; 2],
        reduced: bool,
        nodes: &mut impl FnMut(&mut Builder, &Cell, &mut Vec<usize>),
    ) -> usize {
        let prefix = format!("cells.{}", self.index);
        let [name0, name1] = [0, 1].map(|i| format!("{prefix}.preprocess{i}"));
        let relu_conv_bn = |b: &mut Builder, x, name: &str| {
            let y = b.relu(x);
            let y = b.conv(format!("{name}.op.1"), y, self.c, Window::POINT);
            b.norm(format!("{name}.op.2"), y, self.is_final)
        };
        let first = if reduced {
            factorized_reduce(b, s0, &name0, self.c, self.is_final)
        } else {
            relu_conv_bn(b, s0, &name0)
        };
        let second = relu_conv_bn(b, s1, &name1);
        let mut values = vec![b.joint(first), b.joint(second)];
        b.chosen(|b| nodes(b, self, &mut values));
        b.concat(prefix, values[2..].to_vec())
    }

    /// An operation on layer `x`; `x` itself is the identity, nothing the zero operation.
    fn op(&self, b: &mut Builder, prefix: &str, pair: Pair, x: usize) -> Option<usize> {
        let stride = if self.kind == CellKind::Reduce && pair.input < 2 { 2 } else { 1 };
        pair.primitive.add(b, x, prefix, stride, !self.is_final)
    }

    /// Node `node` of 0..4; `input` is one of the cell's preprocessed inputs.
    fn sum(&self, b: &mut Builder, node: usize, terms: Vec<(usize, Term)>, input: usize) -> usize {
        let input = b.shape(input);
        let halve = |n: usize| if self.kind == CellKind::Reduce { n / 2 } else { n };
        let shape = Shape { c: self.c, h: halve(input.h), w: halve(input.w) };
        b.sum(format!("cells.{}.node{}", self.index, node + 2), terms, shape)
    }
}

/// Every primitive on every earlier node, each with its factor (Eq. 2): number (kind · 14 + edge) · P + p.
fn mixed_nodes(b: &mut Builder, cell: &Cell, primitives: &[Primitive], nodes: &mut Vec<usize>) {
    for node in 0..N_NODES {
        let mut terms = Vec::new();
        for input in 0..node + 2 {
            for (p, &primitive) in primitives.iter().enumerate() {
                let edge = edge(node, input);
                let prefix = edge_prefix(cell.index, edge, primitive);
                if let Some(y) = cell.op(b, &prefix, Pair { input, primitive }, nodes[input]) {
                    let factor = (cell.kind.index() * N_EDGES + edge) * primitives.len() + p;
                    terms.push((y, Term { times: 1, drop: None, factor: Some(factor) }));
                }
            }
        }
        nodes.push(cell.sum(b, node, terms, nodes[0]));
    }
}

/// Prefix of the names of a path of the search parent.
pub(super) fn edge_prefix(cell: usize, edge: usize, primitive: Primitive) -> String {
    format!("cells.{cell}._ops.{edge}._ops.{}", primitive.index())
}
