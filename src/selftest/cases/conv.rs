//! Dense convolution.

use super::{Case, Oracle};
use crate::ops::{Map, Part, conv};
use crate::reference::{self, Window};
use crate::selftest::gradient::Gradient;
use crate::selftest::setup::{LONG_SUM, SUM, Setup, padded, sum};

#[derive(Debug)]
struct Conv {
    k: u32,
    stride: u32,
    pad: u32,
    ci: u32,
    co: u32,
    n: u32,
    h: u32,
    w: u32,
    norm: bool,
    relu: bool,
    bn: bool,
    add: bool,
}

impl Oracle for Conv {
    fn setup(&self, s: &mut Setup) {
        let Self { k, stride, pad, ci, co, n, h, w, .. } = *self;
        let map = Map { n, h, w };
        let out = |side: u32| (side + 2 * pad - k) / stride + 1;
        let out = Map { n, h: out(h), w: out(w) };
        let win = Window { k: k as usize, stride: stride as usize, pad: pad as usize, dilation: 1 };

        let data = s.grid_t4(ci, map);
        let (x, normed, seen) = s.view(&data, self.norm, self.relu);
        let weights = s.noise(co * ci * k * k);
        let y = s.tensor(co, out);
        let w = s.packed(&weights, ci * k * k);
        let op = conv::Conv { k, stride, pad, x, part: Part::all(ci), y, w, v: w };
        op.forward().into_iter().for_each(|d| s.push(d));
        s.must_be(y, 0, &reference::conv::forward(&seen, &weights, co as usize, win), SUM);

        let g = Gradient::new(s, co, co, out, self.bn, false);
        let op = conv::Conv { y: g.y, ..op };
        let (dx, dw) = reference::conv::backward(&seen, &weights, &g.dy(0, co, 0, 0), win);
        let partial = s.blank(op.chunks() * op.elements());
        s.push(op.backward_weight(&g.view, partial));
        s.expect_chunks(partial, &padded(&dw, ci * k * k), op.chunks(), LONG_SUM);

        let (target, before) = s.target(ci, map, &[self.add]);
        op.backward_data(&g.view, target, self.add).into_iter().for_each(|d| s.push(d));
        let dx = if self.relu { reference::relu::backward(&normed, &dx) } else { dx };
        s.must_be(target, 0, &sum(&dx, &before[0]), SUM);
    }
}

pub(super) fn cases() -> Vec<Case> {
    let same = Conv {
        k: 3,
        stride: 1,
        pad: 1,
        ci: 3,
        co: 5,
        n: 2,
        h: 5,
        w: 7,
        norm: false,
        relu: false,
        bn: true,
        add: false,
    };
    let list = [
        Conv { ci: 1, co: 1, n: 1, h: 1, w: 1, bn: false, ..same },
        // A stem at CIFAR's size.
        Conv { ci: 3, co: 48, n: 3, h: 32, w: 32, ..same },
        Conv { co: 9, h: 28, w: 28, n: 1, ci: 1, ..same },
        // ImageNet's stems.
        Conv { stride: 2, h: 9, w: 11, norm: true, relu: true, add: true, ..same },
        Conv { stride: 2, h: 8, w: 16, ci: 4, co: 8, norm: true, relu: true, ..same },
        Conv { relu: true, bn: false, add: true, ..same },
        // The auxiliary head.
        Conv { k: 2, pad: 0, ci: 6, co: 7, n: 5, h: 2, w: 2, norm: true, relu: true, ..same },
        Conv { k: 2, pad: 0, h: 4, w: 9, bn: false, ..same },
        same,
    ];
    list.into_iter().map(Case::new).collect()
}
