//! `parsec show RUN|GENOTYPE` → text, drawings and counts of an architecture, and the prior of a run.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use serde_json::Value;

use super::Stem;
use super::space_args::SpaceArgs;
use super::ui::put;
use crate::config::space::{source, space_of};
use crate::config::{Memory, Method};
use crate::data::Size;
use crate::error::{Error, Result};
use crate::files;
use crate::graph;
use crate::report;
use crate::report::summary::{Counts, Known, Training};
use crate::report::trust::{self, Trust};
use crate::rng::{Purpose, stream};
use crate::run::RunDir;
use crate::search::best::best;
use crate::search::evidence::Seen;
use crate::space::{self, Alpha, NetworkKind, NetworkSpec, Prior, Space, owner, read_architecture};

/// Resolution of PNG drawings: image pixels per SVG pixel.
const PNG_SCALE: f32 = 2.0;

/// The target and the options of `show`. Missing extents are taken from the run, or from the DARTS implementation.
#[derive(Clone, Debug, Default)]
pub struct ShowArgs {
    /// A run folder, a file that holds a genotype, its text, or the name of a published one.
    pub target: String,
    /// Path of the drawing as SVG.
    pub svg: Option<PathBuf>,
    /// Path of the drawing as PNG.
    pub png: Option<PathBuf>,
    /// Path of the drawing as DOT.
    pub dot: Option<PathBuf>,
    /// Whether the output is JSON instead of text.
    pub json: bool,
    /// Number of children drawn from the run's prior. They are added to the SVG and PNG drawings and to the text.
    pub samples: Option<usize>,
    /// Key of the random numbers for these draws.
    pub seed: u64,
    /// Number L of cells.
    pub layers: Option<usize>,
    /// Number C of channels.
    pub channels: Option<usize>,
    /// Number of classes.
    pub classes: Option<usize>,
    /// Height and width of the images.
    pub size: Option<Size>,
    /// Channels of the images.
    pub image_channels: Option<usize>,
    /// Kind of the network that is counted. The default is the final network.
    pub network: Option<NetworkKind>,
    /// Stem of the network. The default is the stem for CIFAR.
    pub stem: Option<Stem>,
    /// The search space and its settings.
    pub space: SpaceArgs,
    /// Whether the network has an auxiliary head.
    pub auxiliary: bool,
    /// Number of images at once, for the plan of a training. The default is the number of the run or of the DARTS
    /// implementation.
    pub batch: Option<u32>,
    /// Activations that the training keeps. The default is the setting of the run.
    pub memory: Option<Memory>,
}

/// A prior and its space.
pub type OfRun = (Arc<dyn Space>, Prior);

/// Prints the information about `args.target` to standard output and writes the requested drawings.
/// `prior` is the newest prior of the run, with its space.
///
/// # Errors
/// The target is no genotype or no run, the network cannot be built, or a file cannot be written.
pub fn show(args: &ShowArgs, prior: Option<&OfRun>) -> Result<()> {
    put(&describe(args, prior)?)
}

/// Returns the text of [`show`] after writing the drawings.
pub fn describe(args: &ShowArgs, prior: Option<&OfRun>) -> Result<String> {
    let folder = Path::new(&args.target);
    let is_run = folder.is_dir();
    if is_run && !folder.join("genotype.txt").is_file() {
        let try_this = "a run folder; one gets its genotype.txt with its first checkpoint";
        return Err(Error::file(folder, None, "a run folder with genotype.txt", "none", try_this));
    }
    let run = is_run.then(|| RunFiles::read(folder)).transpose()?.unwrap_or_default();
    let kind = args.network.unwrap_or(NetworkKind::Final);
    let (text, mut settings) = source(&args.target, &args.space.with_cells(args.layers, args.stem))?;
    // A search network is the parent of the paths from which the run chose.
    if let (NetworkKind::Search, Some((space, _))) = (kind, prior) {
        let own = space.settings().into_iter().filter(|(key, _)| *key == "primitives");
        settings.extend(own.map(|(key, value)| (key.to_owned(), value.into())));
    }
    let named = settings.get("space").and_then(|name| name.as_str());
    let name = named.unwrap_or(space::space_of(&text)).to_owned();
    let imagenet = settings.get("stem").and_then(|stem| stem.as_str()) == Some("imagenet");
    let (layers, channels, classes, size) = usual(kind, imagenet);
    if owner("layers", &name).is_none() {
        settings.entry("layers").or_insert((layers as i64).into());
    }
    let space = space_of(&settings, Some(&text))?;
    let alpha = read_architecture(&*space, if is_run { &text } else { &args.target })?;
    let spec = NetworkSpec {
        kind,
        in_channels: args.image_channels.or(run.data("channels")).unwrap_or(3),
        height: args.size.map(|size| size.height).or(run.data("height")).unwrap_or(size),
        width: args.size.map(|size| size.width).or(run.data("width")).unwrap_or(size),
        n_classes: args.classes.or(run.data("n_classes")).unwrap_or(classes),
        channels: args.channels.or(run.config("channels")).unwrap_or(if space.name() == "macro" {
            32
        } else {
            channels
        }),
        space,
    };
    if args.auxiliary && (kind == NetworkKind::Search || spec.space.auxiliary(true).is_none()) {
        let try_this = "leave it out, or choose the final network of the space darts";
        let found = if kind == NetworkKind::Search { "a search network" } else { spec.space.name() };
        return Err(Error::usage("auxiliary head", "a final network of cells", found, try_this));
    }
    let spec = spec.with_auxiliary(args.auxiliary);
    spec.check()?;
    let samples = samples(args, prior)?;
    draw(args, &spec, &alpha, prior, &samples)?;
    let (batch, memory) = training(args, &run, kind, imagenet)?;
    let seen = seen(folder, prior, &run)?;
    let evidence = prior.and_then(|(space, _)| trust::evidence(&**space, &seen));
    let best = prior.and_then(|(space, _)| best(&**space, &seen, None));
    let known = Known {
        evidence: evidence.as_ref(),
        best: best.as_ref(),
        trust: run.trust,
        counts: Counts::of(&spec, &alpha),
        training: Training::of(&spec, &alpha, batch, memory),
        spec: &spec,
        alpha: &alpha,
        prior,
        samples: &samples,
    };
    if args.json { known.to_json() } else { Ok(known.to_text()) }
}

/// The children that the run in `folder` saw.
fn seen(folder: &Path, prior: Option<&OfRun>, run: &RunFiles) -> Result<Vec<Seen>> {
    let (path, images) = (folder.join("metrics.jsonl"), run.config("search_batch").or(run.config("batch")));
    let method = RunDir::open(folder).and_then(|run| run.config()).map(|config| config.algorithm.method);
    let by_prior = matches!(method, Ok(Method::Parsec));
    match (prior, images) {
        (Some((space, _)), Some(images)) if by_prior && path.is_file() => {
            trust::seen(&path, &**space, images)
        }
        _ => Ok(Vec::new()),
    }
}

/// Layers, channels, classes and image side of the DARTS implementation's networks.
fn usual(kind: NetworkKind, imagenet: bool) -> (usize, usize, usize, usize) {
    match (kind, imagenet) {
        (NetworkKind::Search, _) => (8, 16, 10, 32),
        (NetworkKind::Final, false) => (20, 36, 10, 32),
        (NetworkKind::Final, true) => (14, 48, 1000, 224),
    }
}

/// Batch and memory of the planned training.
fn training(
    args: &ShowArgs,
    run: &RunFiles,
    kind: NetworkKind,
    imagenet: bool,
) -> Result<(u32, graph::Memory)> {
    let usual = match (kind, imagenet) {
        (NetworkKind::Search, _) => 64,
        (NetworkKind::Final, false) => 96,
        (NetworkKind::Final, true) => 128,
    };
    let given = args.batch.or(run.config("batch").and_then(|n| n.try_into().ok()));
    let batch = given.unwrap_or(usual);
    if !(1..=32_768).contains(&batch) {
        return Err(Error::usage("--batch", "1 to 32768", batch.to_string(), ""));
    }
    let memory = run.config.get("memory").and_then(|m| m.as_str()?.parse().ok());
    Ok((batch, crate::train::memory(args.memory.or(memory).unwrap_or_default())))
}

/// The facts about a network in its run folder. Facts may be missing, so that old runs can be shown too.
#[derive(Default)]
struct RunFiles {
    config: toml::Table,
    manifest: Value,
    trust: Option<Trust>,
}

impl RunFiles {
    fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e));
            text.map(|text| (path, text))
        };
        let (path, text) = read("config.toml")?;
        let config = text.parse().map_err(|e: toml::de::Error| {
            let offset = e.span().map(|span| span.start as u64);
            Error::file(&path, offset, "TOML", e.message(), "the config.toml that the search wrote")
        })?;
        // Only the extents of the data are read from the manifest.
        let manifest = read("manifest.json").ok().and_then(|(_, text)| serde_json::from_str(&text).ok());
        let result: Option<Value> =
            read("result.json").ok().and_then(|(_, text)| serde_json::from_str(&text).ok());
        let trust = result.and_then(|mut r| serde_json::from_value(r["trust"].take()).ok());
        Ok(Self { config, manifest: manifest.unwrap_or_default(), trust })
    }

    fn config(&self, key: &str) -> Option<usize> {
        self.config.get(key)?.as_integer()?.try_into().ok()
    }

    fn data(&self, key: &str) -> Option<usize> {
        self.manifest.get("data")?.get(key)?.as_u64()?.try_into().ok()
    }
}

/// Children drawn from the prior, with their log-probabilities.
fn samples(args: &ShowArgs, prior: Option<&OfRun>) -> Result<Vec<(Alpha, f64)>> {
    let n_samples = args.samples.unwrap_or(0);
    if n_samples == 0 {
        return Ok(Vec::new());
    }
    if n_samples > 100 {
        return Err(Error::usage("samples", "at most 100", n_samples.to_string(), ""));
    }
    let Some((_, prior)) = prior else {
        let try_this = "a run folder in its place";
        return Err(Error::usage(
            "samples",
            "a run, whose prior they are drawn from",
            "a genotype",
            try_this,
        ));
    };
    let draw = |index: u64| {
        let alpha = prior.sample(&mut stream(args.seed, Purpose::Show, 0, index));
        let log_p = prior.log_prob(&alpha);
        (alpha, log_p)
    };
    Ok((0..n_samples as u64).map(draw).collect())
}

fn draw(
    args: &ShowArgs,
    spec: &NetworkSpec,
    alpha: &Alpha,
    prior: Option<&OfRun>,
    samples: &[(Alpha, f64)],
) -> Result<()> {
    let svg = match prior.filter(|_| !samples.is_empty()) {
        None => report::architecture_svg(&*spec.space, alpha),
        Some((space, prior)) => {
            let mut rows = vec![("mode of the prior".to_owned(), prior.mode())];
            let caption = |i: usize, log_p: f64| format!("sample {}, log p = {log_p:.2}", i + 1);
            rows.extend(samples.iter().enumerate().map(|(i, (a, log_p))| (caption(i, *log_p), a.clone())));
            report::architectures_svg(&**space, &rows)
        }
    };
    if let Some(path) = &args.svg {
        files::atomic_write(path, svg.as_bytes())?;
    }
    if let Some(path) = &args.png {
        files::atomic_write(path, &report::png(&svg, PNG_SCALE)?)?;
    }
    if let Some(path) = &args.dot {
        files::atomic_write(path, report::architecture_dot(&*spec.space, alpha).as_bytes())?;
    }
    Ok(())
}
