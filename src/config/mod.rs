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
use toml::Table;

use std::sync::Arc;

use crate::space::{self as spaces, Primitive, Space, SpaceSettings};
use crate::{Error, Result};
pub use compare::CompareConfig;
use keys::Key;
pub use resolved::{Resolved, read as read_resolved, to_table, to_toml};
pub use train::TrainConfig;
pub use types::{Baseline, Memory, Method, Samples, Temper};

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
    /// Steps in all; 0 as long as only [`Self::epochs`] is known (see [`Self::resolve_steps`]).
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
}

impl Config {
    /// The configuration of `parsec search` without any argument.
    pub fn preset() -> Result<Self> {
        Self::resolve(None, &Table::new())
    }

    /// The preset that fits the data, overridden by the TOML file `file`, overridden by `flags`
    /// (keys in snake case). Every value is checked; errors name the flag, or the file's key and line.
    pub fn resolve(file: Option<&Path>, flags: &Table) -> Result<Self> {
        let user = resolved::user_table(file, flags, keys::KEYS)?;
        let preset = if is_embedded(&user) { DEFAULT_PRESET } else { REFERENCE_PRESET };
        space::check_own(&user, &resolved::space_name(&user))?;
        let mut config: Self = resolved::over_preset(preset, user)?;
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

    /// Whether nothing is asked of a search over all paths that only one over children has.
    fn check_method(&self) -> Result<()> {
        let asked = [
            ("`prior_from`", self.prior_from.as_ref().map(|run| run.display().to_string())),
            ("`trace_steps`", (self.trace_steps > 0).then(|| self.trace_steps.to_string())),
        ];
        match asked.into_iter().find_map(|(key, value)| Some((key, value?))) {
            Some((key, value)) if self.method == Method::Darts => {
                let expected = "nothing with `method` darts, which has no prior over children";
                Err(Error::usage(key, expected, value, "leave it out, or --method parsec"))
            }
            _ => Ok(()),
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

    /// Sets [`Self::steps`] from [`Self::epochs`] once the length of an epoch is known.
    pub fn resolve_steps(&mut self, steps_per_epoch: u64) {
        if let Some(epochs) = self.epochs {
            self.steps = epochs.saturating_mul(steps_per_epoch.max(1));
        }
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

/// The lanes of configurations that say nothing of them.
fn one_lane() -> usize {
    1
}

/// The space of those that say nothing of it.
fn darts() -> String {
    "darts".into()
}

/// Whether the user's settings choose the embedded images.
fn is_embedded(user: &Table) -> bool {
    user.get("data").is_none_or(|d| d.as_str() == Some("embedded"))
}
