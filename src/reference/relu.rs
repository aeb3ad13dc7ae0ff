//! ReLU: `y = max(x, 0)`, with derivative 0 at 0.

use super::T4;

/// `y = max(x, 0)`, with the shape of `x`.
pub fn forward(x: &T4) -> T4 {
    let mut y = x.clone();
    for v in &mut y.data {
        // `max` is not used, because `max` would hide a NaN.
        if *v <= 0.0 {
            *v = 0.0;
        }
    }
    y
}

/// `dx = dy` where `x > 0`, else 0.
pub fn backward(x: &T4, dy: &T4) -> T4 {
    let mut dx = dy.clone();
    for (g, &v) in dx.data.iter_mut().zip(&x.data) {
        if v <= 0.0 {
            *g = 0.0;
        }
    }
    dx
}
