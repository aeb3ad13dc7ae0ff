//! `parsec train --genotype G|RUN --run DIR [CONFIG.toml] [flags]` → the resolved configuration → a training.

use std::path::PathBuf;

use serde::Serialize;
use toml::Table;

use super::space_args::SpaceArgs;
use super::{Ui, train};
use crate::config::TrainConfig;
use crate::config::space::source;
use crate::data::HELP;
use crate::run::RunDir;
use crate::space::read_architecture;
use crate::{Error, Result};

/// The flags of `train`. Their names with underscores are the keys of the TOML file.
#[derive(Debug, Default, clap::Args, Serialize)]
pub struct TrainArgs {
    /// A flat TOML table of settings; flags override it
    #[arg(value_name = "CONFIG.toml")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Settings to start from; default: small for the embedded images, cifar for others
    #[arg(long, value_name = "small|cifar|imagenet")]
    #[serde(skip)]
    pub preset: Option<String>,
    /// The architecture: a run that has one, a file with one, its text, or the name of a published one
    #[arg(long, value_name = "G|RUN")]
    pub genotype: Option<String>,
    #[arg(long, value_name = "SPEC", help = HELP)]
    #[allow(missing_docs)]
    pub data: Option<String>,
    /// Key of every random number
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Run folder to create; default: the next free runs/train-NNNN
    #[arg(long, value_name = "DIR")]
    pub run: Option<String>,
    /// Start from these weights, named as in the reference; running statistics too where they are there
    #[arg(long, value_name = "FILE.safetensors")]
    pub weights: Option<String>,
    /// Cells of the network
    #[arg(long, value_name = "L")]
    pub layers: Option<u64>,
    /// Channels of the first cells, even
    #[arg(long, value_name = "C")]
    pub channels: Option<u64>,
    /// The first layers: one convolution at full size, or three of stride 2
    #[arg(long, value_name = "cifar|imagenet")]
    pub stem: Option<String>,
    /// Which space, and what of it.
    #[command(flatten)]
    #[serde(flatten)]
    pub space: SpaceArgs,
    /// Examples per batch
    #[arg(long, value_name = "N")]
    pub batch: Option<u64>,
    /// Steps in all, instead of --epochs
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub steps: Option<u64>,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// First learning rate
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Least learning rate
    #[arg(long, value_name = "X")]
    pub lr_min: Option<f64>,
    /// How the learning rate falls
    #[arg(long, value_name = "cosine|exponential")]
    pub schedule: Option<String>,
    /// Factor of the learning rate from epoch to epoch (exponential)
    #[arg(long, value_name = "X")]
    pub lr_decay: Option<f64>,
    /// Momentum
    #[arg(long, value_name = "X")]
    pub momentum: Option<f64>,
    /// Weight decay
    #[arg(long, value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Norm to which the gradient is clipped
    #[arg(long, value_name = "X")]
    pub grad_clip: Option<f64>,
    /// Part of the target spread over all classes
    #[arg(long, value_name = "X")]
    pub label_smoothing: Option<f64>,
    /// Weight of the auxiliary head's loss; 0: no such head
    #[arg(long, value_name = "X")]
    pub auxiliary: Option<f64>,
    /// Probability of drop-path at the end
    #[arg(long, value_name = "X")]
    pub drop_path: Option<f64>,
    /// Padding of the random crop in pixels; 0: no crop
    #[arg(long, value_name = "N")]
    pub crop_pad: Option<u64>,
    /// Random parts of the image, scaled back to its size
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub resized_crop: Option<bool>,
    /// Random horizontal flips
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub flip: Option<bool>,
    /// Strength of random brightness, contrast and saturation
    #[arg(long, value_name = "X")]
    pub jitter: Option<f64>,
    /// Largest random turn of the hue, as part of the colour circle, up to 0.5
    #[arg(long, value_name = "X")]
    pub hue: Option<f64>,
    /// Side of the square that is cut out; 0: none
    #[arg(long, value_name = "PIXELS")]
    pub cutout: Option<u64>,
    /// Compute cheap tensors again in the backward pass: about half the memory, same results
    #[arg(long, value_name = "normal|low")]
    pub memory: Option<String>,
    /// Height and width to which the images of a folder are resized
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<u64>,
    /// Mean per channel of the pixels in 0..1, separated by commas; default: computed
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub mean: Option<String>,
    /// Standard deviation per channel, separated by commas; default: computed
    #[arg(long, value_name = "LIST")]
    pub std: Option<String>,
    /// The plain kernels instead of the fused ones
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub reference_kernels: Option<bool>,
    /// Loader threads; 0: one per core
    #[arg(long, value_name = "N")]
    pub threads: Option<u64>,
    /// Steps between checkpoints; 0: after every epoch
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    /// How many of the last checkpoints to keep, besides the best
    #[arg(long, value_name = "N")]
    pub keep_checkpoints: Option<u64>,
    /// Steps between evaluations on the held-out images; 0: after every epoch
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
}

impl TrainArgs {
    /// The flags that were given over the TOML file over the preset, every value checked.
    pub fn resolve(&self, device: Option<&str>) -> Result<TrainConfig> {
        let mut flags = Table::try_from(self).map_err(|e| {
            Error::usage("a flag", "an integer below 2^63", e.to_string(), "a smaller number")
        })?;
        if let Some(device) = device {
            flags.insert("device".into(), device.into());
        }
        let config = TrainConfig::resolve(self.preset.as_deref(), self.config.as_deref(), &flags)?;
        let space = config.space()?;
        let text = source(&config.genotype, &Table::new())?.0;
        let is_run = std::path::Path::new(&config.genotype).is_dir();
        let alpha = read_architecture(&*space, if is_run { &text } else { &config.genotype })?;
        Ok(TrainConfig { genotype: space.print(&alpha), ..config })
    }
}

/// Resolves the configuration and trains.
pub fn train(args: &TrainArgs, ui: &Ui) -> Result<()> {
    let config = args.resolve(ui.device.as_deref())?;
    // Before the data are read and the device is opened, which may take a while.
    if let Some(run) = &config.run {
        RunDir::check_free(run)?;
    }
    let path = config.run.clone().unwrap_or_else(|| RunDir::next_free("train"));
    train::start(TrainConfig { run: Some(path.clone()), ..config }, &path, ui)
}
