//! Flags and a flat TOML table → the resolved configuration of a search.
//!
//! Three layers, later ones win: a preset (`assets/default.toml` for the embedded images,
//! `assets/reference.toml` for any other data), the user's TOML file, the flags. All are tables with
//! the same keys, the flags' names in snake case; [`keys`] says what each may hold. The resolved
//! form names every key and round trips exactly.

pub mod keys;
mod layer;
mod types;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::space::Primitive;
use crate::{Error, Result};
pub use types::{Baseline, Memory, Temper};

const DEFAULT_PRESET: &str = include_str!("../../assets/default.toml");
const REFERENCE_PRESET: &str = include_str!("../../assets/reference.toml");

/// Everything a search depends on besides its data and the adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The images to search on: `embedded`, `cifar10:DIR`, `cifar100:DIR`, `idx:DIR` or `folder:DIR`.
    pub data: String,
    /// Key of every random stream.
    pub seed: u64,
    /// The run folder as the user named it; without it the next free `runs/search-NNNN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Index or part of the name of the adapter; without it the fastest class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Stacked cells L.
    pub layers: usize,
    /// Channels C of the first cells; even.
    pub channels: usize,
    /// Examples per batch, of each split.
    pub batch: usize,
    /// Architectures drawn per step, K.
    pub samples: u32,
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
    /// A run whose shared weights are the starting weights; the network must be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_from: Option<PathBuf>,
    /// Children whose importance weights sum to at most this have no backward pass.
    pub drop_mass: f64,
    /// Write a trace of each of the first so many steps.
    pub trace_steps: u64,
    /// Choose kernel variants by fresh timings.
    pub tune: bool,
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
        let mut user = match file {
            Some(path) => layer::read(path, layer::Length::One)?,
            None => Table::new(),
        };
        layer::overlay(&mut user, layer::from_flags(flags)?);
        let embedded = user.get("data").is_none_or(|d| d.as_str() == Some("embedded"));
        let preset = if embedded { DEFAULT_PRESET } else { REFERENCE_PRESET };
        let mut merged = layer::parse(Path::new("the embedded preset"), preset, layer::Length::One)?;
        layer::overlay(&mut merged, user);
        let mut config = Self::from_table(merged, "the configuration")?;
        if config.reference {
            config.drop_mass = 0.0;
        }
        config.check()?;
        Ok(config)
    }

    /// The resolved configuration that [`Self::to_toml`] wrote to `path`.
    pub fn read_resolved(path: &Path) -> Result<Self> {
        let config = Self::from_table(layer::read(path, layer::Length::Both)?, &path.display().to_string())?;
        config.check()?;
        Ok(config)
    }

    /// The resolved form: every key; those without a value are named in a comment.
    pub fn to_toml(&self) -> Result<String> {
        let table = self.to_table()?;
        let unset: Vec<&str> =
            keys::KEYS.iter().map(|k| k.name).filter(|name| !table.contains_key(*name)).collect();
        let body = toml::to_string(self).map_err(|e| unreadable("the configuration", e))?;
        let note =
            if unset.is_empty() { String::new() } else { format!("# Not set: {}.\n", unset.join(", ")) };
        Ok(format!("# The resolved configuration of this run.\n{note}{body}"))
    }

    /// The keys that have a value, as a TOML table.
    pub fn to_table(&self) -> Result<Table> {
        let mut table = Table::try_from(self).map_err(|e| unreadable("the configuration", e))?;
        if self.steps == 0 {
            table.remove("steps");
        }
        Ok(table)
    }

    /// Whether every value is in its range and the values fit together.
    pub fn check(&self) -> Result<()> {
        for (name, value) in self.to_table()? {
            keys::check(&name, &value, &format!("`{name}`"))?;
        }
        if self.steps == 0 && self.epochs.is_none() {
            return Err(Error::usage("`steps`", "`steps` or `epochs`", "neither", "add --steps N"));
        }
        if self.lr_min > self.lr {
            let expected = format!("at most `lr` ({})", self.lr);
            return Err(Error::usage("`lr_min`", expected, self.lr_min.to_string(), "also give --lr-min"));
        }
        if let Temper::Ess(target) = self.temper
            && target > f64::from(self.samples)
        {
            let expected = format!("an effective sample size of at most `samples` ({})", self.samples);
            return Err(Error::usage(
                "`temper`",
                expected,
                target.to_string(),
                "a smaller target or more --samples",
            ));
        }
        let n_values = |list: &Option<Vec<f64>>| list.as_ref().map(Vec::len);
        if n_values(&self.mean) != n_values(&self.std) {
            let found = format!(
                "{} and {}",
                n_values(&self.mean).unwrap_or_default(),
                n_values(&self.std).unwrap_or_default()
            );
            return Err(Error::usage(
                "`mean` and `std`",
                "the same number of values in both",
                found,
                "give both or none",
            ));
        }
        Ok(())
    }

    /// Sets [`Self::steps`] from [`Self::epochs`] once the length of an epoch is known.
    pub fn resolve_steps(&mut self, steps_per_epoch: u64) {
        if let Some(epochs) = self.epochs {
            self.steps = epochs.saturating_mul(steps_per_epoch.max(1));
        }
    }

    fn from_table(table: Table, origin: &str) -> Result<Self> {
        Value::Table(table).try_into().map_err(|e| unreadable(origin, e))
    }
}

fn unreadable(origin: &str, e: impl std::fmt::Display) -> Error {
    Error::usage(origin, "every key of a resolved configuration", e.to_string(), "")
}
