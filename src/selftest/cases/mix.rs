//! Nodes of mixed cells.

use super::{Case, Oracle};
use crate::ops::Map;
use crate::ops::mix::{Mix as Op, Term};
use crate::reference::{T4, concat, mix};
use crate::selftest::setup::{FEW, LONG_SUM, Setup, sum};

#[derive(Debug)]
struct Mix {
    channels: u32,
    n: u32,
    h: u32,
    w: u32,
    /// Blocks of x that are terms, by number.
    blocks: &'static [u32],
    norm: bool,
    /// Whether the target already holds something.
    add: bool,
}

impl Oracle for Mix {
    fn setup(&self, s: &mut Setup) {
        let Self { channels: c, n, h, w, add, .. } = *self;
        let map = Map { n, h, w };
        let n_blocks = self.blocks.iter().max().map_or(1, |last| last + 2);
        let data = s.grid_t4(n_blocks * c, map);
        let (view, normed, _) = s.view(&data, self.norm, false);
        let shared = s.noise(self.blocks.len() as u32 + 2);
        let by_example: Vec<f64> = shared.iter().flat_map(|f| std::iter::repeat_n(*f, n as usize)).collect();
        let factors = s.array(&by_example);
        let terms: Vec<Term> =
            (1..).zip(self.blocks).map(|(number, block)| Term { source: block * c, number }).collect();
        let value = |term: &Term| concat::slice(&normed, term.source as usize, c as usize);
        let values: Vec<(T4, f64)> = terms.iter().map(|t| (value(t), shared[t.number as usize])).collect();
        let op =
            |z| Op { x: view.x, coefs: view.coefs, z, target: c, channels: c, terms: terms.clone(), factors };

        let (z, before) = s.target(c, map, &[false, add, false]);
        s.push(op(z).forward(add));
        let borrowed: Vec<(&T4, f64)> = values.iter().map(|(x, f)| (x, *f)).collect();
        s.must_be(z, c, &sum(&mix::forward(&borrowed), &before[1]), FEW);

        let dy = s.noise_t4(3 * c, map);
        let dz = s.input(&dy);
        let block = concat::slice(&dy, c as usize, c as usize);
        let op = op(dz);
        let each = op.partials();
        let partial = s.blank(each * terms.len() as u32);
        s.push(op.backward_factors(dz, partial));
        // Each term is compared by itself. The partial sums of a term lie next to each other.
        for (i, (x, factor)) in values.iter().enumerate() {
            let first = i * each as usize;
            let want = mix::backward(x, *factor, &block).1;
            let output = s.expect_words(partial.buf, vec![(first, Some(want))], LONG_SUM);
            (output.chunks, output.stride) = (each as usize, 1);
            let size: f64 = x.data.iter().zip(&block.data).map(|(x, g)| (x * g).abs()).sum();
            output.scale = size.max(1e-3);
        }

        let last = terms.len() - 1;
        let mut add_to = vec![false; n_blocks as usize];
        add_to[self.blocks[last] as usize] = add;
        let (dx, before) = s.target(c, map, &add_to);
        s.push(op.pass_back(last, dz, dx, add));
        let want = mix::backward(&values[last].0, values[last].1, &block).0;
        s.must_be(dx, terms[last].source, &sum(&want, &before[self.blocks[last] as usize]), FEW);
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mix =
        |channels, (n, h, w), blocks, norm, add| Case::new(Mix { channels, n, h, w, blocks, norm, add });
    vec![
        mix(1, (1, 1, 1), &[0], true, false),
        mix(2, (2, 5, 7), &[1, 3], false, true),
        mix(3, (3, 6, 6), &[2, 0, 1], true, true),
        mix(4, (2, 8, 8), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], true, false),
        mix(16, (2, 32, 32), &[0, 2], true, false),
    ]
}
