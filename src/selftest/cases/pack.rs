//! Weights of a child, side by side.

use super::{Case, Oracle};
use crate::kernel::Buf;
use crate::ops::{Param, pack};
use crate::selftest::setup::{EXACT, Setup};

#[derive(Debug)]
struct Pack {
    /// Quads of each parameter, in the order of v. The parameters are packed in reverse order.
    quads: &'static [u32],
    /// Number of times that the list is repeated. More than 256 copies need several launches.
    repeat: u32,
}

impl Oracle for Pack {
    fn setup(&self, s: &mut Setup) {
        let quads: Vec<u32> = (0..self.repeat).flat_map(|_| self.quads.iter().copied()).collect();
        let lists: Vec<Vec<f64>> = quads.iter().map(|q| s.noise(4 * q)).collect();
        let sources: Vec<Param> = lists.iter().map(|list| s.weights(list)).collect();
        let total: u32 = quads.iter().map(|q| 4 * q).sum();
        let mut end = s.room(Buf::Packed, total as usize) as u32 + total;
        let mut copies = Vec::new();
        for &from in &sources {
            end -= from.len;
            copies.push((from, Param { offset: end, len: from.len }));
        }
        pack::copy(&copies).into_iter().for_each(|d| s.push(d));
        for ((_, to), list) in copies.iter().zip(&lists) {
            let items = list.iter().enumerate().map(|(i, v)| (to.offset as usize + i, Some(*v))).collect();
            s.expect_words(Buf::Packed, items, EXACT);
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(Pack { quads: &[64], repeat: 1 }),
        Case::new(Pack { quads: &[16, 32, 16, 2048, 16], repeat: 1 }),
        Case::new(Pack { quads: &[16], repeat: 300 }),
    ]
}
