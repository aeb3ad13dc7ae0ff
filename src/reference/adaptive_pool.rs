//! Adaptive average pool to 2x2: output i of 2 is the mean of inputs `⌊i·n/2⌋ .. ⌈(i+1)·n/2⌉` of a side.
//!
//! Odd sides give bins that share their middle line.

use std::ops::Range;

use super::T4;

/// `x` `[C][N][H][W]` → `y` `[C][N][2][2]`.
pub fn forward(x: &T4) -> T4 {
    let mut y = T4::zeros(x.c, x.n, 2, 2);
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..2 {
                for j in 0..2 {
                    let (rows, cols) = (bin(i, x.h), bin(j, x.w));
                    let count = (rows.len() * cols.len()) as f64;
                    let mut sum = 0.0;
                    for row in rows {
                        for col in cols.clone() {
                            sum += x.at(c, n, row, col);
                        }
                    }
                    *y.at_mut(c, n, i, j) = sum / count;
                }
            }
        }
    }
    y
}

/// Gradient of `x` from `dy` `[C][N][2][2]`.
pub fn backward(x: &T4, dy: &T4) -> T4 {
    let mut dx = x.zeros_like();
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..2 {
                for j in 0..2 {
                    let (rows, cols) = (bin(i, x.h), bin(j, x.w));
                    let g = dy.at(c, n, i, j) / (rows.len() * cols.len()) as f64;
                    for row in rows {
                        for col in cols.clone() {
                            *dx.at_mut(c, n, row, col) += g;
                        }
                    }
                }
            }
        }
    }
    dx
}

fn bin(i: usize, n: usize) -> Range<usize> {
    (i * n / 2)..((i + 1) * n).div_ceil(2)
}
