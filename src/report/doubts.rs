//! The numbers of a run → reasons to distrust its result, in plain words, each with what to do about it.

use super::history::History;
use super::trust::Trust;
use crate::space::{Alpha, Space};

/// Below this mean effective sample size almost only one child of a step moves π.
const LOW_ESS: f64 = 1.5;
/// With more of the uniform entropy than this, the prior has not decided.
const UNDECIDED: f64 = 0.95;
/// With more identities and pools among the operations than this, the network may have collapsed.
const MANY_SKIPS: f64 = 0.5;
/// If the train accuracy is above the held-out accuracy by more than this, the network is overfitted.
const OVERFITTED: f64 = 0.15;
/// With fewer held-out images than this, a difference of a percent is noise.
const FEW_IMAGES: usize = 1000;
/// The part of the steps that is called the end of a run.
const END: f64 = 0.1;

/// The mean of a column over the last tenth of its points.
fn at_end(column: &[(f64, f64)]) -> Option<f64> {
    let n = ((column.len() as f64 * END).ceil() as usize).max(1);
    let last = column.get(column.len().checked_sub(n)?..)?;
    (!last.is_empty()).then(|| last.iter().map(|p| p.1).sum::<f64>() / last.len() as f64)
}

/// What can be said of any run. `result_steps`: the steps of a finished run by its result. `n_images`: the images that its
/// accuracy is of.
pub fn of_any(
    history: &History,
    total_steps: u64,
    result_steps: Option<u64>,
    n_images: Option<usize>,
) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(steps) = result_steps.filter(|steps| *steps != history.last_step) {
        doubts.push(format!(
            "metrics.jsonl ends at step {}, and the result is of step {steps}: the curves are not whole.",
            history.last_step
        ));
    } else if history.last_step < total_steps {
        doubts.push(format!(
            "The run is at step {} of {total_steps}: everything below may still change. parsec resume goes on.",
            history.last_step
        ));
    }
    if let Some(step) = history.gap() {
        doubts.push(format!("Step {step} is missing in metrics.jsonl."));
    }
    if history.n_skipped > 0 {
        let lines = match history.n_skipped {
            1 => "1 line of metrics.jsonl is no record of a step".into(),
            n => format!("{n} lines of metrics.jsonl are no records of steps"),
        };
        doubts.push(format!("{lines}; the curves leave this out."));
    }
    if let Some(n) = n_images.filter(|n| *n < FEW_IMAGES) {
        // Standard error of a fraction near a half.
        let error = 50.0 / (n.max(1) as f64).sqrt();
        doubts.push(format!(
            "The accuracy is of {n} images only, so its standard error is up to {error:.1} percentage points."
        ));
    }
    doubts
}

/// A search.
pub struct Searched<'a> {
    /// The space.
    pub space: &'a dyn Space,
    /// The result.
    pub chosen: Option<&'a Alpha>,
    /// Entropy of a uniform prior, nats. `None` if the method has no prior that moves.
    pub uniform: Option<f64>,
    /// Whether the result is chosen by the likelihoods of all children.
    pub by_evidence: bool,
    /// Whether the search is over.
    pub is_over: bool,
    /// The trust in the result.
    pub trust: Option<Trust>,
}

/// What can be said of a search.
pub fn of_search(history: &History, of: &Searched<'_>) -> Vec<String> {
    let mut doubts = Vec::new();
    let Searched { space, chosen, trust, .. } = of;
    if trust.as_ref().is_some_and(|trust| !trust.more_than_chance) {
        doubts.push(
            "The result is not more than chance. Try more --steps, a longer --warmup, a larger --search-batch, or \
             several short searches and parsec consensus."
                .into(),
        );
    }
    let has_prior = history.drawn.iter().any(|drawn| !drawn.warm_up);
    let searched: Vec<(f64, f64)> = match history.drawn.iter().find(|drawn| !drawn.warm_up) {
        Some(first) => history.column("ess").iter().filter(|p| p.0 >= first.step as f64).copied().collect(),
        None => Vec::new(),
    };
    if let Some(ess) = at_end(&searched).filter(|ess| of.uniform.is_some() && *ess < LOW_ESS) {
        doubts.push(format!(
            "The effective sample size was {ess:.1} at the end: almost only the best child of each step moved the prior. \
             A larger --search-batch sharpens the likelihoods further; --temper or more --samples counter it."
        ));
    }
    let entropy = at_end(&history.sum_below("entropy")).filter(|_| has_prior);
    if let Some((entropy, uniform)) = entropy.zip(of.uniform).filter(|(e, uniform)| *e > UNDECIDED * uniform)
    {
        let but = if of.by_evidence { "; the choice by evidence uses all children" } else { "" };
        doubts.push(format!(
            "The prior has hardly decided: its entropy is {entropy:.1} of {uniform:.1} nats. Its most probable architecture \
             means little{but}."
        ));
    }
    if of.uniform.is_some()
        && !has_prior
        && !history.is_empty()
        && !of.is_over
        && history.columns.contains_key("warm_up")
    {
        doubts.push("All steps so far belong to the warm-up: the prior has not moved.".into());
    }
    for (group, name) in space.groups().iter().enumerate() {
        let Some(tally) = chosen.map(|alpha| space.tally(alpha, group)) else { continue };
        if tally.of > 0 && (tally.skips + tally.pools) as f64 > MANY_SKIPS * tally.of as f64 {
            let help = if tally.skips > 1 { " --max-skips limits the identities." } else { "" };
            doubts.push(format!(
                "{} of {} operations in {name} are identities or pools: shared weights favour what trains fast.{help}",
                tally.skips + tally.pools,
                tally.of
            ));
        }
    }
    doubts.push(
        "Likelihoods and accuracies of a search are those of shared weights. The accuracy of the architecture is that of \
         its own training: parsec train."
            .into(),
    );
    doubts
}

/// What can be said of a training whose held-out part has both uses if `reported` is false.
pub fn of_training(history: &History, reported: bool) -> Vec<String> {
    let mut doubts = Vec::new();
    let held_out = history.column("held_out_accuracy");
    let train = at_end(history.column("accuracy"));
    if let (Some(train), Some((_, last))) = (train, held_out.last())
        && train - last > OVERFITTED
    {
        doubts.push(format!(
            "Overfitting: {:.1} % of the train batches are right at the end, and {:.1} % of the held-out images. More images, \
             augmentation (--cutout), --drop-path or fewer --epochs help.",
            100.0 * train,
            100.0 * last
        ));
    }
    let best = held_out.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    if let (Some(best), Some(last)) = (best, held_out.last())
        && best.1 - last.1 > 0.02
    {
        doubts.push(format!(
            "The held-out accuracy was best at step {:.0} ({:.1} %), and is {:.1} % at the end. The best checkpoint is kept.",
            best.0,
            100.0 * best.1,
            100.0 * last.1
        ));
    }
    if !reported {
        doubts.push(
            "The held-out images chose the best checkpoint and are reported too, so its accuracy is a little too high. A third \
             part of the data (val and test) avoids this."
                .into(),
        );
    }
    doubts
}
