//! π: logits of one categorical distribution per slot, over the choices of the slot.
//!
//! The slots are independent, so log p(α|π) is a sum over them, and its gradient with respect to one slot's logits is
//! onehot(α) − softmax(logits). The search decides how π is updated.

use rand::Rng;

use super::{Alpha, Space};

/// One number per logit, as one list per slot.
pub type PerSlot = Vec<Vec<f64>>;

/// The prior p(α|π), as logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    /// Unnormalised log-probabilities.
    pub logits: PerSlot,
    /// The group of each slot.
    groups: Vec<usize>,
}

impl Prior {
    /// The uniform prior: all logits 0.
    pub fn uniform(space: &dyn Space) -> Self {
        let slots = space.slots();
        Self {
            logits: slots.iter().map(|slot| vec![0.0; slot.n_choices]).collect(),
            groups: slots.iter().map(|slot| slot.group).collect(),
        }
    }

    /// A prior over the same slots with other logits.
    pub fn with(&self, logits: PerSlot) -> Self {
        Self { logits, groups: self.groups.clone() }
    }

    /// Number of logits over all slots.
    pub fn len(&self) -> usize {
        self.logits.iter().map(Vec::len).sum()
    }

    /// Whether there are no logits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Probability of each choice.
    pub fn probabilities(&self) -> PerSlot {
        self.logits.iter().map(|logits| log_softmax(logits).into_iter().map(f64::exp).collect()).collect()
    }

    /// Draws one child. `rng` gives one number per slot, in the order of the slots.
    pub fn sample(&self, rng: &mut impl Rng) -> Alpha {
        self.at(0.0, |_, _| unit(rng)).0
    }

    /// The child at one number u in \[0, 1) per slot: the choice is the one whose interval of the cumulated
    /// probabilities of q = (1 − ε) π + ε uniform contains u. `u` receives the slot and its number of choices. The
    /// second result is π(α) / q(α).
    pub fn at(&self, explore: f64, mut u: impl FnMut(usize, usize) -> f64) -> (Alpha, f64) {
        let (mut slot, mut ratio) = (0, 1.0);
        let alpha = self.choose(|logits| {
            let (n, u) = (logits.len(), u(slot, logits.len()));
            slot += 1;
            let (mut cumulated, mut last) = (0.0, (0, 1.0));
            for (index, log_p) in log_softmax(logits).into_iter().enumerate() {
                let p = log_p.exp();
                let q = if explore > 0.0 { (1.0 - explore) * p + explore / n as f64 } else { p };
                if q > 0.0 {
                    cumulated += q;
                    last = (index, p / q);
                }
                if u < cumulated {
                    break;
                }
            }
            // Rounding can leave the sum below u. The last possible choice is taken then.
            ratio *= last.1;
            last.0
        });
        (alpha, ratio)
    }

    /// The most probable child. Among choices of equal probability the lowest index is taken.
    pub fn mode(&self) -> Alpha {
        self.choose(|logits| {
            let mut best = 0;
            for (index, logit) in logits.iter().enumerate() {
                if *logit > logits[best] {
                    best = index;
                }
            }
            best
        })
    }

    /// The most probable child with at most `most` identities in each group of slots. If the mode has more identities
    /// in a group, some are replaced by their best alternatives: those for which the log-probability falls least.
    /// Identities without an alternative stay.
    pub fn mode_with_skips(&self, space: &dyn Space, most: usize) -> Alpha {
        let mut mode = self.mode();
        for group in 0..space.groups().len() {
            let mut swaps = Vec::new();
            let mut n_skips = 0;
            for (slot, logits) in self.logits.iter().enumerate().filter(|(s, _)| self.groups[*s] == group) {
                let chosen = usize::from(mode.0[slot]);
                if !space.is_skip(slot, chosen) {
                    continue;
                }
                n_skips += 1;
                let others = (0..logits.len()).filter(|choice| !space.is_skip(slot, *choice));
                // Among equal alternatives the first one is taken.
                let best = others.min_by(|a, b| logits[*b].total_cmp(&logits[*a]));
                swaps.extend(best.map(|best| (logits[chosen] - logits[best], slot, best)));
            }
            swaps.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for (_, slot, choice) in swaps.into_iter().take(n_skips - most.min(n_skips)) {
                mode.0[slot] = choice as u16;
            }
        }
        mode
    }

    /// log p(α|π) in nats. A choice outside the space has probability zero.
    pub fn log_prob(&self, alpha: &Alpha) -> f64 {
        let slots = self.logits.iter().zip(&alpha.0);
        let log_p = |(logits, choice): (&Vec<f64>, &u16)| {
            log_softmax(logits).get(usize::from(*choice)).copied().unwrap_or(f64::NEG_INFINITY)
        };
        slots.map(log_p).sum()
    }

    /// ∇_π log p(α|π) in the layout of the logits: onehot(α) − softmax(logits). Each slot sums to 0.
    pub fn grad_log_prob(&self, alpha: &Alpha) -> PerSlot {
        let grad = |(logits, chosen): (&Vec<f64>, &u16)| {
            let minus_p = log_softmax(logits).into_iter().map(|log_p| -log_p.exp());
            let onehot = |(i, g): (usize, f64)| if i == usize::from(*chosen) { 1.0 + g } else { g };
            minus_p.enumerate().map(onehot).collect()
        };
        self.logits.iter().zip(&alpha.0).map(grad).collect()
    }

    /// Entropy in nats of the distribution over each group of slots (the sum over its slots).
    pub fn entropy(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.groups.iter().max().map_or(0, |g| g + 1)];
        for (logits, group) in self.logits.iter().zip(&self.groups) {
            sums[*group] += entropy(logits);
        }
        sums
    }

    /// π_T ∝ π^(1/T) in every slot, with T = `temperature`: the logits are divided by T. T above 1 brings the prior
    /// closer to uniform, T below 1 makes it sharper, and T = 1 keeps every bit. The mode stays the same.
    pub fn softened(&self, temperature: f64) -> Self {
        let mut prior = self.clone();
        prior.logits.iter_mut().flatten().for_each(|logit| *logit /= temperature);
        prior
    }

    /// The normalised product of n priors over the same slots (this one and `others`), to the power 1/n: each logit is
    /// the mean over the priors of log p(choice), in nats.
    pub fn pooled(&self, others: &[Self]) -> Self {
        let n = 1.0 + others.len() as f64;
        let mut sums: PerSlot = self.logits.iter().map(|logits| log_softmax(logits)).collect();
        for other in others {
            for (sums, logits) in sums.iter_mut().zip(&other.logits) {
                sums.iter_mut().zip(log_softmax(logits)).for_each(|(sum, log_p)| *sum += log_p);
            }
        }
        sums.iter_mut().flatten().for_each(|sum| *sum /= n);
        self.with(sums)
    }

    /// Makes one choice per slot. The index of a choice always fits in 16 bits.
    fn choose(&self, mut choice: impl FnMut(&[f64]) -> usize) -> Alpha {
        Alpha(self.logits.iter().map(|logits| choice(logits) as u16).collect())
    }
}

/// A number in \[0, 1) of 53 random bits.
pub fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// log softmax. The maximum is subtracted first, so that no logit can overflow.
pub(super) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
    logits.iter().map(|l| l - max - log_sum).collect()
}

/// −Σ p log p in nats. Choices of probability zero contribute nothing.
pub(super) fn entropy(logits: &[f64]) -> f64 {
    let log_p = log_softmax(logits);
    -log_p.iter().filter(|l| l.is_finite()).map(|l| l.exp() * l).sum::<f64>()
}
