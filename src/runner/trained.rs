//! The folder of a training → its network, ready for use, and the facts about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open;
use super::variants;
use crate::config::{Resolved, TrainConfig};
use crate::data::{Classes, Identity, Normalisation, Reported};
use crate::error::{Error, Result};
use crate::files::tensors::Tensors;
use crate::gpu::Gpu;
use crate::graph::Lowering;
use crate::ops::Tuning;
use crate::run::{Events, Manifest, RunDir};
use crate::space::{NetworkKind, NetworkSpec, Space, read_architecture};
use crate::train::{self, Trained};

/// A training run in its folder.
pub struct TrainingRun {
    /// Configuration of the run.
    pub config: TrainConfig,
    /// Manifest of the run.
    pub manifest: Manifest,
    run: RunDir,
}

impl TrainingRun {
    /// Opens the folder `path`.
    ///
    /// # Errors
    /// [`Error::File`] if the folder holds no run, or a run of another kind.
    pub fn open(path: &Path) -> Result<Self> {
        let run = RunDir::open(path)?;
        let manifest = run.manifest()?;
        if manifest.kind != TrainConfig::KIND {
            let found = format!("a {}", manifest.kind);
            let try_this = format!("parsec train --genotype {}", path.display());
            return Err(Error::file(path, None, "a training", found, try_this));
        }
        Ok(Self { config: run.train_config()?, manifest, run })
    }

    /// The weights of the run's best checkpoint by held-out accuracy, or of the newest checkpoint if none was
    /// evaluated. The result also has the path of the file and the step.
    pub fn weights(&self, events: &Events) -> Result<(Tensors, PathBuf, u64)> {
        let (found, warnings) = self.run.checkpoints().best_or_newest()?;
        warnings.iter().for_each(|w| events.warn(w));
        let path = found.state_path();
        Ok((found.state, path, found.step))
    }

    /// Mean and standard deviation of the run's images.
    pub fn normalisation(&self) -> Result<Normalisation> {
        let values = self.manifest.normalisation.clone();
        serde_json::from_value(values).map_err(|e| self.damaged("mean and std per channel", &e))
    }

    /// The network that was trained.
    pub fn spec(&self) -> Result<NetworkSpec> {
        let data: Identity = serde_json::from_value(self.manifest.data.clone())
            .map_err(|e| self.damaged("the identity of its data", &e))?;
        let images = [data.channels, data.height, data.width];
        Ok(spec(self.config.space()?, self.config.network.channels, images, data.n_classes))
    }

    fn damaged(&self, expected: &str, e: &serde_json::Error) -> Error {
        Error::file(self.run.file("manifest.json"), None, expected, e.to_string(), "")
    }

    /// The name `device` of an adapter, or else that of the configuration.
    fn device<'a>(&'a self, device: Option<&'a str>) -> Option<&'a str> {
        device.or(self.config.session.device.as_deref())
    }

    /// Checks that there is an adapter of the wanted name.
    ///
    /// # Errors
    /// The errors of [`open::check_adapter`].
    pub fn check_adapter(&self, device: Option<&str>) -> Result<()> {
        open::check_adapter(self.device(device))
    }

    /// The network on the adapter, with weights from [`Self::weights`] or from another file.
    pub fn trained(
        &self,
        (tensors, path): (&Tensors, &Path),
        device: Option<&str>,
        events: &Events,
    ) -> Result<Trained> {
        let spec = self.spec()?;
        let alpha = read_architecture(&*spec.space, &self.config.architecture.genotype)?;
        let mut gpu = open::adapter(self.device(device), events)?;
        let lowering = Lowering { tuning: tuning(&mut gpu, events)?, ..train::lowering(&self.config) };
        Trained::new(spec, alpha, (tensors, path), gpu, lowering)
    }

    /// Checks that `reported` has the classes and the image shape for which this network was trained.
    /// The labels of `reported` are put into the order of the training's classes.
    pub fn check_data(&self, reported: &mut Reported, spec: &str, events: &Events) -> Result<()> {
        let wrong = |expected: String, found: String, try_this: &str| {
            Err(Error::usage(format!("--data {spec}"), expected, found, try_this))
        };
        let trained = self.spec()?;
        let images = &reported.images;
        let shape = (images.channels, images.height, images.width);
        if shape != (trained.in_channels, trained.height, trained.width) {
            let show = |(c, h, w): (usize, usize, usize)| format!("images of {c}x{h}x{w}");
            let expected =
                format!("{} as in training", show((trained.in_channels, trained.height, trained.width)));
            return wrong(expected, show(shape), "data of the same kind; --size for a folder");
        }
        let n = reported.class_names.len();
        if trained.n_classes != n {
            let expected = format!("{} classes as in training", trained.n_classes);
            return wrong(expected, n.to_string(), "data with the same classes");
        }
        same_classes(&self.manifest.class_names, reported, spec, events)
    }
}

/// Puts the labels of `reported`, which were read from `spec`, into the order of `was`, the classes of a training.
///
/// # Errors
/// [`Error::Usage`] for other classes.
pub fn same_classes(was: &[String], reported: &mut Reported, spec: &str, events: &Events) -> Result<()> {
    match Classes::of(was, &reported.class_names) {
        Classes::Equal => {}
        Classes::Permuted(places) => {
            for label in &mut reported.images.labels {
                *label = places[usize::from(*label)] as u16;
            }
            reported.class_names = was.to_vec();
        }
        Classes::Numbered(pairs) => events.warn(format!(
            "the classes of {spec} and those of the training are compared by their positions, because one of them has numbers \
             only: {pairs}"
        )),
        Classes::Other([a, b]) => {
            let (expected, found) = (format!("the class `{a}` as in training"), format!("`{b}` in its place"));
            return Err(Error::usage(format!("--data {spec}"), expected, found, "data with the same classes"));
        }
    }
    Ok(())
}

/// A final network for use.
pub fn spec(
    space: Arc<dyn Space>,
    channels: usize,
    [in_channels, height, width]: [usize; 3],
    n_classes: usize,
) -> NetworkSpec {
    let spec =
        NetworkSpec { space, kind: NetworkKind::Final, in_channels, height, width, n_classes, channels };
    spec.with_auxiliary(false)
}

/// The variants of the kernels on the adapter. Reading through textures is set on the adapter accordingly.
///
/// # Errors
/// The errors of [`variants::of_adapter`].
pub fn tuning(gpu: &mut Gpu, events: &Events) -> Result<Tuning> {
    let variants = variants::of_adapter(gpu, events)?.variants;
    gpu.read_through_textures(variants.textures == 1);
    Ok(variants.tuning)
}
