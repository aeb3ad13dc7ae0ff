//! FactorizedReduce's two samplings, for even sides: `y[0..C] = x[:, 0::2, 0::2]`, `y[C..2C] = x[:, 1::2, 1::2]`. This
//! file also has the first sampling alone, for any sides. A 1x1 convolution of stride 2 reads that sampling.

use super::T4;

/// `x` `[C][N][H][W]`, H and W even → `y` `[2C][N][H/2][W/2]`.
pub fn forward(x: &T4) -> T4 {
    assert!(x.h.is_multiple_of(2) && x.w.is_multiple_of(2), "even sides, not {}x{}", x.h, x.w);
    let mut y = T4::zeros(2 * x.c, x.n, x.h / 2, x.w / 2);
    for offset in 0..2 {
        for c in 0..x.c {
            for n in 0..x.n {
                for i in 0..y.h {
                    for j in 0..y.w {
                        *y.at_mut(offset * x.c + c, n, i, j) = x.at(c, n, 2 * i + offset, 2 * j + offset);
                    }
                }
            }
        }
    }
    y
}

/// Gradient of `x` `[C][N][2H'][2W']` from `dy` `[2C][N][H'][W']`.
pub fn backward(dy: &T4) -> T4 {
    let mut dx = T4::zeros(dy.c / 2, dy.n, 2 * dy.h, 2 * dy.w);
    for offset in 0..2 {
        for c in 0..dx.c {
            for n in 0..dx.n {
                for i in 0..dy.h {
                    for j in 0..dy.w {
                        *dx.at_mut(c, n, 2 * i + offset, 2 * j + offset) = dy.at(offset * dx.c + c, n, i, j);
                    }
                }
            }
        }
    }
    dx
}

/// The even places only: `x` `[C][N][H][W]` → `y` `[C][N][⌈H/2⌉][⌈W/2⌉]`.
pub fn even(x: &T4) -> T4 {
    let mut y = T4::zeros(x.c, x.n, x.h.div_ceil(2), x.w.div_ceil(2));
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..y.h {
                for j in 0..y.w {
                    *y.at_mut(c, n, i, j) = x.at(c, n, 2 * i, 2 * j);
                }
            }
        }
    }
    y
}

/// Gradient of `x` (in its shape) from the gradient `dy` of [`even`]'s output.
pub fn even_backward(x: &T4, dy: &T4) -> T4 {
    let mut dx = x.zeros_like();
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..dy.h {
                for j in 0..dy.w {
                    *dx.at_mut(c, n, 2 * i, 2 * j) = dy.at(c, n, i, j);
                }
            }
        }
    }
    dx
}
