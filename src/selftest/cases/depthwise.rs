//! Depthwise convolution.

use super::{Case, Oracle};
use crate::ops::depthwise::{self, Geometry};
use crate::ops::{Map, Tuning};
use crate::reference::{self, Window, concat};
use crate::selftest::setup::{LONG_SUM, SUM, Setup, padded, sum};

#[derive(Debug)]
struct Depthwise {
    k: u32,
    stride: u32,
    dilation: u32,
    rows: u32,
    quads: u32,
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    /// Blocks of x that the tasks read.
    sources: &'static [u32],
    norm: bool,
    relu: bool,
    /// Whether dx of block 0 already holds something.
    add: bool,
}

impl Oracle for Depthwise {
    fn setup(&self, s: &mut Setup) {
        let Self { k, stride, dilation, channels: c, n, h, w, sources, .. } = *self;
        let map = Map { n, h, w };
        let out = map.strided(stride);
        let tuning = Tuning { depthwise_rows: self.rows, depthwise_quads: self.quads, ..Tuning::default() };
        let pad = (dilation * (k - 1) / 2) as usize;
        let win = Window { k: k as usize, stride: stride as usize, pad, dilation: dilation as usize };
        // x has one block more than is read.
        let n_blocks = sources.iter().max().map_or(1, |m| m + 2);
        let n_tasks = sources.len() as u32;

        let data = s.grid_t4(n_blocks * c, map);
        let (x, normed, seen) = s.view(&data, self.norm, self.relu);
        let lists: Vec<Vec<f64>> = sources.iter().map(|_| s.noise(c * k * k)).collect();
        let params = s.packed_reversed(&lists, k * k);
        let tasks =
            sources.iter().zip(params).map(|(b, w)| depthwise::Task { source: b * c, w, v: w }).collect();
        let y = s.tensor(n_tasks * c, out);
        let geometry = Geometry { k, stride, dilation };
        let op = depthwise::Depthwise { geometry, channels: c, x, y, tasks };
        let block = |b: u32| concat::slice(&seen, (b * c) as usize, c as usize);
        op.forward(&tuning).into_iter().for_each(|d| s.push(d));
        for (t, (&b, list)) in (0..).zip(sources.iter().zip(&lists)) {
            s.must_be(y, t * c, &reference::depthwise::forward(&block(b), list, win), SUM);
        }

        let dy_data = s.noise_t4(n_tasks * c, out);
        let dy = s.input(&dy_data);
        let add: Vec<bool> = (0..n_blocks).map(|b| b == 0 && self.add).collect();
        let (dx, mut want) = s.target(c, map, &add);
        let mut dw = Vec::new();
        for (t, (&b, list)) in sources.iter().zip(&lists).enumerate() {
            let dy = concat::slice(&dy_data, t * c as usize, c as usize);
            let (dx, more) = reference::depthwise::backward(&block(b), list, &dy, win);
            dw.extend(more);
            let normed = concat::slice(&normed, (b * c) as usize, c as usize);
            let dx = if self.relu { reference::relu::backward(&normed, &dx) } else { dx };
            want[b as usize] = sum(&want[b as usize], &dx);
        }
        let chunks = op.chunks(&tuning);
        let partial = s.blank(chunks * op.elements());
        s.push(op.backward_weight(dy, partial, &tuning));
        s.expect_chunks(partial, &padded(&dw, k * k), chunks, LONG_SUM);
        let launches = op.backward_data(dy, dx, |source| add[(source / c) as usize], &tuning);
        launches.into_iter().for_each(|d| s.push(d));
        for b in (0..n_blocks).filter(|b| sources.contains(b)) {
            s.must_be(dx, b * c, &want[b as usize], SUM);
        }
    }
}

const SAME: Depthwise = Depthwise {
    k: 3,
    stride: 1,
    dilation: 1,
    rows: 4,
    quads: 2,
    channels: 2,
    n: 2,
    h: 9,
    w: 11,
    sources: &[0],
    norm: false,
    relu: true,
    add: false,
};

/// Every geometry in the form of `tuning`, at odd sizes, and on maps of whole quads.
pub(super) fn cases_of(tuning: &Tuning) -> Vec<Case> {
    let same = Depthwise { rows: tuning.depthwise_rows, quads: tuning.depthwise_quads, norm: true, ..SAME };
    let mut list = Vec::new();
    for (k, dilation) in [(3, 1), (5, 1), (3, 2), (5, 2), (7, 1)] {
        for stride in [1, 2] {
            list.push(Depthwise { k, stride, dilation, sources: &[1, 0, 1], add: true, ..same });
            list.push(Depthwise { k, stride, dilation, h: 8, w: 16, channels: 3, ..same });
        }
    }
    // Several chunks of partial sums.
    list.push(Depthwise { channels: 1, n: 5, h: 17, w: 19, ..same });
    // x is normalised and not rectified, as behind a block without an expansion.
    list.extend([1, 2].map(|stride| Depthwise { stride, relu: false, add: true, ..same }));
    list.into_iter().map(Case::new).collect()
}

// Long, because it is a list.
pub(super) fn cases() -> Vec<Case> {
    let same = SAME;
    let mut list = Vec::new();
    // Every geometry in every form. The other fields vary too.
    for k in [3, 5] {
        for stride in [1, 2] {
            for dilation in [1, 2] {
                for rows in [1, 2, 4] {
                    let i = list.len();
                    let (h, w) = [(9, 11), (8, 8), (6, 10)][i % 3];
                    let sources: &[u32] = [&[1, 0, 1][..], &[0], &[2, 0]][(i / 2) % 3];
                    let (norm, add) = (i % 2 == 1, (i / 3) % 2 == 0);
                    let quads = 1 + (i as u32 / 2) % 2;
                    list.push(Depthwise {
                        k,
                        stride,
                        dilation,
                        rows,
                        quads,
                        h,
                        w,
                        sources,
                        norm,
                        add,
                        ..same
                    });
                }
            }
        }
    }
    list.extend([
        Depthwise { channels: 1, n: 1, h: 1, w: 1, ..same },
        Depthwise { k: 5, dilation: 2, channels: 1, n: 1, h: 2, w: 3, relu: false, ..same },
        Depthwise { relu: false, ..same },
        Depthwise { stride: 2, rows: 2, relu: false, ..same },
        // Several chunks of partial sums.
        Depthwise { rows: 1, channels: 1, n: 5, h: 17, w: 19, norm: true, ..same },
        // Sizes of a child for CIFAR.
        Depthwise { k: 5, channels: 16, n: 2, h: 32, w: 32, norm: true, sources: &[0, 1], ..same },
        Depthwise { stride: 2, channels: 16, n: 2, h: 32, w: 32, norm: true, add: true, ..same },
        Depthwise { quads: 1, channels: 16, n: 2, h: 32, w: 32, norm: true, sources: &[0, 1], ..same },
    ]);
    // A kernel of side 7 in every form, also on maps smaller than the window.
    for stride in [1, 2] {
        for rows in [1, 2, 4] {
            for quads in [1, 2] {
                let i = list.len();
                let (h, w) = [(9, 11), (8, 16), (4, 5), (7, 7), (5, 18)][i % 5];
                let sources: &[u32] = [&[0][..], &[1, 0, 1], &[2, 0]][i % 3];
                let (norm, add) = (i % 2 == 0, (i / 2) % 2 == 0);
                list.push(Depthwise { k: 7, stride, rows, quads, h, w, sources, norm, add, ..same });
            }
        }
    }
    list.extend([
        Depthwise { k: 7, channels: 1, n: 1, h: 1, w: 1, ..same },
        Depthwise { k: 7, stride: 2, channels: 1, n: 1, h: 2, w: 3, norm: true, ..same },
        Depthwise { k: 7, stride: 2, quads: 1, channels: 1, n: 5, h: 17, w: 19, norm: true, ..same },
        Depthwise { k: 7, quads: 1, channels: 16, n: 2, h: 32, w: 32, norm: true, ..same },
        Depthwise { k: 7, stride: 2, channels: 16, n: 2, h: 32, w: 32, norm: true, ..same },
        // More weights than a uniform binding holds: of one convolution, and of two that share their input.
        Depthwise { k: 7, channels: 320, n: 1, h: 3, w: 4, norm: true, ..same },
        Depthwise { k: 7, stride: 2, channels: 330, n: 1, h: 3, w: 5, sources: &[1, 1], add: true, ..same },
        Depthwise { k: 5, channels: 600, n: 1, h: 3, w: 4, sources: &[0, 0], add: true, norm: true, ..same },
    ]);
    // x is normalised and not rectified, or neither.
    for (k, stride, quads) in [(3, 1, 2), (3, 2, 1), (5, 1, 1), (5, 2, 2), (7, 1, 2), (7, 2, 1)] {
        let plain = Depthwise { k, stride, quads, relu: false, ..same };
        list.push(Depthwise { norm: true, add: true, sources: &[1, 0, 1], ..plain });
        list.push(Depthwise { h: 7, w: 14, channels: 3, ..plain });
    }
    // Sides of 28 at stride 2, and the sides that follow from them. Also maps with one odd side.
    for (i, (h, w)) in (0..).zip([(28, 28), (14, 14), (7, 7), (7, 8), (8, 7), (4, 4), (13, 4), (5, 9)]) {
        let k = [3, 5, 7][i % 3];
        let rows = [4, 1, 2][(i / 2) % 3];
        list.push(Depthwise { k, stride: 2, rows, quads: 1, channels: 3, h, w, norm: true, ..same });
    }
    list.into_iter().map(Case::new).collect()
}
