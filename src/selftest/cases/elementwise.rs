//! Node sums, views that are stored, identities, zeros.

use super::{Case, Oracle};
use crate::kernel::Launch;
use crate::ops::Map;
use crate::ops::elementwise::{self, ApplyBackward};
use crate::ops::probe::fill_params;
use crate::reference::{concat, node_sum, relu};
use crate::selftest::setup::{EXACT, FEW, Setup, sum};

/// Kind of a node's term.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Term {
    Plain,
    Normed,
}

#[derive(Debug)]
struct Node {
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    terms: &'static [Term],
    /// Whether the last term has drop-path factors.
    drop: bool,
    /// Factor of the first term.
    scale: f32,
}

impl Oracle for Node {
    fn setup(&self, s: &mut Setup) {
        let Self { channels: c, n, h, w, terms, .. } = *self;
        let map = Map { n, h, w };
        let mut want = s.grid_t4(c, map).zeros_like();
        let mut list = Vec::new();
        for (i, kind) in (0u32..).zip(terms) {
            let data = s.grid_t4((i + 2) * c, map);
            let (view, normed, _) = s.view(&data, *kind == Term::Normed, false);
            let first = (i + 1) * c;
            let scale = if i == 0 { self.scale } else { 1.0 };
            let factors = (self.drop && i as usize + 1 == terms.len()).then(|| s.drop_factors(3, n));
            let value = concat::slice(&normed, first as usize, c as usize);
            let by_example: Vec<f64> = (0..n as usize)
                .map(|e| f64::from(scale) * factors.as_ref().map_or(1.0, |(_, f)| f[n as usize + e]))
                .collect();
            want = node_sum::forward(&want, &value, [None, Some(&by_example)]);
            let drop = factors.map(|(array, _)| (array, n));
            list.push(elementwise::Term { x: view.x, first, coefs: view.coefs, scale, drop });
        }
        let y = s.tensor(3 * c, map);
        s.push(elementwise::node(y, c, c, &list));
        s.must_be(y, c, &want, FEW);
    }
}

#[derive(Debug)]
struct Apply {
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    norm: bool,
    relu: bool,
    add: bool,
}

impl Oracle for Apply {
    fn setup(&self, s: &mut Setup) {
        let Self { channels: c, n, h, w, .. } = *self;
        let map = Map { n, h, w };
        let data = s.grid_t4(3 * c, map);
        let (view, normed, seen) = s.view(&data, self.norm, self.relu);
        let y = s.tensor(4 * c, map);
        s.push(elementwise::apply(&view, c, y, 2 * c, c));
        s.must_be(y, 2 * c, &concat::slice(&seen, c as usize, c as usize), EXACT);

        let dy = s.noise_t4(4 * c, map);
        let from = s.input(&dy);
        let (dx, before) = s.target(c, map, &[false, self.add, false]);
        let at = ApplyBackward { from: c, to: 2 * c, channels: c, accumulate: self.add };
        s.push(elementwise::apply_backward(&view, from, dx, at));
        let block = concat::slice(&dy, 2 * c as usize, c as usize);
        let normed = concat::slice(&normed, c as usize, c as usize);
        let want = if self.relu { relu::backward(&normed, &block) } else { block };
        s.must_be(dx, c, &sum(&want, &before[1]), FEW);

        let (dx, before) = s.target(c, map, &[false, self.add, false]);
        s.push(elementwise::pass_back(from, 2 * c, dx, c, c, 2.0, self.add));
        let mut want = concat::slice(&dy, 2 * c as usize, c as usize);
        want.data.iter_mut().for_each(|v| *v *= 2.0);
        s.must_be(dx, c, &sum(&want, &before[1]), FEW);

        let (dx, before) = s.target(c, map, &[false, true, false]);
        s.push(elementwise::clear(dx, c, c));
        s.must_be(dx, c, &before[1].zeros_like(), EXACT);
    }
}

#[derive(Debug)]
struct Fill {
    n_quads: u32,
}

impl Oracle for Fill {
    fn setup(&self, s: &mut Setup) {
        let y = s.blank(4 * self.n_quads);
        s.push(Launch {
            shader: "fill",
            entry: "fill",
            overrides: vec![],
            bindings: vec![("y", y.range())],
            params: fill_params(self.n_quads, 1.5),
            grid: [self.n_quads.div_ceil(256), 1, 1],
            flops: 0,
            bytes: y.bytes,
        });
        s.expect_array(y, &vec![1.5; 4 * self.n_quads as usize], EXACT);
    }
}

pub(super) fn cases() -> Vec<Case> {
    use Term::{Normed, Plain};
    let node =
        |channels, (n, h, w), terms, drop, scale| Case::new(Node { channels, n, h, w, terms, drop, scale });
    let apply = |channels, (n, h, w), [norm, relu, add]: [bool; 3]| {
        Case::new(Apply { channels, n, h, w, norm, relu, add })
    };
    vec![
        node(2, (2, 5, 7), &[], false, 1.0),
        node(2, (2, 5, 7), &[Plain], true, 1.0),
        node(1, (1, 1, 1), &[Normed], false, 2.0),
        node(3, (3, 6, 6), &[Plain, Plain], false, 2.0),
        node(2, (2, 5, 7), &[Normed, Plain], true, 2.0),
        node(2, (2, 4, 8), &[Plain, Normed], true, 1.0),
        node(16, (2, 32, 32), &[Normed, Normed], false, 1.0),
        // The sums of a chain: one term, plain or normalised, and two terms of which one is normalised.
        node(3, (3, 7, 7), &[Plain], false, 2.0),
        node(2, (1, 14, 14), &[Normed], false, 1.0),
        node(3, (2, 7, 7), &[Normed], true, 2.0),
        node(1, (5, 4, 4), &[Normed, Plain], false, 1.0),
        node(3, (2, 7, 7), &[Plain, Normed], false, 2.0),
        node(2, (70, 3, 2), &[Normed, Normed], true, 2.0),
        apply(2, (2, 5, 7), [false, true, true]),
        apply(1, (1, 1, 1), [true, true, false]),
        apply(3, (3, 8, 8), [true, false, true]),
        apply(16, (2, 32, 32), [false, false, false]),
        Case::new(Fill { n_quads: 1 }),
        Case::new(Fill { n_quads: 300 }),
    ]
}
