//! Dense convolution without bias: `y[o] = Σ_c Σ_pq w[o][c][p][q] · x[c][i·s + p·d − pad][j·s + q·d − pad]`.

use super::{T4, Window};

/// `x` `[Ci][N][H][W]`, `w` `[Co][Ci][K][K]` → `y` `[Co][N][H'][W']`.
pub fn forward(x: &T4, w: &[f64], co: usize, win: Window) -> T4 {
    assert_eq!(w.len(), co * x.c * win.k * win.k, "weights [Co][Ci][K][K]");
    let mut y = T4::zeros(co, x.n, win.outputs(x.h), win.outputs(x.w));
    for o in 0..co {
        for n in 0..x.n {
            for i in 0..y.h {
                for j in 0..y.w {
                    let mut sum = 0.0;
                    for c in 0..x.c {
                        for p in 0..win.k {
                            for q in 0..win.k {
                                let (row, col) = (win.input(i, p, x.h), win.input(j, q, x.w));
                                if let (Some(row), Some(col)) = (row, col) {
                                    sum += w[((o * x.c + c) * win.k + p) * win.k + q] * x.at(c, n, row, col);
                                }
                            }
                        }
                    }
                    *y.at_mut(o, n, i, j) = sum;
                }
            }
        }
    }
    y
}

/// Gradients of `x` (its shape) and of `w` (its layout) from `dy` `[Co][N][H'][W']`.
pub fn backward(x: &T4, w: &[f64], dy: &T4, win: Window) -> (T4, Vec<f64>) {
    let mut dx = x.zeros_like();
    let mut dw = vec![0.0; w.len()];
    for o in 0..dy.c {
        for n in 0..x.n {
            for i in 0..dy.h {
                for j in 0..dy.w {
                    let g = dy.at(o, n, i, j);
                    for c in 0..x.c {
                        for p in 0..win.k {
                            for q in 0..win.k {
                                let (row, col) = (win.input(i, p, x.h), win.input(j, q, x.w));
                                if let (Some(row), Some(col)) = (row, col) {
                                    let tap = ((o * x.c + c) * win.k + p) * win.k + q;
                                    *dx.at_mut(c, n, row, col) += g * w[tap];
                                    dw[tap] += g * x.at(c, n, row, col);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    (dx, dw)
}
