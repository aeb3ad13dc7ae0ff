//! A network of cells and its architecture → its layers.

use super::primitive::factorized_reduce;
use super::{CellKind, Darts, Genotype, N_EDGES, N_KINDS, N_NODES, N_SLOTS, Pair, Primitive, StemKind, edge};
use crate::network::{Builder, Net, Shape, Term, Window};
use crate::space::{NetworkKind, NetworkSpec, Paths};

impl Darts {
    /// The layers of a child or of a final network, or of the mixed network of a search.
    pub(super) fn build(&self, paths: Paths<'_>, spec: &NetworkSpec) -> Net {
        let is_final = spec.kind == NetworkKind::Final;
        let mut b = Builder::new(spec.image(), is_final);
        let (mut s0, mut s1) = self.add_stem(&mut b, spec.channels);
        let (mut c, mut reduced) = (spec.channels, self.stem == StemKind::ImageNet);
        let mut auxiliary = None;
        for index in 0..self.layers {
            let kind = if self.is_reduction(index) { CellKind::Reduce } else { CellKind::Normal };
            c *= if kind == CellKind::Reduce { 2 } else { 1 };
            b.next_block();
            let cell = Cell { index, kind, c, is_final };
            let out = cell.add(&mut b, [s0, s1], reduced, |b, nodes| match paths {
                Paths::Child(alpha) => cell.nodes(b, &self.genotype(alpha), nodes),
                Paths::All => cell.mixed_nodes(b, &self.primitives, nodes),
            });
            if self.auxiliary && index == 2 * self.layers / 3 {
                auxiliary = Some(out);
            }
            (s0, s1, reduced) = (s1, out, kind == CellKind::Reduce);
        }
        // The parameters of the auxiliary head come after those of all cells, wherever the head is attached.
        let auxiliary = auxiliary.map(|x| b.auxiliary(x, |b| self.auxiliary_head(b, x, spec.n_classes)));
        b.next_block();
        let pooled = b.global_pool("global_pooling", s1);
        let logits = b.linear("classifier", pooled, spec.n_classes);
        let mut net = b.finish(logits, auxiliary);
        net.n_drops = N_NODES * N_SLOTS * self.layers;
        if paths == Paths::All {
            net.n_factors = N_KINDS * N_EDGES * self.primitives.len();
        }
        net
    }

    /// The two inputs of cell 0.
    fn add_stem(&self, b: &mut Builder, c: usize) -> (usize, usize) {
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

    /// ReLU, average pool to 2x2, conv 1x1 → 128, BN, ReLU, conv 2x2 → 768, BN (CIFAR), ReLU, linear.
    fn auxiliary_head(&self, b: &mut Builder, x: usize, n_classes: usize) -> usize {
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
        b.linear("auxiliary_head.classifier", y, n_classes)
    }
}

/// A cell that is being built.
struct Cell {
    index: usize,
    kind: CellKind,
    c: usize,
    is_final: bool,
}

impl Cell {
    /// Preprocesses both inputs, adds nodes 2 to 5 and concatenates these nodes.
    fn add(
        &self,
        b: &mut Builder,
        [s0, s1]: [usize; 2],
        reduced: bool,
        nodes: impl FnOnce(&mut Builder, &mut Vec<usize>),
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
        b.set_chosen(true);
        nodes(b, &mut values);
        b.set_chosen(false);
        b.concat(prefix, values[2..].to_vec())
    }

    /// Adds one operation per slot. In a search child a pair drawn twice is one operation whose result is added twice.
    fn nodes(&self, b: &mut Builder, genotype: &Genotype, nodes: &mut Vec<usize>) {
        for (node, slots) in genotype.cell(self.kind).iter().enumerate() {
            let mut terms: Vec<(usize, Term)> = Vec::new();
            let mut drawn: Vec<Pair> = Vec::new();
            for (slot, &pair) in slots.iter().enumerate() {
                let there = drawn.iter().position(|p| *p == pair).filter(|_| !self.is_final);
                if let Some(at) = there {
                    terms[at].1.times += 1;
                    continue;
                }
                let prefix = self.op_prefix(node, slot, pair);
                let x = nodes[pair.input];
                let Some(y) = self.op(b, &prefix, pair, x) else { continue };
                drawn.push(pair);
                let row = (self.index * N_NODES + node) * N_SLOTS + slot;
                let drop = (self.is_final && y != x).then_some(row);
                terms.push((y, Term { times: 1, drop, factor: None }));
            }
            nodes.push(self.sum(b, node, terms, nodes[0]));
        }
    }

    /// Adds an operation on layer `x`. The result is `x` itself for the identity and `None` for the zero operation.
    fn op(&self, b: &mut Builder, prefix: &str, pair: Pair, x: usize) -> Option<usize> {
        let stride = if self.kind == CellKind::Reduce && pair.input < 2 { 2 } else { 1 };
        pair.primitive.add(b, x, prefix, stride, !self.is_final)
    }

    /// Adds the sum of node `node` (0..4). `input` is one of the cell's preprocessed inputs.
    fn sum(&self, b: &mut Builder, node: usize, terms: Vec<(usize, Term)>, input: usize) -> usize {
        let input = b.shape(input);
        let halve = |n: usize| if self.kind == CellKind::Reduce { n / 2 } else { n };
        let shape = Shape { c: self.c, h: halve(input.h), w: halve(input.w) };
        b.sum(format!("cells.{}.node{}", self.index, node + 2), terms, shape)
    }

    /// Adds every primitive on every earlier node, multiplied by its factor (Eq. 2). Factor index = (kind · 14 + edge)
    /// · P + p.
    fn mixed_nodes(&self, b: &mut Builder, primitives: &[Primitive], nodes: &mut Vec<usize>) {
        for node in 0..N_NODES {
            let mut terms = Vec::new();
            for (input, &x) in nodes.iter().enumerate() {
                for (p, &primitive) in primitives.iter().enumerate() {
                    let edge = edge(node, input);
                    let prefix = self.edge_prefix(edge, primitive);
                    if let Some(y) = self.op(b, &prefix, Pair { input, primitive }, x) {
                        let factor = (self.kind.index() * N_EDGES + edge) * primitives.len() + p;
                        terms.push((y, Term { times: 1, drop: None, factor: Some(factor) }));
                    }
                }
            }
            nodes.push(self.sum(b, node, terms, nodes[0]));
        }
    }

    /// Prefix of the names of the operation in (`node`, `slot`). In a search child it is the prefix of the (edge,
    /// primitive), so that a pair drawn twice names one set of weights. In a final network every slot has its own
    /// prefix.
    fn op_prefix(&self, node: usize, slot: usize, pair: Pair) -> String {
        if self.is_final {
            return format!("cells.{}._ops.{}", self.index, node * N_SLOTS + slot);
        }
        self.edge_prefix(edge(node, pair.input), pair.primitive)
    }

    /// Prefix of the names of a path of the search parent.
    fn edge_prefix(&self, edge: usize, primitive: Primitive) -> String {
        format!("cells.{}._ops.{edge}._ops.{}", self.index, primitive.index())
    }
}
