//! All children that a search saw → the best architecture according to their likelihoods.
//!
//! The likelihood of a child minus the mean of its step is modelled as a sum of effects of its choices. The effect of a
//! choice is the sum of its own effect and of the effects that it shares with its kin ([`Space::kin`]): a primitive has
//! a common effect in all slots of a cell, and an input has one in all slots of a node. Effects are normal with mean 0
//! and the same variance, so that their posterior mean is a ridge regression. The chosen ridge is the one with which
//! each half of the steps predicts the other half best. Two equal choices in a pair of [`Space::twins`] are one
//! operation drawn twice; this has an effect too. The architecture has the choices whose effects have the largest sum.
//!
//! The mode of π is another estimate from the same children. It gives most weight to the best child of a step, whereas
//! this estimate uses all K children.

use std::collections::BTreeMap;

use super::evidence::Seen;
use super::moments::Moments;
use crate::space::{Alpha, Prior, Space};

/// Ridges that are tried.
const RIDGES: [f64; 7] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0];

/// The best architecture according to the children.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The architecture.
    pub alpha: Alpha,
    /// Correlation of the children's likelihoods with those predicted from the other half of the steps. By chance its
    /// standard deviation is one over the square root of `n_children`.
    pub prediction: f64,
    /// Number of children in steps that had several.
    pub n_children: usize,
}

/// The best architecture according to `seen`, with at most `max_skips` identities in each group. `None` if no step had
/// two different children.
pub fn best(space: &dyn Space, seen: &[Seen], max_skips: Option<usize>) -> Option<Best> {
    let features = Features::of(space);
    let halves = [0, 1].map(|parity| {
        let mut half = Moments::zero(features.n);
        let of_half = |seen: &&Seen| seen.step % 2 == parity;
        let children: Vec<&Seen> = seen.iter().filter(of_half).filter(|s| space.contains(&s.alpha)).collect();
        for step in children.chunk_by(|a, b| a.step == b.step) {
            let step = step.iter().map(|child| (features.of_child(&child.alpha), child.score));
            half.add(&step.collect::<Vec<_>>());
        }
        half
    });
    let all = halves[0].plus(&halves[1]);
    if !all.any_varied() {
        return None;
    }
    let unexplained = |ridge: f64| -> f64 {
        let [even, odd] = &halves;
        even.residual(&odd.solve(ridge)) + odd.residual(&even.solve(ridge))
    };
    let scored = RIDGES.iter().map(|&ridge| (unexplained(ridge), ridge));
    let (_, ridge) = scored.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let effects = all.solve(ridge);
    let alpha = features.largest(space, &effects, max_skips);
    let [even, odd] = &halves;
    let predicted = [even.predicted(&odd.solve(ridge)), odd.predicted(&even.solve(ridge))];
    let [covariance, variance] = [0, 1].map(|i| predicted[0][i] + predicted[1][i]);
    let scale = (variance * all.square).sqrt();
    let prediction = if scale > 0.0 { covariance / scale } else { 0.0 };
    Some(Best { alpha, prediction, n_children: all.n_children })
}

/// The effects whose sum is the effect of a choice.
struct Features {
    /// Indices of effects, by slot and choice.
    of_choice: Vec<Vec<Vec<usize>>>,
    twins: Vec<[usize; 2]>,
    /// Index of the effect of an operation that is drawn twice.
    twice: usize,
    n: usize,
}

impl Features {
    fn of(space: &dyn Space) -> Self {
        let (mut shared, mut n) = (BTreeMap::new(), 0);
        let mut next = || {
            n += 1;
            n - 1
        };
        let mut of_choice = Vec::new();
        for (slot, declared) in space.slots().iter().enumerate() {
            let mut of_slot = Vec::new();
            for choice in 0..declared.n_choices {
                let mut own = vec![next()];
                own.extend(
                    space
                        .kin(slot, choice)
                        .into_iter()
                        .map(|name| *shared.entry(name).or_insert_with(&mut next)),
                );
                of_slot.push(own);
            }
            of_choice.push(of_slot);
        }
        let twice = next();
        Self { of_choice, twins: space.twins(), twice, n }
    }

    /// The features of a child. A feature is listed as often as the child has it.
    fn of_child(&self, alpha: &Alpha) -> Vec<usize> {
        let of_slot = |(choices, choice): (&Vec<Vec<usize>>, &u16)| choices[usize::from(*choice)].clone();
        let mut own: Vec<usize> = self.of_choice.iter().zip(&alpha.0).flat_map(of_slot).collect();
        let is_twice = |[a, b]: &&[usize; 2]| alpha.0[*a] == alpha.0[*b];
        own.extend(self.twins.iter().filter(is_twice).map(|_| self.twice));
        own
    }

    /// The architecture whose effects have the largest sum, with at most `max_skips` identities in each group.
    fn largest(&self, space: &dyn Space, effects: &[f64], max_skips: Option<usize>) -> Alpha {
        // The effects take the place of a prior's logits, so that the same code chooses under the same limit.
        let mut prior = Prior::uniform(space);
        for (logits, choices) in prior.logits.iter_mut().zip(&self.of_choice) {
            for (logit, own) in logits.iter_mut().zip(choices) {
                *logit = own.iter().map(|&feature| effects[feature]).sum();
            }
        }
        let mut alpha = match max_skips {
            Some(most) => prior.mode_with_skips(space, most),
            None => prior.mode(),
        };
        for twins in self.twins.iter().filter(|[a, b]| alpha.0[*a] == alpha.0[*b]).collect::<Vec<_>>() {
            // The best other choice in one of the two slots, if it costs less than drawing twice.
            let drawn = usize::from(alpha.0[twins[0]]);
            let mut other: Option<(f64, usize, usize)> = None;
            for &slot in twins {
                let logits = &prior.logits[slot];
                let allowed = |choice: &usize| {
                    *choice != drawn && (max_skips.is_none() || !space.is_skip(slot, *choice))
                };
                for choice in (0..logits.len()).filter(allowed) {
                    let loss = logits[drawn] - logits[choice];
                    if other.is_none_or(|(least, ..)| loss < least) {
                        other = Some((loss, slot, choice));
                    }
                }
            }
            if let Some((loss, slot, choice)) = other
                && loss < -effects[self.twice]
            {
                alpha.0[slot] = choice as u16;
            }
        }
        alpha
    }
}

impl Moments {
    /// Σ y (x·β) and Σ (x·β)².
    fn predicted(&self, beta: &[f64]) -> [f64; 2] {
        let dot = |a: &[f64]| a.iter().zip(beta).map(|(a, b)| a * b).sum::<f64>();
        [dot(&self.moment), self.gram.iter().zip(beta).map(|(row, b)| b * dot(row)).sum()]
    }

    /// Σ (y − x·β)².
    fn residual(&self, beta: &[f64]) -> f64 {
        let [covariance, variance] = self.predicted(beta);
        self.square - 2.0 * covariance + variance
    }

    /// β of (Σ x xᵀ + ridge) β = Σ x y, by Cholesky's decomposition.
    fn solve(&self, ridge: f64) -> Vec<f64> {
        let n = self.moment.len();
        // The upper triangle of Lᵀ, row by row. The rest of the matrix below a pivot is updated one row at a time.
        let mut upper = self.gram.clone();
        upper.iter_mut().enumerate().for_each(|(i, row)| row[i] += ridge);
        for p in 0..n {
            let (above, below) = upper.split_at_mut(p + 1);
            let row = &mut above[p];
            let scale = 1.0 / row[p].sqrt();
            row[p..].iter_mut().for_each(|x| *x *= scale);
            for (i, other) in below.iter_mut().enumerate() {
                let factor = row[p + 1 + i];
                if factor != 0.0 {
                    let at = p + 1 + i;
                    other[at..].iter_mut().zip(&row[at..]).for_each(|(x, r)| *x -= factor * r);
                }
            }
        }
        let mut beta = self.moment.clone();
        for p in 0..n {
            beta[p] /= upper[p][p];
            let b = beta[p];
            beta[p + 1..].iter_mut().zip(&upper[p][p + 1..]).for_each(|(x, r)| *x -= b * r);
        }
        for p in (0..n).rev() {
            let known: f64 = beta[p + 1..].iter().zip(&upper[p][p + 1..]).map(|(b, r)| b * r).sum();
            beta[p] = (beta[p] - known) / upper[p][p];
        }
        beta
    }
}
