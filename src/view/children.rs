//! The children that a search drew → the best of them, and their costs against their likelihoods.

use std::collections::BTreeMap;

use super::RunView;
use crate::report::scatter::Dot;
use crate::space::Alpha;

/// An architecture that was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The architecture as text.
    pub genotype: String,
    /// Number of times that it was drawn.
    pub n: usize,
    /// Mean of its log-likelihood less the mean of its step, with one draw more at 0. Nats per image.
    pub advantage: f64,
    /// The last step in which it was drawn.
    pub last: u64,
}

/// The children after the warm-up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Children {
    /// Number of children.
    pub n: usize,
    /// Number of different architectures among them.
    pub n_different: usize,
    /// Some of them, evenly over the search.
    pub dots: Vec<Dot>,
    /// Cost of the result, in the unit of the dots.
    pub result_macs: Option<f64>,
    /// The best ones by their own batches.
    pub best: Vec<Best>,
}

/// What is known of an architecture: how often it was drawn, the sum of its advantages, its last step.
#[derive(Default)]
struct Known {
    n: usize,
    sum: f64,
    last: u64,
}

impl Known {
    /// The mean. The mean of few draws is uncertain, so each has one draw more, at the step's mean.
    fn mean(&self) -> f64 {
        self.sum / (self.n as f64 + 1.0)
    }
}

impl Children {
    /// The children of a run, with about `n_dots` dots and the `n_best` best.
    pub fn of(view: &RunView, n_dots: usize, n_best: usize) -> Self {
        let RunView { history, space, spec, .. } = view;
        let images = view.search.as_ref().map_or(1, crate::config::Config::search_batch).max(1) as f64;
        let mut known: BTreeMap<&Alpha, Known> = BTreeMap::new();
        let mut all: Vec<(&Alpha, f64, u64)> = Vec::new();
        for drawn in history.drawn.iter().filter(|drawn| !drawn.warm_up) {
            let n = drawn.log_likelihood.len().max(1) as f64;
            let mean = drawn.log_likelihood.iter().sum::<f64>() / n;
            for (alpha, score) in drawn.alphas.iter().zip(&drawn.log_likelihood) {
                if !space.contains(alpha) {
                    continue;
                }
                let advantage = (score - mean) / images;
                let entry = known.entry(alpha).or_default();
                entry.n += 1;
                entry.sum += advantage;
                entry.last = drawn.step;
                all.push((alpha, advantage, drawn.step));
            }
        }
        if all.is_empty() || spec.check().is_err() {
            return Self::default();
        }
        let every = all.len().div_ceil(n_dots.max(1));
        let mut macs: BTreeMap<&Alpha, f64> = BTreeMap::new();
        let last_step = history.last_step.max(1) as f64;
        let macs_of = |alpha: &Alpha| spec.macs(alpha) as f64 / 1e6;
        let mut dots = Vec::new();
        for &(alpha, advantage, step) in all.iter().step_by(every) {
            let macs = *macs.entry(alpha).or_insert_with(|| macs_of(alpha));
            dots.push(Dot { macs, advantage, time: step as f64 / last_step });
        }
        let mut best: Vec<(&&Alpha, &Known)> = known.iter().collect();
        best.sort_by(|a, b| b.1.mean().total_cmp(&a.1.mean()));
        let row = |(alpha, known): (&&Alpha, &Known)| Best {
            genotype: space.print(alpha),
            n: known.n,
            advantage: known.mean(),
            last: known.last,
        };
        let n_different = known.len();
        let best = best.into_iter().take(n_best).map(row).collect();
        Self { n: all.len(), n_different, dots, result_macs: view.alpha.as_ref().map(macs_of), best }
    }
}
