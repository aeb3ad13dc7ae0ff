//! Accumulation of a child's gradient, the norm over all of `v`, and the factor that clips the gradient.

/// `acc += scale·g`, element by element.
pub fn accumulate(acc: &mut [f64], scale: f64, g: &[f64]) {
    for (a, g) in acc.iter_mut().zip(g) {
        *a += scale * g;
    }
}

/// The Euclidean norm over all tensors together.
pub fn global_norm<'a>(tensors: impl IntoIterator<Item = &'a [f64]>) -> f64 {
    let mut sum = 0.0;
    for tensor in tensors {
        for g in tensor {
            sum += g * g;
        }
    }
    sum.sqrt()
}

/// `min(1, max_norm / (norm + 1e-6))`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
