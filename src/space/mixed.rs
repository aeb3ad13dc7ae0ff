//! α of the mixed network (Eq. 2): logits over each set of paths. A child has one path of each set.
//!
//! The factor of a path is the softmax over its set. Flat lists hold one set after the other, in the order of
//! [`Space::mixed_slots`].

use super::prior::log_softmax;
use super::{Alpha, Space};

/// Logits of all sets of paths.
#[derive(Clone, Debug, PartialEq)]
pub struct MixedAlpha {
    /// The logits, one set after the other.
    pub logits: Vec<f64>,
    /// Number of paths and group of each set.
    sets: Vec<(usize, usize)>,
}

impl MixedAlpha {
    /// All logits 0.
    pub fn uniform(space: &dyn Space) -> Self {
        let sets: Vec<(usize, usize)> = space.mixed_slots().iter().map(|s| (s.n_choices, s.group)).collect();
        Self { logits: vec![0.0; sets.iter().map(|(n, _)| n).sum()], sets }
    }

    /// Splits `values`, which hold one set after the other, into one slice per set.
    fn by_set<'a>(&'a self, values: &'a [f64]) -> impl Iterator<Item = &'a [f64]> {
        let mut rest = values;
        self.sets.iter().map(move |(n, _)| {
            let (set, others) = rest.split_at((*n).min(rest.len()));
            rest = others;
            set
        })
    }

    /// The factors of the paths: the softmax over each set.
    pub fn factors(&self) -> Vec<f64> {
        self.by_set(&self.logits).flat_map(log_softmax).map(f64::exp).collect()
    }

    /// The gradient of the logits from the gradient `g` of the factors `f`. In each set it is
    /// `f_j (g_j − Σ_i f_i g_i)`.
    pub fn gradient(&self, of_factors: &[f64]) -> Vec<f64> {
        let factors = self.factors();
        let sets = self.by_set(&factors).zip(self.by_set(of_factors));
        let of_set = |(f, g): (&[f64], &[f64])| {
            let mean: f64 = f.iter().zip(g).map(|(f, g)| f * g).sum();
            f.iter().zip(g).map(|(f, g)| f * (g - mean)).collect::<Vec<f64>>()
        };
        sets.flat_map(of_set).collect()
    }

    /// Entropy of the softmax in nats, summed over the sets of each group.
    pub fn entropy(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.sets.iter().map(|(_, group)| group + 1).max().unwrap_or(0)];
        for (logits, (_, group)) in self.by_set(&self.logits).zip(&self.sets) {
            for log_p in log_softmax(logits).into_iter().filter(|l| l.is_finite()) {
                sums[*group] -= log_p.exp() * log_p;
            }
        }
        sums
    }

    /// The architecture that the space reads from the factors.
    pub fn decode(&self, space: &dyn Space) -> Alpha {
        space.decode(&self.factors())
    }
}
