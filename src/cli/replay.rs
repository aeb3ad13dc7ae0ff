//! `parsec replay` → one forward and backward pass of an architecture on given tensors.

use std::path::PathBuf;

use clap::ValueEnum;

use super::Ui;
use super::space_args::{SpaceArgs, elsewhere};
use crate::Result;
use crate::runner::{open, variants};
use crate::space::NetworkKind;
use crate::train::{self, replay::Replay};

/// Which network the weights are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// A child of the search's parent network
    Search,
    /// The final network of one architecture
    Final,
}

/// What batch normalisation uses, and whether gradients are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Batch statistics, with gradients
    Train,
    /// Running statistics in a final network, no gradients
    Eval,
}

/// The first layers of a final network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stem {
    /// One convolution at full size
    Cifar,
    /// Three convolutions of stride 2
    Imagenet,
}

impl From<Network> for NetworkKind {
    fn from(network: Network) -> Self {
        match network {
            Network::Search => Self::Search,
            Network::Final => Self::Final,
        }
    }
}

/// The flags of `replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The architecture: a file with a genotype, or its text
    #[arg(long, value_name = "FILE|TEXT")]
    pub genotype: String,
    /// Weights by DARTS' names
    #[arg(long, value_name = "W.safetensors")]
    pub weights: PathBuf,
    /// `images` F32 \[N,C,H,W\], normalised, and `labels` I64 \[N\]; optionally `class_weights` F32 \[classes\]
    #[arg(long, value_name = "B.safetensors")]
    pub batch: PathBuf,
    /// File for logits, log-likelihoods and gradients
    #[arg(long, value_name = "OUT.safetensors")]
    pub out: PathBuf,
    /// Number of cells; the length of a chain follows from its stages
    #[arg(long, value_name = "L")]
    pub layers: Option<usize>,
    /// Channels of the first cells, even, or of a chain's stem
    #[arg(long, value_name = "C")]
    pub channels: usize,
    /// Which network the weights are of
    #[arg(long, value_enum, default_value = "search")]
    pub network: Network,
    /// Train computes gradients
    #[arg(long, value_enum, default_value = "train")]
    pub mode: Mode,
    /// The first layers of a final network
    #[arg(long, value_enum, default_value = "cifar")]
    pub stem: Stem,
    /// The search space and its settings.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// The plain kernels instead of the fused ones
    #[arg(long)]
    pub reference_kernels: bool,
}

/// Runs the replay.
pub fn replay(args: &ReplayArgs, ui: &Ui) -> Result<()> {
    // A chain has only its own stem.
    let stem = (args.stem != Stem::Cifar).then_some(args.stem);
    let (space, alpha) = elsewhere(&args.genotype, &args.space.with_cells(args.layers, stem), ui)?;
    let events = ui.events();
    let replay = Replay {
        space,
        alpha,
        weights: args.weights.clone(),
        batch: args.batch.clone(),
        out: args.out.clone(),
        channels: args.channels,
        kind: args.network.into(),
        train: args.mode == Mode::Train,
        reference_kernels: args.reference_kernels,
        variants: Some(
            variants::of_adapter(&open::adapter(ui.device.as_deref(), &events)?, &events)?.variants,
        ),
        device: ui.device.clone(),
    };
    train::replay::replay(&replay)?;
    ui.emit(&serde_json::json!({ "out": args.out }))?;
    ui.report(&format!("wrote {}", args.out.display()));
    Ok(())
}
