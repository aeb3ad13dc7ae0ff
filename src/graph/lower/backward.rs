//! The backward pass: the tape in reverse, each gradient written by the first that contributes to it and
//! added to by the others, in a fixed order.

use super::head::features_range;
use super::{Alias, Builder, Features, Gradient, Mode, Step};
use crate::kernel::Buf;
use crate::ops::batch_norm::{BatchNorm, GradSource, Norm};
use crate::ops::elementwise::{self, ApplyBackward};
use crate::ops::pointwise::Pointwise;
use crate::ops::pool::Pool;
use crate::ops::reduce::Rows;
use crate::ops::{Array, GradView, Param, Tensor, View, head, reduce};
use crate::space::Paths;

/// Partial sums are added up when this many elements wait (1 MiB).
const FLUSH_ELEMENTS: u32 = 256 << 10;

impl Builder<'_> {
    pub(super) fn backward(&mut self) {
        let tape = std::mem::take(&mut self.tape);
        for step in tape.into_iter().rev() {
            self.step_back(step);
            if self.partial.is_some_and(|(_, elements)| elements > FLUSH_ELEMENTS) {
                self.flush();
            }
        }
        self.flush();
    }

    fn step_back(&mut self, step: Step) {
        let tuning = self.tuning();
        match step {
            Step::Loss { n, k, logits, dlogits, weight } => {
                let (labels, smoothing) = (self.labels(), self.label_smoothing());
                let scale = weight / n as f32;
                self.push(head::cross_entropy_backward(n, k, logits, labels, dlogits, scale, smoothing));
            }
            Step::Linear { op, x, dlogits } => {
                if self.wants_weights() {
                    let (partial, first) = self.partial(op.k * op.c + op.k);
                    self.push(op.backward_weight(features_range(x), dlogits, partial));
                    self.reduction(first, 1, 0, op.k * op.c, op.weight);
                    self.reduction(first + op.k * op.c, 1, 0, op.k, op.bias);
                }
                let dx = match x {
                    Features::Pooled(pooled) => {
                        let dpooled = self.array(pooled.bytes);
                        self.array_gradients.insert(pooled.buf, dpooled);
                        dpooled.range()
                    }
                    Features::Maps(maps) => {
                        self.mark(maps, 0, maps.channels);
                        self.gradient(maps).range()
                    }
                };
                self.push(op.backward_data(dlogits, dx));
            }
            Step::GlobalPool { x, pooled, first } => {
                let dx = self.gradient(x);
                let add = self.is_written(x, 0);
                if let Some(dpooled) = self.array_gradients.get(&pooled.buf).copied() {
                    let view = View { x, coefs: None, relu: false };
                    self.push(head::global_pool_backward(&view, dpooled, dx, add, first));
                }
                self.mark(x, 0, x.channels);
            }
            Step::WindowPool(op) => {
                let (dy, dx, add) = (self.gradient(op.y), self.gradient(op.x), self.is_written(op.x, 0));
                self.push(op.backward(dy, dx, add));
                self.mark(op.x, 0, op.x.channels);
            }
            Step::Conv { op, data_gradient } => {
                let g = self.grad_view(op.y);
                if self.wants_weights() {
                    let (elements, chunks) = (op.elements(), op.chunks());
                    let (partial, first) = self.partial(elements * chunks);
                    self.push(op.backward_weight(&g, partial));
                    self.reduction_rows(first, chunks, elements, elements, op.v, op.rows());
                }
                if data_gradient {
                    let (dx, add) = (self.gradient(op.x.x), self.is_written(op.x.x, 0));
                    self.dispatches.extend(op.backward_data(&g, dx, add));
                    self.mark(op.x.x, 0, op.x.x.channels);
                }
            }
            Step::Depthwise(op) => {
                let dy = self.gradient(op.y);
                if self.wants_weights() {
                    let (elements, chunks) = (op.elements(), op.chunks(&tuning));
                    let (partial, first) = self.partial(elements * chunks);
                    self.push(op.backward_weight(dy, partial, &tuning));
                    let each = elements / op.tasks.len() as u32;
                    for (i, task) in op.tasks.iter().enumerate() {
                        self.reduction(first + i as u32 * each, chunks, elements, each, task.v);
                    }
                }
                let dx = self.gradient(op.x.x);
                let dispatches = op.backward_data(dy, dx, |s| self.is_written(op.x.x, s), &tuning);
                self.dispatches.extend(dispatches);
                for task in &op.tasks {
                    self.mark(op.x.x, task.source, op.channels);
                }
            }
            Step::Pointwise(op) => self.pointwise_back(op),
            Step::Pool(op) => self.pool_back(op),
            Step::Subsample(op) => {
                let (dy, dx) = (self.gradient(op.y), self.gradient(op.x.x));
                let dispatch = op.backward(dy, dx, |s| self.is_written(op.x.x, s));
                self.push(dispatch);
                for &source in &op.sources {
                    self.mark(op.x.x, source, op.channels);
                }
            }
            Step::Norm(op) => self.norm_back(&op),
            Step::Apply { view, y, blocks, channels } => {
                let dy = self.gradient(y);
                for (from, to) in blocks {
                    self.apply_back(view, dy, ApplyBackward { from, to, channels, accumulate: false });
                }
            }
            Step::Identity { z, from, x, to, channels, scale } => {
                let (dz, dx, add) = (self.gradient(z), self.gradient(x), self.is_written(x, to));
                self.push(elementwise::pass_back(dz, from, dx, to, channels, scale, add));
                self.mark(x, to, channels);
            }
            Step::Mix { op, identities } => self.mix_back(&op, identities),
        }
    }

    /// Whether gradients of weights are wanted, and not only what leads to those of factors.
    fn wants_weights(&self) -> bool {
        self.request.mode == Mode::Train
    }

    fn pointwise_back(&mut self, mut op: Pointwise) {
        let tuning = self.tuning();
        let g = self.grad_view(op.y);
        for task in &mut op.tasks {
            (task.dz, task.drop) = self.grad_channel(op.y, task.target);
        }
        if self.wants_weights() {
            let (elements, chunks) = (op.elements(), op.chunks(&tuning));
            let (partial, first) = self.partial(elements * chunks);
            self.push(op.backward_weight(&g, partial, &tuning));
            for (i, task) in op.tasks.iter().enumerate() {
                let first = first + i as u32 * op.per_task();
                self.reduction_rows(first, chunks, elements, op.per_task(), task.v, op.rows());
            }
        }
        let dx = self.gradient(op.x.x);
        let dispatches = op.backward_data(&g, dx, |s| self.is_written(op.x.x, s), &tuning);
        self.dispatches.extend(dispatches);
        for task in &op.tasks {
            self.mark(op.x.x, task.source, op.ci);
        }
    }

    fn pool_back(&mut self, mut op: Pool) {
        let g = self.grad_view(op.y);
        for task in &mut op.tasks {
            (task.dz, task.drop) = self.grad_channel(op.y, task.target);
        }
        let dx = self.gradient(op.x.x);
        let dispatch = op.backward(&g, dx, |s| self.is_written(op.x.x, s), &self.tuning());
        self.push(dispatch);
        for task in &op.tasks {
            self.mark(op.x.x, task.source, op.channels);
        }
    }

    fn norm_back(&mut self, op: &BatchNorm) {
        let seen = self.seen(op.x);
        let channels = |i: usize| op.first + i as u32 * op.block;
        let aliased = self.alias(seen, op.first).copied();
        let sources: Vec<GradSource> = (0..op.blocks.len())
            .map(|i| match self.alias(seen, channels(i)) {
                Some(a) => {
                    GradSource { channel: a.channel, multiplier: a.multiplier, drop: a.drop.unwrap_or(0) }
                }
                None => GradSource { channel: channels(i), multiplier: 1.0, drop: 0 },
            })
            .collect();
        let dz = match aliased {
            Some(a) => self.gradient(a.tensor),
            None => {
                let dz = self.gradient(seen);
                for i in 0..op.blocks.len() {
                    // Nothing reads this block: its gradient is zero.
                    if !self.is_written(seen, channels(i)) {
                        self.push(elementwise::clear(dz, channels(i), op.block));
                        self.mark(seen, channels(i), op.block);
                    }
                }
                dz
            }
        };
        let grad_coefs = match self.grad_coefs.get(&op.x.buf) {
            Some(array) => *array,
            None => self.coefs_array(op.x.channels),
        };
        self.grad_coefs.insert(op.x.buf, grad_coefs);
        let drop = aliased.and_then(|a| a.drop).map(|_| self.drop_factors());
        let g = GradView { dz, bn: Some(grad_coefs), drop };

        let affine = self.wants_weights() && op.blocks.iter().any(|b| matches!(b, Norm::Affine { .. }));
        let dparams = if affine {
            let (dparams, first) = self.partial(2 * op.channels());
            for (i, block) in (0..).zip(&op.blocks) {
                if let Norm::Affine { gamma, beta, .. } = block {
                    self.reduction(first + i * op.block, 1, 0, op.block, *gamma);
                    self.reduction(first + op.channels() + i * op.block, 1, 0, op.block, *beta);
                }
            }
            dparams
        } else {
            self.array(op.dparams_bytes())
        };
        let partial = self.array(op.partial_bytes());
        let tuning = self.tuning();
        self.dispatches.extend(op.backward(&g, &sources, partial, dparams, &tuning));
        if self.stored_dy() {
            // Not in place: several operations may read one dz.
            let dx = match self.stored.get(&op.x.buf) {
                Some(dx) => *dx,
                None => self.tensor(op.x.channels, op.x.map),
            };
            self.stored.insert(op.x.buf, dx);
            self.push(op.backward_apply(&g, &sources, dx));
        }
    }

    /// One block of the gradient of a view made real.
    fn apply_back(&mut self, view: View, dy: Tensor, mut at: ApplyBackward) {
        at.accumulate = self.is_written(view.x, at.from);
        let dx = self.gradient(view.x);
        self.push(elementwise::apply_backward(&view, dy, dx, at));
        self.mark(view.x, at.from, at.channels);
    }

    /// The gradient tensor of x: of what its consumers see.
    pub(super) fn gradient(&mut self, x: Tensor) -> Tensor {
        if let Some(gradient) = self.gradients.get(&x.buf) {
            return gradient.tensor;
        }
        let tensor = self.tensor(x.channels, x.map);
        self.gradients.insert(x.buf, Gradient { tensor, written: vec![false; x.channels as usize] });
        tensor
    }

    pub(super) fn is_written(&self, x: Tensor, channel: u32) -> bool {
        self.gradients.get(&x.buf).is_some_and(|g| g.written[channel as usize])
    }

    pub(super) fn mark(&mut self, x: Tensor, first: u32, channels: u32) {
        self.gradient(x);
        if let Some(g) = self.gradients.get_mut(&x.buf) {
            g.written[first as usize..(first + channels) as usize].fill(true);
        }
    }

    fn alias(&self, x: Tensor, channel: u32) -> Option<&Alias> {
        let list = self.aliases.get(&x.buf)?;
        list.iter().find(|a| (a.first..a.first + a.channels).contains(&channel))
    }

    /// How the producer of y reads its gradient.
    fn grad_view(&mut self, y: Tensor) -> GradView {
        if let Some(dy) = self.stored.get(&y.buf) {
            return GradView { dz: *dy, bn: None, drop: None };
        }
        let bn = self.grad_coefs.get(&y.buf).copied();
        match self.aliases.get(&y.buf).and_then(|a| a.first().copied()) {
            Some(a) => {
                GradView { dz: self.gradient(a.tensor), bn, drop: a.drop.map(|_| self.drop_factors()) }
            }
            None => GradView { dz: self.gradient(y), bn, drop: None },
        }
    }

    /// The channel of the gradient tensor that belongs to `channel` of y, and its first drop-path factor.
    fn grad_channel(&self, y: Tensor, channel: u32) -> (u32, u32) {
        match self.alias(y, channel).filter(|_| !self.stored.contains_key(&y.buf)) {
            Some(a) => (a.channel + channel - a.first, a.drop.unwrap_or(0)),
            None => (channel, 0),
        }
    }

    /// Whether batch norm's backward is stored before it is read.
    fn stored_dy(&self) -> bool {
        !self.fuse() || self.tuning().stored_dy == 1
    }

    pub(super) fn drop_factors(&self) -> Array {
        if let Paths::All(primitives) = self.request.paths {
            return self.factors(primitives);
        }
        let count = 8 * self.request.spec.layers as u64 * u64::from(self.request.batch);
        Array { buf: Buf::DropPath, offset_bytes: 0, bytes: (count * 4).next_multiple_of(16) }
    }

    /// Room for `elements` partial sums, and where they start in their array.
    pub(super) fn partial(&mut self, elements: u32) -> (Array, u32) {
        let most = self.request.lowering.page_bytes / 4;
        if self.partial.is_some_and(|(_, len)| u64::from(len + elements.next_multiple_of(64)) > most) {
            self.flush();
        }
        let (id, len) = match self.partial {
            Some(there) => there,
            None => {
                self.sizes.push(0);
                (self.sizes.len() as u32 - 1, 0)
            }
        };
        let end = len + elements.next_multiple_of(64);
        self.partial = Some((id, end));
        self.sizes[id as usize] = u64::from(end) * 4;
        let bytes = u64::from(elements.next_multiple_of(4)) * 4;
        (Array { buf: Buf::Tensor(id), offset_bytes: u64::from(len) * 4, bytes }, len)
    }

    fn reduction(&mut self, first: u32, chunks: u32, stride: u32, elements: u32, target: Param) {
        self.reductions.push(reduce::Task { first, chunks, stride, elements, target, rows: None });
    }

    /// The same for some columns of the target.
    fn reduction_rows(
        &mut self,
        first: u32,
        chunks: u32,
        stride: u32,
        elements: u32,
        target: Param,
        rows: Rows,
    ) {
        let rows = (rows.len < rows.pitch).then_some(rows);
        self.reductions.push(reduce::Task { first, chunks, stride, elements, target, rows });
    }

    /// The same for the factor of path `number`: the sum of neighbours.
    pub(super) fn factor_reduction(&mut self, first: u32, chunks: u32, number: u32) {
        self.reduction(first, chunks, 1, 1, Param { offset: number, len: 1 });
    }

    /// Adds the waiting partial sums to the accumulated gradient.
    fn flush(&mut self) {
        let tasks = std::mem::take(&mut self.reductions);
        if let Some((id, elements)) = self.partial.take() {
            let partial = Array { buf: Buf::Tensor(id), offset_bytes: 0, bytes: u64::from(elements) * 4 };
            let buf = if self.wants_weights() { Buf::Grad } else { Buf::MixGrad };
            self.dispatches.extend(reduce::accumulate_into(buf, partial, &tasks));
        }
    }
}
