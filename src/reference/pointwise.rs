//! Pointwise (1x1) convolution without bias: `y[o] = Σ_c w[o][c] · x[c]` at every position.

use super::T4;

/// `x` `[Ci][N][H][W]`, `w` `[Co][Ci]` → `y` `[Co][N][H][W]`.
pub fn forward(x: &T4, w: &[f64], co: usize) -> T4 {
    assert_eq!(w.len(), co * x.c, "weights [Co][Ci]");
    let mut y = T4::zeros(co, x.n, x.h, x.w);
    let m = x.per_channel();
    for o in 0..co {
        for c in 0..x.c {
            for e in 0..m {
                y.data[o * m + e] += w[o * x.c + c] * x.data[c * m + e];
            }
        }
    }
    y
}

/// Gradients of `x` (its shape) and of `w` (its layout) from `dy` `[Co][N][H][W]`.
pub fn backward(x: &T4, w: &[f64], dy: &T4) -> (T4, Vec<f64>) {
    let mut dx = x.zeros_like();
    let mut dw = vec![0.0; w.len()];
    let m = x.per_channel();
    for o in 0..dy.c {
        for c in 0..x.c {
            for e in 0..m {
                dx.data[c * m + e] += w[o * x.c + c] * dy.data[o * m + e];
                dw[o * x.c + c] += dy.data[o * m + e] * x.data[c * m + e];
            }
        }
    }
    (dx, dw)
}
