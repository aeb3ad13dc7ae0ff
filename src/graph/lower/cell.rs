//! One cell: preprocessing, then its operations level by level, then the nodes' sums.
//!
//! An operation is ready when its input node is: inputs of the cell are level 0, a node's level is one
//! more than the highest of its terms. Operations of one level and kind run as one group; their outputs
//! lie side by side in one tensor, so that one batch norm serves a whole level. The four nodes lie side
//! by side too: their concatenation is the cell's output and costs nothing.

use super::{Alias, Builder, Step};
use crate::graph::spec::{CellSpec, NetworkKind};
use crate::ops::batch_norm::Norm;
use crate::ops::depthwise::{self, Depthwise, Geometry};
use crate::ops::elementwise::{self, Term};
use crate::ops::pointwise::{self, Pointwise};
use crate::ops::pool::{self, Pool};
use crate::ops::subsample::Subsample;
use crate::ops::{Map, Param, Tensor, UNIFORM_BYTES, View};
use crate::space::{CellArch, CellKind, N_NODES, Primitive};

/// One operation of the child in a cell.
#[derive(Clone, Debug)]
struct Op {
    node: usize,
    input: usize,
    primitive: Primitive,
    /// How often its output counts in the node: 2 where a search child drew the pair twice.
    multiplier: f32,
    prefix: String,
    /// Position in the genotype, for drop-path.
    position: u32,
}

/// The tensors of a cell in the making.
struct Parts {
    c: u32,
    /// Preprocessed inputs, two blocks.
    s: Tensor,
    /// Outputs of the operations that have one of their own, a block each.
    o: Tensor,
    /// Nodes 2..=5.
    z: Tensor,
    stride: u32,
    cell: u32,
}

impl Builder<'_> {
    pub(super) fn cell(&mut self, spec: &CellSpec, prev_prev: Tensor, prev: Tensor) -> Tensor {
        let c = spec.c as u32;
        let n = self.request.batch;
        let inner = Map { n, h: spec.h_prev as u32, w: spec.w_prev as u32 };
        let outer = Map { n, h: spec.h as u32, w: spec.w as u32 };
        let name = format!("cells.{}", spec.index);
        let s = self.tensor(2 * c, inner);
        let first = if spec.prev_reduction {
            let name = format!("{name}.preprocess0");
            self.factorized(&name, prev_prev, (0, prev_prev.channels), (s, 0), c);
            self.norm_named(&format!("{name}.bn"))
        } else {
            self.preprocess(&format!("{name}.preprocess0"), prev_prev, s, 0);
            self.norm_named(&format!("{name}.preprocess0.op.2"))
        };
        self.preprocess(&format!("{name}.preprocess1"), prev, s, c);
        let second = self.norm_named(&format!("{name}.preprocess1.op.2"));
        self.norm(s, 0, c, vec![first, second]);

        let reduction = spec.kind == CellKind::Reduce;
        let stride = if reduction { 2 } else { 1 };
        let arch = *self.request.genotype.cell(spec.kind);
        let levels = node_levels(&arch);
        let ops = self.ops(spec, &arch);
        let own_output = |op: &Op| op.primitive != Primitive::SkipConnect || (reduction && op.input < 2);
        let mut order: Vec<Op> = ops.iter().filter(|op| own_output(op)).cloned().collect();
        order.sort_by_key(|op| (levels[op.input], op.primitive, op.node));
        let o = self.tensor((order.len() as u32).max(1) * c, outer);
        let z = self.tensor(N_NODES as u32 * c, outer);
        let parts = Parts { c, s, o, z, stride, cell: spec.index as u32 };

        for level in 0..=N_NODES {
            let here: Vec<usize> = (0..order.len()).filter(|&i| levels[order[i].input] == level).collect();
            let same = |a: &usize, b: &usize| self.fuse() && order[*a].primitive == order[*b].primitive;
            // The weights of a group are bound as one uniform.
            let most =
                (UNIFORM_BYTES / (u64::from(c) * u64::from(c.next_multiple_of(4)) * 4)).max(1) as usize;
            let groups: Vec<Vec<usize>> =
                here.chunk_by(same).flat_map(|group| group.chunks(most)).map(<[usize]>::to_vec).collect();
            for group in groups {
                let members: Vec<&Op> = group.iter().map(|&i| &order[i]).collect();
                self.group(&parts, level, &members, group[0] as u32 * c);
            }
            if let Some(&first) = here.first() {
                let norms =
                    here.iter().map(|&i| self.output_norm(&order[i], level == 0 && reduction)).collect();
                self.norm(o, first as u32 * c, c, norms);
            }
            for node in (0..N_NODES).filter(|&k| levels[k + 2] == level + 1) {
                self.node(&parts, node, &ops, &order);
            }
        }
        z
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
            Primitive::SkipConnect if strided => self.norm_named(&format!("{}.bn", op.prefix)),
            _ => self.norm_named(&format!("{}.op.3", op.prefix)),
        }
    }

    /// Operations of one primitive on blocks of the same tensor; outputs go to `o` from channel `first` on.
    fn group(&mut self, parts: &Parts, level: usize, ops: &[&Op], first: u32) {
        let (x, stride, before) = if level == 0 { (parts.s, parts.stride, 0) } else { (parts.z, 1, 2) };
        let mut sources: Vec<u32> = ops.iter().map(|op| (op.input - before) as u32 * parts.c).collect();
        let targets: Vec<u32> = (0..ops.len() as u32).map(|i| first + i * parts.c).collect();
        let names = |suffix: &str| -> Vec<String> {
            ops.iter().map(|op| format!("{}.{suffix}", op.prefix)).collect()
        };
        let kernel = |k, stride, dilation| Geometry { k, stride, dilation };
        match ops[0].primitive {
            Primitive::MaxPool3x3 | Primitive::AvgPool3x3 => {
                let max = ops[0].primitive == Primitive::MaxPool3x3;
                self.pool(parts, x, &mut sources, &targets, max, stride);
            }
            Primitive::SkipConnect => {
                for ((op, source), target) in ops.iter().zip(sources).zip(targets) {
                    self.factorized(&op.prefix, x, (source, parts.c), (parts.o, target), parts.c);
                }
            }
            Primitive::DilConv3x3 | Primitive::DilConv5x5 => {
                let k = if ops[0].primitive == Primitive::DilConv3x3 { 3 } else { 5 };
                let t = self.depthwise(x, &mut sources, kernel(k, stride, 2), parts.c, &names("op.1.weight"));
                self.pointwise(t, parts.c, parts.o, &targets, &names("op.2.weight"));
            }
            Primitive::SepConv3x3 | Primitive::SepConv5x5 => {
                let k = if ops[0].primitive == Primitive::SepConv3x3 { 3 } else { 5 };
                let a = self.depthwise(x, &mut sources, kernel(k, stride, 1), parts.c, &names("op.1.weight"));
                let b = self.tensor(a.channels, a.map);
                let blocks: Vec<u32> = (0..ops.len() as u32).map(|i| i * parts.c).collect();
                self.pointwise(a, parts.c, b, &blocks, &names("op.2.weight"));
                let norms = names("op.3").iter().map(|name| self.norm_named(name)).collect();
                self.norm(b, 0, parts.c, norms);
                let mut sources = blocks;
                let d = self.depthwise(b, &mut sources, kernel(k, 1, 1), parts.c, &names("op.5.weight"));
                self.pointwise(d, parts.c, parts.o, &targets, &names("op.6.weight"));
            }
            Primitive::None => {}
        }
    }

    /// ReLU → depthwise.
    fn depthwise(
        &mut self,
        x: Tensor,
        sources: &mut [u32],
        geometry: Geometry,
        c: u32,
        names: &[String],
    ) -> Tensor {
        let x = self.view(x, sources, c, true);
        let y = self.tensor(c * names.len() as u32, x.x.map.strided(geometry.stride));
        let task = |(&source, (w, v)): (&u32, (Param, Param))| depthwise::Task { source, w, v };
        let tasks = sources.iter().zip(self.pack(names)).map(task).collect();
        let op = Depthwise { geometry, channels: c, x, y, tasks };
        self.push(op.forward(&self.tuning()));
        self.tape.push(Step::Depthwise(op));
        y
    }

    /// conv 1x1 of all channels of x into all of y.
    pub(super) fn plain_pointwise(&mut self, x: Tensor, y: Tensor, name: &str) {
        let x = self.view(x, &mut [], x.channels, false);
        self.dense(x, y.channels, y, 0, name);
    }

    /// One pointwise convolution per block of x, C → C.
    fn pointwise(&mut self, x: Tensor, c: u32, y: Tensor, targets: &[u32], names: &[String]) {
        let x = self.view(x, &mut [], c, false);
        let places = self.pack(names);
        let tasks = targets.iter().zip(places).enumerate().map(|(i, (&target, (w, v)))| pointwise::Task {
            source: i as u32 * c,
            target,
            w,
            v,
            dz: 0,
            drop: 0,
        });
        let op = Pointwise { ci: c, co: c, x, y, tasks: tasks.collect() };
        self.dispatches.extend(op.forward(&self.tuning()));
        self.tape.push(Step::Pointwise(op));
    }

    /// ReLU → conv 1x1 of all of x into C channels of s.
    fn preprocess(&mut self, name: &str, x: Tensor, s: Tensor, target: u32) {
        let x = self.view(x, &mut [0], x.channels, true);
        self.dense(x, s.channels / 2, s, target, &format!("{name}.op.1.weight"));
    }

    fn dense(&mut self, x: View, co: u32, y: Tensor, target: u32, name: &str) {
        let (w, v) = self.pack(&[name.to_owned()])[0];
        let task = pointwise::Task { source: 0, target, w, v, dz: 0, drop: 0 };
        let op = Pointwise { ci: x.x.channels, co, x, y, tasks: vec![task] };
        self.dispatches.extend(op.forward(&self.tuning()));
        self.tape.push(Step::Pointwise(op));
    }

    /// ReLU → FactorizedReduce of `ci` channels of x from `source` on into `co` channels of y from `target` on.
    fn factorized(
        &mut self,
        name: &str,
        x: Tensor,
        (source, ci): (u32, u32),
        (y, target): (Tensor, u32),
        co: u32,
    ) {
        let mut sources = [source];
        let x = self.view(x, &mut sources, ci, true);
        let map = Map { n: x.x.map.n, h: x.x.map.h / 2, w: x.x.map.w / 2 };
        let halves = self.tensor(2 * ci, map);
        let op = Subsample { channels: ci, x, y: halves, sources: sources.to_vec() };
        self.push(op.forward());
        self.tape.push(Step::Subsample(op));
        let places = self.pack(&[1, 2].map(|i| format!("{name}.conv_{i}.weight")));
        let tasks = (0..).zip(places).map(|(i, (w, v))| pointwise::Task {
            source: i * ci,
            target: target + i * (co / 2),
            w,
            v,
            dz: 0,
            drop: 0,
        });
        let tasks = tasks.collect();
        let x = self.view(halves, &mut [], ci, false);
        let op = Pointwise { ci, co: co / 2, x, y, tasks };
        self.dispatches.extend(op.forward(&self.tuning()));
        self.tape.push(Step::Pointwise(op));
    }

    fn pool(
        &mut self,
        parts: &Parts,
        x: Tensor,
        sources: &mut [u32],
        targets: &[u32],
        max: bool,
        stride: u32,
    ) {
        let x = self.view(x, sources, parts.c, false);
        let bytes = Pool::index_bytes(parts.o, parts.c * targets.len() as u32);
        let index = max.then(|| self.array(bytes));
        let task = |(&source, &target): (&u32, &u32)| pool::Task { source, target, dz: 0, drop: 0 };
        let tasks = sources.iter().zip(targets).map(task).collect();
        let op = Pool { max, stride, channels: parts.c, x, y: parts.o, index, tasks };
        self.push(op.forward(&self.tuning()));
        self.tape.push(Step::Pool(op));
    }

    /// z_k = o_i(z_i) + o_j(z_j) (Eq. 1).
    fn node(&mut self, parts: &Parts, node: usize, ops: &[Op], order: &[Op]) {
        let c = parts.c;
        let target = node as u32 * c;
        let drops =
            |op: &Op| self.request.drop_path.then_some((8 * parts.cell + op.position) * self.request.batch);
        let mut terms = Vec::new();
        let mut identities = Vec::new();
        for op in ops.iter().filter(|op| op.node == node) {
            let at = order.iter().position(|other| other.node == node && other.position == op.position);
            let (x, first, drop) = match at {
                Some(i) => (parts.o, i as u32 * c, drops(op)),
                None if op.input < 2 => (parts.s, op.input as u32 * c, None),
                None => (parts.z, (op.input - 2) as u32 * c, None),
            };
            let seen = self.seen(x);
            match at {
                Some(_) => self.aliases.entry(seen.buf).or_default().push(Alias {
                    first,
                    channels: c,
                    tensor: parts.z,
                    channel: target,
                    multiplier: op.multiplier,
                    drop,
                }),
                None => identities.push(Step::Identity {
                    z: parts.z,
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
        self.push(elementwise::node(parts.z, target, c, &terms));
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
