//! `parsec train --genotype G|RUN --run DIR [CONFIG.toml] [flags]` → the resolved configuration → a training.

use std::path::PathBuf;

use super::flags::{Declared, Flags, check_file};
use super::{Ui, start_new, window};
use crate::Result;
use crate::config::keys::Concern;
use crate::config::{Resolved, TrainConfig};
use crate::train::Training;

/// The flags of `train`. Their names with underscores are the keys of the TOML file.
#[derive(Debug, Default, clap::Args)]
pub struct TrainArgs {
    /// A flat TOML table of settings; flags override it
    #[arg(value_name = "CONFIG.toml")]
    pub config: Option<PathBuf>,
    /// Settings to start from; default: small for the embedded images, cifar for others
    #[arg(long, value_name = "small|cifar|imagenet")]
    pub preset: Option<String>,
    /// Write event files of TensorBoard into RUN/tensorboard while the run goes on
    #[arg(long)]
    pub tensorboard: bool,
    /// Show the run in the desktop window
    #[arg(long)]
    pub window: bool,
    /// Settings.
    #[command(flatten)]
    pub flags: Flags<TrainConfig>,
}

impl Declared for TrainConfig {
    const CONCERNS: &'static [Concern] = <Self as Resolved>::CONCERNS;
    const EXCLUDED: &'static [&'static str] = &["device"];
}

impl TrainArgs {
    /// The preset, overridden by the TOML file, overridden by the given flags. Every value is checked.
    pub fn resolve(&self, device: Option<&str>) -> Result<TrainConfig> {
        let mut flags = self.flags.table.clone();
        flags.extend(device.map(|device| ("device".to_owned(), device.into())));
        check_file(self.config.as_deref())?;
        TrainConfig::resolve(self.preset.as_deref(), self.config.as_deref(), &flags)?.with_architecture()
    }
}

/// Resolves the configuration and trains.
pub fn train(args: &TrainArgs, ui: &Ui) -> Result<()> {
    let config = args.resolve(ui.device.as_deref())?;
    config.remarks.0.iter().for_each(|remark| ui.warn(remark));
    let ui = ui.with_tensorboard(args.tensorboard);
    if args.window {
        return window::run(window::Job::Training(Box::new(config)), &ui);
    }
    start_new::<Training>(config, &ui)
}
