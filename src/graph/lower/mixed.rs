//! The mixed cell: all paths of the search parent at once, each with its factor (Eq. 2).
//!
//! It is a cell whose operations are all of them. Their number of the factor is
//! (kind · 14 + edge) · P + p for the p-th of P primitives. A node's terms are summed by tensor; batch norm's
//! backward reads a node's gradient times the factor, as with drop-path.

use super::cell::{Op, Parts, Placed};
use super::{Alias, Builder, Mode, Step};
use crate::graph::spec::CellSpec;
use crate::kernel::Buf;
use crate::ops::mix::{Mix, Term};
use crate::ops::{Array, elementwise};
use crate::space::{N_EDGES, N_KINDS, N_NODES, Pair, Primitive, edge};

/// Levels of nodes 0..=5 where each node reads all earlier ones.
pub(super) const LEVELS: [usize; N_NODES + 2] = [0, 0, 1, 2, 3, 4];

impl Builder<'_> {
    /// Every operation of a cell but `none`, which adds nothing.
    pub(super) fn all_ops(&self, spec: &CellSpec, primitives: &[Primitive]) -> Vec<Op> {
        let mut ops = Vec::new();
        for node in 0..N_NODES {
            for input in 0..node + 2 {
                for (p, &primitive) in primitives.iter().enumerate() {
                    if primitive == Primitive::None {
                        continue;
                    }
                    let pair = Pair { input, primitive };
                    ops.push(Op {
                        node,
                        input,
                        primitive,
                        multiplier: 1.0,
                        prefix: self.request.spec.op_prefix(spec.index, node, 0, pair),
                        position: (edge(node, input) * primitives.len() + p) as u32,
                    });
                }
            }
        }
        ops
    }

    /// The factors of all paths, f32 \[kinds · edges · P\]\[N\].
    pub(super) fn factors(&self, primitives: &[Primitive]) -> Array {
        let count = (N_KINDS * N_EDGES * primitives.len()) as u64 * u64::from(self.request.batch);
        Array { buf: Buf::Mix, offset_bytes: 0, bytes: (count * 4).next_multiple_of(16) }
    }

    /// z_k = Σ factor · o(z_i) over all inputs i < k and all primitives o.
    pub(super) fn mixed_node(
        &mut self,
        parts: &Parts,
        node: usize,
        ops: &[Op],
        placed: &[Placed],
        primitives: &[Primitive],
    ) {
        let c = parts.c;
        let (z, target) = parts.z.at(node as u32 * c);
        let kind = parts.kind.index() * N_EDGES * primitives.len();
        // By tensor, those without a batch norm of their own apart.
        let mut sums: Vec<(Mix, bool)> = Vec::new();
        for op in ops.iter().filter(|op| op.node == node) {
            let stored = placed.iter().find(|p| p.op.node == node && p.op.position == op.position);
            let (x, first) = stored.map_or_else(|| parts.input(op.input), |p| (p.y, p.first));
            let seen = self.seen(x);
            let term = Term { source: first, number: kind as u32 + op.position };
            if stored.is_some() {
                self.aliases.entry(seen.buf).or_default().push(Alias {
                    first,
                    channels: c,
                    tensor: z,
                    channel: target,
                    multiplier: 1.0,
                    drop: Some(term.number * self.request.batch),
                });
            }
            match sums.iter_mut().find(|(mix, _)| mix.x == seen) {
                Some((mix, _)) => mix.terms.push(term),
                None => {
                    let coefs = self.coefs.get(&seen.buf).copied();
                    let factors = self.factors(primitives);
                    let mix = Mix { x: seen, coefs, z, target, channels: c, terms: vec![term], factors };
                    sums.push((mix, stored.is_none()));
                }
            }
        }
        if sums.is_empty() {
            self.push(elementwise::node(z, target, c, &[]));
        }
        for (i, (op, identities)) in sums.into_iter().enumerate() {
            self.push(op.forward(i > 0));
            self.tape.push(Step::Mix { op, identities });
        }
    }

    pub(super) fn mix_back(&mut self, op: &Mix, identities: bool) {
        let dz = self.gradient(op.z);
        if self.request.mode == Mode::Factors {
            let each = op.partials();
            let (partial, first) = self.partial(each * op.terms.len() as u32);
            self.push(op.backward_factors(dz, partial));
            for (i, term) in (0..).zip(&op.terms) {
                self.factor_reduction(first + i * each, each, term.number);
            }
        }
        if identities {
            let dx = self.gradient(op.x);
            for (i, term) in op.terms.iter().enumerate() {
                let add = self.is_written(op.x, term.source);
                self.push(op.pass_back(i, dz, dx, add));
                self.mark(op.x, term.source, op.channels);
            }
        }
    }
}
