//! `parsec resume RUN` → the run continues from its newest undamaged checkpoint.

use std::path::Path;

use super::{Ui, driven, interrupt};
use crate::config::{Resolved, TrainConfig};
use crate::run::{CONSENSUS, RunDir};
use crate::runner;
use crate::search::Search;
use crate::train::Training;
use crate::{Error, Result};

/// Continues the run at `path`.
pub fn resume(path: &Path, ui: &Ui) -> Result<()> {
    let run = RunDir::open(path)?;
    if run.is_finished() {
        ui.report(&format!("{} is finished; see: parsec show {0}", path.display()));
        return ui.emit(&run.result()?);
    }
    if run.manifest()?.kind == CONSENSUS {
        let (expected, found) = ("a finished consensus", "one without result.json");
        let try_this = "remove the folder, and make it again with: parsec consensus RUN... --run DIR";
        return Err(Error::file(path, None, expected, found, try_this));
    }
    interrupt::starting(None)?;
    let run = RunDir::open_for_writing(path)?;
    let (device, events) = (ui.device.as_deref(), ui.events());
    if run.manifest()?.kind == TrainConfig::KIND {
        return driven(runner::resume::<Training>(path, run, device, &events)?, ui);
    }
    driven(runner::resume::<Search>(path, run, device, &events)?, ui)
}
