//! A training from its configuration to its result.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::open::{self, Facts, Opened, Wanted};
use super::{About, Runnable, variants};
use crate::config::{Resolved, TrainConfig};
use crate::data::{Account, Classes};
use crate::error::word;
use crate::files::tensors::Tensors;
use crate::files::weights;
use crate::gpu::Network;
use crate::report;
use crate::run::{Events, Manifest, RunDir};
use crate::space::read_architecture;
use crate::train::schedule;
use crate::train::weights::Weights;
use crate::train::{Evaluation, Settings, Training};
use crate::{Error, Result};

/// Result of a training: the content of `result.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// The architecture as text.
    pub genotype: String,
    /// Accuracy of the last weights on the held-out images, with running statistics.
    pub accuracy: f64,
    /// Evaluation of the last weights.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Evaluation of the last weights on the images to report, where these are another part than the held-out images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Reported>,
    /// The best held-out accuracy among the checkpoints.
    pub best_accuracy: f64,
    /// The step of the best held-out accuracy.
    pub best_step: u64,
    /// Number of parameters, without the auxiliary head.
    pub parameters: u64,
    /// Number of parameters of the auxiliary head.
    pub auxiliary_parameters: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// Number of steps done.
    pub steps: u64,
    /// Seconds of the steps in this process.
    pub seconds: f64,
    /// Key of the random numbers.
    pub seed: u64,
    /// Name of the adapter.
    pub adapter: String,
    /// Bytes of activation memory.
    pub arena_bytes: u64,
    /// The account of the data.
    pub data: Account,
    /// The run folder.
    pub run: String,
}

/// Evaluation on the images to report.
#[derive(Clone, Debug, Serialize)]
pub struct Reported {
    /// Part of the images whose class is predicted.
    pub accuracy: f64,
    /// The sums.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

impl Runnable for Training {
    type Config = TrainConfig;
    type Outcome = Trained;

    fn open(config: TrainConfig, resumed: Option<&Manifest>, events: &Events) -> Result<(Self, Manifest)> {
        let space = config.space()?;
        let alpha = read_architecture(&*space, &config.architecture.genotype)?;
        // An error in the file of weights is reported before the data are read.
        let weights =
            config.architecture.weights.as_ref().map(|path| weights_of(path, events)).transpose()?;
        let wanted = Wanted::of(&config.images, &config.session, resumed);
        let Opened { dataset, normalisation, gpu } = open::open(&wanted, events)?;
        open::class_weights(&config.images, &dataset, events)?;
        let tuned = match resumed {
            Some(manifest) => variants::from_manifest(&manifest.variants, &gpu, events)?,
            None => variants::of_adapter(&gpu, events)?,
        };
        let facts = Facts::of(&dataset, &normalisation, gpu.info(), &tuned)?;
        let own_classes = dataset.class_names.clone();
        let mut training = Training::new(Settings { config, space, alpha, normalisation }, dataset, gpu)?;
        training.use_variants(tuned.variants);
        if let Some((mut tensors, path, class_names)) = weights {
            let (layout, seed) = (training.network().layout().clone(), training.config().session.seed);
            // Another number of classes has a classifier of its own.
            let known = class_names.len() == own_classes.len();
            match Classes::of(&class_names, &own_classes) {
                Classes::Permuted(_) if known => {
                    let expected = format!("the classes in the order of the training: {}", class_names.join(", "));
                    let found = own_classes.join(", ");
                    let try_this = "the same data source, or file of names, as in that training";
                    return Err(Error::file(path, None, expected, found, try_this));
                }
                Classes::Numbered(pairs) if known => events.warn(format!(
                    "the classifier of {} has its classes by position, because one of the two has numbers only: {pairs}",
                    path.display()
                )),
                _ => {}
            }
            if let Some([theirs, ours]) = Weights::other_classes(&mut tensors, &layout, seed) {
                events.note(format!(
                    "the weights of {} are those of {theirs} classes; the classifier for {ours} classes begins anew",
                    path.display()
                ));
            }
            if Weights::add_auxiliary_head(&mut tensors, &layout, seed) {
                events.note(format!(
                    "the weights of {} have no auxiliary head; it begins anew",
                    path.display()
                ));
            }
            let weights = Weights::from_tensors(&tensors, &path, training.network().layout(), false)?;
            training.set_weights(&weights)?;
        }
        let manifest = facts.manifest(training.config())?;
        Ok((training, manifest))
    }

    fn configuration(&self) -> &TrainConfig {
        self.config()
    }

    fn network(&mut self) -> &mut Network {
        Training::network(self)
    }

    fn epoch(&self) -> u64 {
        self.steps_per_epoch()
    }

    fn rate(&self) -> f64 {
        schedule::lr(self.config(), self.steps_done(), self.steps_per_epoch())
    }

    fn begin(&self, run: &RunDir) -> Result<()> {
        run.write("genotype.txt", format!("{}\n", self.genotype()).as_bytes())
    }

    /// Draws the curves of the metrics.
    fn draw(&mut self, run: &RunDir) -> Result<()> {
        match report::metrics_svg(&run.metrics_path())? {
            Some(svg) => run.write("metrics.svg", svg.as_bytes()),
            None => Ok(()),
        }
    }

    fn outcome(&mut self, run: &RunDir, about: About) -> Result<Trained> {
        let evaluation = self.evaluate()?;
        let best = run.checkpoints().best()?;
        let best = best.and_then(|b| Some((b.score?, b.step)));
        let (best_accuracy, best_step) = best.unwrap_or((evaluation.accuracy(), self.steps_done()));
        Ok(Trained {
            genotype: self.genotype(),
            accuracy: evaluation.accuracy(),
            evaluation,
            report: self.evaluate_report()?.map(|of| Reported { accuracy: of.accuracy(), evaluation: of }),
            best_accuracy,
            best_step,
            parameters: self.net().parameter_count(false),
            auxiliary_parameters: self.net().parameter_count(true),
            macs: self.net().macs(),
            steps: self.steps_done(),
            seconds: about.seconds,
            seed: self.config().session.seed,
            adapter: about.adapter,
            arena_bytes: Training::network(self).arena_bytes(),
            data: self.account().clone(),
            run: run.path().display().to_string(),
        })
    }
}

/// The weights of a training's best checkpoint, or those of a file. The result has the path of their file.
fn weights_of(path: &Path, events: &Events) -> Result<(Tensors, PathBuf, Vec<String>)> {
    if !path.is_dir() {
        let names = weights::metadata(path).remove("class_names");
        let names = names.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        return Ok((weights::read(path)?, path.to_owned(), names));
    }
    let run = RunDir::open(path)?;
    let kind = run.manifest()?.kind;
    if kind != TrainConfig::KIND {
        let expected = "a training run, or a file of weights";
        let try_this = "parsec train --genotype with this run, and no --weights: a training begins anew";
        return Err(Error::file(path, None, expected, format!("a run of the kind {kind}"), try_this));
    }
    let (found, warnings) = run.checkpoints().best_or_newest()?;
    warnings.iter().for_each(|warning| events.warn(warning.to_string()));
    let file = found.state_path();
    Ok((found.state, file, run.manifest()?.class_names))
}

impl std::fmt::Display for Trained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let r = self;
        let report = r.report.as_ref().map(|of| {
            let Evaluation { n_correct, n, .. } = of.evaluation;
            format!("\naccuracy on the images to report {:.2} % ({n_correct} of {n})", 100.0 * of.accuracy)
        });
        let report = report.unwrap_or_default();
        write!(
            f,
            "held-out accuracy {:.2} % ({} of {} images, running statistics); best {:.2} % after step {}{report}\n\
             {} parameters, {} multiply-adds per image\n{} steps in {:.0} s on {}\n\n\
             {run}/metrics.jsonl one line per step\n{run}/checkpoints  weights, running statistics, optimiser\n\
             next: parsec eval {word}",
            100.0 * r.accuracy,
            r.evaluation.n_correct,
            r.evaluation.n,
            100.0 * r.best_accuracy,
            r.best_step,
            r.parameters,
            r.macs,
            r.steps,
            r.seconds,
            r.adapter,
            run = r.run,
            word = word(Path::new(&r.run)),
        )
    }
}
