//! Log-softmax cross-entropy: `log p(y_n) = z[y_n] − log Σ_k exp z[k]`. The loss is minus the mean of this over N.

use super::T4;

/// Logits `z` `[K][N][1][1]`, `labels` `[N]` → log-likelihood of each example `[N]`, in nats.
pub fn log_likelihood(z: &T4, labels: &[usize]) -> Vec<f64> {
    labels.iter().enumerate().map(|(n, &label)| z.at(label, n, 0, 0) - log_sum_exp(z, n)).collect()
}

/// The log-likelihood with the target spread by ε: `(1 − ε) log p(y_n) + ε/K Σ_k log p(k)`. This is minus PyTorch's
/// `CrossEntropyLoss(label_smoothing=ε, reduction='none')`.
pub fn smoothed(z: &T4, labels: &[usize], smoothing: f64) -> Vec<f64> {
    let example = |(n, &label): (usize, &usize)| {
        let log_p = |k| z.at(k, n, 0, 0) - log_sum_exp(z, n);
        let even = (0..z.c).map(log_p).sum::<f64>() / z.c as f64;
        (1.0 - smoothing) * log_p(label) + smoothing * even
    };
    labels.iter().enumerate().map(example).collect()
}

/// Gradient of the mean cross-entropy: `dz = (softmax(z) − onehot(y)) / N`, `[K][N][1][1]`.
pub fn backward(z: &T4, labels: &[usize]) -> T4 {
    smoothed_backward(z, labels, 0.0)
}

/// Gradient of minus the mean of [`smoothed`]: `dz = (softmax(z) − (1 − ε) onehot(y) − ε/K) / N`.
pub fn smoothed_backward(z: &T4, labels: &[usize], smoothing: f64) -> T4 {
    let mut dz = z.zeros_like();
    for (n, &label) in labels.iter().enumerate() {
        let lse = log_sum_exp(z, n);
        for k in 0..z.c {
            let onehot = if k == label { 1.0 } else { 0.0 };
            let target = (1.0 - smoothing) * onehot + smoothing / z.c as f64;
            *dz.at_mut(k, n, 0, 0) = ((z.at(k, n, 0, 0) - lse).exp() - target) / z.n as f64;
        }
    }
    dz
}

fn log_sum_exp(z: &T4, n: usize) -> f64 {
    let max = (0..z.c).map(|k| z.at(k, n, 0, 0)).fold(f64::NEG_INFINITY, f64::max);
    max + (0..z.c).map(|k| (z.at(k, n, 0, 0) - max).exp()).sum::<f64>().ln()
}
