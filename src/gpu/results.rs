//! Results of a child on the adapter → numbers on the host.

/// Per-example results of one child.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildResult {
    /// log p(y_n | x_n, v, α), natural log.
    pub log_likelihood: Vec<f32>,
    /// Number of examples that were classified correctly.
    pub n_correct: usize,
}

impl ChildResult {
    pub(super) fn new(both: &[f32], n: usize) -> Self {
        Self { log_likelihood: both[..n].to_vec(), n_correct: both[n..].iter().filter(|c| **c > 0.5).count() }
    }

    /// Σ_n log p(y_n | x_n, v, α).
    pub fn sum(&self) -> f64 {
        self.log_likelihood.iter().map(|l| f64::from(*l)).sum()
    }

    /// Σ_n w_n log p(y_n | x_n, v, α), with the weight w_n of each example. With weights of 1 these are the bits of
    /// [`Self::sum`].
    pub fn weighted_sum(&self, weights: &[f64]) -> f64 {
        self.log_likelihood.iter().zip(weights).map(|(l, w)| w * f64::from(*l)).sum()
    }
}
