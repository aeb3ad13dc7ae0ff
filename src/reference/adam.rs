//! Adam on the logits of π, ascending: bias-corrected, eps 1e-8, no decay.

/// Settings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment and of the second moment.
    pub betas: (f64, f64),
    /// Number that is added to the root of the second moment.
    pub eps: f64,
}

/// Step number `t` (counted from 1): `m = β₁·m + (1−β₁)·g`, `v = β₂·v + (1−β₂)·g²`,
/// `x += lr · (m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + eps)`.
pub fn ascend(x: &mut [f64], m: &mut [f64], v: &mut [f64], g: &[f64], t: u64, adam: Adam) {
    let (beta1, beta2) = adam.betas;
    let (unbias1, unbias2) = (1.0 - beta1.powf(t as f64), 1.0 - beta2.powf(t as f64));
    for (((x, m), v), g) in x.iter_mut().zip(m).zip(v).zip(g) {
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        *x += adam.lr * (*m / unbias1) / ((*v / unbias2).sqrt() + adam.eps);
    }
}
