//! π over one space → π over another, for the slots and choices with equal names.

use super::prior::{PerSlot, log_softmax};
use super::{Prior, Space};

/// A prior that was carried over from another space.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// The prior.
    pub prior: Prior,
    /// Number of slots found in the other space, and number of all slots.
    pub n_slots: [usize; 2],
    /// Number of choices found in the found slots, and number of all choices of these slots.
    pub n_choices: [usize; 2],
}

/// `prior` over `from` as a prior over `to`. `None` if no slot has a choice in common.
///
/// If all choices of a slot are found, its logits are the same numbers. Otherwise each choice that is not found gets
/// its share of a uniform prior, and the found choices share the rest in their old proportions. Slots that are not
/// found get a uniform prior.
pub fn carry(from: &dyn Space, prior: &Prior, to: &dyn Space) -> Option<Carried> {
    let names = |space: &dyn Space, slot: usize| -> Vec<String> {
        (0..space.slots()[slot].n_choices).map(|choice| space.choice_name(slot, choice)).collect()
    };
    let sources: Vec<(String, Vec<String>)> =
        (0..from.slots().len()).map(|slot| (from.slot_key(slot), names(from, slot))).collect();
    let mut carried =
        Carried { prior: Prior::uniform(to), n_slots: [0, to.slots().len()], n_choices: [0; 2] };
    let mut logits: PerSlot = carried.prior.logits.clone();
    for (slot, logits) in logits.iter_mut().enumerate() {
        let key = to.slot_key(slot);
        let Some(source) = sources.iter().position(|(name, _)| *name == key) else { continue };
        let found: Vec<Option<usize>> =
            names(to, slot).iter().map(|name| sources[source].1.iter().position(|n| n == name)).collect();
        let n_found = found.iter().flatten().count();
        if n_found == 0 {
            continue;
        }
        *logits = placed(&prior.logits[source], &found);
        carried.n_slots[0] += 1;
        carried.n_choices[0] += n_found;
        carried.n_choices[1] += found.len();
    }
    carried.prior = carried.prior.with(logits);
    (carried.n_slots[0] > 0).then_some(carried)
}

/// Logits of a slot whose choices are at these positions of `source`.
fn placed(source: &[f64], found: &[Option<usize>]) -> Vec<f64> {
    let n = found.len() as f64;
    let all_new_are_old = found.iter().all(Option::is_some);
    if all_new_are_old && found.len() == source.len() {
        return found.iter().flatten().map(|&i| source[i]).collect();
    }
    let log_p = log_softmax(source);
    let known: f64 = found.iter().flatten().map(|&i| log_p[i].exp()).sum();
    let share = found.iter().flatten().count() as f64 / n;
    let logit = |place: &Option<usize>| match place {
        // A choice with probability zero keeps it, unless no other choice is left.
        Some(i) if known > 0.0 => (share / known).ln() + log_p[*i],
        _ => -n.ln(),
    };
    found.iter().map(logit).collect()
}
