//! Flags and a flat TOML table → the resolved configuration of a training of one final network.
//!
//! Three layers as for a search: a preset (`assets/train-{small,cifar,imagenet}.toml`), the user's
//! TOML file, the flags. Without `--preset`, `small` is taken for the embedded images and `cifar` for others.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::keys::{Key, Kind, key, non_empty};
use super::{Memory, Resolved, resolved, types};
use crate::space::{self, Space, SpaceSettings, StemKind};
use crate::{Error, Result};

const PRESETS: [(&str, &str); 3] = [
    ("small", include_str!("../../assets/train-small.toml")),
    ("cifar", include_str!("../../assets/train-cifar.toml")),
    ("imagenet", include_str!("../../assets/train-imagenet.toml")),
];

/// Every key of a training, in the order of [`TrainConfig`].
pub const KEYS: &[Key] = &[
    key("genotype", Kind::Text(|s| non_empty(s, "a genotype, a file with one, or a run"))),
    key("data", Kind::Text(types::check_data)),
    key("seed", Kind::Int(0, i64::MAX)),
    key("run", Kind::Text(|s| non_empty(s, "a folder"))),
    key("device", Kind::Text(|s| non_empty(s, "an index or a part of a device's name"))),
    key("weights", Kind::Text(|s| non_empty(s, "a safetensors file"))),
    key("space", Kind::Text(types::check_space)),
    key("stages", Kind::Counts(1, 64)),
    key("choices", Kind::Words),
    key("head", Kind::Int(1, 16_384)),
    key("layers", Kind::Int(1, 256)),
    key("channels", Kind::Even(2, 1024)),
    key("stem", Kind::Text(|s| s.parse::<Stem>().map(drop))),
    key("batch", Kind::Int(1, 32_768)),
    key("steps", Kind::Int(1, 1_000_000_000)),
    key("epochs", Kind::Int(1, 1_000_000)),
    key("lr", Kind::Positive(100.0)),
    key("lr_min", Kind::Float(0.0, 100.0)),
    key("schedule", Kind::Text(|s| s.parse::<Schedule>().map(drop))),
    key("lr_decay", Kind::Positive(1.0)),
    key("momentum", Kind::Float(0.0, 0.9999)),
    key("weight_decay", Kind::Float(0.0, 1.0)),
    key("grad_clip", Kind::Positive(1e9)),
    key("label_smoothing", Kind::Float(0.0, 0.99)),
    key("auxiliary", Kind::Float(0.0, 10.0)),
    key("drop_path", Kind::Float(0.0, 0.9)),
    key("crop_pad", Kind::Int(0, 64)),
    key("resized_crop", Kind::Bool),
    key("flip", Kind::Bool),
    key("jitter", Kind::Float(0.0, 1.0)),
    key("hue", Kind::Float(0.0, 0.5)),
    key("cutout", Kind::Int(0, 512)),
    key("size", Kind::Int(4, 512)),
    key("mean", Kind::PerChannel(-1e3, 1e3)),
    key("std", Kind::PerChannel(1e-6, 1e3)),
    key("reference_kernels", Kind::Bool),
    key("memory", Kind::Text(|s| s.parse::<Memory>().map(drop))),
    key("threads", Kind::Int(0, 1024)),
    key("checkpoint_every", Kind::Int(0, 1_000_000_000)),
    key("keep_checkpoints", Kind::Int(1, 1_000_000)),
    key("eval_every", Kind::Int(0, 1_000_000_000)),
];

/// Everything a training depends on besides its data and the adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The architecture: its text once resolved; before that also a file, a name, or a run that has one.
    pub genotype: String,
    /// The images, in a form of [`crate::data::SOURCES`].
    pub data: String,
    /// Key of every random stream.
    pub seed: u64,
    /// The run folder as the user named it; without it the next free `runs/train-NNNN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Index or part of the name of the adapter; without it the fastest class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// A file of weights to start from, with the reference's names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// The space of the architecture.
    #[serde(default = "super::darts")]
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
    /// The first layers.
    #[serde(with = "types::text")]
    pub stem: Stem,
    /// Examples per batch.
    pub batch: usize,
    /// Steps in all; 0 as long as only [`Self::epochs`] is known.
    #[serde(default)]
    pub steps: u64,
    /// Passes over the training images, if the length was given so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Learning rate at the first step.
    pub lr: f64,
    /// Least learning rate: the end of the cosine.
    pub lr_min: f64,
    /// How the learning rate falls.
    #[serde(with = "types::text")]
    pub schedule: Schedule,
    /// Factor of the learning rate from epoch to epoch, exponential schedule only.
    pub lr_decay: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Norm to which the gradient is clipped.
    pub grad_clip: f64,
    /// Part of the target that is spread evenly over all classes, as PyTorch's `label_smoothing`.
    pub label_smoothing: f64,
    /// Weight of the auxiliary head's loss; 0 = no such head.
    pub auxiliary: f64,
    /// Probability of drop-path in the last epoch; it rises from 0 in proportion to the epoch.
    pub drop_path: f64,
    /// Pixels of padding of the random crop; 0 = no crop.
    pub crop_pad: u32,
    /// Random crop of 8 to 100 % of the area, scaled back to the image's size.
    pub resized_crop: bool,
    /// Random horizontal flips.
    pub flip: bool,
    /// Strength of random changes of brightness, contrast and saturation.
    pub jitter: f64,
    /// Largest random turn of the hue, in turns of the colour circle.
    #[serde(default)]
    pub hue: f64,
    /// Side of the square that is cut out; 0 = none.
    pub cutout: u32,
    /// Height and width in pixels to which images of a folder are resized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Mean per channel of the pixels in 0..=1; computed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation per channel of the pixels in 0..=1; computed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f64>>,
    /// The plain kernels instead of the fused ones.
    pub reference_kernels: bool,
    /// Whether the backward pass computes cheap tensors again; cannot change a result.
    #[serde(default, with = "types::text")]
    pub memory: Memory,
    /// Loader threads; 0 = one per core. Cannot change a result.
    pub threads: usize,
    /// Steps between checkpoints; 0 = at the end of every epoch.
    pub checkpoint_every: u64,
    /// How many of the last checkpoints are kept, besides the first and the best.
    pub keep_checkpoints: usize,
    /// Steps between evaluations on the held-out images; 0 = at the end of every epoch. Every
    /// checkpoint and the last step are evaluated besides.
    pub eval_every: u64,
}

impl TrainConfig {
    /// The preset called `preset` (or the one that fits the data), overridden by the TOML file `file`,
    /// overridden by `flags` (keys in snake case). Every value is checked; errors name the flag, or the
    /// file's key and line.
    pub fn resolve(preset: Option<&str>, file: Option<&Path>, flags: &Table) -> Result<Self> {
        let mut user = resolved::user_table(file, flags, KEYS)?;
        let name = preset.unwrap_or(if super::is_embedded(&user) { "small" } else { "cifar" });
        let Some((_, text)) = PRESETS.iter().find(|(known, _)| *known == name) else {
            let known = PRESETS.map(|(known, _)| known).join(", ");
            return Err(Error::usage("--preset", format!("one of {known}"), format!("`{name}`"), ""));
        };
        if !user.contains_key("genotype") {
            let try_this = "--genotype RUN of a search, or --genotype DARTS_V2, a published cell";
            return Err(Error::usage("--genotype", "an architecture to train", "none", try_this));
        }
        space_of_architecture(&mut user)?;
        let name = resolved::space_name(&user);
        super::space::check_own(&user, &name)?;
        let mut config: Self = resolved::over_preset(text, user)?;
        if name != "darts" {
            // Neither an auxiliary head nor drop-path belongs to a chain.
            (config.auxiliary, config.drop_path, config.stem) = (0.0, 0.0, Stem::Cifar);
        }
        (config.stages, config.choices) = super::space::of_chain(&*config.space()?);
        Resolved::check(&config)?;
        Ok(config)
    }

    /// The space of the architecture; the DARTS space has all primitives.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that the space refuses.
    pub fn space(&self) -> Result<Arc<dyn Space>> {
        let settings = SpaceSettings {
            layers: self.layers,
            stem: (self.stem == Stem::Imagenet).then_some(StemKind::ImageNet),
            auxiliary: self.auxiliary > 0.0,
            stages: self.stages.clone(),
            choices: self.choices.clone(),
            head: self.head,
            ..SpaceSettings::default()
        };
        space::space(&self.space, &settings)
    }

    /// Sets [`Self::steps`] from [`Self::epochs`] once the length of an epoch is known.
    pub fn resolve_steps(&mut self, steps_per_epoch: u64) {
        if let Some(epochs) = self.epochs {
            self.steps = epochs.saturating_mul(steps_per_epoch.max(1));
        }
    }
}

impl Resolved for TrainConfig {
    const KIND: &'static str = "train";
    const KEYS: &'static [Key] = KEYS;
    const PRESET: &'static str = PRESETS[0].1;

    fn check(&self) -> Result<()> {
        resolved::check_values(self)?;
        resolved::check_length(self.steps, self.epochs)?;
        resolved::check_rates(self.lr, self.lr_min)?;
        self.space()?;
        resolved::check_normalisation(self.mean.as_deref(), self.std.as_deref())
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn steps(&self) -> u64 {
        self.steps
    }
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Half a cosine over all steps.
    Cosine,
    /// By a factor from epoch to epoch.
    Exponential,
}

/// The first layers of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// One convolution at full size.
    Cifar,
    /// Three convolutions of stride 2.
    Imagenet,
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "cosine" => Ok(Self::Cosine),
            "exponential" => Ok(Self::Exponential),
            _ => Err("cosine or exponential".into()),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::Exponential => "exponential",
        })
    }
}

impl FromStr for Stem {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "cifar" => Ok(Self::Cifar),
            "imagenet" => Ok(Self::Imagenet),
            _ => Err("cifar or imagenet".into()),
        }
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cifar => "cifar",
            Self::Imagenet => "imagenet",
        })
    }
}

/// What the architecture says of its space, unless the user says otherwise.
fn space_of_architecture(user: &mut Table) -> Result<()> {
    let Some(genotype) = user.get("genotype").and_then(Value::as_str) else { return Ok(()) };
    let (text, settings) = super::space::source(genotype, &Table::new())?;
    let of_run = settings.get("space").and_then(Value::as_str);
    let name = of_run.unwrap_or(space::space_of(&text)).to_owned();
    // A training has layers of its own; the stages of a chain are part of its architecture.
    let wanted = |key: &str| space::owner(key, "darts").is_some() && name != "darts";
    for (key, value) in settings.into_iter().filter(|(key, _)| wanted(key)) {
        user.entry(key).or_insert(value);
    }
    user.entry("space").or_insert(name.into());
    Ok(())
}
