//! A node (Eq. 1): `y = f_a·a + f_b·b`. A term under drop-path has a factor per example; otherwise the factor is 1.

use super::T4;

/// `a`, `b` `[C][N][H][W]` and the factors `[N]` of each of them, if there are any → `y` of the same shape.
pub fn forward(a: &T4, b: &T4, factors: [Option<&[f64]>; 2]) -> T4 {
    let mut y = scale(a, factors[0]);
    y.add(&scale(b, factors[1]));
    y
}

/// Gradients of `a` and `b` from `dy`.
pub fn backward(dy: &T4, factors: [Option<&[f64]>; 2]) -> [T4; 2] {
    factors.map(|f| scale(dy, f))
}

fn scale(x: &T4, factors: Option<&[f64]>) -> T4 {
    let mut y = x.clone();
    let Some(factors) = factors else { return y };
    for c in 0..x.c {
        for (n, factor) in factors.iter().enumerate() {
            for i in 0..x.h {
                for j in 0..x.w {
                    *y.at_mut(c, n, i, j) *= factor;
                }
            }
        }
    }
    y
}
