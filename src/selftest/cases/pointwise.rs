//! Pointwise convolution.

use super::{Case, Oracle};
use crate::ops::{Map, Part, Tuning, pointwise};
use crate::reference::{self, concat};
use crate::selftest::gradient::Gradient;
use crate::selftest::setup::{LONG_SUM, SUM, Setup, padded, sum};

#[derive(Debug)]
struct Pointwise {
    ci: u32,
    co: u32,
    n: u32,
    h: u32,
    w: u32,
    n_tasks: u32,
    /// Channels and quads per invocation; then the side of the weight gradient's tile.
    tc: u32,
    tq: u32,
    tile: u32,
    /// Loads that are under way at once.
    unroll: u32,
    norm: bool,
    relu: bool,
    bn: bool,
    drop: bool,
    /// Whether dx of the block at channel 0 already holds something.
    add: bool,
}

impl Oracle for Pointwise {
    fn setup(&self, s: &mut Setup) {
        let Self { ci, co, n, h, w, n_tasks, .. } = *self;
        let map = Map { n, h, w };
        let tuning = Tuning {
            pointwise_channels: self.tc,
            pointwise_quads: self.tq,
            weight_tile: self.tile,
            unroll: self.unroll,
            ..Tuning::default()
        };
        let data = s.grid_t4((n_tasks + 1) * ci, map);
        let (x, normed, seen) = s.view(&data, self.norm, self.relu);
        let lists: Vec<Vec<f64>> = (0..n_tasks).map(|_| s.noise(co * ci)).collect();
        let params = s.packed_reversed(&lists, ci);
        // Sources are in the reverse order of targets, and the gradients have other channels than both.
        let g = Gradient::new(s, (n_tasks + 1) * co, (n_tasks + 2) * co, map, self.bn, self.drop);
        let task = |(t, w)| pointwise::Task {
            source: (n_tasks - 1 - t) * ci,
            target: (t + 1) * co,
            w,
            v: w,
            dz: (t + 2) * co,
            drop: t * n,
        };
        let tasks: Vec<_> = (0..n_tasks).zip(params).map(task).collect();
        let y = s.tensor((n_tasks + 1) * co, map);
        let op = pointwise::Pointwise { ci, part: Part::all(ci), co, x, y, tasks };
        let block = |t4, first: u32| concat::slice(t4, first as usize, ci as usize);
        op.forward(&tuning).into_iter().for_each(|d| s.push(d));
        for (task, list) in op.tasks.iter().zip(&lists) {
            let want = reference::pointwise::forward(&block(&seen, task.source), list, co as usize);
            s.must_be(y, task.target, &want, SUM);
        }

        let op = pointwise::Pointwise { y: g.y, ..op };
        let add: Vec<bool> = (0..=n_tasks).map(|b| b == 0 && self.add).collect();
        let (dx, before) = s.target(ci, map, &add);
        let (mut dw, mut wants) = (Vec::new(), Vec::new());
        for (task, list) in op.tasks.iter().zip(&lists) {
            let dy = g.dy(task.target, co, task.dz, task.drop);
            let (dx, more) = reference::pointwise::backward(&block(&seen, task.source), list, &dy);
            dw.extend(padded(&more, ci));
            let normed = block(&normed, task.source);
            let dx = if self.relu { reference::relu::backward(&normed, &dx) } else { dx };
            wants.push((task.source, sum(&dx, &before[(task.source / ci) as usize])));
        }
        let partial = s.blank(op.chunks(&tuning) * op.elements());
        s.push(op.backward_weight(&g.view, partial, &tuning));
        s.expect_chunks(partial, &dw, op.chunks(&tuning), LONG_SUM);
        let launches = op.backward_data(&g.view, dx, |source| add[(source / ci) as usize], &tuning);
        launches.into_iter().for_each(|d| s.push(d));
        for (source, want) in wants {
            s.must_be(dx, source, &want, SUM);
        }
    }
}

const SAME: Pointwise = Pointwise {
    ci: 6,
    co: 5,
    n: 2,
    h: 5,
    w: 7,
    n_tasks: 1,
    tc: 8,
    tq: 2,
    tile: 8,
    unroll: 1,
    norm: false,
    relu: false,
    bn: false,
    drop: false,
    add: false,
};

/// The form of `tuning`, at odd sizes, with several tiles of channels and quads, and at the sizes of a level of a
/// child for CIFAR.
pub(super) fn cases_of(tuning: &Tuning) -> Vec<Case> {
    let same = Pointwise {
        tc: tuning.pointwise_channels,
        tq: tuning.pointwise_quads,
        tile: tuning.weight_tile,
        unroll: tuning.unroll,
        bn: tuning.stored_dy == 0,
        norm: true,
        relu: true,
        ..SAME
    };
    let list = [
        Pointwise { ci: 2, co: 1, n: 1, h: 3, w: 2, ..same },
        Pointwise { ci: 13, co: 40, n_tasks: 2, add: true, ..same },
        Pointwise { ci: 40, co: 13, relu: false, add: true, n: 3, h: 17, w: 19, ..same },
        Pointwise { ci: 70, co: 66, n: 2, h: 8, w: 8, ..same },
        Pointwise { ci: 16, co: 16, n: 2, h: 32, w: 32, n_tasks: 3, ..same },
    ];
    list.into_iter().map(Case::new).collect()
}

// Long, because it is a list.
pub(super) fn cases() -> Vec<Case> {
    let same = SAME;
    let mut list = vec![
        Pointwise { ci: 2, co: 2, n: 1, h: 1, w: 1, ..same },
        Pointwise { ci: 2, co: 1, n: 1, h: 3, w: 2, bn: true, ..same },
        Pointwise { ci: 13, co: 40, relu: true, norm: true, bn: true, drop: true, add: true, ..same },
        Pointwise { ci: 40, co: 13, relu: true, bn: true, n_tasks: 2, add: true, ..same },
        Pointwise { ci: 9, co: 10, norm: true, h: 8, w: 8, drop: true, n_tasks: 3, ..same },
        // Fewer channels than an invocation computes.
        Pointwise { ci: 10, co: 11, tc: 16, tq: 1, norm: true, relu: true, add: true, ..same },
        // Several chunks of partial sums. The number of quads is no multiple of a workgroup's quads.
        Pointwise { ci: 3, co: 3, n: 5, h: 17, w: 19, norm: true, relu: true, bn: true, ..same },
        // Sizes of a child for CIFAR: the preprocessing, and a level of a cell.
        Pointwise { ci: 48, co: 16, n: 2, h: 32, w: 32, norm: true, relu: true, bn: true, ..same },
        Pointwise { ci: 16, co: 16, n: 2, h: 32, w: 32, n_tasks: 3, bn: true, drop: true, ..same },
        // The same sizes in the form that software adapters run without a trial.
        Pointwise { ci: 48, co: 16, n: 2, h: 32, w: 32, tc: 16, tq: 4, norm: true, relu: true, ..same },
        Pointwise {
            ci: 16,
            co: 16,
            n: 2,
            h: 32,
            w: 32,
            tc: 16,
            tq: 4,
            n_tasks: 3,
            bn: true,
            add: true,
            ..same
        },
    ];
    for (i, tc) in [4, 8, 16].into_iter().enumerate() {
        for (j, tq) in [1, 2].into_iter().enumerate() {
            let (tile, relu) = ([4, 8][(i + j) % 2], i % 2 == 0);
            let (ci, co) = [(18, 20), (17, 7)][j];
            let unroll = [1, 2, 4][(i + j) % 3];
            list.push(Pointwise {
                ci,
                co,
                tc,
                tq,
                tile,
                unroll,
                relu,
                bn: true,
                n_tasks: 2,
                add: true,
                ..same
            });
        }
    }
    // Wide tiles.
    list.extend([
        Pointwise { ci: 17, co: 34, tc: 32, tq: 2, tile: 16, relu: true, n_tasks: 2, add: true, ..same },
        Pointwise { ci: 33, co: 18, tc: 32, tq: 2, tile: 4, bn: true, n: 3, h: 17, w: 19, ..same },
        Pointwise {
            ci: 18,
            co: 17,
            tc: 16,
            tq: 4,
            tile: 16,
            unroll: 4,
            relu: true,
            n: 3,
            h: 17,
            w: 19,
            ..same
        },
        Pointwise {
            ci: 18,
            co: 17,
            tc: 16,
            tq: 4,
            tile: 16,
            unroll: 2,
            relu: true,
            n: 3,
            h: 17,
            w: 19,
            ..same
        },
        Pointwise { ci: 7, co: 9, tc: 8, tq: 4, tile: 16, norm: true, relu: true, n_tasks: 2, ..same },
    ]);
    list.into_iter().map(Case::new).collect()
}
