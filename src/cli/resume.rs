//! `parsec resume RUN` → the run continues from its newest undamaged checkpoint.

use std::path::PathBuf;

use super::{Ui, driven, interrupt};
use crate::config::{Config, Resolved, TrainConfig};
use crate::error::word;
use crate::run::{CONSENSUS, RunDir};
use crate::runner::{self, Changes};
use crate::search::Search;
use crate::train::Training;
use crate::{Error, Result};

/// The arguments of `resume`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ResumeArgs {
    /// The run folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Where the images of the run are now; they are checked by their hash, and the place is recorded
    #[arg(long, value_name = "SPEC")]
    pub data: Option<String>,
    /// Steps in all from now on; the schedules that depend on the length are stretched from the step reached
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub steps: Option<u64>,
    /// Passes over the images in all, instead of --steps
    #[arg(long, value_name = "N", conflicts_with = "steps", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub epochs: Option<u64>,
    /// Memory for scaled images in MiB, in place of the run's; the results are the same
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub image_memory: Option<u32>,
    /// Write event files of TensorBoard into RUN/tensorboard; a run that was started so goes on with it without this flag
    #[arg(long)]
    pub tensorboard: bool,
}

/// Continues the run.
pub fn resume(args: &ResumeArgs, ui: &Ui) -> Result<()> {
    let path = args.run.as_path();
    let run = RunDir::open(path)?;
    let is_consensus = run.manifest()?.kind == CONSENSUS;
    let changes_length = args.steps.is_some() || args.epochs.is_some();
    if is_consensus && changes_length {
        let (expected, found) = ("a search or a training, which has steps", "a consensus");
        return Err(Error::file(path, None, expected, found, "one of the searches that it was made of"));
    }
    if run.is_finished() && !changes_length {
        match (&args.data, run.manifest()?.kind.as_str()) {
            (None, _) | (_, CONSENSUS) => {}
            (Some(data), TrainConfig::KIND) => runner::move_data::<TrainConfig>(path, data, &ui.events())?,
            (Some(data), _) => runner::move_data::<Config>(path, data, &ui.events())?,
        }
        ui.report(&format!("{} is finished; see: parsec show {}", path.display(), word(path)));
        return ui.emit_saved(&run.result()?, &path.join("result.json"));
    }
    if is_consensus {
        let (expected, found) = ("a finished consensus", "one without result.json");
        let try_this = "remove the folder, and make it again with: parsec consensus RUN... --run DIR";
        return Err(Error::file(path, None, expected, found, try_this));
    }
    interrupt::starting(None)?;
    let run = RunDir::open_for_writing(path)?;
    let changes = Changes {
        device: ui.device.clone(),
        data: args.data.clone(),
        steps: args.steps,
        epochs: args.epochs,
        image_memory: args.image_memory.map(|mib| mib as usize),
    };
    let events = ui.with_tensorboard(args.tensorboard).events_of(path);
    if run.manifest()?.kind == TrainConfig::KIND {
        return driven(runner::resume::<Training>(path, run, &changes, &events)?, ui);
    }
    driven(runner::resume::<Search>(path, run, &changes, &events)?, ui)
}
