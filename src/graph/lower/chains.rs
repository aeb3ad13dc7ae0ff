//! What operations and preprocessing consist of: a launch or two each, and their steps on the tape.

use super::wide::Wide;
use super::{Builder, Step};
use crate::ops::depthwise::{self, Depthwise, Geometry};
use crate::ops::pointwise::{self, Pointwise};
use crate::ops::pool::{self, Pool};
use crate::ops::subsample::Subsample;
use crate::ops::{Map, Param, Part, Tensor, View};

impl Builder<'_> {
    /// ReLU → depthwise.
    pub(super) fn depthwise(
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
        self.again(y.buf, false);
        self.dispatches.extend(op.forward(&self.tuning()));
        self.tape.push(Step::Depthwise(op));
        y
    }

    /// One pointwise convolution per block of x, C → C.
    pub(super) fn pointwise(&mut self, x: Tensor, c: u32, y: Tensor, targets: &[u32], names: &[String]) {
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
        let op = Pointwise { ci: c, part: Part::all(c), co: c, x, y, tasks: tasks.collect() };
        self.dispatches.extend(op.forward(&self.tuning()));
        self.tape.push(Step::Pointwise(op));
    }

    /// Each tensor of x through ReLU: its first channel in x, the view, its first channel in the view.
    pub(super) fn views(&mut self, x: &Wide) -> Vec<(u32, View, u32)> {
        let mut views = Vec::new();
        for (first, x) in x.parts() {
            views.push((first, self.view(x, &mut [0], x.channels, true), 0));
        }
        views
    }

    /// ReLU → conv 1x1 of all of x into `co` channels of y from `target` on.
    pub(super) fn preprocess(&mut self, name: &str, x: &Wide, (y, target): (Tensor, u32), co: u32) {
        let views: Vec<_> = self.views(x).into_iter().map(|(first, view, _)| (first, view)).collect();
        self.dense(&views, co, y, target, &format!("{name}.op.1.weight"));
    }

    /// conv 1x1 of views that follow each other in channels into `co` channels of y from `target` on.
    pub(super) fn dense(&mut self, xs: &[(u32, View)], co: u32, y: Tensor, target: u32, name: &str) {
        let (w, v) = self.pack(&[name.to_owned()])[0];
        let of = xs.iter().map(|(_, x)| x.x.channels).sum();
        for &(first, x) in xs {
            let task = pointwise::Task { source: 0, target, w, v, dz: 0, drop: 0 };
            let part = Part { first, of };
            let op = Pointwise { ci: x.x.channels, part, co, x, y, tasks: vec![task] };
            self.dispatches.extend(op.forward(&self.tuning()));
            self.tape.push(Step::Pointwise(op));
        }
    }

    /// FactorizedReduce of `ci` channels in all into `co` channels of y from `target` on. The channels are
    /// those of the views: (first of the `ci`, view, first in the view).
    pub(super) fn factorized(
        &mut self,
        name: &str,
        xs: &[(u32, View, u32)],
        ci: u32,
        (y, target): (Tensor, u32),
        co: u32,
    ) {
        let places = self.pack(&[1, 2].map(|i| format!("{name}.conv_{i}.weight")));
        let ends = xs.iter().skip(1).map(|(first, ..)| *first).chain([ci]);
        for (&(first, x, source), end) in xs.iter().zip(ends) {
            let channels = end - first;
            let map = Map { n: x.x.map.n, h: x.x.map.h / 2, w: x.x.map.w / 2 };
            let halves = self.tensor(2 * channels, map);
            self.again(halves.buf, true);
            let op = Subsample { channels, offsets: 2, x, y: halves, sources: vec![source] };
            self.push(op.forward());
            self.tape.push(Step::Subsample(op));
            let tasks = (0..).zip(&places).map(|(i, &(w, v))| pointwise::Task {
                source: i * channels,
                target: target + i * (co / 2),
                w,
                v,
                dz: 0,
                drop: 0,
            });
            let x = self.view(halves, &mut [], channels, false);
            let (part, tasks) = (Part { first, of: ci }, tasks.collect());
            let op = Pointwise { ci: channels, part, co: co / 2, x, y, tasks };
            self.dispatches.extend(op.forward(&self.tuning()));
            self.tape.push(Step::Pointwise(op));
        }
    }

    pub(super) fn pool(
        &mut self,
        x: Tensor,
        sources: &mut [u32],
        (y, c): (Tensor, u32),
        targets: &[u32],
        max: bool,
        stride: u32,
    ) {
        let x = self.view(x, sources, c, false);
        let bytes = Pool::index_bytes(y, c * targets.len() as u32);
        let index = max.then(|| self.array(bytes));
        if let Some(index) = index {
            // A launch writes both.
            self.again(index.buf, self.is_again(y.buf));
        }
        let task = |(&source, &target): (&u32, &u32)| pool::Task { source, target, dz: 0, drop: 0 };
        let tasks = sources.iter().zip(targets).map(task).collect();
        let op = Pool { max, stride, channels: c, x, y, index, tasks };
        self.push(op.forward(&self.tuning()));
        self.tape.push(Step::Pool(op));
    }
}
