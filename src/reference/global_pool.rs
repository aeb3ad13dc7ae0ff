//! Global average pool: the mean over H and W of each channel of each example.

use super::T4;

/// `x` `[C][N][H][W]` → `y` `[C][N][1][1]`.
pub fn forward(x: &T4) -> T4 {
    let mut y = T4::zeros(x.c, x.n, 1, 1);
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..x.h {
                for j in 0..x.w {
                    *y.at_mut(c, n, 0, 0) += x.at(c, n, i, j) / (x.h * x.w) as f64;
                }
            }
        }
    }
    y
}

/// Gradient of `x` from `dy` `[C][N][1][1]`.
pub fn backward(x: &T4, dy: &T4) -> T4 {
    let mut dx = x.zeros_like();
    for c in 0..x.c {
        for n in 0..x.n {
            for i in 0..x.h {
                for j in 0..x.w {
                    *dx.at_mut(c, n, i, j) = dy.at(c, n, 0, 0) / (x.h * x.w) as f64;
                }
            }
        }
    }
    dx
}
