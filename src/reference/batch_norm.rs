//! Batch norm: `y = γ·(x − mean)·rstd + β` per channel, `rstd = 1/√(var + 1e-5)`.
//!
//! In training (and in the whole search) `mean` and the biased `var` are those of the batch and depend on `x`. At
//! evaluation they are given constants. Without affine parameters `γ` is 1 and `β` is 0.

use super::T4;

/// Number that is added to the variance.
pub const EPS: f64 = 1e-5;
/// Share of the batch in the update of a running statistic.
pub const MOMENTUM: f64 = 0.1;

/// Mean and variance of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// `[C]`.
    pub mean: Vec<f64>,
    /// `[C]`. The variance of a batch is the biased one (divided by N·H·W).
    pub var: Vec<f64>,
}

impl Stats {
    fn rstd(&self, c: usize) -> f64 {
        1.0 / (self.var[c] + EPS).sqrt()
    }
}

/// Gradients of a batch norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Grads {
    /// Shape of `x`.
    pub dx: T4,
    /// `[C]`.
    pub dgamma: Vec<f64>,
    /// `[C]`.
    pub dbeta: Vec<f64>,
}

/// Mean and biased variance of each channel of `x` over N, H and W.
pub fn statistics(x: &T4) -> Stats {
    let m = x.per_channel();
    let (mut mean, mut var) = (vec![0.0; x.c], vec![0.0; x.c]);
    for c in 0..x.c {
        let channel = &x.data[c * m..(c + 1) * m];
        mean[c] = channel.iter().sum::<f64>() / m as f64;
        var[c] = channel.iter().map(|v| (v - mean[c]).powi(2)).sum::<f64>() / m as f64;
    }
    Stats { mean, var }
}

/// The running statistics after a batch of `m` = N·H·W elements per channel with statistics `batch`:
/// `0.9·running + 0.1·batch`, with the unbiased variance of the batch (a variance of 0 stays 0 if `m` is 1).
pub fn update_running(running: &Stats, batch: &Stats, m: usize) -> Stats {
    let unbias = m as f64 / (m as f64 - 1.0).max(1.0);
    let mix = |old: &[f64], new: &[f64], scale: f64| {
        old.iter().zip(new).map(|(o, n)| (1.0 - MOMENTUM) * o + MOMENTUM * scale * n).collect()
    };
    Stats { mean: mix(&running.mean, &batch.mean, 1.0), var: mix(&running.var, &batch.var, unbias) }
}

/// Normalises `x` `[C][N][H][W]` with `stats` (of the batch, or running). `affine` is `(γ, β)`, `[C]` each.
pub fn forward(x: &T4, stats: &Stats, affine: Option<(&[f64], &[f64])>) -> T4 {
    let m = x.per_channel();
    let mut y = x.zeros_like();
    for c in 0..x.c {
        let (gamma, beta) = affine.map_or((1.0, 0.0), |(g, b)| (g[c], b[c]));
        for e in c * m..(c + 1) * m {
            y.data[e] = gamma * (x.data[e] - stats.mean[c]) * stats.rstd(c) + beta;
        }
    }
    y
}

/// Backward with batch statistics, which depend on `x`:
/// `dx = γ·rstd·(dy − mean(dy) − x̂·mean(dy·x̂))`, `dγ = Σ dy·x̂`, `dβ = Σ dy`.
pub fn backward(x: &T4, stats: &Stats, gamma: Option<&[f64]>, dy: &T4) -> Grads {
    let m = x.per_channel();
    let mut grads = backward_eval(x, stats, gamma, dy);
    for c in 0..x.c {
        let (mean_dy, mean_dy_xhat) = (grads.dbeta[c] / m as f64, grads.dgamma[c] / m as f64);
        let rstd = stats.rstd(c);
        for e in c * m..(c + 1) * m {
            let xhat = (x.data[e] - stats.mean[c]) * rstd;
            grads.dx.data[e] =
                gamma.map_or(1.0, |g| g[c]) * rstd * (dy.data[e] - mean_dy - xhat * mean_dy_xhat);
        }
    }
    grads
}

/// Backward with given statistics, which do not depend on `x`: `dx = γ·rstd·dy`. `dγ` and `dβ` are as in
/// [`backward`].
pub fn backward_eval(x: &T4, stats: &Stats, gamma: Option<&[f64]>, dy: &T4) -> Grads {
    let m = x.per_channel();
    let mut grads = Grads { dx: x.zeros_like(), dgamma: vec![0.0; x.c], dbeta: vec![0.0; x.c] };
    for c in 0..x.c {
        let rstd = stats.rstd(c);
        for e in c * m..(c + 1) * m {
            grads.dgamma[c] += dy.data[e] * (x.data[e] - stats.mean[c]) * rstd;
            grads.dbeta[c] += dy.data[e];
            grads.dx.data[e] = gamma.map_or(1.0, |g| g[c]) * rstd * dy.data[e];
        }
    }
    grads
}
