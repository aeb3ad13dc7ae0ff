//! 3x3 pools.

use super::{Case, Oracle};
use crate::ops::{Map, Tuning, pool};
use crate::reference::{avg_pool, concat, max_pool};
use crate::selftest::gradient::Gradient;
use crate::selftest::setup::{SUM, Setup, sum};

#[derive(Debug)]
struct Pool {
    max: bool,
    stride: u32,
    rows: u32,
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    /// Blocks of x that the tasks read.
    sources: &'static [u32],
    norm: bool,
    bn: bool,
    drop: bool,
    /// Whether dx of block 0 already holds something.
    add: bool,
}

impl Oracle for Pool {
    fn setup(&self, s: &mut Setup) {
        let Self { max, stride, channels: c, n, h, w, sources, .. } = *self;
        let map = Map { n, h, w };
        let out = map.strided(stride);
        let tuning = Tuning { pool_rows: self.rows, ..Tuning::default() };
        let n_blocks = sources.iter().max().map_or(1, |m| m + 2);
        let n_tasks = sources.len() as u32;
        // x has only five different values, so nearly every window has its maximum several times.
        let values = (0..n_blocks * c * map.count()).map(|_| f64::from(s.below(5)) / 2.0 - 1.0).collect();
        let data = Setup::shaped(n_blocks * c, map, values);
        let (x, _, seen) = s.view(&data, self.norm, false);
        let g = Gradient::new(s, (n_tasks + 1) * c, (n_tasks + 2) * c, out, self.bn, self.drop);
        let task = |(t, b): (u32, &u32)| pool::Task {
            source: b * c,
            target: (n_tasks - t) * c,
            dz: t * c,
            drop: t * n,
        };
        let tasks: Vec<_> = (0..).zip(sources).map(task).collect();
        let y = s.tensor((n_tasks + 1) * c, out);
        let index = max.then(|| s.blank(n_tasks * c * out.pitch()));
        let op = pool::Pool { max, stride, channels: c, x, y, index, tasks };
        s.push(op.forward(&tuning));
        index.into_iter().for_each(|index| s.scratch(index));

        let add: Vec<bool> = (0..n_blocks).map(|b| b == 0 && self.add).collect();
        let (dx, mut want) = s.target(c, map, &add);
        for task in &op.tasks {
            let x = concat::slice(&seen, task.source as usize, c as usize);
            let dy = g.dy(task.target, c, task.dz, task.drop);
            let (y_want, dx) = if max {
                let (y, winners) = max_pool::forward(&x, stride as usize);
                (y, max_pool::backward(&x, &winners, &dy))
            } else {
                let win = avg_pool::window(stride as usize);
                (avg_pool::forward(&x, win), avg_pool::backward(&x, &dy, win))
            };
            s.must_be(y, task.target, &y_want, SUM);
            let block = (task.source / c) as usize;
            want[block] = sum(&want[block], &dx);
        }
        let op = pool::Pool { y: g.y, ..op };
        s.push(op.backward(&g.view, dx, |source| add[(source / c) as usize], &tuning));
        for b in (0..n_blocks).filter(|b| sources.contains(b)) {
            s.must_be(dx, b * c, &want[b as usize], SUM);
        }
    }
}

const SAME: Pool = Pool {
    max: true,
    stride: 1,
    rows: 4,
    channels: 2,
    n: 2,
    h: 9,
    w: 11,
    sources: &[0],
    norm: false,
    bn: false,
    drop: false,
    add: false,
};

/// Both pools at both strides in the form of `tuning`, at odd sizes, and on maps of whole quads.
pub(super) fn cases_of(tuning: &Tuning) -> Vec<Case> {
    let same = Pool { rows: tuning.pool_rows, bn: true, ..SAME };
    let mut list = Vec::new();
    for max in [true, false] {
        for stride in [1, 2] {
            list.push(Pool { max, stride, sources: &[1, 0, 1], add: true, ..same });
            list.push(Pool { max, stride, h: 8, w: 16, channels: 3, norm: true, ..same });
        }
    }
    list.into_iter().map(Case::new).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let same = SAME;
    let mut list = Vec::new();
    for max in [true, false] {
        for stride in [1, 2] {
            for rows in [1, 2, 4] {
                let i = list.len();
                let (h, w) = [(9, 11), (8, 8), (7, 6)][i % 3];
                let sources: &[u32] = [&[1, 0, 1][..], &[0], &[2, 0]][(i / 2) % 3];
                let (norm, bn, drop, add) = (i % 2 == 0, i % 3 != 1, i % 4 == 0, i % 2 == 1);
                list.push(Pool { max, stride, rows, h, w, sources, norm, bn, drop, add, ..same });
            }
        }
    }
    list.extend([
        Pool { channels: 1, n: 1, h: 1, w: 1, ..same },
        Pool { stride: 2, rows: 2, sources: &[1, 0, 1], bn: true, drop: true, ..same },
        Pool { max: false, stride: 2, h: 8, w: 12, sources: &[1, 0, 1], bn: true, add: true, ..same },
        Pool { max: false, channels: 1, n: 1, h: 1, w: 2, ..same },
        Pool { stride: 2, channels: 16, n: 2, h: 32, w: 32, norm: true, bn: true, add: true, ..same },
        Pool { max: false, channels: 16, n: 2, h: 32, w: 32, norm: true, bn: true, ..same },
    ]);
    list.into_iter().map(Case::new).collect()
}
