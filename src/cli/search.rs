//! `parsec search [CONFIG.toml] [flags]` → the resolved configuration → a search.

use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::Table;

use super::Ui;
use super::session::Session;
use super::space_args::SpaceArgs;
use crate::config::Config;
use crate::data::HELP;
use crate::run::RunDir;
use crate::{Error, Result};

/// The flags of `search`. Their names with underscores are the keys of the TOML file.
#[derive(Debug, Default, clap::Args, Serialize)]
pub struct SearchArgs {
    /// A flat TOML table of settings; flags override it
    #[arg(value_name = "CONFIG.toml")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    #[arg(long, value_name = "SPEC", help = HELP)]
    #[allow(missing_docs)]
    pub data: Option<String>,
    /// How to search: parsec; darts, all paths at once; random, whose prior stays as it is and whose result is a draw
    /// from it; random_search, whose children train the weights alike and whose result is the best child seen
    #[arg(long, value_name = "parsec|darts|random|random_search")]
    pub method: Option<String>,
    /// Key of every random number
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Run folder to create; default: the next free runs/search-NNNN
    #[arg(long, value_name = "DIR")]
    pub run: Option<String>,
    /// Cells of the network
    #[arg(long, value_name = "L")]
    pub layers: Option<u64>,
    /// Channels of the first cells, even
    #[arg(long, value_name = "C")]
    pub channels: Option<u64>,
    /// Which space, and what of it.
    #[command(flatten)]
    #[serde(flatten)]
    pub space: SpaceArgs,
    /// Examples per batch
    #[arg(long, value_name = "N")]
    pub batch: Option<u64>,
    /// Run each batch in parts of M examples, for cards too small for the batch. M divides the batch. Batch
    /// norm's statistics are then those of each part, so results are not those of the whole batch
    #[arg(long, value_name = "M")]
    pub micro_batch: Option<u64>,
    /// Architectures drawn per step: a number, or auto:LAMBDA for LAMBDA times the entropy of the prior in
    /// nats, from 2 to 64 (auto:0.32 begins at 16: seven primitives have 50.3 nats)
    #[arg(long, value_name = "K|auto:LAMBDA")]
    pub samples: Option<String>,
    /// Steps in all
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub steps: Option<u64>,
    /// Passes over the train split, instead of --steps
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// First learning rate of the weights; default: from the length of the run, 0.1 to 0.025
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Last learning rate of the weights
    #[arg(long, value_name = "X")]
    pub lr_min: Option<f64>,
    /// Momentum of the weights
    #[arg(long, value_name = "X")]
    pub momentum: Option<f64>,
    /// Weight decay of the weights
    #[arg(long, value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Norm to which the weights' gradient is clipped
    #[arg(long, value_name = "X")]
    pub grad_clip: Option<f64>,
    /// Learning rate of the prior; default: from the length of the run
    #[arg(long, value_name = "X")]
    pub prior_lr: Option<f64>,
    /// Adam's first decay for the prior
    #[arg(long, value_name = "X")]
    pub prior_beta1: Option<f64>,
    /// Adam's second decay for the prior
    #[arg(long, value_name = "X")]
    pub prior_beta2: Option<f64>,
    /// Primitives to draw from, separated by commas; `all` for all eight
    #[arg(long, value_name = "LIST")]
    pub primitives: Option<String>,
    /// Tempering of the importance weights: none, an exponent, or a target sample size
    #[arg(long, value_name = "none|BETA|ess:TARGET")]
    pub temper: Option<String>,
    /// Baseline of the prior's gradient; default: mean
    #[arg(long, value_name = "none|mean")]
    pub baseline: Option<String>,
    /// The paper's algorithm to the letter: no warm-up, importance weights, no baseline, one batch size, plain draws
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub paper: Option<bool>,
    /// Part of the steps, at the start, that trains the weights only: all children alike, every choice equally often;
    /// default: 0.5
    #[arg(long, value_name = "FRACTION")]
    pub warmup: Option<f64>,
    /// What each child adds to the weights' gradient after it; default: uniform
    #[arg(long, value_name = "importance|uniform")]
    pub train_weights: Option<String>,
    /// Examples per batch of the search split; default: the batch, or 256 if that is more, but no
    /// more than 4 batches
    #[arg(long, value_name = "N")]
    pub search_batch: Option<u64>,
    /// How the children of a step are drawn: each for itself, or spread evenly over the choices of each slot;
    /// default: stratified
    #[arg(long, value_name = "independent|stratified")]
    pub draws: Option<String>,
    /// Part of each slot's draws that are uniform; the importance weights are corrected for it; default: 0.3
    #[arg(long, value_name = "EPS")]
    pub explore: Option<f64>,
    /// Leave the prior as it is (the random baseline)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub freeze_prior: Option<bool>,
    /// Epochs at the start that train the weights only, in place of --warmup
    #[arg(long, value_name = "N")]
    pub warmup_epochs: Option<u64>,
    /// Start from the prior of another run
    #[arg(long, value_name = "RUN")]
    pub prior_from: Option<String>,
    /// Divide the logits of that prior by T: above 1 it is softer, below 1 sharper; 1 keeps it
    #[arg(long, value_name = "T")]
    pub prior_temperature: Option<f64>,
    /// Start from the shared weights of another run of the same network, or of an exported file
    #[arg(long, value_name = "RUN|FILE")]
    pub weights_from: Option<String>,
    /// Choose the most probable architecture with at most N skip connections in each cell, or identities in the chain
    #[arg(long, value_name = "N")]
    pub max_skips: Option<u64>,
    /// End when the most probable architecture has not changed for N steps of the prior; 0: only after all steps
    #[arg(long, value_name = "N")]
    pub patience: Option<u64>,
    /// No backward pass for children whose weights sum to at most this
    #[arg(long, value_name = "MASS")]
    pub drop_mass: Option<f64>,
    /// Lanes in which the gradients of children are added: another number rounds otherwise
    #[arg(long, value_name = "N")]
    pub lanes: Option<u64>,
    /// Write everything about each of the first M steps to RUN/trace
    #[arg(long, value_name = "M")]
    pub trace_steps: Option<u64>,
    /// Kernel variants: time them now and keep the choice for later runs; =false: the fixed choice; default: the
    /// choice kept on disk, or else the fixed one
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub tune: Option<bool>,
    /// Algorithm 1 literally: no child skipped, none merged
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub reference: Option<bool>,
    /// The plain kernels instead of the fused ones
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub reference_kernels: Option<bool>,
    /// Compute cheap tensors again in the backward pass: half the memory, same results
    #[arg(long, value_name = "normal|low")]
    pub memory: Option<String>,
    /// Part of the training set used for the prior
    #[arg(long, value_name = "X")]
    pub search_fraction: Option<f64>,
    /// Padding of the random crop in pixels; 0: no crop; default: none in fewer than ten passes over the images, then an
    /// eighth of their side
    #[arg(long, value_name = "N")]
    pub crop_pad: Option<u64>,
    /// Random horizontal flips
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub flip: Option<bool>,
    /// Height and width to which the images of a folder are resized
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<u64>,
    /// Mean per channel of the pixels in 0..1, separated by commas; default: computed
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub mean: Option<String>,
    /// Standard deviation per channel, separated by commas; default: computed
    #[arg(long, value_name = "LIST")]
    pub std: Option<String>,
    /// Loader threads; 0: one per core
    #[arg(long, value_name = "N")]
    pub threads: Option<u64>,
    /// Steps between checkpoints; 0: only the first and the last
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    /// How many of the last checkpoints to keep
    #[arg(long, value_name = "N")]
    pub keep_checkpoints: Option<u64>,
    /// Steps between evaluations of the mode; 0: only at the end
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
}

impl SearchArgs {
    /// The flags that were given over the TOML file over the preset, every value checked.
    pub fn resolve(&self, device: Option<&str>) -> Result<Config> {
        let mut flags = Table::try_from(self).map_err(|e| {
            Error::usage("a flag", "an integer below 2^63", e.to_string(), "a smaller number")
        })?;
        if let Some(device) = device {
            flags.insert("device".into(), device.into());
        }
        Config::resolve(self.config.as_deref(), &flags)
    }
}

/// Resolves the configuration and runs the search.
pub fn search(args: &SearchArgs, ui: &Ui) -> Result<()> {
    let config = args.resolve(ui.device.as_deref())?;
    // Before the data are read and the device is opened, which may take a while.
    if let Some(run) = &config.run {
        RunDir::check_free(run)?;
    }
    let path = config.run.clone().unwrap_or_else(|| RunDir::next_free("search"));
    start(Config { run: Some(path.clone()), ..config }, &path, ui)
}

/// Starts a search in a new run folder.
pub fn start(config: Config, path: &Path, ui: &Ui) -> Result<()> {
    let session = Session::open(config, None, ui)?;
    let run = session.create(path)?;
    ui.note(&format!("run folder {}", path.display()));
    session.drive(&run, ui)
}
