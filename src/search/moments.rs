//! Children of steps, as features and scores → the sums that a regression needs.
//!
//! The mean over a step is subtracted from features and scores, because properties that all children of a step share
//! (the batch, the weights at that step) are no evidence.

use std::collections::BTreeMap;

/// Sums over children of products of features x and scores y, less their means over the step.
pub(super) struct Moments {
    /// Σ x xᵀ.
    pub gram: Vec<Vec<f64>>,
    /// Σ x y.
    pub moment: Vec<f64>,
    /// Σ y².
    pub square: f64,
    pub n_children: usize,
    pub n_steps: usize,
}

impl Moments {
    pub fn zero(n: usize) -> Self {
        Self { gram: vec![vec![0.0; n]; n], moment: vec![0.0; n], square: 0.0, n_children: 0, n_steps: 0 }
    }

    /// Adds the children of one step, each as (features, score). A feature is listed as often as the child has it. One
    /// child alone has no evidence.
    pub fn add(&mut self, step: &[(Vec<usize>, f64)]) {
        if step.len() < 2 {
            return;
        }
        let k = step.len() as f64;
        let mean = step.iter().map(|(_, score)| score).sum::<f64>() / k;
        let mut total = BTreeMap::new();
        for (own, score) in step {
            let y = score - mean;
            self.square += y * y;
            for &i in own {
                *total.entry(i).or_insert(0.0) += 1.0;
                self.moment[i] += y;
                own.iter().for_each(|&j| self.gram[i][j] += 1.0);
            }
        }
        for (&i, a) in &total {
            total.iter().for_each(|(&j, b)| self.gram[i][j] -= a * b / k);
        }
        self.n_children += step.len();
        self.n_steps += 1;
    }

    pub fn plus(&self, other: &Self) -> Self {
        let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect();
        Self {
            gram: self.gram.iter().zip(&other.gram).map(|(a, b)| sum(a, b)).collect(),
            moment: sum(&self.moment, &other.moment),
            square: self.square + other.square,
            n_children: self.n_children + other.n_children,
            n_steps: self.n_steps + other.n_steps,
        }
    }

    /// Whether some feature differs between children of a step.
    pub fn any_varied(&self) -> bool {
        (0..self.moment.len()).any(|i| self.is_varied(i))
    }

    pub fn is_varied(&self, feature: usize) -> bool {
        self.gram[feature][feature] > 1e-9
    }
}
