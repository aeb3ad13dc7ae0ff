//! Average pool: the mean of the elements under the window; padding is not counted in the divisor.
//!
//! The primitive is 3x3 with pad 1. The auxiliary head's pool is 5x5 with stride 3 or 2 and without padding.

use super::{T4, Window};

/// The window of the primitive: 3x3, pad 1.
pub fn window(stride: usize) -> Window {
    Window { k: 3, stride, pad: 1, dilation: 1 }
}

/// `x` `[C][N][H][W]` → `y` `[C][N][H'][W']`.
pub fn forward(x: &T4, win: Window) -> T4 {
    let mut y = T4::zeros(x.c, x.n, win.outputs(x.h), win.outputs(x.w));
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..y.h {
                for j in 0..y.w {
                    let mut sum = 0.0;
                    for p in 0..win.k {
                        for q in 0..win.k {
                            let (row, col) = (win.input(i, p, x.h), win.input(j, q, x.w));
                            if let (Some(row), Some(col)) = (row, col) {
                                sum += x.at(c, n, row, col);
                            }
                        }
                    }
                    *y.at_mut(c, n, i, j) = sum / (inside(win, i, x.h) * inside(win, j, x.w));
                }
            }
        }
    }
    y
}

/// Gradient of `x` from `dy` `[C][N][H'][W']`.
pub fn backward(x: &T4, dy: &T4, win: Window) -> T4 {
    let mut dx = x.zeros_like();
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..dy.h {
                for j in 0..dy.w {
                    let g = dy.at(c, n, i, j) / (inside(win, i, x.h) * inside(win, j, x.w));
                    for p in 0..win.k {
                        for q in 0..win.k {
                            let (row, col) = (win.input(i, p, x.h), win.input(j, q, x.w));
                            if let (Some(row), Some(col)) = (row, col) {
                                *dx.at_mut(c, n, row, col) += g;
                            }
                        }
                    }
                }
            }
        }
    }
    dx
}

/// Number of taps of output `out` that lie inside a side of `n` inputs.
fn inside(win: Window, out: usize, n: usize) -> f64 {
    (0..win.k).filter(|&tap| win.input(out, tap, n).is_some()).count() as f64
}
