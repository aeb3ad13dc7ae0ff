//! A configuration, or the folder of a run → a run that is driven to its end. This module has the parts that all kinds
//! of runs share.
//!
//! [`start`] and [`resume`] return a [`Running`], whose [`Running::drive`] returns the result. Meanwhile the run
//! reports [`Event`]s, and a [`Control`] pauses or stops it from any thread. Nothing is printed.

pub mod open;
pub mod search;
pub mod train;
pub mod variants;

use crate::host::Instant;
use std::fmt::Display;
use std::path::Path;

use serde::Serialize;

pub use search::Found;
pub use train::Trained;

use crate::config::Resolved;
use crate::gpu::Network;
use crate::run::{self, Control, Event, Events, Job, Manifest, Options, RunDir};
use crate::{Error, Result};

/// A kind of run.
pub trait Runnable: Job + Sized {
    /// Configuration of the run.
    type Config: Resolved;
    /// Result of the run: the content of `result.json`, and the text about it.
    type Outcome: Serialize + Display;

    /// The job before its first step, and its manifest. A resumed job is opened with the manifest of its run.
    ///
    /// # Errors
    /// The errors of the data, the adapter and the settings.
    fn open(config: Self::Config, resumed: Option<&Manifest>, events: &Events) -> Result<(Self, Manifest)>;

    /// The configuration, completed with values that follow from the data.
    fn configuration(&self) -> &Self::Config;

    /// The network on its adapter.
    fn network(&mut self) -> &mut Network;

    /// Number of steps of an epoch.
    fn epoch(&self) -> u64;

    /// Writes the files that are known before the first step.
    ///
    /// # Errors
    /// The errors of the folder.
    fn begin(&self, _run: &RunDir) -> Result<()> {
        Ok(())
    }

    /// Draws the current state.
    ///
    /// # Errors
    /// The errors of the folder.
    fn draw(&mut self, run: &RunDir) -> Result<()>;

    /// The result of the run.
    ///
    /// # Errors
    /// The errors of the adapter and the folder.
    fn outcome(&mut self, run: &RunDir, about: About) -> Result<Self::Outcome>;
}

/// Circumstances of a run, for its result.
pub struct About {
    /// Seconds of this process since the run was started or resumed.
    pub seconds: f64,
    /// Name of the adapter.
    pub adapter: String,
}

/// A run that is ready to be driven.
pub struct Running<J> {
    /// The job of the run.
    pub job: J,
    run: RunDir,
    adapter: String,
    events: Events,
}

/// A new run in the folder `path`, which is created.
///
/// # Errors
/// The errors of [`Runnable::open`] and of the folder.
pub fn start<J: Runnable>(mut config: J::Config, path: &Path, events: &Events) -> Result<Running<J>> {
    config.session_mut().run = Some(path.to_owned());
    let (job, manifest) = J::open(config, None, events)?;
    let run = RunDir::create(path, job.configuration(), &manifest)?;
    events.note(format!("run folder {}", path.display()));
    Ok(Running { job, run, adapter: manifest.adapter, events: events.clone() })
}

/// The run in the folder `path`, which is locked as `run`, from its newest undamaged checkpoint. The adapter is
/// `device` if one is named.
///
/// # Errors
/// The errors of [`Runnable::open`]. [`Error::File`] if the data have changed or no checkpoint is undamaged.
pub fn resume<J: Runnable>(
    path: &Path,
    run: RunDir,
    device: Option<&str>,
    events: &Events,
) -> Result<Running<J>> {
    let mut config: J::Config = run.read_config()?;
    // The files from which the run started may be gone. They are only needed if not even the first checkpoint was
    // written.
    if !run.checkpoints().steps()?.is_empty() {
        config.forget_origin();
    }
    let session = config.session_mut();
    // The folder may have been moved.
    session.run = Some(path.to_owned());
    if let Some(device) = device {
        session.device = Some(device.to_owned());
    }
    let (mut job, manifest) = J::open(config, Some(&run.manifest()?), events)?;
    open::check(&manifest, &run, events)?;
    run::resume(&mut job, &run)?.iter().for_each(|warning| events.warn(warning));
    events.note(format!("going on after step {}", job.step_index()));
    Ok(Running { job, run, adapter: manifest.adapter, events: events.clone() })
}

impl<J: Runnable> Running<J> {
    /// Drives the run to its end, unless `control` stops it.
    ///
    /// # Errors
    /// The errors of [`run::drive()`].
    pub fn drive(mut self, control: &Control) -> Result<J::Outcome> {
        let started = Instant::now();
        let Self { job, run, adapter, events } = &mut self;
        job.begin(run)?;
        let epoch = job.epoch();
        let session = job.configuration().session();
        let options = Options {
            checkpoint_every: session.checkpoint_every.steps(epoch).unwrap_or(0),
            keep: session.keep_checkpoints,
        };
        let listener = events.clone();
        let listen = move |ready, known| listener.tell(Event::Compiling { ready, known });
        job.network().gpu().listen(listen);
        let done = run::drive(job, run, options, events, control);
        events.tell(Event::Stepped);
        variants::keep_compiled(job.network().gpu(), events);
        if let Ok(_) | Err(Error::Interrupted { .. }) = done {
            job.draw(run)?;
        }
        done?;
        let about = About { seconds: started.elapsed().as_secs_f64(), adapter: adapter.clone() };
        let outcome = job.outcome(run, about)?;
        run.write_result(&outcome)?;
        Ok(outcome)
    }
}
