//! A genotype with weights from elsewhere → a network that is ready for use, and the facts about it.

use std::path::Path;

use super::Ui;
use super::space_args::elsewhere;
use crate::data::{Normalisation, Reported, Size};
use crate::error::{Error, Result};
use crate::files::weights;
use crate::graph::Lowering;
use crate::run::Events;
use crate::runner::open::{self, Wanted};
use crate::runner::trained::{same_classes, spec, tuning};
use crate::train::Trained;

/// What the metadata of a file of weights say of the images with which they were trained.
pub struct Images {
    /// Height and width.
    pub size: Option<Size>,
    /// Mean per channel.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation per channel.
    pub std: Option<Vec<f64>>,
    /// Names of the classes; empty if they are not known.
    pub class_names: Vec<String>,
}

impl Images {
    /// What the file `path` says.
    pub fn of(path: &Path) -> Self {
        let metadata = weights::metadata(path);
        let list = |key: &str| metadata.get(key).and_then(|text| serde_json::from_str(text).ok());
        let sides: Option<[usize; 2]> =
            metadata.get("image_size").and_then(|text| serde_json::from_str(text).ok());
        let names = metadata.get("class_names").and_then(|text| serde_json::from_str(text).ok());
        Self {
            size: sides.map(|[height, width]| Size { height, width }),
            mean: list("mean"),
            std: list("std"),
            class_names: names.unwrap_or_default(),
        }
    }
}

/// A network trained elsewhere, as the flags of `eval` describe it.
pub struct Elsewhere<'a> {
    /// Architecture of the network.
    pub genotype: &'a str,
    /// File of the network's weights.
    pub weights: &'a Path,
    /// Settings of the space from the flags.
    pub settings: toml::Table,
    /// Channels of the first layers.
    pub channels: usize,
    /// The data and the adapter.
    pub wanted: Wanted<'a>,
    /// Names of the classes of the training; empty if they are not known.
    pub class_names: &'a [String],
}

impl Elsewhere<'_> {
    /// Opens the network, its data and its normalisation.
    pub fn open(&self, ui: &Ui) -> Result<(Trained, Reported, Normalisation)> {
        open::check_adapter(self.wanted.device)?;
        let (space, alpha) = elsewhere(self.genotype, &self.settings, ui)?;
        let tensors = weights::read(self.weights)?;
        let (mut reported, normalisation) = self.images(&ui.events())?;
        if self.class_names.len() == reported.class_names.len() {
            same_classes(self.class_names, &mut reported, self.wanted.data, &ui.events())?;
        }
        let mut gpu = open::adapter(self.wanted.device, &ui.events())?;
        let images = [reported.images.channels, reported.images.height, reported.images.width];
        let spec = spec(space, self.channels, images, reported.class_names.len());
        let lowering = Lowering { tuning: tuning(&mut gpu, &ui.events())?, ..Lowering::default() };
        let trained = Trained::new(spec, alpha, (&tensors, self.weights), gpu, lowering)?;
        Ok((trained, reported, normalisation))
    }

    /// The images and their normalisation. The training images are read only if the normalisation is
    /// computed from them.
    fn images(&self, events: &Events) -> Result<(Reported, Normalisation)> {
        let (mean, std) = (self.wanted.mean, self.wanted.std);
        if mean.is_none() || std.is_none() {
            let dataset = open::dataset(&self.wanted, events).map_err(|e| match e {
                Error::File { path, offset, expected, found, try_this } => {
                    let try_this =
                        format!("{try_this}; or --mean and --std, which then need no training images");
                    Error::File { path, offset, expected, found, try_this }
                }
                other => other,
            })?;
            let normalisation = open::normalisation(&self.wanted, &dataset.train)?;
            return Ok((dataset.into_reported(), normalisation));
        }
        let reported = open::reported(&self.wanted, events)?;
        let normalisation = open::normalisation(&self.wanted, &reported.images)?;
        Ok((reported, normalisation))
    }
}
