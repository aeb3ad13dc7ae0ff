//! One cell: preprocessing, then its operations level by level, then the nodes' sums.
//!
//! An operation is ready when its input node is: inputs of the cell are level 0, a node's level is one
//! more than the highest of its terms. Operations of one level and kind run as one group; the outputs of a
//! level lie side by side in one tensor, so that one batch norm serves all of it. The four nodes lie side
//! by side too: their concatenation is the cell's output and costs nothing. Where a page of the arena is too
//! small for that, there are several tensors, and groups are of operations between the same two.

use super::wide::{Wide, even};
use super::{Alias, Builder, Step, mixed};
use crate::graph::spec::{CellSpec, NetworkKind};
use crate::ops::batch_norm::Norm;
use crate::ops::depthwise::Geometry;
use crate::ops::elementwise::{self, Term};
use crate::ops::{MAX_TASKS, Map, Tensor, UNIFORM_BYTES};
use crate::space::{CellArch, CellKind, N_NODES, Paths, Primitive};

/// One operation of the child in a cell.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub node: usize,
    pub input: usize,
    pub primitive: Primitive,
    /// How often its output counts in the node: 2 where a search child drew the pair twice.
    pub multiplier: f32,
    pub prefix: String,
    /// Position in the genotype, for drop-path; in a mixed cell the path's number.
    pub position: u32,
}

/// An operation whose output is stored: at which level it is ready, and where its output goes.
pub(super) struct Placed {
    pub op: Op,
    level: usize,
    pub y: Tensor,
    pub first: u32,
}

/// The tensors of a cell in the making.
pub(super) struct Parts {
    pub c: u32,
    /// Preprocessed inputs, two blocks.
    s: Wide,
    /// Nodes 2..=5.
    pub z: Wide,
    stride: u32,
    cell: u32,
    pub kind: CellKind,
}

impl Parts {
    /// The tensor and the first channel of node `input` of 0..=5.
    pub fn input(&self, input: usize) -> (Tensor, u32) {
        if input < 2 { self.s.at(input as u32 * self.c) } else { self.z.at((input as u32 - 2) * self.c) }
    }
}

impl Builder<'_> {
    /// Both inputs of a cell, preprocessed, in two blocks. One that is not given is there already.
    pub(super) fn inputs(&mut self, spec: &CellSpec, prev_prev: Option<&Wide>, prev: Option<&Wide>) -> Wide {
        let c = spec.c as u32;
        let name = format!("cells.{}", spec.index);
        let s = self.places(spec);
        let mut norms = [None, None];
        if let Some(x) = prev_prev {
            let name = format!("{name}.preprocess0");
            norms[0] = Some(if spec.prev_reduction {
                let views = self.views(x);
                self.factorized(&name, &views, x.channels(), s.at(0), c);
                self.norm_named(&format!("{name}.bn"))
            } else {
                self.preprocess(&name, x, s.at(0), c);
                self.norm_named(&format!("{name}.op.2"))
            });
        }
        if let Some(x) = prev {
            self.preprocess(&format!("{name}.preprocess1"), x, s.at(c), c);
            norms[1] = Some(self.norm_named(&format!("{name}.preprocess1.op.2")));
        }
        for (first, x) in s.parts() {
            let here = &norms[(first / c) as usize..][..(x.channels / c) as usize];
            let blocks: Vec<Norm> = here.iter().flatten().copied().collect();
            if !blocks.is_empty() {
                self.norm(x, 0, c, blocks);
            }
        }
        s
    }

    pub(super) fn cell(&mut self, spec: &CellSpec, s: Wide) -> Wide {
        let c = spec.c as u32;
        let outer = Map { n: self.request.batch, h: spec.h as u32, w: spec.w as u32 };
        let reduction = spec.kind == CellKind::Reduce;
        let stride = if reduction { 2 } else { 1 };
        let (levels, ops) = match self.request.paths {
            Paths::Child(genotype) => {
                let arch = genotype.cell(spec.kind);
                (node_levels(arch), self.ops(spec, arch))
            }
            Paths::All(primitives) => (mixed::LEVELS, self.all_ops(spec, primitives)),
        };
        let own_output = |op: &Op| op.primitive != Primitive::SkipConnect || (reduction && op.input < 2);
        let z = self.wide(N_NODES as u32 * c, c, outer);
        let parts = Parts { c, s, z, stride, cell: spec.index as u32, kind: spec.kind };
        let stored = ops.iter().filter(|op| own_output(op)).cloned().collect();
        let placed = self.outputs(stored, &parts, &levels, outer);

        for level in 0..=N_NODES {
            // Operations with one output tensor, one kind and one input tensor; their weights are bound as one
            // uniform.
            let most =
                (UNIFORM_BYTES / (u64::from(c) * u64::from(c.next_multiple_of(4)) * 4)).max(1) as usize;
            let same = |a: &&Placed, b: &&Placed| {
                let input = |p: &Placed| parts.input(p.op.input).0;
                self.fuse() && a.op.primitive == b.op.primitive && a.y == b.y && input(a) == input(b)
            };
            let here: Vec<&Placed> = placed.iter().filter(|p| p.level == level).collect();
            let groups: Vec<Vec<&Placed>> =
                here.chunk_by(same).flat_map(|group| group.chunks(most)).map(<[_]>::to_vec).collect();
            for group in groups {
                self.group(&parts, level, &group);
            }
            for output in here.chunk_by(|a, b| a.y == b.y) {
                let norms = output.iter().map(|p| self.output_norm(&p.op, level == 0 && reduction));
                let norms = norms.collect();
                self.norm(output[0].y, 0, c, norms);
            }
            for node in (0..N_NODES).filter(|&k| levels[k + 2] == level + 1) {
                match self.request.paths {
                    Paths::Child(_) => self.node(&parts, node, &ops, &placed),
                    Paths::All(primitives) => self.mixed_node(&parts, node, &ops, &placed, primitives),
                }
            }
        }
        parts.z
    }

    /// Places for the outputs of operations, in the order in which they run: a tensor for those of a level
    /// whose gradients come from one tensor, or several where a page is too small.
    fn outputs(&mut self, mut ops: Vec<Op>, parts: &Parts, levels: &[usize], map: Map) -> Vec<Placed> {
        let target = |op: &Op| parts.z.part_of(op.node as u32 * parts.c);
        let source = |op: &Op| match op.input {
            0 | 1 => parts.s.part_of(op.input as u32 * parts.c),
            node => parts.z.part_of((node as u32 - 2) * parts.c),
        };
        let key = |op: &Op| (levels[op.input], target(op), op.primitive, source(op), op.node);
        ops.sort_by_key(key);
        // One batch norm serves a tensor, whose coefficients are bound as one uniform.
        let coefs = (UNIFORM_BYTES / 16) as u32 / parts.c;
        let most = self.fit(parts.c, map).min(MAX_TASKS as u32).min(coefs.max(1));
        let mut placed = Vec::new();
        for side_by_side in ops.chunk_by(|a, b| key(a).0 == key(b).0 && target(a) == target(b)) {
            for some in side_by_side.chunks(even(side_by_side.len() as u32, most) as usize) {
                let y = self.tensor(some.len() as u32 * parts.c, map);
                let pool = |op: &Op| matches!(op.primitive, Primitive::MaxPool3x3 | Primitive::AvgPool3x3);
                self.again(y.buf, some.iter().all(pool));
                let place = |(first, op): (u32, &Op)| Placed {
                    op: op.clone(),
                    level: levels[op.input],
                    y,
                    first: first * parts.c,
                };
                placed.extend((0..).zip(some).map(place));
            }
        }
        placed
    }

    /// The operations of a cell, without `none`; in a search child a pair drawn twice is one operation.
    fn ops(&self, spec: &CellSpec, arch: &CellArch) -> Vec<Op> {
        let network = self.request.spec;
        let mut ops: Vec<Op> = Vec::new();
        for (node, slots) in arch.iter().enumerate() {
            for (slot, &pair) in slots.iter().enumerate() {
                let same = |op: &&mut Op| {
                    op.node == node && (op.input, op.primitive) == (pair.input, pair.primitive)
                };
                if pair.primitive == Primitive::None {
                    continue;
                }
                if let (NetworkKind::Search, Some(op)) = (network.kind, ops.iter_mut().find(same)) {
                    op.multiplier += 1.0;
                    continue;
                }
                ops.push(Op {
                    node,
                    input: pair.input,
                    primitive: pair.primitive,
                    multiplier: 1.0,
                    prefix: network.op_prefix(spec.index, node, slot, pair),
                    position: (2 * node + slot) as u32,
                });
            }
        }
        ops
    }

    fn output_norm(&self, op: &Op, strided: bool) -> Norm {
        match op.primitive {
            Primitive::MaxPool3x3 | Primitive::AvgPool3x3 => match self.request.spec.kind {
                NetworkKind::Search => Norm::Plain,
                NetworkKind::Final => Norm::Identity,
            },
            Primitive::SepConv3x3 | Primitive::SepConv5x5 => self.norm_named(&format!("{}.op.7", op.prefix)),
            Primitive::DilConv3x3 | Primitive::DilConv5x5 => self.norm_named(&format!("{}.op.3", op.prefix)),
            Primitive::SkipConnect if strided => self.norm_named(&format!("{}.bn", op.prefix)),
            // An identity and `none` store no output.
            Primitive::SkipConnect | Primitive::None => Norm::Identity,
        }
    }

    /// Operations of one primitive on blocks of the same tensor, with outputs in one tensor.
    fn group(&mut self, parts: &Parts, level: usize, ops: &[&Placed]) {
        let (c, y) = (parts.c, ops[0].y);
        let x = parts.input(ops[0].op.input).0;
        let stride = if level == 0 { parts.stride } else { 1 };
        let mut sources: Vec<u32> = ops.iter().map(|p| parts.input(p.op.input).1).collect();
        let targets: Vec<u32> = ops.iter().map(|p| p.first).collect();
        let names = |suffix: &str| -> Vec<String> {
            ops.iter().map(|p| format!("{}.{suffix}", p.op.prefix)).collect()
        };
        let kernel = |k, stride, dilation| Geometry { k, stride, dilation };
        let primitive = ops[0].op.primitive;
        match primitive {
            Primitive::MaxPool3x3 | Primitive::AvgPool3x3 => {
                let max = primitive == Primitive::MaxPool3x3;
                self.pool(x, &mut sources, (y, c), &targets, max, stride);
            }
            Primitive::SkipConnect => {
                for (placed, source) in ops.iter().zip(sources) {
                    let mut sources = [source];
                    let view = self.view(x, &mut sources, c, true);
                    let view = (0, view, sources[0]);
                    self.factorized(&placed.op.prefix, &[view], c, (y, placed.first), c);
                }
            }
            Primitive::DilConv3x3 | Primitive::DilConv5x5 => {
                let k = if primitive == Primitive::DilConv3x3 { 3 } else { 5 };
                let t = self.depthwise(x, &mut sources, kernel(k, stride, 2), c, &names("op.1.weight"));
                self.pointwise(t, c, y, &targets, &names("op.2.weight"));
            }
            Primitive::SepConv3x3 | Primitive::SepConv5x5 => {
                let k = if primitive == Primitive::SepConv3x3 { 3 } else { 5 };
                let a = self.depthwise(x, &mut sources, kernel(k, stride, 1), c, &names("op.1.weight"));
                let b = self.tensor(a.channels, a.map);
                let blocks: Vec<u32> = (0..ops.len() as u32).map(|i| i * c).collect();
                self.pointwise(a, c, b, &blocks, &names("op.2.weight"));
                let norms = names("op.3").iter().map(|name| self.norm_named(name)).collect();
                self.norm(b, 0, c, norms);
                let mut sources = blocks;
                let d = self.depthwise(b, &mut sources, kernel(k, 1, 1), c, &names("op.5.weight"));
                self.pointwise(d, c, y, &targets, &names("op.6.weight"));
            }
            Primitive::None => {}
        }
    }

    /// z_k = o_i(z_i) + o_j(z_j) (Eq. 1).
    fn node(&mut self, parts: &Parts, node: usize, ops: &[Op], placed: &[Placed]) {
        let c = parts.c;
        let (z, target) = parts.z.at(node as u32 * c);
        let drops =
            |op: &Op| self.request.drop_path.then_some((8 * parts.cell + op.position) * self.request.batch);
        let mut terms = Vec::new();
        let mut identities = Vec::new();
        for op in ops.iter().filter(|op| op.node == node) {
            let stored = placed.iter().find(|p| p.op.node == node && p.op.position == op.position);
            let ((x, first), drop) = match stored {
                Some(p) => ((p.y, p.first), drops(op)),
                None => (parts.input(op.input), None),
            };
            let seen = self.seen(x);
            match stored {
                Some(_) => self.aliases.entry(seen.buf).or_default().push(Alias {
                    first,
                    channels: c,
                    tensor: z,
                    channel: target,
                    multiplier: op.multiplier,
                    drop,
                }),
                None => identities.push(Step::Identity {
                    z,
                    from: target,
                    x: seen,
                    to: first,
                    channels: c,
                    scale: op.multiplier,
                }),
            }
            let coefs = self.coefs.get(&seen.buf).copied();
            let drop = drop.map(|first| (self.drop_factors(), first));
            terms.push(Term { x: seen, first, coefs, scale: op.multiplier, drop });
        }
        self.push(elementwise::node(z, target, c, &terms));
        self.tape.extend(identities);
    }
}

/// Levels of nodes 0..=5.
fn node_levels(arch: &CellArch) -> [usize; N_NODES + 2] {
    let mut levels = [0; N_NODES + 2];
    for (node, slots) in arch.iter().enumerate() {
        let inputs = slots.iter().filter(|p| p.primitive != Primitive::None).map(|p| levels[p.input]);
        levels[node + 2] = 1 + inputs.max().unwrap_or(0);
    }
    levels
}
