//! A configuration, or the folder of a run → a run that is driven to its end. This module has the parts that all kinds
//! of runs share.
//!
//! [`start`] and [`resume`] return a [`Running`], whose [`Running::drive`] returns the result. Meanwhile the run
//! reports [`Event`]s, and a [`Control`] pauses or stops it from any thread. Nothing is printed.

pub mod answer;
pub mod export;
pub mod open;
pub mod search;
pub mod train;
pub mod trained;
pub mod variants;

use crate::host::Instant;
use std::fmt::Display;
use std::path::Path;

use serde::Serialize;

pub use search::Found;
pub use train::Trained;
pub use trained::TrainingRun;

use self::open::Wanted;
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

    /// Learning rate of the next step.
    fn rate(&self) -> f64;

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
    let data = config.images().data.clone();
    let (job, mut manifest) = J::open(config, None, events)?;
    open::set_place(&mut manifest, &data, false)?;
    let run = RunDir::create(path, job.configuration(), &manifest)?;
    events.note(format!("run folder {}", path.display()));
    Ok(Running { job, run, adapter: manifest.adapter, events: events.clone() })
}

/// The changes of a run at a resume.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Name of another adapter.
    pub device: Option<String>,
    /// Another place of the same data.
    pub data: Option<String>,
    /// Another number of all steps.
    pub steps: Option<u64>,
    /// Another number of epochs.
    pub epochs: Option<u64>,
    /// Another memory for scaled images, MiB.
    pub image_memory: Option<usize>,
}

impl Changes {
    /// The changed number of all steps, and the flag that gave it.
    fn length<C: Resolved>(&self, config: &C, manifest: &Manifest) -> Option<(u64, String)> {
        let of_epoch = steps_of_epoch(config, manifest);
        let epochs = self.epochs.map(|n| (n.saturating_mul(of_epoch), format!("--epochs {n}")));
        self.steps.map(|n| (n, format!("--steps {n}"))).or(epochs)
    }
}

/// Number of steps of an epoch of the run with this manifest.
fn steps_of_epoch<C: Resolved>(config: &C, manifest: &Manifest) -> u64 {
    config.steps_per_epoch(manifest.data["n_train"].as_u64().unwrap_or(0) as usize)
}

/// Sets the length of a resumed run to the length in `manifest`, changed by `changes`. Returns a remark about a change.
fn lengthen<C: Resolved>(
    config: &mut C,
    manifest: &mut Manifest,
    run: &RunDir,
    changes: &Changes,
) -> Result<Option<String>> {
    config.lengthen(&manifest.lengths);
    let was = config.steps();
    let Some((steps, flag)) = changes.length(config, manifest).filter(|(steps, _)| *steps != was) else {
        return Ok(None);
    };
    let checkpoints = run.checkpoints();
    let done = if checkpoints.steps()?.is_empty() { 0 } else { checkpoints.newest_good()?.0.step };
    if steps < done {
        return Err(too_short(config, manifest, changes.epochs, [steps, done], flag));
    }
    manifest.lengths = manifest.lengths.changed(was, done, steps);
    manifest.total_steps = steps;
    config.lengthen(&manifest.lengths);
    Ok(Some(format!(
        "{steps} steps in place of {was}: after step {done} the schedules are those of {steps} steps"
    )))
}

/// The error about a length of `steps` steps, or of `epochs` epochs, where `done` steps are done.
fn too_short<C: Resolved>(
    config: &C,
    manifest: &Manifest,
    epochs: Option<u64>,
    [steps, done]: [u64; 2],
    flag: String,
) -> Error {
    let s = |n: u64| if n == 1 { "" } else { "s" };
    let (expected, found, try_this) = match epochs {
        None => (
            format!("at least {done} steps, which are done and saved"),
            format!("{steps} step{}", s(steps)),
            format!("more than --steps {done}, or a new run"),
        ),
        Some(n) => {
            let of_epoch = steps_of_epoch(config, manifest).max(1);
            let least = done.div_ceil(of_epoch);
            (
                format!("at least {least} epoch{}, because {done} steps are done and saved", s(least)),
                format!("{n} epoch{} ({steps} step{})", s(n), s(steps)),
                format!("--epochs {} or more, or a new run", done / of_epoch + 1),
            )
        }
    };
    Error::usage(flag, expected, found, try_this)
}

/// Resumes the run in the folder `path` from its newest undamaged checkpoint, with `changes`. `run` holds the lock of
/// the folder.
///
/// # Errors
/// The errors of [`Runnable::open`]. [`Error::File`] if the data have changed or no checkpoint is undamaged.
pub fn resume<J: Runnable>(
    path: &Path,
    run: RunDir,
    changes: &Changes,
    events: &Events,
) -> Result<Running<J>> {
    let was = run.manifest()?;
    let mut manifest = was.clone();
    let mut config: J::Config = run.read_config()?;
    if let Some(data) = &changes.data {
        open::set_place(&mut manifest, data, true)?;
    }
    let longer = lengthen(&mut config, &mut manifest, &run, changes)?;
    // The files from which the run started may be gone. They are only needed if not even the first checkpoint was
    // written.
    if !run.checkpoints().steps()?.is_empty() {
        config.forget_origin();
    }
    let spec = manifest.data_at.clone().unwrap_or_else(|| config.images().data.clone());
    let session = config.session_mut();
    // The folder may have been moved.
    session.run = Some(path.to_owned());
    if let Some(mib) = changes.image_memory {
        session.image_memory = mib;
    }
    if let Some(device) = &changes.device {
        session.device = Some(device.clone());
    }
    let (mut job, now) = J::open(config, Some(&manifest), events)?;
    open::check(&now, &spec, &run, events)?;
    run::resume(&mut job, &run)?.iter().for_each(|warning| events.warn(warning));
    if longer.is_some() && job.step_index() < manifest.total_steps && job.total_steps() <= job.step_index() {
        let found = format!("one that `patience` ended after step {}", job.step_index());
        let try_this = format!("a new search with --prior-from {0} --weights-from {0}", path.display());
        return Err(Error::file(path, None, "a search that ended by its length", found, try_this));
    }
    if manifest != was {
        if longer.is_some() {
            run.remove_result()?;
        }
        run.write_manifest(&manifest)?;
    }
    if let Some(longer) = longer {
        events.note(format!("{longer}; the learning rate goes on at {:.3e}", job.rate()));
    }
    events.note(format!("going on after step {}", job.step_index()));
    Ok(Running { job, run, adapter: now.adapter, events: events.clone() })
}

/// Records in the run at `path` that its data are at the place `spec` now.
///
/// # Errors
/// [`Error::File`] if these are other data.
pub fn move_data<C: Resolved>(path: &Path, spec: &str, events: &Events) -> Result<()> {
    let run = RunDir::open_for_writing(path)?;
    let (config, mut manifest): (C, _) = (run.read_config()?, run.manifest()?);
    open::set_place(&mut manifest, spec, true)?;
    let wanted = Wanted { run: Some(path), ..Wanted::of(config.images(), config.session(), Some(&manifest)) };
    let dataset = open::dataset(&wanted, events)?;
    let identity = serde_json::to_value(&dataset.identity).unwrap_or_default();
    open::check_data(&manifest, &identity, spec, path)?;
    run.write_manifest(&manifest)?;
    events.note(format!("the data are at {spec}"));
    Ok(())
}

impl<J: Runnable> Running<J> {
    /// The folder of the run.
    pub fn path(&self) -> &Path {
        self.run.path()
    }

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
