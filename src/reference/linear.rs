//! Linear layer: `y[k] = Σ_f w[k][f] · x[f] + b[k]` for each example.

use super::T4;

/// Gradients of a linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Grads {
    /// `[F][N][1][1]`.
    pub dx: T4,
    /// `[K][F]`.
    pub dw: Vec<f64>,
    /// `[K]`.
    pub db: Vec<f64>,
}

/// `x` `[F][N][1][1]`, `w` `[K][F]`, `b` `[K]` → `y` `[K][N][1][1]`.
pub fn forward(x: &T4, w: &[f64], b: &[f64]) -> T4 {
    assert_eq!((x.h, x.w, w.len()), (1, 1, b.len() * x.c), "features [F][N], weights [K][F]");
    let mut y = T4::zeros(b.len(), x.n, 1, 1);
    for k in 0..y.c {
        for n in 0..x.n {
            let mut sum = b[k];
            for f in 0..x.c {
                sum += w[k * x.c + f] * x.at(f, n, 0, 0);
            }
            *y.at_mut(k, n, 0, 0) = sum;
        }
    }
    y
}

/// Gradients from `dy` `[K][N][1][1]`.
pub fn backward(x: &T4, w: &[f64], dy: &T4) -> Grads {
    let mut grads = Grads { dx: x.zeros_like(), dw: vec![0.0; w.len()], db: vec![0.0; dy.c] };
    for k in 0..dy.c {
        for n in 0..x.n {
            let g = dy.at(k, n, 0, 0);
            grads.db[k] += g;
            for f in 0..x.c {
                *grads.dx.at_mut(f, n, 0, 0) += w[k * x.c + f] * g;
                grads.dw[k * x.c + f] += x.at(f, n, 0, 0) * g;
            }
        }
    }
    grads
}
