//! The samplings of FactorizedReduce, the sampling of a 1x1 convolution of stride 2, and the auxiliary head's pool.

use super::{Case, Oracle};
use crate::ops::{Map, subsample, window_pool};
use crate::reference::{self, Window, adaptive_pool, avg_pool, concat, relu};
use crate::selftest::setup::{EXACT, FEW, SUM, Setup, sum};

#[derive(Debug)]
struct Subsample {
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

impl Oracle for Subsample {
    fn setup(&self, s: &mut Setup) {
        self.setup_with(2, s);
    }
}

/// The sampling of even places only.
#[derive(Debug)]
struct Even(Subsample);

impl Oracle for Even {
    fn setup(&self, s: &mut Setup) {
        self.0.setup_with(1, s);
    }
}

impl Subsample {
    fn setup_with(&self, offsets: u32, s: &mut Setup) {
        let Self { channels: c, n, h, w, sources, .. } = *self;
        let map = Map { n, h, w };
        let out = map.strided(2);
        let n_blocks = sources.iter().max().map_or(1, |m| m + 2);
        let n_tasks = sources.len() as u32;
        let data = s.grid_t4(n_blocks * c, map);
        let (x, normed, seen) = s.view(&data, self.norm, self.relu);
        let y = s.tensor(n_tasks * offsets * c, out);
        let firsts = sources.iter().map(|b| b * c).collect();
        let op = subsample::Subsample { channels: c, offsets, x, y, sources: firsts };
        s.push(op.forward());
        for (t, b) in (0..).zip(sources) {
            let x = concat::slice(&seen, (b * c) as usize, c as usize);
            let want = match offsets {
                1 => reference::subsample::even(&x),
                _ => reference::subsample::forward(&x),
            };
            s.must_be(y, t * offsets * c, &want, EXACT);
        }
        let per_task = (offsets * c) as usize;
        let dy_data = s.noise_t4(n_tasks * offsets * c, out);
        let dy = s.input(&dy_data);
        let add: Vec<bool> = (0..n_blocks).map(|b| b == 0 && self.add).collect();
        let (dx, mut want) = s.target(c, map, &add);
        for (t, &b) in sources.iter().enumerate() {
            let dy = concat::slice(&dy_data, t * per_task, per_task);
            let normed = concat::slice(&normed, (b * c) as usize, c as usize);
            let dx = match offsets {
                1 => reference::subsample::even_backward(&normed, &dy),
                _ => reference::subsample::backward(&dy),
            };
            let dx = if self.relu { relu::backward(&normed, &dx) } else { dx };
            want[b as usize] = sum(&want[b as usize], &dx);
        }
        s.push(op.backward(dy, dx, |source| add[(source / c) as usize]));
        for b in (0..n_blocks).filter(|b| sources.contains(b)) {
            s.must_be(dx, b * c, &want[b as usize], FEW);
        }
    }
}

#[derive(Debug)]
struct WindowPool {
    /// Side of the window; 0 for an adaptive pool to 2x2.
    window: u32,
    stride: u32,
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    add: bool,
}

impl Oracle for WindowPool {
    fn setup(&self, s: &mut Setup) {
        let Self { window, stride, channels: c, n, h, w, .. } = *self;
        let map = Map { n, h, w };
        let out = |side: u32| if window == 0 { 2 } else { (side - window) / stride + 1 };
        let win = Window { k: window as usize, stride: stride as usize, pad: 0, dilation: 1 };
        let data = s.grid_t4(c, map);
        let (x, seen) = (s.input(&data), relu::forward(&data));
        let y = s.tensor(c, Map { n, h: out(h), w: out(w) });
        let op = window_pool::WindowPool { window, stride, x, y };
        s.push(op.forward());
        let want = if window == 0 { adaptive_pool::forward(&seen) } else { avg_pool::forward(&seen, win) };
        s.must_be(y, 0, &want, SUM);

        let dy_data = s.noise_t4(c, y.map);
        let dy = s.input(&dy_data);
        let (dx, before) = s.target(c, map, &[self.add]);
        s.push(op.backward(dy, dx, self.add));
        let g = if window == 0 {
            adaptive_pool::backward(&seen, &dy_data)
        } else {
            avg_pool::backward(&seen, &dy_data, win)
        };
        s.must_be(dx, 0, &sum(&relu::backward(&data, &g), &before[0]), FEW);
    }
}

pub(super) fn cases() -> Vec<Case> {
    let of = |channels, (n, h, w), sources, norm, relu, add| Subsample {
        channels,
        n,
        h,
        w,
        sources,
        norm,
        relu,
        add,
    };
    let sub =
        |channels, sides, sources, norm, relu, add| Case::new(of(channels, sides, sources, norm, relu, add));
    let even = |channels, sides, sources, norm, relu, add| {
        Case::new(Even(of(channels, sides, sources, norm, relu, add)))
    };
    let pool = |window, stride, channels, (n, h, w), add| {
        Case::new(WindowPool { window, stride, channels, n, h, w, add })
    };
    vec![
        sub(2, (2, 6, 10), &[0], false, true, false),
        sub(3, (1, 2, 2), &[1, 0, 1], true, true, true),
        sub(2, (1, 4, 6), &[1, 0], false, false, true),
        sub(2, (3, 14, 14), &[2, 0], true, false, true),
        sub(16, (2, 32, 32), &[0], true, true, false),
        even(1, (1, 1, 1), &[0], false, false, false),
        even(2, (2, 28, 28), &[0], true, false, false),
        even(3, (3, 14, 14), &[1, 0, 1], true, true, true),
        even(2, (2, 7, 7), &[0], false, true, true),
        even(3, (2, 7, 5), &[1, 0], true, false, true),
        even(2, (1, 6, 9), &[2, 0, 0], false, false, false),
        even(1, (5, 9, 2), &[0], true, true, false),
        even(16, (2, 32, 32), &[0], true, false, true),
        pool(5, 3, 3, (2, 8, 8), false),
        pool(5, 2, 2, (3, 7, 7), true),
        pool(0, 1, 2, (2, 7, 7), false),
        pool(0, 1, 1, (1, 1, 9), true),
        pool(0, 1, 5, (2, 4, 6), true),
    ]
}
