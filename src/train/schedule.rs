//! The step's number → learning rate, drop-path probability and drop-path factors.

use rand::Rng;

use crate::config::Schedule;
use crate::config::TrainConfig;
use crate::rng::{Purpose, stream};

/// Learning rate of `step` (from 0), never below `lr_min`.
///
/// Cosine: `lr_min + (lr − lr_min)·(1 + cos(π·step/steps))/2`. Exponential: `lr·lr_decay^epoch`, with the epoch from 0.
pub fn lr(config: &TrainConfig, step: u64, steps_per_epoch: u64) -> f64 {
    let c = config;
    match c.regularisation.schedule {
        Schedule::Cosine => {
            let part = step as f64 / c.steps_at(step).max(1) as f64;
            c.sgd.lr_min + 0.5 * (c.sgd.lr - c.sgd.lr_min) * (1.0 + (std::f64::consts::PI * part).cos())
        }
        Schedule::Exponential => {
            let epoch = (step / steps_per_epoch.max(1)) as f64;
            (c.sgd.lr * c.regularisation.lr_decay.powf(epoch)).max(c.sgd.lr_min)
        }
    }
}

/// Probability of drop-path at `step` (from 0): `drop_path · epoch / epochs`, with the epoch from 0, as in the DARTS
/// implementation.
pub fn drop_path(config: &TrainConfig, step: u64, steps_per_epoch: u64) -> f64 {
    let per_epoch = steps_per_epoch.max(1);
    let epochs = config.steps_at(step) as f64 / per_epoch as f64;
    config.regularisation.drop_path * (step / per_epoch) as f64 / epochs.max(1.0)
}

/// Factors of each operation's output for each example, f32 \[cells * 8\]\[N\]: 0 with `probability`,
/// 1/(1 − probability) otherwise. Every (cell, operation) has its own stream of random numbers.
pub fn drop_path_factors(probability: f64, seed: u64, step: u64, rows: usize, n: usize) -> Vec<f32> {
    if probability == 0.0 {
        return vec![1.0; rows * n];
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    let mut factors = Vec::with_capacity(rows * n);
    for op in 0..rows {
        let mut rng = stream(seed, Purpose::DropPath, step, op as u64);
        // 24 random bits give a uniform number in [0, 1).
        let mut unit = || f64::from(rng.next_u32() >> 8) / f64::from(1u32 << 24);
        factors.extend((0..n).map(|_| if unit() < probability { 0.0 } else { kept }));
    }
    factors
}
