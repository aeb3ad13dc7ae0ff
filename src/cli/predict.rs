//! `parsec predict RUN IMAGE...` → the most probable classes of image files. Damaged files are named at the end.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Ui;
use super::trained::TrainingRun;
use crate::data::{Images, eval_batches, image_files, read_files, refused};
use crate::error::{Error, Result};
use crate::train::order;

/// Number of images per batch.
const BATCH: usize = 16;

/// The flags of `predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    /// A training run; its best checkpoint is used
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Image files, and folders of such files
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// Names of the classes, one per line, in place of the run's
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How many classes of each image are named
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
}

/// The classes of one image, the most probable first.
#[derive(Serialize)]
struct Prediction {
    image: PathBuf,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    name: String,
    probability: f64,
}

/// Predicts the classes and prints them.
pub fn predict(args: &PredictArgs, ui: &Ui) -> Result<()> {
    let run = TrainingRun::open(&args.run)?;
    let spec = run.spec()?;
    if ![1, 3].contains(&spec.in_channels) {
        let found = format!("{} channels", spec.in_channels);
        let try_this = "parsec eval, which reads the images of the run's data";
        return Err(Error::usage("the network of the run", "one of grey or colour images", found, try_this));
    }
    let names = match &args.labels {
        Some(path) => read_labels(path, spec.n_classes)?,
        None if run.manifest.class_names.len() == spec.n_classes => run.manifest.class_names.clone(),
        None => (0..spec.n_classes).map(|class| class.to_string()).collect(),
    };
    let (paths, account) = image_files(&args.images)?;
    if !account.passed_over.is_empty() {
        ui.warn(format!("passed over: {}", account.passed_over()));
    }
    // Every file is read before the device is opened, so that wrong files are reported at once.
    let (pixels, bad) = read_files(&paths, spec.in_channels, spec.height, spec.width)?;
    let is_bad = |i: usize| bad.iter().any(|(at, _)| *at == i);
    let good: Vec<bool> = (0..paths.len()).map(|i| !is_bad(i)).collect();
    let bad = || refused(Path::new("predict"), bad.into_iter().map(|(_, e)| e).collect(), "");
    if !good.contains(&true) {
        return Err(bad());
    }
    let n = paths.len();
    let images = Images {
        n,
        channels: spec.in_channels,
        height: spec.height,
        width: spec.width,
        pixels,
        labels: vec![0; n],
    };
    let normalisation = run.normalisation()?;
    let (tensors, path, _) = run.weights(ui)?;
    let mut trained = run.trained((&tensors, &path), ui)?;

    let mut files = paths.iter().zip(&good);
    let mut predictions = Vec::new();
    for batch in eval_batches(&images, &normalisation, BATCH.min(n))? {
        let logits = trained.logits(&batch.images)?;
        for (logits, (image, is_good)) in logits.chunks_exact(spec.n_classes).zip(files.by_ref()) {
            if !is_good {
                continue;
            }
            let probability = softmax(logits);
            let class =
                |class: usize| Class { class, name: names[class].clone(), probability: probability[class] };
            let classes = order(logits, args.top as usize).into_iter().map(class).collect();
            predictions.push(Prediction { image: image.clone(), classes });
        }
    }
    ui.emit(&predictions)?;
    for prediction in &predictions {
        ui.say(&text(prediction))?;
    }
    if good.contains(&false) { Err(bad()) } else { Ok(()) }
}

fn text(p: &Prediction) -> String {
    let class = |c: &Class| format!("{} {:.1} %", c.name, 100.0 * c.probability);
    let classes: Vec<String> = p.classes.iter().map(class).collect();
    format!("{}: {}", p.image.display(), classes.join(", "))
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|z| f64::from(z - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

fn read_labels(path: &Path, n_classes: usize) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if names.len() != n_classes {
        let expected = format!("{n_classes} lines, one name per class");
        return Err(Error::file(path, None, expected, names.len().to_string(), ""));
    }
    Ok(names)
}
