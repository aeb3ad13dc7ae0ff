//! Signals → requests to the run: Ctrl-C, SIGTERM and SIGHUP stop it, SIGUSR1 saves it.
//!
//! A signal that was ignored when the program started stays ignored, so that a run under `nohup` outlives its terminal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::ui::remark;
use crate::run::{Claim, Control};
use crate::{Error, Result};

static CONTROL: Control = Control::new();
/// Whether the steps of a run, or the predictions of `predict`, have begun.
static STARTED: AtomicBool = AtomicBool::new(false);
/// Whether the work is that of `predict`, of which nothing is saved.
static PREDICTING: AtomicBool = AtomicBool::new(false);
/// The folder that is given up if the program is stopped before its steps.
static CLAIM: Mutex<Weak<Claim>> = Mutex::new(Weak::new());

/// Listens to signals from now on. Until the steps of a run begin, Ctrl-C ends the process at once, and the folder
/// `claim` is removed if it is empty. A request to save is remembered.
pub fn starting(claim: Option<&Arc<Claim>>) -> Result<()> {
    static LISTENS: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    *CLAIM.lock().unwrap_or_else(PoisonError::into_inner) = claim.map(Arc::downgrade).unwrap_or_default();
    let failed = |e: String| Error::device(format!("cannot listen for signals: {e}"), "");
    LISTENS.get_or_init(listen).clone().map_err(failed)
}

/// Connects signals to the control of a run, and returns the control. From now on the first Ctrl-C, SIGTERM or SIGHUP
/// asks the run to stop. The second one ends the process at once with exit code 130. The files that were saved before
/// are complete in both cases. SIGUSR1 asks the run to save.
pub fn control() -> Result<&'static Control> {
    starting(None)?;
    STARTED.store(true, Ordering::SeqCst);
    Ok(&CONTROL)
}

/// Like [`control`], for `predict`. No message is printed at a signal, and SIGUSR1 is ignored.
pub fn predict_control() -> Result<&'static Control> {
    PREDICTING.store(true, Ordering::SeqCst);
    control()
}

/// Lives on if a file reaches the size that the system allows (`ulimit -f`). The write then fails, and its error is
/// reported.
#[cfg(unix)]
pub fn outlive_the_limit_of_files() {
    // Without the handler the signal ends the process, as before.
    _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Nothing to outlive: this system has no such signal.
#[cfg(not(unix))]
pub fn outlive_the_limit_of_files() {}

/// Ignores SIGUSR1, the warning of batch systems before a job's time is over. For commands that have nothing to save.
#[cfg(unix)]
pub fn ignore_requests_to_save() -> Result<()> {
    let ignored = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::default());
    ignored.map(|_| ()).map_err(|e| Error::device(format!("cannot listen for signals: {e}"), ""))
}

/// Nothing to ignore: this system has no SIGUSR1.
#[cfg(not(unix))]
pub fn ignore_requests_to_save() -> Result<()> {
    Ok(())
}

fn stop() {
    if !STARTED.load(Ordering::SeqCst) {
        if let Some(claim) = CLAIM.lock().unwrap_or_else(PoisonError::into_inner).upgrade() {
            claim.give_up();
        }
        remark("\nstopped before the first step");
        std::process::exit(130);
    }
    if PREDICTING.load(Ordering::SeqCst) {
        if CONTROL.is_stopping() {
            std::process::exit(130);
        }
        return CONTROL.stop();
    }
    if CONTROL.is_stopping() {
        remark("stopped at once; `parsec resume RUN` goes on from the newest checkpoint");
        std::process::exit(130);
    }
    CONTROL.stop();
    remark("\nstopping after this step; press Ctrl-C again to stop at once");
}

#[cfg(unix)]
fn listen() -> std::result::Result<(), String> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

    let signals = [(SIGHUP, "HUP"), (SIGINT, "INT"), (SIGTERM, "TERM"), (SIGUSR1, "USR1")];
    let heard = signals.into_iter().filter(|(number, name)| !is_ignored(*number, name));
    let heard = signal_hook::iterator::Signals::new(heard.map(|(number, _)| number));
    let mut heard = heard.map_err(|e| e.to_string())?;
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in heard.forever() {
            if signal == SIGUSR1 && PREDICTING.load(Ordering::SeqCst) {
                continue;
            } else if signal == SIGUSR1 {
                CONTROL.save();
                remark("saving after this step");
            } else {
                stop();
            }
        }
    });
    thread.map(drop).map_err(|e| e.to_string())
}

/// Whether this process ignores a signal. Linux has a file with the ignored signals. On other systems this function
/// starts a shell, which ignores the same signals. The shell sends the signal to itself, and survives it only if the
/// signal is ignored.
#[cfg(unix)]
fn is_ignored(number: i32, name: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    match mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
        Some(mask) => mask >> (number - 1) & 1 == 1,
        None => {
            let script = format!("kill -s {name} $$");
            std::process::Command::new("sh").args(["-c", &script]).status().is_ok_and(|end| end.success())
        }
    }
}

#[cfg(windows)]
fn listen() -> std::result::Result<(), String> {
    ctrlc::set_handler(stop).map_err(|e| e.to_string())
}

#[cfg(not(any(unix, windows)))]
fn listen() -> std::result::Result<(), String> {
    Ok(())
}
