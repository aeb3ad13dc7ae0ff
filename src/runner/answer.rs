//! A run and an image file → how probable each class is.

use std::path::Path;

use super::search::with_weights;
use super::trained::TrainingRun;
use crate::config::{Config, Resolved, TrainConfig};
use crate::data::{Images, eval_batches, read_scaled};
use crate::error::{Error, Result};
use crate::run::{Events, RunDir};
use crate::space::read_architecture;
use crate::train::probabilities;

/// The answer of a run about an image.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The image as the network saw it.
    pub image: Images,
    /// Name and probability of each class, the most probable one first.
    pub classes: Vec<(String, f64)>,
    /// Whether the answer is that of shared weights, and not of a training.
    pub is_shared: bool,
}

/// The answer of the run in `folder` about the image file `path`: of a training's best checkpoint, or of the present
/// architecture of a search with its newest shared weights.
///
/// # Errors
/// [`Error::File`] for a file that is no image, or a run without weights. The errors of the adapter.
pub fn answer(folder: &Path, path: &Path, events: &Events) -> Result<Answer> {
    let run = RunDir::open(folder)?;
    run.check_weights()?;
    let manifest = run.manifest()?;
    let of_data = |key: &str| manifest.data[key].as_u64().unwrap_or(0) as usize;
    let [channels, height, width] = ["channels", "height", "width"].map(of_data);
    if ![1, 3].contains(&channels) {
        let found = format!("{channels} channels");
        return Err(Error::usage("the network of the run", "one of grey or colour images", found, ""));
    }
    let pixels = read_scaled(path, channels, height, width)?;
    let image = Images { n: 1, channels, height, width, pixels: pixels.clone().into(), labels: vec![0] };
    let is_shared = manifest.kind == Config::KIND;
    let logits = if is_shared {
        let config = run.config()?;
        let text = std::fs::read_to_string(run.file("genotype.txt"))
            .map_err(|e| Error::io("read", run.file("genotype.txt"), e))?;
        let alpha = read_architecture(&*config.space()?, text.trim())?;
        with_weights(&run, config, events)?.logits_among_held_out(&alpha, &pixels)?
    } else if manifest.kind == TrainConfig::KIND {
        let run = TrainingRun::open(folder)?;
        let (tensors, path, _) = run.weights(events)?;
        let mut network = run.trained((&tensors, &path), None, events)?;
        let mut logits = Vec::new();
        for batch in eval_batches(&image, &run.normalisation()?, 1)? {
            logits.extend(network.logits(&batch?.images)?);
        }
        logits
    } else {
        let found = format!("a run of kind {}", manifest.kind);
        return Err(Error::file(folder, None, "a search or a training", found, ""));
    };
    let name = |class: usize| manifest.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let mut classes: Vec<(String, f64)> =
        probabilities(&logits).into_iter().enumerate().map(|(class, p)| (name(class), p)).collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Answer { image, classes, is_shared })
}
