//! π → the K children of a step.
//!
//! In each slot a child has a number u in \[0, 1). The choice of the child is the choice whose interval of the
//! cumulated probabilities contains u. In independent draws each u is a separate random number. In stratified draws the
//! numbers come in rounds. A round of B numbers has exactly one number in each of the B equal parts of \[0, 1), in
//! random order. Each u by itself is still uniform, so that a child has the same distribution, and the children of a
//! round share the choices evenly. In the warm-up a round has one number per choice of the slot, whatever K is. A
//! uniform π then draws every choice equally often (FairNAS's strict fairness). After the warm-up a round has one
//! number per child of a step.

use rand::seq::SliceRandom;

use super::algorithm::Rules;
use crate::config::Draws;
use crate::rng::{Purpose, stream};
use crate::space::prior::unit;
use crate::space::{Alpha, Prior};

/// The children of a step, and for each child the ratio of its probabilities under π and under the distribution from
/// which it was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// α_k, K of them.
    pub alphas: Vec<Alpha>,
    /// π(α_k) / q(α_k). All ratios are 1 if q is π.
    pub ratios: Vec<f64>,
}

/// The children of step `t` (from 0), drawn from q = (1 − ε) π + ε uniform in each slot.
pub fn draw(prior: &Prior, rules: &Rules, t: u64) -> Drawn {
    let k = u64::from(rules.samples.count(prior.entropy().iter().sum()));
    let warming = rules.warm_up.is_none_or(|warm_up| t < warm_up);
    let explore = if warming { 0.0 } else { rules.explore };
    let of_child = |k_th: u64| {
        let mut own = stream(rules.seed, Purpose::Sample, t, k_th);
        prior.at(explore, |slot, n_choices| match rules.draws {
            Draws::Independent => unit(&mut own),
            Draws::Stratified if warming => {
                let (n, at) = (n_choices as u64, t * k + k_th);
                stratum(rules.seed, Purpose::Fair, (at / n, slot), (at % n, n))
            }
            Draws::Stratified => stratum(rules.seed, Purpose::Strata, (t, slot), (k_th, k)),
        })
    };
    let (alphas, ratios) = (0..k).map(of_child).unzip();
    Drawn { alphas, ratios }
}

/// The `at`-th of the `n` numbers of a round.
fn stratum(seed: u64, purpose: Purpose, (round, slot): (u64, usize), (at, n): (u64, u64)) -> f64 {
    let mut rng = stream(seed, purpose, round, slot as u64);
    let mut order: Vec<u64> = (0..n).collect();
    order.shuffle(&mut rng);
    (order[at as usize] as f64 + unit(&mut rng)) / n as f64
}
