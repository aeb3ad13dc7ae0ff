//! The folder of a run, also one that a process is writing → what there is to say about the run. A page ([`page`]) and the
//! window show the same.

mod children;
mod course;
pub mod page;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

pub use children::{Best, Children};
pub use course::Course;

use crate::config::{Choose, Config, Method, Resolved, TrainConfig};
use crate::data::{Account, Role};
use crate::error::Result;
use crate::report::trust::Trust;
use crate::report::{History, doubts, summary};
use crate::run::{CONSENSUS, Manifest, RunDir};
use crate::space::{Alpha, NetworkKind, NetworkSpec, Prior, Space, read_architecture};

/// What is known of a run.
pub struct RunView {
    /// The folder.
    pub run: RunDir,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration of a search. `None` for a training.
    pub search: Option<Config>,
    /// The metrics.
    pub history: History,
    /// `result.json` of a finished run; otherwise null.
    pub result: Value,
    /// The account of the data.
    pub account: Option<Account>,
    /// The search space.
    pub space: Arc<dyn Space>,
    /// The network, without its architecture.
    pub spec: NetworkSpec,
    /// The present architecture.
    pub alpha: Option<Alpha>,
    /// Its text, as a file of the run has it.
    pub genotype: Option<String>,
}

/// The state of a run by its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The run was made at once, without steps.
    Stepless,
    /// All steps are done.
    Finished(u64),
    /// Steps done, and steps in all.
    At(u64, u64),
}

impl RunView {
    /// Reads the folder of a run.
    ///
    /// # Errors
    /// [`crate::Error::File`] if the folder is no run, or a file that every run has is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let run = RunDir::open(folder)?;
        let manifest = run.manifest()?;
        let (space, channels, kind, search) = if manifest.kind == TrainConfig::KIND {
            let config = run.train_config()?;
            (config.space()?, config.network.channels, NetworkKind::Final, None)
        } else {
            let config = run.config()?;
            (config.space()?, config.network.channels, NetworkKind::Search, Some(config))
        };
        let of_data = |key: &str| manifest.data[key].as_u64().unwrap_or(0) as usize;
        let spec = NetworkSpec {
            kind,
            space: Arc::clone(&space),
            channels,
            in_channels: of_data("channels"),
            height: of_data("height"),
            width: of_data("width"),
            n_classes: of_data("n_classes"),
        };
        let history = History::read(&run.metrics_path())?;
        let account = serde_json::from_value(manifest.read.clone()).ok();
        let (alpha, genotype) = (None, None);
        let result = Value::Null;
        let mut view = Self { run, manifest, search, history, result, account, space, spec, alpha, genotype };
        view.read_result()?;
        Ok(view)
    }

    /// Reads what was written since the last call.
    ///
    /// # Errors
    /// The errors of [`Self::read`].
    pub fn read_more(&mut self) -> Result<()> {
        self.history.read_more()?;
        self.manifest = self.run.manifest()?;
        self.read_result()
    }

    fn read_result(&mut self) -> Result<()> {
        self.result = if self.run.is_finished() { self.run.result()? } else { Value::Null };
        let genotype = self.result["genotype"].as_str().map(str::to_owned);
        let genotype = genotype.or_else(|| std::fs::read_to_string(self.run.file("genotype.txt")).ok());
        let genotype = genotype.map(|text| text.trim().to_owned());
        if genotype != self.genotype {
            self.alpha = genotype.as_ref().and_then(|text| read_architecture(&*self.space, text).ok());
            self.genotype = genotype;
        }
        Ok(())
    }

    /// The name of the folder.
    pub fn name(&self) -> String {
        name_of(self.run.path())
    }

    /// Whether the run is a training.
    pub fn is_training(&self) -> bool {
        self.search.is_none()
    }

    /// Whether the run is the consensus of searches.
    pub fn is_consensus(&self) -> bool {
        self.manifest.kind == CONSENSUS
    }

    /// The state of the run.
    pub fn progress(&self) -> Progress {
        let done = self.result["steps"].as_u64().unwrap_or(self.history.last_step);
        match self.run.is_finished() {
            _ if self.is_consensus() => Progress::Stepless,
            true => Progress::Finished(done),
            false => Progress::At(self.history.last_step, self.manifest.total_steps),
        }
    }

    /// The state of the run and its adapter in a line.
    pub fn lead(&self) -> String {
        let Manifest { kind, version, adapter, driver, backend, .. } = &self.manifest;
        let state = match self.progress() {
            Progress::Stepless => String::new(),
            Progress::Finished(steps) => format!(", finished, {steps} steps"),
            Progress::At(step, total) => format!(", at step {step} of {total}"),
        };
        let on =
            if adapter.is_empty() { String::new() } else { format!(", on {adapter} ({backend}, {driver})") };
        format!("parsec {version}, {kind}{state}{on}")
    }

    /// Whether the result is more than chance, by the result.
    pub fn trust(&self) -> Option<Trust> {
        serde_json::from_value(self.result["trust"].clone()).ok()
    }

    /// Number of images of the accuracy that is reported.
    pub fn n_images(&self) -> Option<usize> {
        let of_result = self.result["report"]["n"].as_u64().or(self.result["n"].as_u64());
        let role = |role| self.account.as_ref()?.part(role).map(|part| part.n);
        of_result.map(|n| n as usize).or_else(|| role(Role::Report)).or_else(|| role(Role::HeldOut))
    }

    /// The accuracy of the result, and what it is of. `None` without one.
    pub fn accuracy(&self) -> Option<(f64, String)> {
        let result = &self.result;
        let accuracy = result["report"]["accuracy"].as_f64().or(result["accuracy"].as_f64())?;
        let n = self.n_images().map_or("the".to_owned(), |n| format!("the {n}"));
        let of = match (self.is_training(), result["report"].is_null()) {
            (true, true) => {
                format!("of {n} held-out images are classified correctly, with running statistics.")
            }
            (true, false) => {
                format!("of {n} images to report are classified correctly. Nothing was chosen by them.")
            }
            (false, _) => format!(
                "of {n} held-out images are classified correctly with the shared weights. The accuracy after a training of \
                 its own is another one."
            ),
        };
        Some((accuracy, of))
    }

    /// The costs of the architecture as a final network. `None` without an architecture.
    pub fn counts(&self) -> Option<summary::Counts> {
        let alpha = self.alpha.as_ref().filter(|_| self.spec.check().is_ok())?;
        Some(summary::Counts::of(&NetworkSpec { kind: NetworkKind::Final, ..self.spec.clone() }, alpha))
    }

    /// Whether the result of the search is chosen by the likelihoods of all children.
    pub fn is_by_evidence(&self) -> bool {
        let by_evidence =
            |c: &Config| c.algorithm.method == Method::Parsec && c.outcome.choose == Choose::Evidence;
        !self.is_consensus() && self.search.as_ref().is_some_and(by_evidence)
    }

    /// Whether the run has a prior that moves.
    pub fn has_prior(&self) -> bool {
        let moves = |config: &Config| config.algorithm.method == Method::Parsec;
        self.is_consensus() || self.search.as_ref().is_some_and(moves)
    }

    /// Reasons to distrust the result.
    pub fn doubts(&self) -> Vec<String> {
        if self.is_consensus() {
            return Vec::new();
        }
        let result_steps = self.result["steps"].as_u64();
        let mut doubts =
            doubts::of_any(&self.history, self.manifest.total_steps, result_steps, self.n_images());
        if let (None, Some(text)) = (&self.alpha, &self.genotype) {
            doubts.insert(
                0,
                format!(
                    "The architecture `{text}` of the run is none of its space: a file of the run is damaged."
                ),
            );
        }
        if self.is_training() {
            let has_third = self.account.as_ref().is_some_and(|account| account.part(Role::Report).is_some());
            doubts.extend(doubts::of_training(&self.history, has_third));
        } else {
            let uniform: f64 = Prior::uniform(&*self.space).entropy().iter().sum();
            doubts.extend(doubts::of_search(
                &self.history,
                &doubts::Searched {
                    space: &*self.space,
                    chosen: self.alpha.as_ref(),
                    uniform: self.has_prior().then_some(uniform),
                    by_evidence: self.is_by_evidence(),
                    is_over: self.run.is_finished(),
                    trust: self.trust(),
                },
            ));
        }
        let passed_over = self.account.as_ref().map(Account::passed_over).unwrap_or_default();
        if !passed_over.is_empty() {
            doubts.push(format!("Of the data these were passed over: {passed_over}."));
        }
        if !self.manifest.excluded.is_empty() {
            let kernels = self.manifest.excluded.join(", ");
            doubts.push(format!(
                "Kernels that this adapter computes wrongly or compiles too slowly were left out: {kernels}."
            ));
        }
        doubts
    }

    /// Seconds of each step that has them, in order.
    pub fn step_seconds(&self) -> Vec<f64> {
        self.history.sum_below("seconds").into_iter().map(|p| p.1).collect()
    }
}

/// The name of a run's folder.
pub fn name_of(folder: &Path) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into())
}
