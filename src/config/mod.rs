//! Flags and a flat TOML table → the resolved configuration of a search, or of a training ([`train`]).
//!
//! Three layers, later ones win: a preset (`assets/default.toml` for the embedded images,
//! `assets/reference.toml` for any other data), the user's TOML file, the flags. All are tables with
//! the same keys, the flags' names in snake case; [`keys`] says what each may hold. The resolved
//! form names every key and round trips exactly.

pub mod compare;
pub mod keys;
mod layer;
mod resolved;
pub mod space;
pub mod train;
mod types;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use std::sync::Arc;

use crate::space::{self as spaces, Primitive, Space, SpaceSettings};
use crate::{Error, Result};
pub use compare::CompareConfig;
use keys::Key;
pub use resolved::{Resolved, read as read_resolved, to_table, to_toml};
pub use train::TrainConfig;
pub use types::{Baseline, Draws, Memory, Method, Samples, Temper, TrainWeights};

/// Root of the prior's steps times its learning rate.
const PRIOR_TRAVEL: f64 = 0.35;
/// Passes over the train split below which images are not cropped.
const FEW_PASSES: f64 = 10.0;
/// Examples of a search batch at least, since only they tell architectures apart; of small batches no more than four: their
/// forward passes then cost about what the training of a child costs, in time and memory.
const SEARCH_BATCH: usize = 256;
const SEARCH_BATCHES: usize = 4;

const DEFAULT_PRESET: &str = include_str!("../../assets/default.toml");
const REFERENCE_PRESET: &str = include_str!("../../assets/reference.toml");

/// Everything a search depends on besides its data and the adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The images to search on, in a form of [`crate::data::SOURCES`].
    pub data: String,
    /// Key of every random stream.
    pub seed: u64,
    /// How architectures are searched for.
    #[serde(default, with = "types::text")]
    pub method: Method,
    /// The run folder as the user named it; without it the next free `runs/search-NNNN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Index or part of the name of the adapter; without it the fastest class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What is searched: the name of a space.
    #[serde(default = "darts")]
    pub space: String,
    /// Layers of each stage of a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<usize>>,
    /// What each layer of a chain may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// Channels of a chain's head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// Stacked cells L; of a chain its layers.
    pub layers: usize,
    /// Channels C of the first cells, or of a chain's stem; even.
    pub channels: usize,
    /// Examples per batch, of each split.
    pub batch: usize,
    /// Examples that go through a child at a time; they divide the batch, and batch norm's statistics are
    /// theirs. Without it the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Architectures drawn per step, K.
    pub samples: Samples,
    /// Steps in all; 0 as long as only [`Self::epochs`] is known (see [`Self::resolve_for`]).
    #[serde(default)]
    pub steps: u64,
    /// Passes over the train split, if the length was given so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Learning rate of the weights at the first step.
    pub lr: f64,
    /// Learning rate of the weights at the end of the cosine.
    pub lr_min: f64,
    /// Momentum of the weights' SGD.
    pub momentum: f64,
    /// Weight decay of the weights.
    pub weight_decay: f64,
    /// Norm to which the gradient of the weights is clipped.
    pub grad_clip: f64,
    /// Learning rate of the prior's Adam.
    pub prior_lr: f64,
    /// Adam's decay of the first moment.
    pub prior_beta1: f64,
    /// Adam's decay of the second moment.
    pub prior_beta2: f64,
    /// The primitives that a slot may draw, in the order of the prior's pairs.
    #[serde(with = "types::names")]
    pub primitives: Vec<Primitive>,
    /// Tempering of the importance weights.
    #[serde(with = "types::text")]
    pub temper: Temper,
    /// Baseline subtracted from the importance weights in the prior's gradient.
    #[serde(with = "types::text")]
    pub baseline: Baseline,
    /// The paper's algorithm to the letter, with the rates of the preset. Configurations that do not
    /// say are of a time when there was nothing else.
    #[serde(default = "yes")]
    pub paper: bool,
    /// Part of the steps, at the start, in which only the weights are trained, all children alike.
    #[serde(default)]
    pub warmup: f64,
    /// How much each child adds to the gradient of the weights after it.
    #[serde(default, with = "types::text")]
    pub train_weights: TrainWeights,
    /// Examples per batch of the search split; without it as many as of the train split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_batch: Option<usize>,
    /// How the children of a step are drawn.
    #[serde(default, with = "types::text")]
    pub draws: Draws,
    /// Part of each slot's draws that are uniform instead of from the prior; the weights are corrected for it.
    #[serde(default)]
    pub explore: f64,
    /// Leave the prior as it is: the random baseline.
    pub freeze_prior: bool,
    /// Epochs at the start in which only the weights are trained.
    pub warmup_epochs: u64,
    /// A run whose prior is the starting prior.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_from: Option<PathBuf>,
    /// The logits of that prior are divided by this; above 1 it is softer. Without it they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_temperature: Option<f64>,
    /// A run, or a safetensors file exported from one, whose shared weights are the starting weights; the network must be
    /// the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_from: Option<PathBuf>,
    /// Identities that a cell, or the chain, of the result may have; without it any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_skips: Option<usize>,
    /// The search ends when the mode of the prior has not changed for so many steps; 0 = only after all steps.
    #[serde(default)]
    pub patience: u64,
    /// Children whose importance weights sum to at most this have no backward pass.
    pub drop_mass: f64,
    /// Lanes in which the gradients of children are added; one where a configuration does not say, as before there were
    /// more.
    #[serde(default = "one_lane")]
    pub lanes: usize,
    /// Write a trace of each of the first so many steps.
    pub trace_steps: u64,
    /// Kernel variants: true for a fresh trial, false for the fixed choice, none for the trial kept on disk or
    /// else the fixed choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<bool>,
    /// Algorithm 1 literally: no child skipped, none merged (so `drop_mass` is 0).
    pub reference: bool,
    /// The plain kernels instead of the fused ones.
    pub reference_kernels: bool,
    /// Whether the backward pass computes cheap tensors again; cannot change a result.
    #[serde(default, with = "types::text")]
    pub memory: Memory,
    /// Part of the training set that becomes the search split.
    pub search_fraction: f64,
    /// Pixels of padding of the random crop; 0 = no crop.
    pub crop_pad: u32,
    /// Random horizontal flips.
    pub flip: bool,
    /// Height and width in pixels to which images of a folder are resized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Mean per channel of the pixels in 0..=1; computed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation per channel of the pixels in 0..=1; computed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f64>>,
    /// Loader threads; 0 = one per core. Cannot change a result.
    pub threads: usize,
    /// Steps between checkpoints; 0 = only the first and the last.
    pub checkpoint_every: u64,
    /// How many of the last checkpoints are kept, besides the first and the best.
    pub keep_checkpoints: usize,
    /// Steps between evaluations of the mode on held-out images; 0 = only at the end.
    pub eval_every: u64,
    /// What nobody said anything of and that follows from the data.
    #[serde(skip)]
    pub waiting: Waiting,
}

/// Settings that wait for the length of the run or its images, with their values meanwhile. They are no part of what is
/// configured: configurations with equal settings are equal.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Vec<(&'static str, f64)>);

impl PartialEq for Waiting {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// What the paper's algorithm has. What is not set there is `search_batch`.
const PAPER: [(&str, &str); 5] = [
    ("warmup", "0.0"),
    ("train_weights", "\"importance\""),
    ("draws", "\"independent\""),
    ("explore", "0.0"),
    ("baseline", "\"none\""),
];
/// Settings that follow from the length of the run and the images, where nobody says anything of them.
const FOLLOWING: [&str; 4] = ["lr", "prior_lr", "search_batch", "crop_pad"];

impl Config {
    /// The configuration of `parsec search` without any argument.
    pub fn preset() -> Result<Self> {
        Self::resolve(None, &Table::new())
    }

    /// That of `parsec search --paper`.
    pub fn paper() -> Result<Self> {
        Self::resolve(None, &Table::from_iter([("paper".to_owned(), Value::Boolean(true))]))
    }

    /// The preset that fits the data, overridden by the TOML file `file`, overridden by `flags`
    /// (keys in snake case). Every value is checked; errors name the flag, or the file's key and line.
    pub fn resolve(file: Option<&Path>, flags: &Table) -> Result<Self> {
        let mut user = resolved::user_table(file, flags, keys::KEYS)?;
        let preset = if is_embedded(&user) { DEFAULT_PRESET } else { REFERENCE_PRESET };
        space::check_own(&user, &resolved::space_name(&user))?;
        let paper = user.get("paper").and_then(Value::as_bool).unwrap_or(false);
        let darts = user.get("method").and_then(Value::as_str) == Some("darts");
        let waits = |key: &str| !paper && !darts && !user.contains_key(key);
        let (lr, prior_lr) = (waits("lr"), waits("prior_lr"));
        let crop_pad = !paper && !user.contains_key("crop_pad");
        if user.get("method").and_then(Value::as_str).is_some_and(|method| method != "parsec") {
            // There is no prior to depart from.
            user.entry("explore").or_insert(0.0.into());
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
        let mut config: Self = resolved::over_preset(preset, user)?;
        let pad = f64::from(config.crop_pad);
        config.waiting = Waiting(
            [("lr", config.lr, lr), ("prior_lr", config.prior_lr, prior_lr), ("crop_pad", pad, crop_pad)]
                .into_iter()
                .filter_map(|(key, value, waits)| waits.then_some((key, value)))
                .collect(),
        );
        config.follow();
        (config.stages, config.choices) = space::of_chain(&*config.space()?);
        if config.reference {
            config.drop_mass = 0.0;
        }
        config.check()?;
        Ok(config)
    }

    /// The resolved configuration that [`Self::to_toml`] wrote to `path`.
    pub fn read_resolved(path: &Path) -> Result<Self> {
        resolved::read(path)
    }

    /// The resolved form: every key; those without a value are named in a comment.
    pub fn to_toml(&self) -> Result<String> {
        resolved::to_toml(self)
    }

    /// The keys that have a value, as a TOML table.
    pub fn to_table(&self) -> Result<Table> {
        resolved::to_table(self)
    }

    /// Whether every value is in its range and the values fit together.
    pub fn check(&self) -> Result<()> {
        resolved::check_values(self)?;
        resolved::check_length(self.steps, self.epochs)?;
        resolved::check_rates(self.lr, self.lr_min)?;
        self.check_method()?;
        self.space()?;
        if let (Some(temperature), None) = (self.prior_temperature, &self.prior_from) {
            let expected = "a prior to be softened, that of `prior_from`";
            let found = format!("{temperature} without one");
            return Err(Error::usage("`prior_temperature`", expected, found, "also give --prior-from RUN"));
        }
        if let Some(part) = self.micro_batch
            && !self.batch.is_multiple_of(part)
        {
            let near = (1..=part.min(self.batch)).rev().find(|m| self.batch.is_multiple_of(*m)).unwrap_or(1);
            let expected = format!("a divisor of `batch` ({})", self.batch);
            return Err(Error::usage(
                "`micro_batch`",
                expected,
                part.to_string(),
                format!("--micro-batch {near}"),
            ));
        }
        if let (Some(part), Some(search)) = (self.micro_batch, self.search_batch)
            && !search.is_multiple_of(part)
        {
            let expected = format!("a multiple of `micro_batch` ({part})");
            let near = format!("--search-batch {}", search.div_ceil(part) * part);
            return Err(Error::usage("`search_batch`", expected, search.to_string(), near));
        }
        let most = self.samples.largest_ess(self.samples.count(f64::INFINITY));
        if let Temper::Ess(target) = self.temper
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
        resolved::check_normalisation(self.mean.as_deref(), self.std.as_deref())
    }

    /// Whether nothing is asked of a method that has no meaning with it.
    fn check_method(&self) -> Result<()> {
        let (asked, why) = match self.method {
            Method::Darts => (
                vec![
                    ("`prior_from`", self.prior_from.as_ref().map(|run| run.display().to_string())),
                    ("`trace_steps`", (self.trace_steps > 0).then(|| self.trace_steps.to_string())),
                    ("`max_skips`", self.max_skips.map(|n| n.to_string())),
                    ("`patience`", (self.patience > 0).then(|| self.patience.to_string())),
                ],
                "nothing with `method` darts, which has no prior over children",
            ),
            Method::RandomSearch if self.samples == Samples::Fixed(1) => {
                let expected =
                    "at least 2 with `method` random_search, which compares the children of a step";
                return Err(Error::usage("`samples`", expected, "1", "--samples 2"));
            }
            Method::RandomSearch => (
                vec![
                    ("`max_skips`", self.max_skips.map(|n| n.to_string())),
                    ("`patience`", (self.patience > 0).then(|| self.patience.to_string())),
                    ("`freeze_prior`", self.freeze_prior.then(|| "true".to_owned())),
                    ("`explore`", (self.explore > 0.0).then(|| self.explore.to_string())),
                ],
                "nothing with `method` random_search, whose prior never moves and draws all children",
            ),
            Method::Random => (
                vec![
                    ("`max_skips`", self.max_skips.map(|n| n.to_string())),
                    ("`patience`", (self.patience > 0).then(|| self.patience.to_string())),
                ],
                "nothing with `method` random, whose result is a draw",
            ),
            Method::Parsec
                if self.samples == Samples::Fixed(1)
                    && self.baseline == Baseline::Mean
                    && !self.freeze_prior =>
            {
                let expected = "at least 2 with `baseline` mean, by which a single child moves nothing";
                let try_this = "--samples 2, or --baseline none";
                return Err(Error::usage("`samples`", expected, "1", try_this));
            }
            Method::Parsec => return Ok(()),
        };
        match asked.into_iter().find_map(|(key, value)| Some((key, value?))) {
            Some((key, value)) => Err(Error::usage(key, why, value, "leave it out, or --method parsec")),
            None => Ok(()),
        }
    }

    /// What is searched.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that the space refuses.
    pub fn space(&self) -> Result<Arc<dyn Space>> {
        let settings = SpaceSettings {
            layers: self.layers,
            primitives: self.primitives.clone(),
            stages: self.stages.clone(),
            choices: self.choices.clone(),
            head: self.head,
            ..SpaceSettings::default()
        };
        spaces::space(&self.space, &settings)
    }

    /// Examples that go through a child at a time: the whole batch, or `micro_batch`.
    pub fn part(&self) -> usize {
        self.micro_batch.unwrap_or(self.batch)
    }

    /// The same of a batch of the search split.
    pub fn search_part(&self) -> usize {
        self.micro_batch.unwrap_or(self.search_batch())
    }

    /// Examples of a batch of the search split.
    pub fn search_batch(&self) -> usize {
        self.search_batch.unwrap_or(self.batch)
    }

    /// Steps before the prior moves; none: it never does.
    pub fn warm_up_steps(&self, steps_per_epoch: u64) -> Option<u64> {
        let steps = match self.warmup_epochs {
            // At least one step is left for the prior.
            0 => ((self.warmup * self.steps as f64).round() as u64).min(self.steps.saturating_sub(1)),
            epochs => epochs.saturating_mul(steps_per_epoch),
        };
        (!self.freeze_prior).then_some(steps)
    }

    /// Sets what follows from the data: the number of images of the train split and of the search split, and their side.
    ///
    /// Images that a run sees only a few times are not cropped: what a network has not learnt yet is no better for it.
    pub fn resolve_for(&mut self, n_train: usize, n_search: usize, side: usize) {
        if let Some(epochs) = self.epochs {
            self.steps = epochs.saturating_mul((n_train / self.batch.max(1)).max(1) as u64);
        }
        if !self.paper && self.method != Method::Darts && self.search_batch.is_none() {
            let wanted = self.batch.max(SEARCH_BATCH.min(SEARCH_BATCHES * self.batch).min(n_search));
            self.search_batch = Some(wanted - wanted % self.micro_batch.unwrap_or(1));
        }
        let passes = self.steps as f64 * self.batch as f64 / n_train.max(1) as f64;
        let pad = if passes < FEW_PASSES { 0 } else { (side as u32 + 4) / 8 };
        self.waiting.0.retain(|(key, meanwhile)| {
            let is_pad = *key == "crop_pad";
            if is_pad && f64::from(self.crop_pad) == *meanwhile {
                self.crop_pad = pad;
            }
            !is_pad
        });
        self.follow();
    }

    /// Sets the rates that nobody said anything of, once the length is known.
    ///
    /// Adam moves a logit by about its rate a step whatever the signal, so noise alone carries it `prior_lr` times the root
    /// of the steps: that product is what stays the same.
    fn follow(&mut self) {
        if self.steps == 0 {
            return;
        }
        let warm_up = self.warm_up_steps(0).unwrap_or(0);
        let lr = (0.025 * (20_000.0 / self.steps as f64).sqrt()).clamp(0.025, 0.1).max(self.lr_min);
        let prior_lr = PRIOR_TRAVEL / ((self.steps - warm_up) as f64).sqrt();
        self.waiting.0.retain(|(key, meanwhile)| {
            let (rate, follows) = match *key {
                "lr" => (&mut self.lr, lr),
                "prior_lr" => (&mut self.prior_lr, prior_lr),
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
    const KEYS: &'static [Key] = keys::KEYS;
    const PRESET: &'static str = DEFAULT_PRESET;

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn steps(&self) -> u64 {
        self.steps
    }
}

/// Puts what the paper has under `user`, who may not say anything else of it where the paper is asked for. It is also where
/// all paths run at once: there nothing is drawn.
fn as_in_the_paper(user: &mut Table, asked: bool) -> Result<()> {
    let refused = |key: &str, value: &Value, paper: &str| {
        let expected = format!("{paper} with `paper`");
        Err(Error::usage(format!("`{key}`"), expected, value.to_string(), "leave one out"))
    };
    for (key, paper) in PAPER {
        let paper: Value = paper.parse().map_err(|_| Error::internal("a value of the paper's"))?;
        match user.get(key) {
            Some(value) if *value != paper && asked => return refused(key, value, &paper.to_string()),
            Some(_) => {}
            None => _ = user.insert(key.into(), paper),
        }
    }
    match user.get("search_batch") {
        Some(value) if asked => refused("search_batch", value, "nothing"),
        _ => Ok(()),
    }
}

/// To two digits, so that a configuration can be read.
fn rounded(x: f64) -> f64 {
    format!("{x:.1e}").parse().unwrap_or(x)
}

/// The lanes of configurations that say nothing of them.
fn one_lane() -> usize {
    1
}

/// Configurations that do not say are the paper's algorithm.
fn yes() -> bool {
    true
}

/// The space of those that say nothing of it.
fn darts() -> String {
    "darts".into()
}

/// Whether the user's settings choose the embedded images.
fn is_embedded(user: &Table) -> bool {
    user.get("data").is_none_or(|d| d.as_str() == Some("embedded"))
}
