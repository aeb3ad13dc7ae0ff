//! Max pool 3x3, pad 1: the largest element under the window. The padding never wins.
//!
//! If several elements are the largest, the first in row-major order wins and gets the gradient.

use super::{T4, Window};

/// The window of the pool.
pub fn window(stride: usize) -> Window {
    Window { k: 3, stride, pad: 1, dilation: 1 }
}

/// `x` `[C][N][H][W]` → `y` `[C][N][H'][W']` and, for each element of `y`, the winner's index in `x.data`.
pub fn forward(x: &T4, stride: usize) -> (T4, Vec<usize>) {
    let win = window(stride);
    let mut y = T4::zeros(x.c, x.n, win.outputs(x.h), win.outputs(x.w));
    let mut winners = Vec::with_capacity(y.data.len());
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..y.h {
                for j in 0..y.w {
                    let mut best: Option<usize> = None;
                    for p in 0..3 {
                        for q in 0..3 {
                            let (row, col) = (win.input(i, p, x.h), win.input(j, q, x.w));
                            if let (Some(row), Some(col)) = (row, col) {
                                let here = x.index(c, n, row, col);
                                if best.is_none_or(|b| x.data[here] > x.data[b]) {
                                    best = Some(here);
                                }
                            }
                        }
                    }
                    // With pad 1 the centre of the window is always inside, so there is a winner.
                    let winner = best.unwrap_or_default();
                    *y.at_mut(c, n, i, j) = x.data[winner];
                    winners.push(winner);
                }
            }
        }
    }
    (y, winners)
}

/// Gradient of `x` from `dy` `[C][N][H'][W']`: each output's gradient goes to its winner.
pub fn backward(x: &T4, winners: &[usize], dy: &T4) -> T4 {
    let mut dx = x.zeros_like();
    for (&winner, g) in winners.iter().zip(&dy.data) {
        dx.data[winner] += g;
    }
    dx
}
