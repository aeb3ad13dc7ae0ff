//! Ctrl-C and SIGTERM → a request to stop the run.

use crate::run::Control;
use crate::{Error, Result};

static CONTROL: Control = Control::new();

/// A control that the first Ctrl-C (or SIGTERM) from now on asks to stop. The second one ends the process at once with
/// exit code 130. The files that were saved before are complete in both cases.
pub fn control() -> Result<&'static Control> {
    let handler = || {
        if CONTROL.is_stopping() {
            eprintln!("stopped at once; `parsec resume RUN` goes on from the newest checkpoint");
            std::process::exit(130);
        }
        CONTROL.stop();
        eprintln!("\nstopping after this step; once more to stop at once");
    };
    match ctrlc::set_handler(handler) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(&CONTROL),
        Err(e) => Err(Error::device(format!("cannot listen for Ctrl-C: {e}"), "")),
    }
}
