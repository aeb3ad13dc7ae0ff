//! `parsec search [CONFIG.toml] [flags]` → the resolved configuration → a search.

use std::path::PathBuf;

use super::flags::{Declared, Flags, check_file};
use super::{Ui, start_new, window};
use crate::Result;
use crate::config::keys::Concern;
use crate::config::{Config, Resolved};
use crate::search::Search;

/// The flags of `search`. Their names with underscores are the keys of the TOML file.
#[derive(Debug, Default, clap::Args)]
pub struct SearchArgs {
    /// A flat TOML table of settings; flags override it
    #[arg(value_name = "CONFIG.toml")]
    pub config: Option<PathBuf>,
    /// Write event files of TensorBoard into RUN/tensorboard while the run goes on
    #[arg(long)]
    pub tensorboard: bool,
    /// Show the run in the desktop window
    #[arg(long)]
    pub window: bool,
    /// Settings.
    #[command(flatten)]
    pub flags: Flags<Config>,
}

impl Declared for Config {
    const CONCERNS: &'static [Concern] = <Self as Resolved>::CONCERNS;
    const EXCLUDED: &'static [&'static str] = &["device"];
}

impl SearchArgs {
    /// The preset, overridden by the TOML file, overridden by the given flags. Every value is checked.
    pub fn resolve(&self, device: Option<&str>) -> Result<Config> {
        let mut flags = self.flags.table.clone();
        flags.extend(device.map(|device| ("device".to_owned(), device.into())));
        check_file(self.config.as_deref())?;
        Config::resolve(self.config.as_deref(), &flags)
    }
}

/// Resolves the configuration and runs the search.
pub fn search(args: &SearchArgs, ui: &Ui) -> Result<()> {
    let config = args.resolve(ui.device.as_deref())?;
    config.remarks.0.iter().for_each(|remark| ui.warn(remark));
    let ui = ui.with_tensorboard(args.tensorboard);
    if args.window {
        return window::run(window::Job::Search(Box::new(config)), &ui);
    }
    start_new::<Search>(config, &ui)
}
