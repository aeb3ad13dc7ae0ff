//! What a search saw → whether its result is more than chance, as numbers and in plain words.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::search::evidence::{Evidence, Seen};
use crate::space::{Alpha, Space};

/// Standard deviations by which the halves of the evidence must agree more than two lists of noise do.
const LEAST_AGREEMENT: f64 = 3.0;

/// How far a search's result is to be trusted. All of it is by the shared weights: it says nothing of errors that they
/// make alike for all children of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Random architectures that were evaluated beside the result.
    pub n_random: usize,
    /// How many of them it is better than.
    pub better_than: usize,
    /// Correlation of the effects of choices that were found from odd and from even steps; none without both.
    pub agreement: Option<f64>,
    /// What its choices are worth in all against the mean architecture, nats per image.
    pub advantage: f64,
    /// Its standard error.
    pub advantage_error: f64,
    /// Whether all of that is beyond chance.
    pub more_than_chance: bool,
}

impl Trust {
    /// Of an architecture that is better than `better_than` of `n_random` random ones.
    pub fn of(evidence: Option<&Evidence>, alpha: &Alpha, [better_than, n_random]: [usize; 2]) -> Self {
        let (advantage, advantage_error) = evidence.map_or((0.0, 0.0), |e| e.advantage(alpha));
        let agreement = evidence.and_then(|e| e.agreement);
        // By chance it would be so in fewer than one of eight searches.
        let is_ahead = 8 * (n_random - better_than) < n_random;
        // The correlation of two lists of n random numbers has a deviation of about 1/√n. The advantage itself proves nothing:
        // the result was chosen by the same children.
        let n: usize = evidence.map_or(0, |e| e.effects.iter().map(Vec::len).sum());
        let is_steady = agreement.is_some_and(|r| r * (n as f64).sqrt() > LEAST_AGREEMENT);
        let more_than_chance = is_ahead && is_steady;
        Self { n_random, better_than, agreement, advantage, advantage_error, more_than_chance }
    }

    /// In plain words, with what to do where the result is chance.
    pub fn text(&self) -> String {
        let agreement = match self.agreement {
            Some(r) => format!("two halves of what was seen agree on them with a correlation of {r:.2}"),
            None => "too few children were seen to compare two halves".into(),
        };
        let found = format!(
            "with the shared weights it is better than {} of {} random architectures; its choices are worth {:.3} +- {:.3} \
             nats per image more than average; {agreement}",
            self.better_than, self.n_random, self.advantage, self.advantage_error
        );
        if self.more_than_chance {
            return format!("more than chance: {found}");
        }
        format!(
            "NOT more than chance: {found}\n  try: more --steps, a longer --warmup, a larger --search-batch; or several short \
             searches with other seeds, and parsec consensus"
        )
    }
}

/// What the metrics at `path` say of the choices of a search whose search batches had `n_images` images. None where no
/// step compared different children, as in a warm-up, or where a version wrote them that did not say which children it drew.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read. Lines that are no objects are passed over.
pub fn evidence(path: &Path, space: &dyn Space, n_images: usize) -> Result<Option<Evidence>> {
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
    let n_choices: Vec<usize> = space.slots().iter().map(|slot| slot.n_choices).collect();
    Ok(Evidence::of(&n_choices, &seen))
}
