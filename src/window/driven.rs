//! A run of this process: on a thread of its own, with an adapter of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egui::Context;

use super::task::guarded;
use super::{Outside, SOON};
use crate::config::{Config, Resolved, TrainConfig};
use crate::error::{Error, Result};
use crate::host::{Instant, thread};
use crate::run::{Claim, Control, Estimate, Event, Events, Progress, RunDir};
use crate::runner::{self, Changes, Runnable};
use crate::search::Search;
use crate::train::Training;

/// A run that is to be started.
pub enum Job {
    /// A search.
    Search(Box<Config>),
    /// A training.
    Training(Box<TrainConfig>),
    /// The run in this folder goes on.
    Resume(PathBuf),
}

/// The end of a run.
#[derive(Debug)]
pub struct Ended {
    /// Its folder.
    pub folder: PathBuf,
    /// The text about its result.
    pub result: Result<String>,
}

/// What is known of a run that is going on.
#[derive(Default)]
struct State {
    doing: String,
    warnings: Vec<String>,
    progress: Option<Progress>,
    seconds_left: Option<f64>,
    /// Whether the run waited in the present step, whose time then says nothing.
    has_waited: bool,
    ended: Option<Ended>,
}

/// A run of this process.
pub struct Driven {
    folder: PathBuf,
    control: Arc<Control>,
    state: Arc<Mutex<State>>,
    is_paused: bool,
}

impl Driven {
    /// Starts `job` in the folder of its configuration, or in the next free one. `outside` listens too.
    ///
    /// # Errors
    /// The errors of the folder.
    pub fn start(job: Job, outside: &Outside, context: &Context) -> Result<Self> {
        let (folder, claim) = match &job {
            Job::Search(config) => free_folder(&**config)?,
            Job::Training(config) => free_folder(&**config)?,
            Job::Resume(folder) => (folder.clone(), None),
        };
        let state = Arc::new(Mutex::new(State { doing: "starting".into(), ..State::default() }));
        let control = Arc::new(Control::new());
        let also = (outside.listener)(&folder);
        let events = listener(Arc::clone(&state), also, context.clone());
        let tell_end = Arc::clone(&outside.ended);
        let driven = Self { folder: folder.clone(), control: Arc::clone(&control), state, is_paused: false };
        let (state, context) = (Arc::clone(&driven.state), context.clone());
        thread::spawn(move || {
            let result = guarded(|| match job {
                Job::Search(config) => begun::<Search>(*config, &folder, &events, &control),
                Job::Training(config) => begun::<Training>(*config, &folder, &events, &control),
                Job::Resume(_) => resumed(&folder, &events, &control),
            });
            drop(claim);
            tell_end(&folder);
            lock(&state).ended = Some(Ended { folder, result });
            context.request_repaint_after(SOON);
        });
        Ok(driven)
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is being done.
    pub fn doing(&self) -> String {
        lock(&self.state).doing.clone()
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.state).warnings.clone()
    }

    /// The progress after the last step.
    pub fn progress(&self) -> Option<Progress> {
        lock(&self.state).progress.clone()
    }

    /// Estimated seconds that remain.
    pub fn seconds_left(&self) -> Option<f64> {
        lock(&self.state).seconds_left
    }

    /// Whether the run waits.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether the run was asked to end.
    pub fn is_stopping(&self) -> bool {
        self.control.is_stopping()
    }

    /// Lets the run wait after its step.
    pub fn pause(&mut self) {
        self.is_paused = true;
        self.control.pause();
    }

    /// Lets the run go on.
    pub fn go_on(&mut self) {
        self.is_paused = false;
        lock(&self.state).has_waited = true;
        self.control.go_on();
    }

    /// Saves the run after its step.
    pub fn save(&self) {
        self.control.save();
    }

    /// Saves and ends the run after its step.
    pub fn stop(&mut self) {
        self.is_paused = false;
        self.control.stop();
    }

    /// Leaves nothing behind of a run that has done nothing yet: its empty folder is removed.
    pub fn give_up(&self) {
        // A folder with anything in it stays.
        _ = std::fs::remove_dir(&self.folder);
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        lock(&self.state).ended.is_some()
    }

    /// The end of the run, if it is over. It is returned once.
    pub fn take_end(&self) -> Option<Ended> {
        lock(&self.state).ended.take()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder for a run by `config`. It is taken at once, because data and adapter may need a while.
fn free_folder<C: Resolved>(config: &C) -> Result<(PathBuf, Option<Claim>)> {
    if let Some(path) = &config.session().run {
        RunDir::check_free(path)?;
        return Ok((path.clone(), None));
    }
    let claim = RunDir::claim(C::KIND)?;
    Ok((claim.path().to_owned(), Some(claim)))
}

fn begun<J: Runnable>(
    config: J::Config,
    folder: &Path,
    events: &Events,
    control: &Control,
) -> Result<String> {
    let running = runner::start::<J>(config, folder, events)?;
    running.drive(control).map(|outcome| outcome.to_string())
}

fn resumed(folder: &Path, events: &Events, control: &Control) -> Result<String> {
    let run = RunDir::open(folder)?;
    if run.is_finished() {
        let (expected, found) = ("a run that is not finished", "a finished one");
        return Err(Error::file(folder, None, expected, found, "a new run"));
    }
    let run = RunDir::open_for_writing(folder)?;
    let changes = Changes::default();
    if run.manifest()?.kind == TrainConfig::KIND {
        let running = runner::resume::<Training>(folder, run, &changes, events)?;
        return running.drive(control).map(|outcome| outcome.to_string());
    }
    let running = runner::resume::<Search>(folder, run, &changes, events)?;
    running.drive(control).map(|outcome| outcome.to_string())
}

/// The events of a run, kept in `state`, and told to `also`.
fn listener(state: Arc<Mutex<State>>, also: Events, context: Context) -> Events {
    let clock = Mutex::new((Instant::now(), Estimate::default()));
    Events::new(move |event| {
        {
            let mut state = lock(&state);
            match &event {
                Event::Note(text) => state.doing.clone_from(text),
                Event::Warning(warning) => state.warnings.push(warning.clone()),
                Event::Reading { done, total } => state.doing = format!("reading images: {done} of {total}"),
                Event::Read { line, .. } => state.doing.clone_from(line),
                Event::Compiling { ready, known } => {
                    clock.lock().unwrap_or_else(PoisonError::into_inner).1.compiled();
                    if state.progress.is_none() {
                        state.doing = format!("compiling kernels: {ready} of {known}");
                    }
                }
                Event::Step { progress, .. } => {
                    let mut clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
                    let [done, left] =
                        progress.work.unwrap_or([1.0, (progress.total - progress.step) as f64]);
                    let seconds = clock.0.elapsed().as_secs_f64();
                    clock.0 = Instant::now();
                    if !std::mem::take(&mut state.has_waited) {
                        clock.1.finished(seconds, done);
                    }
                    state.seconds_left = clock.1.left(left);
                    state.doing = format!("step {} of {}", progress.step, progress.total);
                    state.progress = Some(progress.clone());
                }
                Event::Stepped => state.doing = "writing the result".into(),
            }
        }
        // After a step the folder's watcher lets the window draw.
        if !matches!(event, Event::Step { .. }) {
            context.request_repaint_after(Duration::from_millis(500));
        }
        also.tell(event);
    })
}
