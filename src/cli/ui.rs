//! The flags that every command has → the destination of the command's output.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::tensorboard::{self, Board};
use super::{Bar, Common, Verbosity};
use crate::run::{Event, Events};
use crate::{Error, Result};

/// The output of a command to its user.
#[derive(Clone, Debug)]
pub struct Ui {
    /// Whether standard output has only JSON.
    pub json: bool,
    /// Amount of output on standard error.
    pub verbosity: Verbosity,
    /// Whether results are printed. They are not printed for the parts of a larger command.
    pub results: bool,
    /// Value of `--device`, or else of `PARSEC_DEVICE`.
    pub device: Option<String>,
    /// Whether new runs write event files of TensorBoard.
    pub tensorboard: bool,
}

impl Ui {
    /// The output according to the flags and the environment.
    pub fn new(common: &Common) -> Self {
        let verbosity = match (common.quiet, common.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        let from_env = || std::env::var("PARSEC_DEVICE").ok().filter(|d| !d.is_empty());
        let device = common.device.clone().or_else(from_env);
        Self { json: common.json, verbosity, results: true, device, tensorboard: false }
    }

    /// The same output, and event files of TensorBoard if `is_wished`.
    pub fn with_tensorboard(&self, is_wished: bool) -> Self {
        Self { tensorboard: is_wished, ..self.clone() }
    }

    /// The same output without results on standard output.
    pub fn silent(&self) -> Self {
        Self { results: false, ..self.clone() }
    }

    /// Prints a result for people on standard output, unless standard output is for JSON.
    pub fn say(&self, text: &str) -> Result<()> {
        if self.json || !self.results { Ok(()) } else { print(text) }
    }

    /// Prints a report about files that are written, as [`Self::say`] does. If standard output is broken, the files are
    /// still there, so this is a warning.
    pub fn report(&self, text: &str) {
        if let Err(e) = self.say(text) {
            self.warn(e);
        }
    }

    /// Prints a result for programs on standard output, with `--json` only.
    pub fn emit(&self, result: &impl Serialize) -> Result<()> {
        if !self.json || !self.results {
            return Ok(());
        }
        let text = serde_json::to_string(result);
        print(&text.map_err(|e| Error::usage("--json", "a result that JSON can hold", e.to_string(), ""))?)
    }

    /// Prints a result that is also in the file `saved`, as [`Self::emit`] does. An error names that file.
    pub fn emit_saved(&self, result: &impl Serialize, saved: &Path) -> Result<()> {
        self.emit(result).map_err(|e| match e {
            Error::Io { action, path, source, .. } => {
                let try_this = format!("{}, which has the whole result", saved.display());
                Error::Io { action, path, source, try_this }
            }
            other => other,
        })
    }

    /// Prints a remark on standard error, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            remark(text);
        }
    }

    /// Prints a warning on standard error, always.
    pub fn warn(&self, warning: impl std::fmt::Display) {
        remark(&format!("warning: {warning}"));
    }

    /// Prints the account of the data. With `--quiet` only the passed-over entries are printed.
    fn read(&self, line: &str, passed_over: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.note(line);
        } else if !passed_over.is_empty() {
            self.warn(format!("passed over: {passed_over}"));
        }
    }

    /// Events of the run in the folder `run`, shown by this output, and written for TensorBoard if this is wished or was
    /// begun.
    pub fn events_of(&self, run: &Path) -> Events {
        let shown = self.events();
        if !self.tensorboard && !run.join(tensorboard::FOLDER).is_dir() {
            return shown;
        }
        let board = Mutex::new(Board::new(run));
        Events::new(move |event| {
            if let Event::Step { line, .. } = &event {
                let warning = board.lock().unwrap_or_else(PoisonError::into_inner).step(line);
                warning.into_iter().for_each(|warning| shown.warn(warning));
            }
            shown.tell(event);
        })
    }

    /// Events of a run, shown by this output.
    pub fn events(&self) -> Events {
        let (ui, bar) = (self.clone(), self.bar());
        Events::new(move |event| match event {
            Event::Note(text) => ui.note(&text),
            Event::Warning(text) => ui.warn(text),
            Event::Reading { done, total } => bar.lock().reading(done, total),
            Event::Read { line, passed_over } => ui.read(&line, &passed_over),
            Event::Compiling { ready, known } => bar.lock().compiling(ready, known),
            Event::Step { progress, .. } => bar.lock().update(&progress),
            Event::Stepped => bar.lock().close(),
        })
    }

    /// The display of progress, which can be shared with the reporting of compilation.
    pub fn bar(&self) -> SharedBar {
        SharedBar(Arc::new(Mutex::new(Bar::new(self.verbosity))))
    }
}

/// A display of progress that several parts of a run use.
#[derive(Clone)]
pub struct SharedBar(Arc<Mutex<Bar>>);

impl SharedBar {
    /// The display.
    pub fn lock(&self) -> MutexGuard<'_, Bar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints a line on standard output. A closed pipe (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<()> {
    put(&format!("{text}\n"))
}

/// Prints on standard output. A closed pipe (`| head`) is no error.
///
/// # Errors
/// [`Error::Io`] if standard output has no room or is broken otherwise.
pub(super) fn put(text: &str) -> Result<()> {
    write(text).map(|_| ())
}

/// Prints on standard output, and returns whether anyone reads it. The reader of a closed pipe has read enough.
///
/// # Errors
/// [`Error::Io`] if standard output has no room or is broken otherwise.
pub(super) fn write(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::io("write", "standard output", e)),
    }
}

/// Prints a line on standard error. If standard error is closed, full or gone, nothing happens, because a lost remark
/// must not end a run. (`eprintln!` would panic.)
pub fn remark(text: &str) {
    _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
