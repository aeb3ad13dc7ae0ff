//! Accumulation of weight gradients, and the update of v.

use super::{Case, Oracle};
use crate::kernel::{Buf, Range};
use crate::ops::optimizer::{self, NORMS_BYTES, scalar};
use crate::ops::{Param, lane, reduce};
use crate::reference::clip;
use crate::reference::sgd::{self, Sgd};
use crate::selftest::setup::{APPROXIMATE, EXACT, LONG_SUM, SUM, Setup};

#[derive(Debug)]
struct Reduce {
    /// Elements and chunks of each parameter.
    shapes: &'static [(u32, u32)],
    /// Number of times that the list is repeated. More than 16 tasks need several launches.
    repeat: u32,
}

impl Oracle for Reduce {
    fn setup(&self, s: &mut Setup) {
        let shapes: Vec<(u32, u32)> = (0..self.repeat).flat_map(|_| self.shapes.iter().copied()).collect();
        let total: u32 =
            shapes.iter().map(|(elements, chunks)| (elements * chunks).next_multiple_of(64)).sum();
        let partials = s.noise(total);
        let array = s.array(&partials);
        let (mut tasks, mut first) = (Vec::new(), 0);
        for &(elements, chunks) in &shapes {
            let start = s.room(Buf::Grad, elements as usize);
            let target = Param { offset: start as u32, len: elements };
            tasks.push(reduce::Task { first, chunks, stride: elements, elements, target, rows: None });
            first += (elements * chunks).next_multiple_of(64);
        }
        let mut wants = Vec::new();
        for task in &tasks {
            let mut want = s.noise(task.elements);
            if let Some(grad) = s.memory.get_mut(&Buf::Grad) {
                for (e, v) in want.iter().enumerate() {
                    grad[task.target.offset as usize + e] = (*v as f32).to_bits();
                }
            }
            for chunk in 0..task.chunks {
                let from = (task.first + chunk * task.stride) as usize;
                clip::accumulate(&mut want, 1.0, &partials[from..from + task.elements as usize]);
            }
            wants.push(want);
        }
        reduce::accumulate(array, &tasks).into_iter().for_each(|d| s.push(d));
        for (task, want) in tasks.iter().zip(wants) {
            let items = want.iter().enumerate().map(|(e, v)| (task.target.offset as usize + e, Some(*v)));
            s.expect_words(Buf::Grad, items.collect(), SUM);
        }
    }
}

#[derive(Debug)]
struct Update {
    /// Number of elements, a multiple of 64.
    elements: u32,
    /// Bytes that one binding may hold.
    piece_bytes: u64,
    /// Largest magnitude of the gradient.
    size: f64,
    momentum: f32,
    decay: f32,
    max_norm: f32,
}

impl Oracle for Update {
    fn setup(&self, s: &mut Setup) {
        let lr = 0.025f32;
        let mut v = s.noise(self.elements);
        let mut momentum = s.noise(self.elements);
        let grad: Vec<f64> =
            s.noise(self.elements).iter().map(|g| f64::from((self.size * g) as f32)).collect();
        s.whole(Buf::V, &v);
        s.whole(Buf::Momentum, &momentum);
        s.whole(Buf::Grad, &grad);
        let mut scalars = vec![1e30; scalar::COUNT];
        scalars[scalar::LR] = f64::from(lr);
        scalars[scalar::MOMENTUM] = f64::from(self.momentum);
        scalars[scalar::DECAY] = f64::from(self.decay);
        scalars[scalar::MAX_NORM] = f64::from(self.max_norm);
        s.whole(Buf::Scalars, &scalars);
        s.whole(Buf::Norms, &vec![0.0; NORMS_BYTES as usize / 4]);
        for launch in optimizer::update(self.elements, self.piece_bytes) {
            let entry = launch.entry;
            s.push(launch);
            if entry == "clip" {
                // The sums of squares are not compared, but their root is.
                let norm = clip::global_norm([grad.as_slice()]);
                let factor = clip::clip_factor(norm, f64::from(self.max_norm));
                s.expect_words(Buf::Scalars, vec![(scalar::NORM, Some(norm))], LONG_SUM);
                s.expect_words(Buf::Scalars, vec![(scalar::CLIP, Some(factor))], LONG_SUM);
                let settings = Sgd {
                    lr: f64::from(lr),
                    momentum: f64::from(self.momentum),
                    weight_decay: f64::from(self.decay),
                };
                sgd::step(&mut v, &mut momentum, &grad, factor, settings);
            }
        }
        let anything = (0..NORMS_BYTES as usize / 4).map(|at| (at, None)).collect();
        s.expect_words(Buf::Norms, anything, EXACT);
        let all = |values: &[f64]| values.iter().copied().map(Some).enumerate().collect();
        s.expect_words(Buf::V, all(&v), APPROXIMATE);
        s.expect_words(Buf::Momentum, all(&momentum), APPROXIMATE);
        s.expect_words(Buf::Grad, all(&vec![0.0; grad.len()]), EXACT);
    }
}

/// The launches that follow when a lane's gradient is complete.
#[derive(Debug)]
struct Lane {
    lane: usize,
    is_last: bool,
    /// Number of floats, a multiple of 64.
    elements: u32,
    piece_bytes: u64,
}

impl Oracle for Lane {
    fn setup(&self, s: &mut Setup) {
        // Partial sums do not start at the beginning of their buffers. They are the same at all levels.
        let behind = 128;
        let grad = s.noise(self.elements);
        let partial = s.noise(behind as u32 + self.elements);
        s.whole(Buf::Grad, &grad);
        (0..4).for_each(|level| s.whole(Buf::Lanes(level), &partial));
        let gradient = Range { buf: Buf::Grad, offset_bytes: 0, len_bytes: u64::from(self.elements) * 4 };
        let launches = lane::close(self.lane, self.is_last, gradient, 4 * behind as u64, self.piece_bytes);
        launches.into_iter().for_each(|d| s.push(d));
        let lane = self.lane as u32;
        let n_added = if self.is_last { lane.count_ones() } else { lane.trailing_ones() };
        let total = |(e, g): (usize, &f64)| f64::from(n_added) * partial[behind + e] + g;
        let sum: Vec<f64> = grad.iter().enumerate().map(total).collect();
        let all = |values: &[f64], first: usize| (first..).zip(values.iter().copied().map(Some)).collect();
        if self.is_last {
            s.expect_words(Buf::Grad, all(&sum, 0), SUM);
        } else {
            s.expect_words(Buf::Grad, all(&vec![0.0; grad.len()], 0), EXACT);
            s.expect_words(Buf::Lanes(n_added as u8), all(&sum, behind), SUM);
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let reduce = |shapes, repeat| Case::new(Reduce { shapes, repeat });
    let same = Update {
        elements: 64 * 37,
        piece_bytes: 1 << 27,
        size: 1.0,
        momentum: 0.9,
        decay: 3e-4,
        max_norm: 5.0,
    };
    let alone = Lane { lane: 0, is_last: true, elements: 64 * 37, piece_bytes: 1 << 27 };
    vec![
        reduce(&[(1, 1)], 1),
        reduce(&[(144, 16), (9, 3), (300, 1), (70, 7)], 1),
        reduce(&[(3, 2), (65, 5)], 9),
        Case::new(Update { elements: 64, size: 0.01, ..same }),
        Case::new(Update { size: 0.01, momentum: 0.0, decay: 0.0, ..same }),
        Case::new(Update { elements: 64 * 1000, ..same }),
        Case::new(Lane { lane: 0, is_last: false, ..alone }),
        Case::new(Lane { lane: 3, is_last: false, piece_bytes: 256 * 10, ..alone }),
        Case::new(Lane { lane: 5, is_last: true, ..alone }),
        // Three pieces, the last one shorter.
        Case::new(Update { piece_bytes: 4 * 64 * 15, ..same }),
        Case::new(Update { size: 0.0, ..same }),
        Case::new(same),
    ]
}
