//! The flags that every command has → where its output goes.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::{Bar, Common, Verbosity};
use crate::run::{Event, Events};
use crate::{Error, Result};

/// How a command talks to its user.
#[derive(Clone, Debug)]
pub struct Ui {
    /// Only JSON on standard output.
    pub json: bool,
    /// How much is said on standard error.
    pub verbosity: Verbosity,
    /// Whether results are told: not those of the parts of a larger command.
    pub results: bool,
    /// `--device`, or else `PARSEC_DEVICE`.
    pub device: Option<String>,
}

impl Ui {
    /// From the flags and the environment.
    pub fn new(common: &Common) -> Self {
        let verbosity = match (common.quiet, common.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        let from_env = || std::env::var("PARSEC_DEVICE").ok().filter(|d| !d.is_empty());
        Self { json: common.json, verbosity, results: true, device: common.device.clone().or_else(from_env) }
    }

    /// The same without any result on standard output.
    pub fn silent(&self) -> Self {
        Self { results: false, ..self.clone() }
    }

    /// A result for people: on standard output, unless that is for JSON.
    pub fn say(&self, text: &str) -> Result<()> {
        if self.json || !self.results { Ok(()) } else { print(text) }
    }

    /// A result for machines: on standard output, with `--json` only.
    pub fn emit(&self, result: &impl Serialize) -> Result<()> {
        if !self.json || !self.results {
            return Ok(());
        }
        let text = serde_json::to_string(result);
        print(&text.map_err(|e| Error::usage("--json", "a result that JSON can hold", e.to_string(), ""))?)
    }

    /// A remark on standard error, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            eprintln!("{text}");
        }
    }

    /// A warning on standard error, always.
    pub fn warn(&self, warning: impl std::fmt::Display) {
        eprintln!("warning: {warning}");
    }

    /// Shows what happens in a run.
    pub fn events(&self) -> Events {
        let (ui, bar) = (self.clone(), self.bar());
        Events::new(move |event| match event {
            Event::Note(text) => ui.note(&text),
            Event::Warning(text) => ui.warn(text),
            Event::Compiling { ready, known } => bar.lock().compiling(ready, known),
            Event::Step { progress, .. } => bar.lock().update(&progress),
            Event::Stepped => bar.lock().close(),
        })
    }

    /// The display of progress, shared with who tells of compilation.
    pub fn bar(&self) -> SharedBar {
        SharedBar(Arc::new(Mutex::new(Bar::new(self.verbosity))))
    }
}

/// A display of progress that several parts of a run speak to.
#[derive(Clone)]
pub struct SharedBar(Arc<Mutex<Bar>>);

impl SharedBar {
    /// The display.
    pub fn lock(&self) -> MutexGuard<'_, Bar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line on standard output. A reader that has gone (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("write", "standard output", e)),
        _ => Ok(()),
    }
}
