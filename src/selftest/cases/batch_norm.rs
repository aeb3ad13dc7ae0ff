//! Batch norm: the coefficients forward and backward, and the kernels that read them.

use super::{Case, Oracle};
use crate::kernel::Buf;
use crate::ops::Tuning;
use crate::ops::batch_norm::{self, GradSource, Norm};
use crate::ops::{Array, GradView, Map, View, elementwise};
use crate::reference::batch_norm::{EPS, Stats, backward, forward, statistics, update_running};
use crate::reference::{T4, concat};
use crate::selftest::setup::{APPROXIMATE, FEW, LONG_SUM, Setup, Tolerance};

/// Normalisation of a block of channels.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Identity,
    Plain,
    Affine,
    /// Affine, with running statistics.
    Running,
}

#[derive(Clone, Copy, Debug)]
struct BatchNorm {
    n: u32,
    h: u32,
    w: u32,
    block: u32,
    kinds: &'static [Kind],
    /// Channels of x before the first block.
    first: u32,
    /// x = offset + spread * U(-1, 1).
    offset: f64,
    spread: f64,
    drop: bool,
    /// Loads that are under way at once.
    unroll: u32,
}

/// Values of the blocks of a test.
struct Values {
    x: T4,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    running: Stats,
}

impl BatchNorm {
    fn channels(&self) -> u32 {
        self.block * self.kinds.len() as u32
    }

    /// For each normalised channel: its channel in x, and its kind.
    fn served(&self) -> impl Iterator<Item = (usize, Kind)> + '_ {
        (0..self.channels()).map(|c| ((self.first + c) as usize, self.kinds[(c / self.block) as usize]))
    }

    /// The op with its parameters, and the values by normalised channel (gamma 1 and beta 0 where there are no
    /// parameters).
    fn op(&self, s: &mut Setup) -> (batch_norm::BatchNorm, Values) {
        let map = Map { n: self.n, h: self.h, w: self.w };
        let channels = self.first + self.channels() + 1;
        let data = s.noise(channels * map.count()).into_iter().map(|v| {
            // Values are rounded to f32, so that both sides have the same numbers.
            f64::from((self.offset + self.spread * v) as f32)
        });
        let x = Setup::shaped(channels, map, data.collect());
        let total = self.channels();
        let (mut gamma, mut beta) = (vec![1.0; total as usize], vec![0.0; total as usize]);
        let running = Stats {
            mean: s.noise(total),
            var: s.noise(total).iter().map(|v| f64::from((1.5 + v) as f32)).collect(),
        };
        let state = s.array(&[running.mean.clone(), running.var.clone()].concat());
        let mut blocks = Vec::new();
        for (i, kind) in self.kinds.iter().enumerate() {
            let at = i * self.block as usize..(i + 1) * self.block as usize;
            blocks.push(match kind {
                Kind::Identity => Norm::Identity,
                Kind::Plain => Norm::Plain,
                Kind::Affine | Kind::Running => {
                    gamma[at.clone()].copy_from_slice(&s.noise(self.block));
                    beta[at.clone()].copy_from_slice(&s.noise(self.block));
                    let running = [at.start as u32, total + at.start as u32];
                    let (beta, gamma) = (s.weights(&beta[at.clone()]), s.weights(&gamma[at]));
                    Norm::Affine { gamma, beta, running: (*kind == Kind::Running).then_some(running) }
                }
            });
        }
        if !s.memory.contains_key(&Buf::V) {
            s.whole(Buf::V, &[1e30; 4]);
        }
        let op = batch_norm::BatchNorm {
            x: s.input(&x),
            coefs: s.blank_coefs(channels),
            first: self.first,
            block: self.block,
            blocks,
            state: s.placed(state),
        };
        (op, Values { x, gamma, beta, running })
    }

    /// Expects (mean, scale, beta, rstd) of each normalised channel, column by column.
    fn expect_coefs(&self, s: &mut Setup, coefs: Array, v: &Values, stats: &Stats, mean_scale: f64) {
        for column in 0..4 {
            let items = self.served().enumerate().map(|(i, (c, kind))| {
                let rstd = 1.0 / (stats.var[i] + EPS).sqrt();
                let quad = match kind {
                    Kind::Identity => [0.0, 1.0, 0.0, 1.0],
                    _ => [stats.mean[i], rstd * v.gamma[i], v.beta[i], rstd],
                };
                (4 * c + column, Some(quad[column]))
            });
            let output = s.expect_words(coefs.buf, items.collect(), APPROXIMATE);
            if column == 0 {
                (output.tolerance, output.scale) = (FEW, mean_scale);
            }
        }
    }

    fn forward(&self, s: &mut Setup, op: &batch_norm::BatchNorm, v: &Values, stats: &Stats) {
        let partial = s.blank((op.partial_bytes() / 4) as u32);
        op.forward(partial, &self.tuning()).into_iter().for_each(|d| s.push(d));
        s.scratch(partial);
        self.expect_coefs(s, op.coefs, v, stats, self.offset.abs().max(self.spread));
        let after = update_running(&v.running, stats, (self.n * self.h * self.w) as usize);
        let total = self.channels() as usize;
        for (base, values) in [(0, &after.mean), (total, &after.var)] {
            let items = self.served().enumerate().filter(|(_, (_, kind))| *kind == Kind::Running);
            let first = op.state.offset_bytes as usize / 4;
            let items: Vec<_> = items.map(|(i, _)| (first + base + i, Some(values[i]))).collect();
            if !items.is_empty() {
                s.expect_words(op.state.buf, items, APPROXIMATE);
            }
        }
        // norm(x) is stored with the coefficients that were just computed.
        let channels = self.channels();
        let y = s.tensor(channels, op.x.map);
        let view = View { x: op.x, coefs: Some(op.coefs), relu: false };
        s.push(elementwise::apply(&view, self.first, y, 0, channels));
        let x = concat::slice(&v.x, self.first as usize, channels as usize);
        let mut want = forward(&x, stats, Some((&v.gamma, &v.beta)));
        let m = x.per_channel();
        for (i, (_, kind)) in self.served().enumerate() {
            if kind == Kind::Identity {
                want.data[i * m..(i + 1) * m].copy_from_slice(&x.data[i * m..(i + 1) * m]);
            }
        }
        let relative = 1e-5 + self.offset.abs() / self.spread * 4e-7;
        let tolerance =
            Tolerance { relative, reason: "the mean is rounded to f32, the deviation is smaller than it" };
        s.must_be(y, 0, &want, tolerance);
    }

    // Long, because the formulas of all outputs of one kernel follow one another.
    fn backward(&self, s: &mut Setup, op: &batch_norm::BatchNorm, v: &Values, stats: &Stats) {
        let (block, channels, total) = (self.block, self.channels(), self.channels() as usize);
        // Coefficients are rounded to f32, as they are stored.
        let rounded =
            Stats { mean: stats.mean.iter().map(|m| f64::from(*m as f32)).collect(), var: stats.var.clone() };
        let mut quads = vec![0.0; 4 * v.x.c];
        for (i, (c, kind)) in self.served().enumerate() {
            let rstd = 1.0 / (stats.var[i] + EPS).sqrt();
            let quad = [rounded.mean[i], rstd * v.gamma[i], v.beta[i], rstd];
            quads[4 * c..4 * c + 4].copy_from_slice(if kind == Kind::Identity {
                &[0.0, 1.0, 0.0, 1.0]
            } else {
                &quad
            });
        }
        let op = batch_norm::BatchNorm { coefs: s.coefs(&quads), ..op.clone() };
        let n_blocks = self.kinds.len() as u32;
        let dz_data = s.noise_t4((n_blocks + 1) * block, op.x.map);
        let list = self.drop.then(|| s.drop_factors(n_blocks, self.n));
        let sources: Vec<GradSource> = (0..n_blocks)
            .map(|i| GradSource {
                channel: (n_blocks - i) * block,
                multiplier: 1.0 + f64::from(i % 2) as f32,
                drop: i * self.n,
            })
            .collect();
        let grad_coefs = s.blank_coefs(v.x.c as u32);
        let g = GradView {
            dz: s.input(&dz_data),
            bn: Some(grad_coefs),
            drop: list.as_ref().map(|(array, _)| *array),
        };
        let partial = s.blank((op.partial_bytes() / 4) as u32);
        let dparams = s.blank(2 * channels);
        op.backward(&g, &sources, partial, dparams, &self.tuning()).into_iter().for_each(|d| s.push(d));
        s.scratch(partial);

        // The gradient of norm(x) by its definition.
        let mut dy = T4::zeros(total, v.x.n, v.x.h, v.x.w);
        let (m, image) = (dy.per_channel(), dy.h * dy.w);
        for c in 0..total {
            let source = sources[c / block as usize];
            let from = (source.channel as usize + c % block as usize) * m;
            for e in 0..m {
                let factor = list.as_ref().map_or(1.0, |(_, f)| f[source.drop as usize + e / image]);
                dy.data[c * m + e] = f64::from(source.multiplier) * factor * dz_data.data[from + e];
            }
        }
        let x = concat::slice(&v.x, self.first as usize, total);
        let mut grads = backward(&x, &rounded, Some(&v.gamma), &dy);
        let mut columns = vec![Vec::new(); 4];
        let (mut params, mut largest) = (Vec::new(), 0.0f64);
        for (i, (c, kind)) in self.served().enumerate() {
            let rstd = 1.0 / (stats.var[i] + EPS).sqrt();
            dy.data[i * m..(i + 1) * m]
                .iter()
                .for_each(|g| largest = largest.max((g * rstd * v.gamma[i]).abs()));
            let (scale, multiplier) = (rstd * v.gamma[i], f64::from(sources[i / block as usize].multiplier));
            let (s1, s2) = (grads.dbeta[i] / m as f64, grads.dgamma[i] / m as f64);
            let quad = if kind == Kind::Identity {
                grads.dx.data[i * m..(i + 1) * m].copy_from_slice(&dy.data[i * m..(i + 1) * m]);
                [multiplier, 0.0, 0.0, 0.0]
            } else {
                params.extend([(i, Some(grads.dgamma[i])), (total + i, Some(grads.dbeta[i]))]);
                [scale * multiplier, -scale * rstd * s2, -scale * s1, rounded.mean[i]]
            };
            for (column, value) in columns.iter_mut().zip(quad) {
                column.push((4 * c, Some(value)));
            }
        }
        for (column, items) in columns.into_iter().enumerate() {
            let items = items.into_iter().map(|(at, value)| (at + column, value)).collect();
            s.expect_words(grad_coefs.buf, items, LONG_SUM);
        }
        if !params.is_empty() {
            s.expect_words(dparams.buf, params, LONG_SUM);
        }
        // dx is computed with the coefficients that were just computed.
        let dx = s.tensor(v.x.c as u32, op.x.map);
        s.push(op.backward_apply(&g, &sources, dx));
        for i in 0..n_blocks {
            let from = self.first + i * block;
            let want = concat::slice(&grads.dx, (i * block) as usize, block as usize);
            // dx is a difference. Its error is the error of its terms, and the terms are as large as scale * dy.
            let output = s.must_be(dx, from, &want, LONG_SUM);
            output.scale = output.scale.max(largest);
        }
    }
}

impl Oracle for BatchNorm {
    fn setup(&self, s: &mut Setup) {
        let (op, v) = self.op(s);
        let stats = statistics(&concat::slice(&v.x, self.first as usize, self.channels() as usize));
        self.forward(s, &op, &v, &stats);
        self.backward(s, &op, &v, &stats);
    }
}

/// Coefficients from the running statistics.
#[derive(Debug)]
struct FromRunning(BatchNorm);

impl Oracle for FromRunning {
    fn setup(&self, s: &mut Setup) {
        let (op, v) = self.0.op(s);
        s.push(op.from_running());
        self.0.expect_coefs(s, op.coefs, &v, &v.running, 1.0);
    }
}

impl BatchNorm {
    fn tuning(&self) -> Tuning {
        Tuning { unroll: self.unroll, ..Tuning::default() }
    }
}

const SAME: BatchNorm = BatchNorm {
    n: 3,
    h: 5,
    w: 7,
    block: 3,
    kinds: &[Kind::Plain],
    first: 0,
    offset: 0.0,
    spread: 1.0,
    drop: false,
    unroll: 1,
};

/// The form of `tuning`, at odd sizes, with several chunks, and with chunks that end within the quads that are
/// loaded at once.
pub(super) fn cases_of(tuning: &Tuning) -> Vec<Case> {
    use Kind::{Affine, Identity, Plain, Running};
    let same = BatchNorm { unroll: tuning.unroll, ..SAME };
    let list = [
        BatchNorm { kinds: &[Affine, Plain, Identity, Running], first: 2, drop: true, ..same },
        BatchNorm { offset: 1000.0, spread: 0.1, kinds: &[Plain, Affine], ..same },
        BatchNorm { n: 2, h: 32, w: 32, block: 16, ..same },
        BatchNorm { n: 1, h: 1, w: 2, block: 1, ..same },
        BatchNorm { n: 5, h: 17, w: 19, block: 1, first: 1, kinds: &[Affine, Plain], drop: true, ..same },
        BatchNorm { n: 17, h: 32, w: 33, block: 1, kinds: &[Plain], offset: 3.0, ..same },
    ];
    list.into_iter().map(Case::new).collect()
}

pub(super) fn cases() -> Vec<Case> {
    use Kind::{Affine, Identity, Plain, Running};
    let same = SAME;
    let small = BatchNorm { kinds: &[Running, Identity, Running], first: 2, ..same };
    let list = [
        BatchNorm { kinds: &[Affine, Plain, Identity, Running], first: 2, drop: true, ..same },
        BatchNorm { kinds: &[Running, Plain], block: 1, h: 8, w: 8, ..same },
        // Plain sums of squares would lose this variance.
        BatchNorm { offset: 1000.0, spread: 0.1, kinds: &[Plain, Affine], ..same },
        BatchNorm { offset: -50.0, spread: 1.0, n: 2, h: 32, w: 32, block: 16, ..same },
        // One row of one image, with two elements.
        BatchNorm { n: 1, h: 1, w: 2, block: 1, ..same },
        // Several chunks, and more rounds than the minimum.
        BatchNorm { n: 5, h: 17, w: 19, block: 1, first: 1, kinds: &[Affine, Plain], ..same },
        BatchNorm { n: 17, h: 32, w: 33, block: 1, kinds: &[Plain], offset: 3.0, ..same },
        // More channels than a workgroup has invocations.
        BatchNorm { n: 2, h: 2, w: 4, block: 35, kinds: &[Plain, Affine], ..same },
        // Several quads are loaded at once.
        BatchNorm {
            n: 5,
            h: 17,
            w: 19,
            block: 1,
            first: 1,
            kinds: &[Affine, Plain],
            drop: true,
            unroll: 2,
            ..same
        },
        BatchNorm { n: 17, h: 32, w: 33, block: 1, kinds: &[Plain], offset: 3.0, unroll: 4, ..same },
    ];
    let mut cases: Vec<Case> = list.into_iter().map(Case::new).collect();
    cases.push(Case::new(FromRunning(BatchNorm { w: 8, ..small })));
    cases.push(Case::new(FromRunning(small)));
    cases
}
