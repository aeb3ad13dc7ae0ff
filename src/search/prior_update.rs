//! The update of π: one ascending Adam step along Σ_k (ω̃_k − b) ∇_π log p(α_k|π).

use crate::config::Baseline;
use crate::space::prior::PerSlot;
use crate::space::{Alpha, Prior};

/// Adam's settings for π.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
}

const EPS: f64 = 1e-8;

/// Adam's moments, in the layout of the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// First moment.
    pub m: PerSlot,
    /// Second moment.
    pub v: PerSlot,
}

impl Moments {
    /// Zeros in the layout of `prior`.
    pub fn zeros(prior: &Prior) -> Self {
        let zeros = || prior.logits.iter().map(|logits| vec![0.0; logits.len()]).collect();
        Self { m: zeros(), v: zeros() }
    }
}

/// Σ_k (ω̃_k − b_k) ∇_π log p(α_k|π), with b_k = 0 or (1/K) π(α_k)/q(α_k) for children that were drawn from q. An empty
/// `ratios` means that all ratios are 1. The baseline does not change the expectation, since E_q\[π/q ∇ log p\] = 0,
/// and lowers the variance.
pub fn gradient(
    prior: &Prior,
    children: &[Alpha],
    weights: &[f64],
    baseline: Baseline,
    ratios: &[f64],
) -> PerSlot {
    let b = match baseline {
        Baseline::None => 0.0,
        Baseline::Mean => 1.0 / children.len() as f64,
    };
    let mut total = Moments::zeros(prior).m;
    for (k, (alpha, weight)) in children.iter().zip(weights).enumerate() {
        let ratio = ratios.get(k).copied().unwrap_or(1.0);
        let g = prior.grad_log_prob(alpha);
        for (sum, g) in total.iter_mut().flatten().zip(g.iter().flatten()) {
            *sum += (weight - b * ratio) * g;
        }
    }
    total
}

/// The `t`-th ascending step (from 1) of all logits.
pub fn ascend(prior: &mut Prior, moments: &mut Moments, gradient: &PerSlot, t: u64, settings: Adam) {
    let moments = moments.m.iter_mut().zip(&mut moments.v);
    for ((logits, (m, v)), g) in prior.logits.iter_mut().zip(moments).zip(gradient) {
        adam(logits, m, v, g, t, settings);
    }
}

/// The `t`-th ascending step (from 1), bias-corrected: x += lr · m̂ / (√v̂ + 1e-8).
pub fn adam(x: &mut [f64], m: &mut [f64], v: &mut [f64], gradient: &[f64], t: u64, settings: Adam) {
    let Adam { lr, beta1, beta2 } = settings;
    let correction = |beta: f64| 1.0 - beta.powf(t as f64);
    let (c1, c2) = (correction(beta1), correction(beta2));
    for (i, g) in gradient.iter().enumerate() {
        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
        v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
        x[i] += lr * (m[i] / c1) / ((v[i] / c2).sqrt() + EPS);
    }
}
