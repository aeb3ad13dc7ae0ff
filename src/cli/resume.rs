//! `parsec resume RUN` → the run goes on, or says that it is over.

use std::path::Path;

use super::Ui;
use super::session::Session;
use super::train;
use crate::config::{Resolved, TrainConfig};
use crate::run::{self, CONSENSUS, RunDir};
use crate::{Error, Result};

/// Goes on with the run at `path`.
pub fn resume(path: &Path, ui: &Ui) -> Result<()> {
    let run = RunDir::open(path)?;
    if run.is_finished() {
        ui.say(&format!("{} is finished; see: parsec show {0}", path.display()))?;
        return ui.emit(&run.result()?);
    }
    if run.manifest()?.kind == CONSENSUS {
        let (expected, found) = ("a finished consensus", "one without result.json");
        let try_this = "remove the folder, and make it again with: parsec consensus RUN... --run DIR";
        return Err(Error::file(path, None, expected, found, try_this));
    }
    let run = RunDir::open_for_writing(path)?;
    if run.manifest()?.kind == TrainConfig::KIND {
        return train::resume(path, &run, ui);
    }
    // The folder may have been moved since. The runs it started from may be gone, and are only needed if not
    // even the first checkpoint was written.
    let mut config = run.config()?;
    config.session.run = Some(path.to_owned());
    if !run.checkpoints().steps()?.is_empty() {
        config.forget_origin();
    }
    let mut session = Session::open(config, Some(&run.manifest()?), ui)?;
    session.check(&run, ui)?;
    for warning in run::resume(&mut session.search, &run)? {
        ui.warn(&warning);
    }
    ui.note(&format!("going on after step {}", session.search.steps_done()));
    session.drive(&run, ui)
}
