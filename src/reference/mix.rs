//! A node of a mixed cell (Eq. 2): `y = Σ_t f_t·x_t`, one factor per term.

use super::T4;

/// One or more terms `[C][N][H][W]` of one shape, each with its factor → `y` of that shape.
pub fn forward(terms: &[(&T4, f64)]) -> T4 {
    let mut y = terms[0].0.zeros_like();
    for (x, factor) in terms {
        for (y, x) in y.data.iter_mut().zip(&x.data) {
            *y += factor * x;
        }
    }
    y
}

/// Gradients of one term and of its factor from `dy`.
pub fn backward(x: &T4, factor: f64, dy: &T4) -> (T4, f64) {
    let mut dx = dy.clone();
    dx.data.iter_mut().for_each(|g| *g *= factor);
    (dx, x.data.iter().zip(&dy.data).map(|(x, g)| x * g).sum())
}
