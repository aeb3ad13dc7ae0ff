//! `parsec resume RUN` → the run goes on, or says that it is over.

use std::path::Path;

use super::{Ui, not_merged};
use crate::Result;
use crate::run::RunDir;

/// Goes on with the run at `path`.
pub fn resume(path: &Path, ui: &Ui) -> Result<()> {
    let run = RunDir::open(path)?;
    if run.is_finished() {
        ui.say(&format!("{} is finished; see: parsec show {0}", path.display()))?;
        return ui.emit(&run.result()?);
    }
    let _run = RunDir::open_for_writing(path)?;
    // crate::search::run::resume(run, ui)
    Err(not_merged("resume"))
}
