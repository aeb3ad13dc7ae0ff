//! `parsec eval RUN` → accuracy of a trained network on test or held-out images, and its speed on this machine.

use std::path::PathBuf;

use serde::Serialize;

use super::space_args::SpaceArgs;
use super::trained::{Elsewhere, Images};
use super::{Stem, Ui};
use crate::data::{Account, Normalisation, PartRead, Reported, Size};
use crate::error::{Error, Result};
use crate::files;
use crate::files::weights;
use crate::report;
use crate::run::Manifest;
use crate::runner::TrainingRun;
use crate::runner::open::{self, Wanted};
use crate::train::{Detail, Evaluation, Speed, Trained};

/// With more classes than this the matrix is too large to read and is left out. The counts per class are still printed.
const MAX_MATRIX: usize = 1000;

/// The flags of `eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// A training run; its best checkpoint is evaluated
    #[arg(value_name = "RUN", required_unless_present = "genotype")]
    pub run: Option<PathBuf>,
    /// In place of a run: the architecture of a network trained elsewhere
    #[arg(long, value_name = "G|RUN", conflicts_with = "run", requires_all = ["weights", "data", "channels"])]
    pub genotype: Option<String>,
    /// Weights and running statistics, by the names of DARTS
    #[arg(long, value_name = "FILE.safetensors")]
    pub weights: Option<PathBuf>,
    /// Images whose test part, or else held-out part, is used; default: those of the run
    #[arg(long, value_name = "SPEC")]
    pub data: Option<String>,
    /// Cells of a network trained elsewhere
    #[arg(long, value_name = "L", conflicts_with = "run")]
    pub layers: Option<usize>,
    /// Channels of its first cells
    #[arg(long, value_name = "C", conflicts_with = "run")]
    pub channels: Option<usize>,
    /// Its first layers; default: cifar
    #[arg(long, value_enum, conflicts_with = "run")]
    pub stem: Option<Stem>,
    /// The search space and its settings.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// Mean per channel that it was trained with, separated by commas; default: that of the training images
    #[arg(
        long,
        value_name = "LIST",
        conflicts_with = "run",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation per channel
    #[arg(long, value_name = "LIST", conflicts_with = "run", value_delimiter = ',')]
    pub std: Option<Vec<f64>>,
    /// Examples per batch; default: that of the training, or 64
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub batch: Option<u32>,
    /// Height and width in pixels to which the images of a folder are resized; one number: squares
    #[arg(long, value_name = "SIDE|H,W")]
    pub size: Option<Size>,
    /// Go on without the images of a folder that are damaged, and count them
    #[arg(long)]
    pub skip_bad_images: bool,
    /// Draw the confusion matrix as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Draw the confusion matrix as PNG
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
}

/// A network, the images for its evaluation, and the origin of its weights.
struct Subject {
    trained: Trained,
    reported: Reported,
    class_names: Vec<String>,
    normalisation: Normalisation,
    batch: usize,
    weights: PathBuf,
    step: Option<u64>,
}

/// The printed results.
#[derive(Serialize)]
struct Outcomes {
    accuracy: f64,
    top5_accuracy: f64,
    #[serde(flatten)]
    evaluation: Evaluation,
    per_class: Vec<ClassOutcome>,
    /// Number of images by \[class\]\[predicted class\].
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Vec<Vec<u64>>>,
    #[serde(flatten)]
    speed: Speed,
    parameters: u64,
    macs: u64,
    weights: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    /// The account of the data that were read.
    data: Account,
}

#[derive(Serialize)]
struct ClassOutcome {
    name: String,
    n: u64,
    n_correct: u64,
}

/// Evaluates the network and prints the results.
pub fn eval(args: &EvalArgs, ui: &Ui) -> Result<()> {
    let Subject { mut trained, reported, class_names, normalisation, batch, weights, step } =
        subject(args, ui)?;
    let (evaluation, detail) = trained.evaluate(&reported.images, &normalisation, batch)?;
    let speed = trained.speed(batch.min(reported.images.n))?;
    draw(args, &class_names, &detail)?;
    let per_class = detail.per_class().into_iter().zip(&class_names);
    let outcomes = Outcomes {
        accuracy: evaluation.accuracy(),
        top5_accuracy: detail.n_top5 as f64 / evaluation.n as f64,
        evaluation,
        per_class: per_class
            .map(|((n, n_correct), name)| ClassOutcome { name: name.clone(), n, n_correct })
            .collect(),
        confusion: (detail.n_classes <= MAX_MATRIX).then(|| detail.matrix()),
        speed,
        parameters: trained.net().parameter_count(false),
        macs: trained.net().macs(),
        weights,
        step,
        data: reported.account,
    };
    ui.emit(&outcomes)?;
    ui.say(&text(&outcomes, &class_names))
}

fn subject(args: &EvalArgs, ui: &Ui) -> Result<Subject> {
    let Some(path) = &args.run else { return elsewhere(args, ui) };
    if let Some((key, value)) = args.space.table.clone().into_iter().next() {
        let expected = "nothing beside a run, which has its own";
        return Err(Error::usage(format!("--{key}"), expected, value.to_string(), "leave it out"));
    }
    let run = TrainingRun::open(path)?;
    let (device, events) = (ui.device.as_deref(), ui.events());
    run.check_adapter(device)?;
    let (tensors, weights, step) = match &args.weights {
        Some(file) => (weights::read(file)?, file.clone(), None),
        None => {
            let (tensors, path, step) = run.weights(&events)?;
            (tensors, path, Some(step))
        }
    };
    let own = Wanted {
        run: Some(path),
        ..Wanted::of(&run.config.images, &run.config.session, Some(&run.manifest))
    };
    let wanted = match &args.data {
        Some(data) => Wanted { data, before: false, resumed: None, ..own },
        None => own,
    };
    let wanted = Wanted {
        size: args.size.or(wanted.size),
        skip_bad: wanted.skip_bad || args.skip_bad_images,
        ..wanted
    };
    let mut reported = open::reported(&wanted, &events)?;
    run.check_data(&mut reported, wanted.spec(), &events)?;
    if args.data.is_none() && args.size.is_none() {
        warn_of_other_images(&run.manifest, &reported, ui);
    }
    let class_names = match run.manifest.class_names.as_slice() {
        [] => reported.class_names.clone(),
        names => names.to_vec(),
    };
    Ok(Subject {
        trained: run.trained((&tensors, &weights), device, &events)?,
        reported,
        class_names,
        normalisation: run.normalisation()?,
        batch: args.batch.map_or(run.config.length.batch, |b| b as usize),
        weights,
        step,
    })
}

/// Warns if the images are not those that the run had in this part.
fn warn_of_other_images(manifest: &Manifest, reported: &Reported, ui: &Ui) {
    let was: Option<Account> = serde_json::from_value(manifest.read.clone()).ok();
    for part in &reported.account.parts {
        let was = was.as_ref().and_then(|was| was.part(part.role));
        if let Some(was) = was.filter(|was| was.sha256 != part.sha256) {
            let PartRead { place, n, .. } = part;
            let at_start = was.n;
            ui.warn(format!(
                "the images of {place} ({n}) are not those with which the run was started ({at_start})"
            ));
        }
    }
}

fn elsewhere(args: &EvalArgs, ui: &Ui) -> Result<Subject> {
    let (Some(genotype), Some(weights), Some(data), Some(channels)) =
        (&args.genotype, &args.weights, &args.data, args.channels)
    else {
        let expected = "a training run, or --genotype, --weights, --data, --layers and --channels";
        return Err(Error::usage("eval", expected, "less", ""));
    };
    // Flags have priority over the metadata of the file.
    let known = Images::of(weights);
    let (mean, std) =
        (args.mean.as_deref().or(known.mean.as_deref()), args.std.as_deref().or(known.std.as_deref()));
    let (device, skip_bad) = (ui.device.as_deref(), args.skip_bad_images);
    let wanted = Wanted { size: args.size.or(known.size), skip_bad, mean, std, device, ..Wanted::at(data) };
    let settings = args.space.with_cells(args.layers, args.stem);
    let class_names = &known.class_names;
    let elsewhere = Elsewhere { genotype, weights, settings, channels, wanted, class_names };
    let from_file =
        args.mean.is_none() && args.std.is_none() && (known.mean.is_some() || known.std.is_some());
    let (trained, reported, normalisation) = elsewhere.open(ui).map_err(|e| match e {
        Error::Usage { what, expected, found, .. }
            if from_file && ["--mean", "--std"].contains(&what.as_str()) =>
        {
            let what = format!("{} of {}", what.trim_start_matches('-'), weights.display());
            Error::usage(what, expected, found, "images like those of the training, or --mean and --std")
        }
        other => other,
    })?;
    Ok(Subject {
        trained,
        class_names: reported.class_names.clone(),
        reported,
        normalisation,
        batch: args.batch.unwrap_or(64) as usize,
        weights: weights.clone(),
        step: None,
    })
}

fn draw(args: &EvalArgs, names: &[String], detail: &Detail) -> Result<()> {
    if args.svg.is_none() && args.png.is_none() {
        return Ok(());
    }
    let svg = report::confusion_svg(names, &detail.matrix())?;
    if let Some(path) = &args.svg {
        files::atomic_write(path, svg.as_bytes())?;
    }
    if let Some(path) = &args.png {
        files::atomic_write(path, &report::png(&svg, 2.0)?)?;
    }
    Ok(())
}

fn text(r: &Outcomes, names: &[String]) -> String {
    let mut text = format!(
        "top-1 {:.2} % ({} of {} images), top-5 {:.2} %, mean cross-entropy {:.4} nats\n",
        100.0 * r.accuracy,
        r.evaluation.n_correct,
        r.evaluation.n,
        100.0 * r.top5_accuracy,
        -r.evaluation.mean_log_likelihood,
    );
    if let Some(matrix) = &r.confusion {
        text += &format!("\n{}\n", report::confusion_text(names, matrix));
    }
    text.push('\n');
    for class in r.per_class.iter().take(100).filter(|class| class.n > 0) {
        let part = 100.0 * class.n_correct as f64 / class.n as f64;
        text += &format!("{part:6.1} %  {} ({} of {})\n", class.name, class.n_correct, class.n);
    }
    text + &format!(
        "\n{:.1} ms for one image, {:.0} images/s in batches of {}\n{} parameters, {} multiply-adds per image; weights {}",
        1e3 * r.speed.latency_seconds,
        r.speed.images_per_second,
        r.speed.batch,
        r.parameters,
        r.macs,
        r.weights.display(),
    )
}
