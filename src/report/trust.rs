//! Evidence of a search → whether its result is more than chance, as numbers and in plain words.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::search::best::Best;
use crate::search::evidence::{Evidence, Seen};
use crate::space::{Alpha, Space};

/// The halves of the steps must predict each other better than chance by this many standard deviations.
const LEAST_PREDICTION: f64 = 3.0;

/// Trust in the result of a search. All numbers are measured with the shared weights. The numbers cannot show an error
/// that the shared weights make equally for all children of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Number of random architectures that were evaluated for comparison with the result.
    pub n_random: usize,
    /// Number of these random architectures that are worse than the result.
    pub better_than: usize,
    /// Correlation of the effects of choices in odd steps with those in even steps. `None` without both.
    pub agreement: Option<f64>,
    /// Correlation of the children's likelihoods with those predicted from the other half of the steps. `None` without
    /// both.
    #[serde(default)]
    pub prediction: Option<f64>,
    /// Sum of the effects of the result's choices against the mean architecture, in nats per image.
    pub advantage: f64,
    /// Standard error of the advantage.
    pub advantage_error: f64,
    /// Whether the result is more than chance: the result is better than most random architectures, and the halves of
    /// the steps predict each other.
    pub more_than_chance: bool,
}

impl Trust {
    /// The trust in an architecture that is better than `better_than` of `n_random` random architectures.
    pub fn of(
        evidence: Option<&Evidence>,
        best: Option<&Best>,
        alpha: &Alpha,
        [better_than, n_random]: [usize; 2],
    ) -> Self {
        let (advantage, advantage_error) = evidence.map_or((0.0, 0.0), |e| e.advantage(alpha));
        let agreement = evidence.and_then(|e| e.agreement);
        // By chance this would happen in fewer than one of eight searches.
        let is_ahead = 8 * (n_random - better_than) < n_random;
        // The advantage is not used, because the result was chosen with the same children.
        let prediction = best.map(|best| best.prediction);
        let is_predicted =
            best.is_some_and(|b| b.prediction * (b.n_children as f64).sqrt() > LEAST_PREDICTION);
        let more_than_chance = is_ahead && is_predicted;
        Self { n_random, better_than, agreement, prediction, advantage, advantage_error, more_than_chance }
    }

    /// The trust in plain words, with a suggestion if the result is chance.
    pub fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "better than {} of {} random architectures, with the shared weights",
                self.better_than, self.n_random
            ),
            format!(
                "advantage of its choices over the mean architecture: {:.3} +- {:.3} nats per image",
                self.advantage, self.advantage_error
            ),
        ];
        let halves = [
            (
                self.prediction,
                "likelihoods of children with those predicted from the other half of the steps",
            ),
            (self.agreement, "effects of single choices in odd steps with those in even steps"),
        ];
        for (correlation, what) in halves {
            lines.extend(correlation.map(|r| format!("correlation of the {what}: {r:.2}")));
        }
        if self.prediction.is_none() && self.agreement.is_none() {
            lines.push("too few children to compare two halves of the steps".into());
        }
        let found = lines.join("\n  ");
        if self.more_than_chance {
            return format!("more than chance:\n  {found}");
        }
        format!(
            "NOT more than chance:\n  {found}\n  try: more --steps, a longer --warmup, a larger --search-batch; or several short \
             searches with other seeds, and parsec consensus"
        )
    }
}

/// The children in the metrics at `path`, for a search whose search batches had `n_images` images. Warm-up steps are
/// left out. The list is empty if there were only such steps, or if an older version wrote the metrics without the
/// children.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read. Lines that are no objects are skipped.
pub fn seen(path: &Path, space: &dyn Space, n_images: usize) -> Result<Vec<Seen>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut seen = Vec::new();
    for line in lines.filter(|line| line["warm_up"] == Value::Bool(false)) {
        let alphas: Vec<Vec<u16>> = serde_json::from_value(line["alpha"].clone()).unwrap_or_default();
        let scores: Vec<f64> = serde_json::from_value(line["log_likelihood"].clone()).unwrap_or_default();
        let step = line["step"].as_u64().unwrap_or(0);
        let of_space = alphas.into_iter().map(Alpha).zip(scores).filter(|(alpha, _)| space.contains(alpha));
        seen.extend(of_space.map(|(alpha, score)| Seen {
            step,
            alpha,
            score: score / n_images.max(1) as f64,
        }));
    }
    Ok(seen)
}

/// The effects of the choices of `space`, from the children that a search saw. `None` if no step had two different
/// children.
pub fn evidence(space: &dyn Space, seen: &[Seen]) -> Option<Evidence> {
    let n_choices: Vec<usize> = space.slots().iter().map(|slot| slot.n_choices).collect();
    Evidence::of(&n_choices, seen)
}
