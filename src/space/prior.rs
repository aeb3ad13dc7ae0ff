//! π: for each slot, a categorical distribution over its (input, primitive) pairs, given by logits.
//!
//! The slots are independent, so log p(α|π) is a sum over 16 slots, and its gradient with respect to
//! one slot's logits is onehot(α) − softmax(logits). How π is updated is the search's business.

use rand::Rng;

use super::{Alpha, CellKind, N_KINDS, N_NODES, N_SLOTS, Space};

/// A number per logit, `[kind][node]` → 2 · pairs, slot 0 first, then slot 1.
pub type PerNode = [[Vec<f64>; N_NODES]; N_KINDS];

/// The prior p(α|π), as logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    /// Unnormalised log-probabilities.
    pub logits: PerNode,
}

impl Prior {
    /// The uniform prior: all logits 0.
    pub fn uniform(space: &Space) -> Self {
        let node = |node| vec![0.0; N_SLOTS * space.n_pairs(node)];
        Self { logits: std::array::from_fn(|_| std::array::from_fn(node)) }
    }

    /// Number of logits over both cells.
    pub fn len(&self) -> usize {
        self.logits.iter().flatten().map(Vec::len).sum()
    }

    /// Whether there are no logits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The logits of one slot, one per pair.
    pub fn slot(&self, kind: CellKind, node: usize, slot: usize) -> &[f64] {
        let logits = &self.logits[kind.index()][node];
        let n_pairs = logits.len() / N_SLOTS;
        &logits[slot * n_pairs..][..n_pairs]
    }

    /// Probability of each pair, in the layout of the logits.
    pub fn probabilities(&self) -> PerNode {
        self.per_slot(|logits, _| log_softmax(logits).into_iter().map(f64::exp).collect(), None)
    }

    /// Draws one child: 16 numbers from `rng`, in the order kind, node, slot.
    pub fn sample(&self, rng: &mut impl Rng) -> Alpha {
        self.choose(|logits| {
            // 53 random bits: uniform in [0, 1).
            let u = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let mut cumulated = 0.0;
            let mut last = 0;
            for (index, log_p) in log_softmax(logits).into_iter().enumerate() {
                let p = log_p.exp();
                if p > 0.0 {
                    cumulated += p;
                    last = index;
                }
                if u < cumulated {
                    break;
                }
            }
            // Rounding can leave the sum below u: then the last possible pair is meant.
            last
        })
    }

    /// The most probable child; the lowest index where pairs tie.
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

    /// log p(α|π) in nats. An index outside the space has probability zero.
    pub fn log_prob(&self, alpha: &Alpha) -> f64 {
        let slots = self.slots(alpha);
        slots
            .map(|(logits, index)| log_softmax(logits).get(index).copied().unwrap_or(f64::NEG_INFINITY))
            .sum()
    }

    /// ∇_π log p(α|π), in the layout of the logits: onehot(α) − softmax(logits); each slot sums to 0.
    pub fn grad_log_prob(&self, alpha: &Alpha) -> PerNode {
        let grad = |logits: &[f64], chosen: usize| {
            let minus_p = log_softmax(logits).into_iter().map(|log_p| -log_p.exp());
            minus_p.enumerate().map(|(index, g)| if index == chosen { 1.0 + g } else { g }).collect()
        };
        self.per_slot(grad, Some(alpha))
    }

    /// Entropy in nats of the distribution over each kind of cell (the sum over its slots).
    pub fn entropy(&self) -> [f64; N_KINDS] {
        CellKind::ALL.map(|kind| {
            let slots = (0..N_NODES).flat_map(|node| (0..N_SLOTS).map(move |slot| (node, slot)));
            slots.map(|(node, slot)| entropy(self.slot(kind, node, slot))).sum()
        })
    }

    /// π_T ∝ π^(1/T) in every slot, T being `temperature`: the logits divided by it. Above 1 it is closer to uniform,
    /// below 1 sharper; 1 leaves every bit. The mode stays the same.
    pub fn softened(&self, temperature: f64) -> Self {
        let mut prior = self.clone();
        prior.logits.iter_mut().flatten().flatten().for_each(|logit| *logit /= temperature);
        prior
    }

    /// One index per slot, in the order kind, node, slot.
    fn choose(&self, mut choice: impl FnMut(&[f64]) -> usize) -> Alpha {
        let mut alpha = Alpha([[[0; N_SLOTS]; N_NODES]; N_KINDS]);
        for kind in CellKind::ALL {
            for node in 0..N_NODES {
                for slot in 0..N_SLOTS {
                    // At most 5 inputs times 8 primitives.
                    alpha.0[kind.index()][node][slot] = choice(self.slot(kind, node, slot)) as u16;
                }
            }
        }
        alpha
    }

    /// `f(logits of a slot, index chosen there)`, joined in the layout of the logits.
    fn per_slot(&self, f: impl Fn(&[f64], usize) -> Vec<f64>, alpha: Option<&Alpha>) -> PerNode {
        let node = |kind: CellKind, node: usize| {
            let slot = |slot: usize| {
                let index = alpha.map_or(0, |alpha| usize::from(alpha.0[kind.index()][node][slot]));
                f(self.slot(kind, node, slot), index)
            };
            (0..N_SLOTS).flat_map(slot).collect()
        };
        CellKind::ALL.map(|kind| std::array::from_fn(|n| node(kind, n)))
    }

    /// The logits of each slot with the index that `alpha` chooses there.
    fn slots<'a>(&'a self, alpha: &'a Alpha) -> impl Iterator<Item = (&'a [f64], usize)> {
        CellKind::ALL.into_iter().flat_map(move |kind| {
            (0..N_NODES).flat_map(move |node| {
                (0..N_SLOTS).map(move |slot| {
                    (self.slot(kind, node, slot), usize::from(alpha.0[kind.index()][node][slot]))
                })
            })
        })
    }
}

/// log softmax with the maximum taken out, so that no logit can overflow.
pub(super) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
    logits.iter().map(|l| l - max - log_sum).collect()
}

/// −Σ p log p in nats; pairs of probability zero add nothing.
fn entropy(logits: &[f64]) -> f64 {
    let log_p = log_softmax(logits);
    -log_p.iter().filter(|l| l.is_finite()).map(|l| l.exp() * l).sum::<f64>()
}
