//! The run folder: the files of a run, from which it can be continued.
//!
//! `config.toml` and `manifest.json` describe the run, `metrics.jsonl` has a line for each step, and `checkpoints/`
//! holds the states from which the run can continue. Every file is written beside its place, synced and renamed, so
//! that a run killed at any moment, or a full disk, damages no existing file. [`drive()`] runs any [`Job`] in its
//! folder and writes the files.

pub mod checkpoint;
pub mod choices;
pub mod dir;
pub mod drive;
mod estimate;
mod event;
mod job;
pub mod manifest;
pub mod metrics;

use std::path::{Path, PathBuf};

pub use checkpoint::{Checkpoint, Checkpoints};
pub use dir::{Claim, METRICS, RunDir};
pub use drive::{Options, Outcome, drive, resume};
pub use estimate::Estimate;
pub use event::{Control, Event, Events};
pub use job::{Job, Progress};
pub use manifest::{CONSENSUS, Manifest};

use crate::Result;
use crate::files::tensors::Tensors;

/// A repair or an omission that is reported to the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The file or folder.
    pub path: PathBuf,
    /// The problem, and the reaction to it.
    pub problem: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

/// The prior's logits in the newest undamaged checkpoint of the run at `path`: the tensors named `pi.*`, with their
/// names.
pub fn read_prior(path: &Path) -> Result<(Tensors, Vec<Warning>)> {
    let run = RunDir::open(path)?;
    let (newest, warnings) = run.checkpoints().newest_good()?;
    let is_prior = |name: &String| name.starts_with("pi.");
    Ok((newest.state.into_iter().filter(|(name, _)| is_prior(name)).collect(), warnings))
}
