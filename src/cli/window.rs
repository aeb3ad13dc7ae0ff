//! `parsec window [RUN...]`, and the flag `--window` of `search` and `train`.

use std::path::PathBuf;

use super::Ui;
use crate::config::{Config, TrainConfig};
use crate::{Error, Result};

/// The flags of `window`.
#[derive(Debug, clap::Args)]
pub struct WindowArgs {
    /// Runs to show, also ones that are going on; two are shown side by side
    #[arg(value_name = "RUN", num_args = 0..=2)]
    pub runs: Vec<PathBuf>,
}

/// A run that the window is to start.
#[cfg_attr(not(feature = "window"), expect(dead_code, reason = "without the window nothing starts it"))]
pub enum Job {
    /// A search.
    Search(Box<Config>),
    /// A training.
    Training(Box<TrainConfig>),
}

/// Opens the window.
pub fn window(args: &WindowArgs, ui: &Ui) -> Result<()> {
    for run in &args.runs {
        crate::run::RunDir::open(run)?;
    }
    // The window may leave this folder.
    let runs = args.runs.iter().map(|run| std::path::absolute(run).unwrap_or_else(|_| run.clone()));
    show(runs.collect(), None, ui)
}

/// Opens the window with a run that starts at once.
pub fn run(job: Job, ui: &Ui) -> Result<()> {
    show(vec![], Some(job), ui)
}

#[cfg(not(feature = "window"))]
fn show(_runs: Vec<PathBuf>, _job: Option<Job>, _ui: &Ui) -> Result<()> {
    Err(Error::usage(
        "window",
        "a program that was built with its window",
        "one without it",
        "cargo install --path . --features window; meanwhile parsec report RUN writes a page about a run, and --tensorboard \
         lets TensorBoard watch one",
    ))
}

#[cfg(feature = "window")]
fn show(runs: Vec<PathBuf>, job: Option<Job>, ui: &Ui) -> Result<()> {
    use std::path::Path;
    use std::sync::Arc;

    use super::{Verbosity, interrupt, tensorboard};
    use crate::config::Resolved;
    use crate::run::{Control, RunDir};
    use crate::window::{self, Outside, Start};

    interrupt::control()?;
    // A run that is given would be looked up elsewhere.
    if job.is_none() {
        leave_an_unwritable_folder(ui)?;
    }
    if let Some(Job::Search(config)) = &job
        && let Some(run) = &config.session().run
    {
        RunDir::check_free(run)?;
    }
    let (listening, ending) = (ui.clone(), ui.clone());
    let outside = Outside {
        listener: Arc::new(move |run: &Path| listening.events_of(run)),
        ended: Arc::new(move |run: &Path| {
            if let Err(e) = tensorboard::finish(run) {
                ending.warn(e);
            }
        }),
        stop: || interrupt::control().is_ok_and(Control::is_stopping),
        save: || interrupt::control().is_ok_and(Control::takes_save),
    };
    let job = job.map(|job| match job {
        Job::Search(config) => window::Job::Search(config),
        Job::Training(config) => window::Job::Training(config),
    });
    let closed = window::open(Start { runs, job, outside, ..Start::default() })?;
    if ui.verbosity == Verbosity::Verbose {
        let longest = 1e3 * closed.frames.longest.as_secs_f64();
        ui.note(&format!("{} frames of the window, the longest took {longest:.1} ms", closed.frames.n));
    }
    let Some(ended) = closed.ended else { return Ok(()) };
    let text = ended.result?;
    let run = RunDir::open(&ended.folder)?;
    ui.emit_saved(&run.result()?, &run.file("result.json"))?;
    ui.report(&text);
    Ok(())
}

/// A window that is opened from a menu may be in a folder in which nothing can be written. Runs are then in the folder
/// `parsec` of the home folder.
#[cfg(feature = "window")]
fn leave_an_unwritable_folder(ui: &Ui) -> Result<()> {
    if tempfile::tempfile_in(".").is_ok() {
        return Ok(());
    }
    let Some(folder) = std::env::home_dir().map(|home| home.join("parsec")) else { return Ok(()) };
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
    std::env::set_current_dir(&folder).map_err(|e| Error::io("open", &folder, e))?;
    ui.note(&format!("this folder cannot be written: runs are in {}", folder.display()));
    Ok(())
}
