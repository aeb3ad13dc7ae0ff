//! The flags of `parsec show RUN|GENOTYPE` → the arguments of [`show::show`], with the run's prior.

use std::path::{Path, PathBuf};

use super::space_args::SpaceArgs;
use super::{Network, Stem, Ui, show};
use crate::Result;
use crate::config::{Memory, Method, Resolved, TrainConfig};
use crate::data::Size;
use crate::run::{self, RunDir};
use crate::search::take_prior;
use crate::space::remark;

/// The flags of `show`. Missing extents are taken from the run, or from the DARTS implementation.
#[derive(Debug, clap::Args)]
pub struct ShowFlags {
    /// A run folder, a file with a genotype, its text, or the name of a published one
    #[arg(value_name = "RUN|GENOTYPE")]
    pub target: String,
    /// Draw the architecture as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Draw it as PNG
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
    /// Write it as a graphviz file
    #[arg(long, value_name = "FILE")]
    pub dot: Option<PathBuf>,
    /// Architectures to draw from the run's prior, besides its mode
    #[arg(long, value_name = "K")]
    pub samples: Option<usize>,
    /// Seed of these draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Cells of the network whose parameters and MACs are counted
    #[arg(long, value_name = "L")]
    pub layers: Option<usize>,
    /// Channels of its first cells, even
    #[arg(long, value_name = "C")]
    pub channels: Option<usize>,
    /// Classes
    #[arg(long, value_name = "K")]
    pub classes: Option<usize>,
    /// Height and width of its images in pixels; one number: squares
    #[arg(long, value_name = "SIDE|H,W")]
    pub size: Option<Size>,
    /// Channels of its images
    #[arg(long, value_name = "N")]
    pub image_channels: Option<usize>,
    /// Which network is counted; default: final
    #[arg(long, value_enum)]
    pub network: Option<Network>,
    /// The first layers of a final network; default: cifar
    #[arg(long, value_enum)]
    pub stem: Option<Stem>,
    /// Batch size for which the memory of training is computed
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// What training keeps in memory; default: the run's, or normal
    #[arg(long, value_name = "normal|low")]
    pub memory: Option<Memory>,
    /// With the auxiliary head
    #[arg(long)]
    pub auxiliary: bool,
    /// The search space and its settings.
    #[command(flatten)]
    pub space: SpaceArgs,
}

/// Shows the target of `flags`.
pub fn show(flags: &ShowFlags, ui: &Ui) -> Result<()> {
    let target = Path::new(&flags.target);
    let prior = if target.is_dir() { prior(target, ui) } else { None };
    remark(&flags.target).iter().for_each(|remark| ui.warn(remark));
    let args = show::ShowArgs {
        target: flags.target.clone(),
        svg: flags.svg.clone(),
        png: flags.png.clone(),
        dot: flags.dot.clone(),
        json: ui.json,
        samples: flags.samples,
        seed: flags.seed,
        layers: flags.layers,
        channels: flags.channels,
        classes: flags.classes,
        size: flags.size,
        image_channels: flags.image_channels,
        network: flags.network.map(Into::into),
        stem: flags.stem,
        space: flags.space.clone(),
        batch: flags.batch,
        memory: flags.memory,
        auxiliary: flags.auxiliary,
    };
    show::show(&args, prior.as_ref())
}

/// The newest prior of the run at `path`. Without a readable prior the genotype is still shown.
fn prior(path: &Path, ui: &Ui) -> Option<show::OfRun> {
    if RunDir::open(path).and_then(|run| run.manifest()).is_ok_and(|m| m.kind == TrainConfig::KIND) {
        return None;
    }
    // A search with all paths at once has no prior.
    if RunDir::open(path).and_then(|run| run.config()).is_ok_and(|c| c.algorithm.method == Method::Darts) {
        return None;
    }
    match read_prior(path, ui) {
        Ok(prior) => Some(prior),
        Err(e) => {
            ui.warn(format!("the prior is not shown: {e}"));
            None
        }
    }
}

fn read_prior(path: &Path, ui: &Ui) -> Result<show::OfRun> {
    let space = RunDir::open(path)?.config()?.space()?;
    let (state, warnings) = run::read_prior(path)?;
    warnings.iter().for_each(|w| ui.warn(w));
    let prior = take_prior(&state, path, &*space)?;
    Ok((space, prior))
}
