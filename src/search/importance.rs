//! Log-likelihoods of K children → importance weights, their effective sample size, and the children that
//! need no backward pass.

use crate::config::Temper;

/// ω̃ = softmax(β ℓ), computed by log-sum-exp. ℓ \[K\] is in nats, summed over the batch, so that a weight is a product
/// of likelihoods over examples. β = 1 is the paper's estimator.
pub fn weights(log_likelihood: &[f64], beta: f64) -> Vec<f64> {
    corrected(log_likelihood, beta, &[])
}

/// The weights of children that were drawn from q instead of π: ω̃_k ∝ ω_k^β π(α_k) / q(α_k). An empty `ratios` means
/// that all ratios are 1.
pub fn corrected(log_likelihood: &[f64], beta: f64, ratios: &[f64]) -> Vec<f64> {
    // A child that π cannot draw has weight 0, however likely it is.
    let ratio = |k: usize| ratios.get(k).copied().unwrap_or(1.0);
    let possible = log_likelihood.iter().enumerate().filter(|(k, _)| ratio(*k) > 0.0);
    let top = possible.map(|(_, l)| *l).fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return vec![1.0 / log_likelihood.len() as f64; log_likelihood.len()];
    }
    let raw: Vec<f64> =
        log_likelihood.iter().enumerate().map(|(k, l)| weigh(beta * (l - top), ratio(k))).collect();
    let total: f64 = raw.iter().sum();
    raw.into_iter().map(|w| w / total).collect()
}

/// exp(`log`) times `ratio`. The result is 0 if `ratio` is 0.
fn weigh(log: f64, ratio: f64) -> f64 {
    if ratio > 0.0 { log.exp() * ratio } else { 0.0 }
}

/// Effective sample size 1 / Σ ω̃²: from 1 (one child has all the weight) to K (all weights are equal).
pub fn ess(weights: &[f64]) -> f64 {
    1.0 / weights.iter().map(|w| w * w).sum::<f64>()
}

/// The exponent β of `temper`, for weights corrected by `ratios`. A target size is met by bisection over \[0, 1\]: the
/// size falls from K at β = 0 as β grows. If even β = 1 gives a size above the target, β is 1.
pub fn exponent(temper: Temper, log_likelihood: &[f64], ratios: &[f64]) -> f64 {
    let target = match temper {
        Temper::None => return 1.0,
        Temper::Beta(beta) => return beta,
        Temper::Ess(target) => target,
    };
    let size = |beta| ess(&corrected(log_likelihood, beta, ratios));
    if size(1.0) >= target {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // Sixty halvings reach the last bit of an f64.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if size(middle) >= target { low = middle } else { high = middle }
    }
    low
}

/// Whether each child keeps its backward pass. The children with the smallest weights are left out as long as these
/// weights sum to at most `drop_mass`. Among children of equal weight the child with the smaller index comes first. At
/// least one child is kept.
pub fn kept(weights: &[f64], drop_mass: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[a].total_cmp(&weights[b]));
    let mut kept = vec![true; weights.len()];
    let mut left_out = 0.0;
    for &k in &order[..order.len().saturating_sub(1)] {
        left_out += weights[k];
        if drop_mass <= 0.0 || left_out > drop_mass {
            break;
        }
        kept[k] = false;
    }
    kept
}
