//! Global average pool, linear layer, cross-entropy.

use super::{Case, Oracle};
use crate::kernel::{Buf, Range};
use crate::ops::head::{self, Targets};
use crate::ops::optimizer::scalar;
use crate::ops::{Map, Tuning, View};
use crate::reference::{T4, concat, cross_entropy, global_pool, linear, relu};
use crate::selftest::setup::{APPROXIMATE, FEW, SUM, Setup, sum};

#[derive(Debug)]
struct GlobalPool {
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    add: bool,
}

impl Oracle for GlobalPool {
    fn setup(&self, s: &mut Setup) {
        let Self { channels: c, n, h, w, .. } = *self;
        let map = Map { n, h, w };
        let data = s.noise_t4(c, map);
        let x = s.input(&data);
        let pooled = s.blank(c * n);
        let view = View { x, coefs: None, relu: false };
        s.push(head::global_pool(&view, pooled, 0));
        s.expect_array(pooled, &global_pool::forward(&data).data, SUM);

        let dpooled = s.noise_t4(c, Map { n, h: 1, w: 1 });
        let array = s.array(&dpooled.data);
        let (dx, before) = s.target(c, map, &[self.add]);
        s.push(head::global_pool_backward(&view, array, dx, self.add, 0));
        s.must_be(dx, 0, &sum(&global_pool::backward(&data, &dpooled), &before[0]), FEW);
    }
}

/// Global average pool of a view with batch norm, ReLU, or both. There are pooled channels that are not in x.
#[derive(Debug)]
struct PoolOfView {
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    norm: bool,
    relu: bool,
    add: bool,
}

impl Oracle for PoolOfView {
    fn setup(&self, s: &mut Setup) {
        let Self { channels: c, n, h, w, .. } = *self;
        let map = Map { n, h, w };
        let data = s.grid_t4(c, map);
        let (view, normed, seen) = s.view(&data, self.norm, self.relu);
        // Two other channels come before the channels of x.
        let pooled = s.blank((c + 2) * n);
        s.push(head::global_pool(&view, pooled, 2));
        let means = global_pool::forward(&seen).data;
        let items = means.iter().enumerate().map(|(i, mean)| (2 * n as usize + i, Some(*mean))).collect();
        s.expect_words(pooled.buf, items, SUM);

        let all = s.noise_t4(c + 2, Map { n, h: 1, w: 1 });
        let dpooled = concat::slice(&all, 2, c as usize);
        let array = s.array(&all.data);
        let (dx, before) = s.target(c, map, &[self.add]);
        s.push(head::global_pool_backward(&view, array, dx, self.add, 2));
        let want = global_pool::backward(&seen, &dpooled);
        let want = if self.relu { relu::backward(&normed, &want) } else { want };
        s.must_be(dx, 0, &sum(&want, &before[0]), FEW);
    }
}

#[derive(Debug)]
struct Linear {
    n: u32,
    features: u32,
    classes: u32,
    /// Whether the features are maps of one pixel; otherwise they are [C][N].
    maps: bool,
    by_example: u32,
}

impl Oracle for Linear {
    fn setup(&self, s: &mut Setup) {
        let Self { n, features: c, classes: k, maps, by_example: linear_by_example } = *self;
        let tuning = Tuning { linear_by_example, ..Tuning::default() };
        let point = Map { n, h: 1, w: 1 };
        let data = s.noise_t4(c, point);
        let (weight, bias) = (s.noise(k * c), s.noise(k));
        let (bias_at, weight_at) = (s.weights(&bias), s.weights(&weight));
        let params = [weight_at, bias_at];
        let (x_channel, x_example) = if maps { (point.pitch() * 4, 4) } else { (n, 1) };
        let op = head::Linear { n, c, k, x_channel, x_example, weight: params[0], bias: params[1] };
        let x = if maps { s.input(&data).range() } else { s.array(&data.data).range() };
        let y = s.blank(n * k);
        s.push(op.forward(x, y, &tuning));
        s.expect_array(y, &by_example(&linear::forward(&data, &weight, &bias)), SUM);

        let dy_data = s.noise_t4(k, point);
        let dy = s.array(&by_example(&dy_data));
        let grads = linear::backward(&data, &weight, &dy_data);
        let partial = s.blank(k * c + k);
        s.push(op.backward_weight(x, dy, partial));
        s.expect_array(partial, &[grads.dw, grads.db].concat(), SUM);
        if maps {
            let dx = s.tensor(c, point);
            s.push(op.backward_data(dy, dx.range()));
            s.must_be(dx, 0, &grads.dx, SUM);
        } else {
            let dx = s.blank(c * n);
            s.push(op.backward_data(dy, dx.range()));
            s.expect_array(dx, &grads.dx.data, SUM);
        }
    }
}

/// Weight of the child in the cases of the loss.
const CHILD_WEIGHT: f64 = 0.375;

#[derive(Debug)]
struct CrossEntropy {
    n: u32,
    classes: u32,
    /// Largest magnitude of the logits.
    size: f64,
    scale: f32,
    smoothing: f32,
    /// Whether the weights of the classes differ. Otherwise all are 1.
    weighted: bool,
}

impl Oracle for CrossEntropy {
    fn setup(&self, s: &mut Setup) {
        let Self { n, classes: k, .. } = *self;
        let mut z = s.grid_t4(k, Map { n, h: 1, w: 1 });
        z.data.iter_mut().for_each(|v| *v *= self.size);
        let labels: Vec<usize> = (0..n).map(|_| s.below(k) as usize).collect();
        let logits = s.array(&by_example(&z));
        let words: Vec<u32> = labels.iter().map(|l| *l as u32).collect();
        let labels_range = s.words(&words).range();
        let result = s.blank(2 * n);
        s.push(head::cross_entropy(n, k, logits, labels_range, result.range(), self.smoothing));
        let smoothing = f64::from(self.smoothing);
        let want = match smoothing {
            0.0 => cross_entropy::log_likelihood(&z, &labels),
            e => cross_entropy::smoothed(&z, &labels, e),
        };
        s.expect_array(result, &want, APPROXIMATE);
        // If several logits are the largest, the first one is the prediction. The grid has such ties.
        let correct = labels.iter().enumerate().map(|(e, &label)| {
            let here = z.at(label, e, 0, 0);
            let wins =
                (0..k as usize).all(|o| z.at(o, e, 0, 0) < here || (o >= label && z.at(o, e, 0, 0) <= here));
            (n as usize + e, Some(f64::from(u8::from(wins))))
        });
        let items = correct.collect();
        s.expect_words(result.buf, items, crate::selftest::setup::EXACT);

        let mut scalars = vec![1e30; scalar::COUNT];
        scalars[scalar::CHILD] = CHILD_WEIGHT;
        s.whole(Buf::Scalars, &scalars);
        let dlogits = s.blank(n * k);
        // Class weights are powers of two from 0.25 to 4, which f32 holds exactly.
        let class = |class: u32| if self.weighted { f64::from(1 << (class % 5)) / 4.0 } else { 1.0 };
        let class_weights: Vec<f64> = (0..k).map(class).collect();
        s.whole(Buf::ClassWeights, &class_weights);
        let len_bytes = (u64::from(k) * 4).next_multiple_of(16);
        let class_weights_range = Range { buf: Buf::ClassWeights, offset_bytes: 0, len_bytes };
        let targets =
            Targets { labels: labels_range, class_weights: class_weights_range, smoothing: self.smoothing };
        s.push(head::cross_entropy_backward(n, k, logits, targets, dlogits, self.scale));
        let mut want = cross_entropy::smoothed_backward(&z, &labels, smoothing);
        for (i, v) in want.data.iter_mut().enumerate() {
            let weight = class_weights[labels[i % n as usize]];
            *v *= f64::from(n) * f64::from(self.scale) * CHILD_WEIGHT * weight;
        }
        s.expect_array(dlogits, &by_example(&want), APPROXIMATE);
    }
}

/// [K][N] as [N][K].
fn by_example(x: &T4) -> Vec<f64> {
    x.to_nchw()
}

/// The cases of the linear layer in the form of `tuning`.
pub(super) fn cases_of(tuning: &Tuning) -> Vec<Case> {
    let by_example = tuning.linear_by_example;
    [(5, 130, 37, false), (3, 9, 4, true)]
        .map(|(n, features, classes, maps)| Case::new(Linear { n, features, classes, maps, by_example }))
        .into()
}

pub(super) fn cases() -> Vec<Case> {
    let pool = |channels, (n, h, w), add| Case::new(GlobalPool { channels, n, h, w, add });
    let of_view = |channels, (n, h, w), [norm, relu, add]: [bool; 3]| {
        Case::new(PoolOfView { channels, n, h, w, norm, relu, add })
    };
    let linear =
        |n, features, classes, maps, by_example| Case::new(Linear { n, features, classes, maps, by_example });
    let cross_entropy = |n, classes, size, scale, smoothing, weighted| {
        Case::new(CrossEntropy { n, classes, size, scale, smoothing, weighted })
    };
    let smoothed = |n, classes, size, scale, e| cross_entropy(n, classes, size, scale, e, false);
    let loss = |n, classes, size, scale| smoothed(n, classes, size, scale, 0.0);
    vec![
        pool(3, (5, 7, 7), false),
        pool(1, (1, 1, 1), true),
        pool(64, (3, 8, 8), true),
        // More images than a workgroup has invocations.
        pool(2, (70, 2, 3), false),
        of_view(3, (5, 7, 7), [true, true, false]),
        of_view(1, (1, 1, 1), [true, true, true]),
        of_view(64, (3, 8, 8), [true, true, true]),
        of_view(2, (70, 2, 3), [true, false, true]),
        of_view(3, (2, 4, 4), [false, true, false]),
        of_view(2, (3, 4, 5), [true, true, false]),
        linear(1, 1, 2, false, 0),
        linear(5, 13, 7, false, 0),
        linear(3, 9, 4, true, 0),
        linear(16, 256, 10, false, 0),
        linear(1, 1, 2, false, 1),
        linear(5, 130, 37, false, 1),
        linear(3, 9, 4, true, 1),
        linear(16, 256, 10, false, 1),
        loss(1, 2, 1.0, 1.0),
        loss(7, 10, 4.0, 0.25),
        loss(70, 3, 100.0, 1.0 / 70.0),
        loss(3, 100, 10_000.0, 0.4),
        smoothed(1, 2, 1.0, 1.0, 0.5),
        smoothed(70, 10, 4.0, 1.0 / 70.0, 0.1),
        smoothed(5, 1000, 20.0, 0.4, 0.1),
        cross_entropy(1, 2, 1.0, 1.0, 0.0, true),
        cross_entropy(70, 10, 4.0, 1.0 / 70.0, 0.0, true),
        cross_entropy(5, 37, 20.0, 0.4, 0.1, true),
    ]
}
