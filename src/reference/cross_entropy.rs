//! Log-softmax cross-entropy: `log p(y_n) = z[y_n] − log Σ_k exp z[k]`; the loss is minus its mean over N.

use super::T4;

/// Logits `z` `[K][N][1][1]`, `labels` `[N]` → log-likelihood of each example `[N]`, in nats.
pub fn log_likelihood(z: &T4, labels: &[usize]) -> Vec<f64> {
    labels.iter().enumerate().map(|(n, &label)| z.at(label, n, 0, 0) - log_sum_exp(z, n)).collect()
}

/// Gradient of the mean cross-entropy: `dz = (softmax(z) − onehot(y)) / N`, `[K][N][1][1]`.
pub fn backward(z: &T4, labels: &[usize]) -> T4 {
    let mut dz = z.zeros_like();
    for (n, &label) in labels.iter().enumerate() {
        let lse = log_sum_exp(z, n);
        for k in 0..z.c {
            let onehot = if k == label { 1.0 } else { 0.0 };
            *dz.at_mut(k, n, 0, 0) = ((z.at(k, n, 0, 0) - lse).exp() - onehot) / z.n as f64;
        }
    }
    dz
}

fn log_sum_exp(z: &T4, n: usize) -> f64 {
    let max = (0..z.c).map(|k| z.at(k, n, 0, 0)).fold(f64::NEG_INFINITY, f64::max);
    max + (0..z.c).map(|k| (z.at(k, n, 0, 0) - max).exp()).sum::<f64>().ln()
}
