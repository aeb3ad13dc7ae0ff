//! Ctrl-C and SIGTERM → a flag that the driver looks at after every step.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// The flag, which the first Ctrl-C (or SIGTERM) raises from now on; the second one ends the process
/// at once with exit code 130. What was saved before is whole in either case.
pub fn on_interrupt() -> Result<&'static AtomicBool> {
    let handler = || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; once more to stop at once");
    };
    match ctrlc::set_handler(handler) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(&STOP),
        Err(e) => Err(Error::device(format!("cannot listen for Ctrl-C: {e}"), "")),
    }
}
