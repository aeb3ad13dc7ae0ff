//! Flags and a flat TOML table → the resolved configuration of a search, or of a training ([`train`]).
//!
//! There are three layers, and later layers win: a preset (`assets/default.toml` for the embedded images,
//! `assets/paper.toml` for any other data), the user's TOML file, and the flags. All are tables with
//! the same keys, which are the flags' names in snake case; [`settings`] declares each of them. The resolved
//! form names every key and round trips exactly.

mod class_weights;
pub mod compare;
pub mod keys;
mod layer;
pub mod lengths;
mod resolved;
pub mod settings;
pub mod space;
pub mod train;
mod types;

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use std::sync::Arc;

use crate::data;
use crate::space::{self as spaces, Space, SpaceSettings};
use crate::{Error, Result};
pub use class_weights::ClassWeights;
pub use compare::CompareConfig;
use keys::Concern;
pub use lengths::Lengths;
pub use resolved::{Resolved, in_words, read as read_resolved, to_table, to_toml};
pub use settings::*;
pub use train::TrainConfig;
pub use types::{
    Baseline, Choose, Draws, Every, Memory, Method, Samples, Schedule, Stem, Temper, TrainWeights,
};

/// The prior's learning rate times the square root of the number of the prior's steps.
const PRIOR_TRAVEL: f64 = 0.35;
/// If a run makes fewer passes over the train split than this, images are not cropped.
const FEW_PASSES: f64 = 10.0;
/// Default number of examples in a search batch, unless this is more than [`SEARCH_BATCHES`] train batches. The number
/// is large, because only these examples distinguish architectures. With at most four train batches, the forward passes
/// of a child cost about as much time and memory as its training.
const SEARCH_BATCH: usize = 256;
const SEARCH_BATCHES: usize = 4;

const DEFAULT_PRESET: &str = include_str!("../../assets/default.toml");
const PAPER_PRESET: &str = include_str!("../../assets/paper.toml");

/// Whether a preset sets the setting `name`, so that its default depends on the data and the command.
pub fn in_a_preset(name: &str) -> bool {
    let presets = [DEFAULT_PRESET, PAPER_PRESET].into_iter().chain(train::PRESETS.map(|(_, text)| text));
    let names = presets.flat_map(|text| text.lines().filter_map(|line| line.split_once(" = ")));
    names.into_iter().any(|(other, _)| other == name)
}

/// All settings of a search. Its other inputs are its data and the adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Config {
    #[serde(flatten)]
    pub images: Images,
    #[serde(flatten)]
    pub network: Network,
    #[serde(flatten)]
    pub length: Length,
    #[serde(flatten)]
    pub sgd: Sgd,
    #[serde(flatten)]
    pub algorithm: Algorithm,
    #[serde(flatten)]
    pub prior: PriorSettings,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(flatten)]
    pub execution: Execution,
    #[serde(flatten)]
    pub session: Session,
    /// The changes of the length of a resumed run.
    #[serde(skip)]
    pub lengths: Aside<Lengths>,
    /// Settings that the user did not give and that follow from the data.
    #[serde(skip)]
    pub waiting: Waiting,
    /// Remarks about the user's settings.
    #[serde(skip)]
    pub remarks: Aside<Vec<String>>,
}

/// A value that is stored with a configuration. Comparisons of configurations ignore the value.
#[derive(Clone, Debug, Default)]
pub struct Aside<T>(pub T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// Settings whose values will follow from the length of the run or from the images, with their values until then.
pub type Waiting = Aside<Vec<(&'static str, f64)>>;

/// Settings of the paper's algorithm. In addition, `search_batch` is not set there.
const PAPER: [(&str, &str); 7] = [
    ("warmup", "0.0"),
    ("train_weights", "\"importance\""),
    ("draws", "\"independent\""),
    ("explore", "0.0"),
    ("baseline", "\"none\""),
    ("choose", "\"mode\""),
    ("class_weights", "\"none\""),
];
/// Settings that follow from the length of the run and from the images if the user does not give them.
const FOLLOWING: [&str; 4] = ["lr", "prior_lr", "search_batch", "crop_pad"];

impl Config {
    /// The configuration of `parsec search` without any argument.
    pub fn preset() -> Result<Self> {
        Self::resolve(None, &Table::new())
    }

    /// The configuration of `parsec search --paper`.
    pub fn paper() -> Result<Self> {
        Self::resolve(None, &Table::from_iter([("paper".to_owned(), Value::Boolean(true))]))
    }

    /// The preset that fits the data, overridden by the TOML file `file`, overridden by `flags`
    /// (keys in snake case). Every value is checked. Errors name the flag, or the key and the line in the file.
    pub fn resolve(file: Option<&Path>, flags: &Table) -> Result<Self> {
        let mut user = resolved::user_table::<Self>(file, flags)?;
        let preset = if is_embedded(&user) { DEFAULT_PRESET } else { PAPER_PRESET };
        space::check_own(&user, &resolved::space_name(&user))?;
        let paper = user.get("paper").and_then(Value::as_bool).unwrap_or(false);
        let darts = user.get("method").and_then(Value::as_str) == Some("darts");
        let waits = |key: &str| !paper && !darts && !user.contains_key(key);
        let (lr, prior_lr) = (waits("lr"), waits("prior_lr"));
        let crop_pad = !paper && !user.contains_key("crop_pad");
        if user.get("method").and_then(Value::as_str).is_some_and(|method| method != "parsec") {
            // Other methods than `parsec` do not explore.
            user.entry("explore").or_insert(0.0.into());
            user.entry("choose").or_insert("mode".into());
        }
        if paper || darts {
            as_in_the_paper(&mut user, paper)?;
        }
        let warmup_epochs = user.get("warmup_epochs").and_then(Value::as_integer);
        if warmup_epochs.is_some_and(|epochs| epochs > 0) {
            if let Some(warmup) = user.get("warmup").filter(|warmup| warmup.as_float() != Some(0.0)) {
                let (expected, found) =
                    ("either `warmup` or `warmup_epochs`", format!("both (`warmup` {warmup})"));
                return Err(Error::usage(
                    "`warmup_epochs`",
                    expected,
                    found,
                    "--warmup, a part of the steps",
                ));
            }
            user.insert("warmup".into(), 0.0.into());
        }
        let remarks = resolved::remarks::<Self>(&user);
        let mut config: Self = resolved::over_preset(preset, user)?;
        config.remarks = remarks;
        let pad = f64::from(config.images.crop_pad);
        config.waiting = Aside(
            [
                ("lr", config.sgd.lr, lr),
                ("prior_lr", config.prior.prior_lr, prior_lr),
                ("crop_pad", pad, crop_pad),
            ]
            .into_iter()
            .filter_map(|(key, value, waits)| waits.then_some((key, value)))
            .collect(),
        );
        config.follow();
        (config.network.stages, config.network.choices) = space::of_chain(&*config.space()?);
        if config.algorithm.reference {
            config.algorithm.drop_mass = 0.0;
        }
        config.check()?;
        config.check_children()?;
        Ok(config)
    }

    /// The resolved configuration that [`Self::to_toml`] wrote to `path`.
    pub fn read_resolved(path: &Path) -> Result<Self> {
        resolved::read(path)
    }

    /// The resolved form with every key. Keys without a value are named in a comment.
    pub fn to_toml(&self) -> Result<String> {
        resolved::to_toml(self)
    }

    /// The keys that have a value, as a TOML table.
    pub fn to_table(&self) -> Result<Table> {
        resolved::to_table(self)
    }

    /// Checks that every value is in its range and that the values fit together.
    pub fn check(&self) -> Result<()> {
        resolved::check_values(self)?;
        resolved::check_length(self.length.steps, self.length.epochs)?;
        resolved::check_rates(self.sgd.lr, self.sgd.lr_min)?;
        self.check_method()?;
        if self.network.layers < 3 {
            let (found, try_this) = (self.network.layers.to_string(), "--layers 3");
            return Err(Error::usage("`layers`", "at least 3 cells: two reduce", found, try_this));
        }
        self.space()?;
        if let (Some(temperature), None) = (self.prior.prior_temperature, &self.prior.prior_from) {
            let expected = "a prior to be softened, that of `prior_from`";
            let found = format!("{temperature} without one");
            return Err(Error::usage("`prior_temperature`", expected, found, "also give --prior-from RUN"));
        }
        if let Some(part) = self.execution.micro_batch
            && !self.length.batch.is_multiple_of(part)
        {
            let near = (1..=part.min(self.length.batch))
                .rev()
                .find(|m| self.length.batch.is_multiple_of(*m))
                .unwrap_or(1);
            let expected = format!("a divisor of `batch` ({})", self.length.batch);
            return Err(Error::usage(
                "`micro_batch`",
                expected,
                part.to_string(),
                format!("--micro-batch {near}"),
            ));
        }
        if let (Some(part), Some(search)) = (self.execution.micro_batch, self.algorithm.search_batch)
            && !search.is_multiple_of(part)
        {
            let expected = format!("a multiple of `micro_batch` ({part})");
            let near = format!("--search-batch {}", search.div_ceil(part) * part);
            return Err(Error::usage("`search_batch`", expected, search.to_string(), near));
        }
        let most = self.algorithm.samples.largest_ess(self.algorithm.samples.count(f64::INFINITY));
        if let Temper::Ess(target) = self.prior.temper
            && target > most
        {
            let expected = format!("an effective sample size of at most `samples` ({most})");
            return Err(Error::usage(
                "`temper`",
                expected,
                target.to_string(),
                "a smaller target or more --samples",
            ));
        }
        resolved::check_normalisation(self.images.mean.as_deref(), self.images.std.as_deref())
    }

    /// Checks that a step compares children. A run that is older than this check may continue.
    fn check_children(&self) -> Result<()> {
        let moves = self.algorithm.method == Method::Parsec && !self.prior.freeze_prior;
        if moves && self.algorithm.samples == Samples::Fixed(1) && self.prior.baseline == Baseline::Mean {
            let expected = "at least 2 with `baseline` mean, by which a single child moves nothing";
            return Err(Error::usage("`samples`", expected, "1", "--samples 2, or --baseline none"));
        }
        Ok(())
    }

    /// Checks that no setting is given that has no meaning with the method.
    fn check_method(&self) -> Result<()> {
        let by_children = (self.outcome.choose == Choose::Evidence).then(|| "evidence".to_owned());
        let (asked, why) = match self.algorithm.method {
            Method::Darts => (
                vec![
                    ("`prior_from`", self.prior.prior_from.as_ref().map(|run| run.display().to_string())),
                    (
                        "`trace_steps`",
                        (self.execution.trace_steps > 0).then(|| self.execution.trace_steps.to_string()),
                    ),
                    ("`choose`", by_children.clone()),
                    ("`max_skips`", self.outcome.max_skips.map(|n| n.to_string())),
                    ("`patience`", (self.outcome.patience > 0).then(|| self.outcome.patience.to_string())),
                ],
                "nothing with `method` darts, which has no prior over children",
            ),
            Method::RandomSearch if self.algorithm.samples == Samples::Fixed(1) => {
                let expected =
                    "at least 2 with `method` random_search, which compares the children of a step";
                return Err(Error::usage("`samples`", expected, "1", "--samples 2"));
            }
            Method::RandomSearch => (
                vec![
                    ("`choose`", by_children.clone()),
                    ("`max_skips`", self.outcome.max_skips.map(|n| n.to_string())),
                    ("`patience`", (self.outcome.patience > 0).then(|| self.outcome.patience.to_string())),
                    ("`freeze_prior`", self.prior.freeze_prior.then(|| "true".to_owned())),
                    ("`explore`", (self.algorithm.explore > 0.0).then(|| self.algorithm.explore.to_string())),
                ],
                "nothing with `method` random_search, whose prior never moves and draws all children",
            ),
            Method::Random => (
                vec![
                    ("`choose`", by_children.clone()),
                    ("`max_skips`", self.outcome.max_skips.map(|n| n.to_string())),
                    ("`patience`", (self.outcome.patience > 0).then(|| self.outcome.patience.to_string())),
                ],
                "nothing with `method` random, whose result is a draw",
            ),
            Method::Parsec => return Ok(()),
        };
        match asked.into_iter().find_map(|(key, value)| Some((key, value?))) {
            Some((key, value)) => Err(Error::usage(key, why, value, "leave it out, or --method parsec")),
            None => Ok(()),
        }
    }

    /// The space of the search.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that the space refuses.
    pub fn space(&self) -> Result<Arc<dyn Space>> {
        let settings = SpaceSettings {
            layers: self.network.layers,
            primitives: self.algorithm.primitives.clone(),
            stages: self.network.stages.clone(),
            choices: self.network.choices.clone(),
            head: self.network.head,
            ..SpaceSettings::default()
        };
        spaces::space(&self.network.space, &settings)
    }

    /// Number of examples that go through a child at a time: a micro-batch, or the whole train batch.
    pub fn micro_batch(&self) -> usize {
        self.execution.micro_batch.unwrap_or(self.length.batch)
    }

    /// Number of examples of a search batch that go through a child at a time: a micro-batch, or the whole search
    /// batch.
    pub fn search_micro_batch(&self) -> usize {
        self.execution.micro_batch.unwrap_or(self.search_batch())
    }

    /// Number of examples in a batch of the search split.
    pub fn search_batch(&self) -> usize {
        self.algorithm.search_batch.unwrap_or(self.length.batch)
    }

    /// Number of all steps that the schedules of `step` (from 0) use.
    pub fn steps_at(&self, step: u64) -> u64 {
        self.lengths.0.at(step, self.length.steps)
    }

    /// Number of steps before the prior moves. `None` if the prior never moves.
    pub fn warm_up_steps(&self, steps_per_epoch: u64) -> Option<u64> {
        let steps = match self.algorithm.warmup_epochs {
            0 => self.lengths.0.phase(self.length.steps, |steps| {
                // At least one step is left for the prior.
                ((self.algorithm.warmup * steps as f64).round() as u64).min(steps.saturating_sub(1))
            }),
            epochs => epochs.saturating_mul(steps_per_epoch),
        };
        (!self.prior.freeze_prior).then_some(steps)
    }

    /// Sets the values that follow from the data. `n_train` and `n_search` are the numbers of images in the two data
    /// splits, and `side` is the side of an image.
    ///
    /// If a run sees each image only a few times, images are not cropped: crops do not help a network that has not
    /// learnt the images yet.
    pub fn resolve_for(&mut self, n_train: usize, n_search: usize, side: usize) {
        if let Some(epochs) = self.length.epochs {
            self.length.steps = epochs.saturating_mul((n_train / self.length.batch.max(1)).max(1) as u64);
        }
        if !self.algorithm.paper
            && self.algorithm.method != Method::Darts
            && self.algorithm.search_batch.is_none()
        {
            let wanted =
                self.length.batch.max(SEARCH_BATCH.min(SEARCH_BATCHES * self.length.batch).min(n_search));
            self.algorithm.search_batch = Some(wanted - wanted % self.execution.micro_batch.unwrap_or(1));
        }
        let passes = self.length.steps as f64 * self.length.batch as f64 / n_train.max(1) as f64;
        let pad = if passes < FEW_PASSES { 0 } else { (side as u32 + 4) / 8 };
        self.waiting.0.retain(|(key, meanwhile)| {
            let is_pad = *key == "crop_pad";
            if is_pad && f64::from(self.images.crop_pad) == *meanwhile {
                self.images.crop_pad = pad;
            }
            !is_pad
        });
        self.follow();
    }

    /// Sets the rates that the user did not give, once the length is known.
    ///
    /// Adam moves a logit by about its rate in each step, whatever the signal is. Noise alone moves the logit by
    /// `prior_lr` times the square root of the number of steps. This product is kept constant.
    fn follow(&mut self) {
        if self.length.steps == 0 {
            return;
        }
        let warm_up = self.warm_up_steps(0).unwrap_or(0);
        let lr =
            (0.025 * (20_000.0 / self.length.steps as f64).sqrt()).clamp(0.025, 0.1).max(self.sgd.lr_min);
        let prior_lr = PRIOR_TRAVEL / ((self.length.steps - warm_up) as f64).sqrt();
        self.waiting.0.retain(|(key, meanwhile)| {
            let (rate, follows) = match *key {
                "lr" => (&mut self.sgd.lr, lr),
                "prior_lr" => (&mut self.prior.prior_lr, prior_lr),
                _ => return true,
            };
            if *rate == *meanwhile {
                *rate = rounded(follows);
            }
            false
        });
    }
}

impl Resolved for Config {
    const KIND: &'static str = "search";
    const CONCERNS: &'static [Concern] = &[
        Images::CONCERN,
        Network::CONCERN,
        Length::CONCERN,
        Sgd::CONCERN,
        Algorithm::CONCERN,
        PriorSettings::CONCERN,
        Outcome::CONCERN,
        Execution::CONCERN,
        Session::CONCERN,
    ];
    const ZERO: Every = Every::End;

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn images(&self) -> &Images {
        &self.images
    }

    fn session(&self) -> &Session {
        &self.session
    }

    fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    fn forget_origin(&mut self) {
        (self.prior.prior_from, self.prior.prior_temperature, self.execution.weights_from) =
            (None, None, None);
    }

    fn steps_per_epoch(&self, n_train: usize) -> u64 {
        let split = data::splits(n_train, self.algorithm.search_fraction, self.session.seed);
        (split.train.len() / self.length.batch.max(1)).max(1) as u64
    }

    fn lengthen(&mut self, lengths: &Lengths) {
        if let Some(steps) = lengths.last() {
            (self.length.steps, self.length.epochs) = (steps, None);
            self.lengths = Aside(lengths.clone());
        }
    }

    fn steps(&self) -> u64 {
        self.length.steps
    }
}

/// Adds the paper's settings to `user`. If the user asked for the paper (`asked`), other values of these settings are
/// errors. The paper's settings are also used where all paths run at once, because nothing is drawn there.
fn as_in_the_paper(user: &mut Table, asked: bool) -> Result<()> {
    let refused = |key: &str, value: &Value, paper: &str| {
        let expected = format!("{paper} with `paper`");
        Err(Error::usage(
            format!("`{key}`"),
            expected,
            value.to_string(),
            format!("leave out `{key}`, or `paper`"),
        ))
    };
    for (key, paper) in PAPER {
        let paper: Value = paper.parse().map_err(|_| Error::internal("a value of the paper's"))?;
        match user.get(key) {
            Some(value) if *value != paper && asked => return refused(key, value, &paper.to_string()),
            Some(_) => {}
            None => _ = user.insert(key.into(), paper),
        }
    }
    let is_set = |key: &str| user.get(key).filter(|value| value.as_integer() != Some(0));
    for key in ["search_batch", "warmup_epochs"] {
        if let Some(value) = is_set(key).filter(|_| asked) {
            return refused(key, value, "nothing");
        }
    }
    Ok(())
}

/// Rounds to two digits, so that the configuration is readable.
fn rounded(x: f64) -> f64 {
    format!("{x:.1e}").parse().unwrap_or(x)
}

/// Whether the user's settings choose the embedded images.
fn is_embedded(user: &Table) -> bool {
    user.get("data").is_none_or(|d| d.as_str() == Some("embedded"))
}
