//! The flags of `parsec show RUN|GENOTYPE`.

use std::path::PathBuf;

use super::{Network, Stem};

/// The flags of `show`. Extents that are not given are those of the run, or the reference's.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// A run folder, a file with a genotype, its text, or the name of a published one
    #[arg(value_name = "RUN|GENOTYPE")]
    pub target: String,
    /// Draw both cells as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Draw both cells as PNG
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
    /// Write both cells as a graphviz file
    #[arg(long, value_name = "FILE")]
    pub dot: Option<PathBuf>,
    /// Architectures to draw from the run's prior, besides its mode
    #[arg(long, value_name = "K")]
    pub samples: Option<u32>,
    /// Key of the random numbers
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
    /// Height and width of its images
    #[arg(long, value_name = "S")]
    pub size: Option<usize>,
    /// Channels of its images
    #[arg(long, value_name = "N")]
    pub image_channels: Option<usize>,
    /// A child of the search's parent network, or the final network
    #[arg(long, value_enum)]
    pub network: Option<Network>,
    /// The first layers of a final network
    #[arg(long, value_enum)]
    pub stem: Option<Stem>,
    /// With the auxiliary head
    #[arg(long)]
    pub auxiliary: bool,
}
