//! The probes must compute their formulas. Otherwise a driver might leave out the work that is timed.

use super::{Case, Oracle};
use crate::ops::probe;
use crate::selftest::setup::{EXACT, FEW, SUM, Setup};

#[derive(Debug)]
struct Probe {
    n_quads: u32,
    groups: u32,
    rounds: u32,
}

impl Oracle for Probe {
    fn setup(&self, s: &mut Setup) {
        let Self { n_quads, groups, rounds } = *self;
        let lanes = groups * 64;
        let data = s.noise(4 * n_quads);
        let x = s.array(&data);

        let out = s.blank(4 * n_quads);
        s.push(probe::copy(x, out));
        s.expect_array(out, &data, EXACT);

        let out = s.blank(4 * lanes);
        s.push(probe::load(x, out, groups, 4096));
        let sum = |i: u32| -> f64 {
            let quad = |k: u32| ((i / 4 + 4096 * k) % n_quads) as usize;
            (0..16).map(|k| data[4 * quad(k) + i as usize % 4]).sum()
        };
        let want: Vec<f64> = (0..4 * lanes).map(sum).collect();
        s.expect_array(out, &want, SUM);

        let out = s.blank(4 * lanes);
        s.push(probe::arithmetic(out, groups, rounds));
        let chain = |i: u32| -> f64 {
            let start = |k: u32| f64::from(i / 4 % 64 + k);
            (0..12).map(|k| (0..8 * rounds).fold(start(k), |acc, _| 0.5 * acc + 1.0)).sum()
        };
        let want: Vec<f64> = (0..4 * lanes).map(chain).collect();
        s.expect_array(out, &want, FEW);
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(Probe { n_quads: 256, groups: 2, rounds: 0 }),
        Case::new(Probe { n_quads: 8192, groups: 3, rounds: 1 }),
    ]
}
