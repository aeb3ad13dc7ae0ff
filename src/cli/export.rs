//! `parsec export` → files for other programs, from the network of a run or from given files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::space_args::{SpaceArgs, architecture, elsewhere};
use super::trained::Images;
use super::{Network, Stem, Ui};
use crate::data::Size;
use crate::error::{Error, Result};
use crate::export::network::Extents;
use crate::export::{About, Trained, onnx, python};
use crate::files;
use crate::run::RunDir;
use crate::runner::export::of_run;
use crate::space::{Alpha, NetworkKind, Space};

/// The flags of `export`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "parsec export [OPTIONS] <RUN>\n       parsec export [OPTIONS] --weights <W.safetensors> \
                            --genotype-in <FILE|TEXT> --layers <L> --channels <C>"
)]
pub struct ExportArgs {
    /// A training run (its best checkpoint), or a search run (its shared weights)
    #[arg(value_name = "RUN", required_unless_present = "weights", conflicts_with = "weights")]
    pub run: Option<PathBuf>,
    /// Weights by DARTS' names, as its PyTorch modules load them
    #[arg(long, value_name = "FILE")]
    pub safetensors: Option<PathBuf>,
    /// ONNX model: `images` F32 \[N,C,H,W\], normalised, to `logits`
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// Python file that defines the network in PyTorch and loads the safetensors
    #[arg(long, value_name = "FILE")]
    pub python: Option<PathBuf>,
    /// Genotype as text
    #[arg(long, value_name = "FILE")]
    pub genotype: Option<PathBuf>,
    /// Keep batch norms as nodes of the ONNX model
    #[arg(long)]
    pub no_fold: bool,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,

    /// Export these weights instead of a run's
    #[arg(long, value_name = "W.safetensors", requires_all = ["genotype_in", "channels"])]
    pub weights: Option<PathBuf>,
    /// Their architecture: a file with a genotype, its text, or the name of a published one
    #[arg(long, value_name = "FILE|TEXT", requires = "weights")]
    pub genotype_in: Option<String>,
    /// Cells of their network
    #[arg(long, value_name = "L", requires = "weights")]
    pub layers: Option<usize>,
    /// Channels of its first cells, even
    #[arg(long, value_name = "C", requires = "weights")]
    pub channels: Option<usize>,
    /// Height and width of its images in pixels; one number: squares; default: 32, with --stem imagenet 224
    #[arg(long, value_name = "SIDE|H,W", requires = "weights")]
    pub size: Option<Size>,
    /// Which network the weights are of; default: final
    #[arg(long, value_enum, requires = "weights")]
    pub network: Option<Network>,
    /// Its first layers; default: cifar
    #[arg(long, value_enum, requires = "weights")]
    pub stem: Option<Stem>,
    /// The search space and its settings.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// Mean of pixel/255 that its images had subtracted, one number per channel
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "weights")]
    pub mean: Option<Vec<f32>>,
    /// Deviation of pixel/255 that its images were divided by, one number per channel
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "weights")]
    pub std: Option<Vec<f32>>,
    /// Names of its classes, one per line
    #[arg(long, value_name = "FILE", requires = "weights")]
    pub labels: Option<PathBuf>,
}

/// Exports the network. All contents are made before the first file is written.
pub fn export(args: &ExportArgs, ui: &Ui) -> Result<()> {
    let outputs = outputs(args)?;
    let (space, alpha) = source(args, ui)?;
    let wants_network = outputs.iter().any(|(what, _)| *what != "genotype");
    let network = if wants_network { Some(network(args, &space, &alpha, ui)?) } else { None };
    let mut files = vec![];
    for (what, path) in &outputs {
        let bytes = match (*what, &network) {
            ("safetensors", Some(network)) => network.to_safetensors(path)?,
            ("onnx", Some(network)) => onnx::to_bytes(network, onnx::Options { fold: !args.no_fold })?,
            ("python", Some(network)) => python::to_text(network)?.into_bytes(),
            _ => format!("{}\n", space.print(&alpha)).into_bytes(),
        };
        files.push((*what, *path, bytes));
    }
    for (_, path, bytes) in &files {
        files::atomic_write(path, bytes)?;
    }
    let written = files.iter().map(|(what, path, _)| (what.to_string(), path.display().to_string().into()));
    ui.emit(&Value::Object(written.collect()))?;
    files.iter().for_each(|(_, path, _)| ui.report(&format!("wrote {}", path.display())));
    Ok(())
}

/// The kinds of the output files and their paths. An existing file is an error, unless `--force` allows to replace the
/// file.
fn outputs(args: &ExportArgs) -> Result<Vec<(&'static str, &Path)>> {
    let given = [
        ("safetensors", &args.safetensors),
        ("onnx", &args.onnx),
        ("python", &args.python),
        ("genotype", &args.genotype),
    ];
    let outputs: Vec<_> =
        given.into_iter().filter_map(|(what, path)| Some((what, path.as_deref()?))).collect();
    if outputs.is_empty() {
        let expected = "at least one of --safetensors, --onnx, --python and --genotype, each with a file";
        return Err(Error::usage("export", expected, "none", "--onnx network.onnx"));
    }
    for (i, (what, path)) in outputs.iter().enumerate() {
        let wrong = |found: String, try_this: &str| {
            let what = format!("--{what} {}", path.display());
            Err(Error::usage(what, "a file that does not exist yet", found, try_this))
        };
        if let Some((other, _)) = outputs[..i].iter().find(|(_, other)| other == path) {
            return wrong(format!("the file of --{other}"), "another name");
        }
        if path.is_dir() {
            return wrong("a folder".into(), "a file in it");
        }
        // A device or a pipe is written, and not replaced.
        if path.is_file() && !args.force {
            return wrong("a file".into(), "another name, or --force to replace it");
        }
    }
    Ok(outputs)
}

/// The architecture of the export, and its space.
fn source(args: &ExportArgs, ui: &Ui) -> Result<(Arc<dyn Space>, Alpha)> {
    let given = args.space.with_cells(args.layers, args.stem);
    let Some(run) = &args.run else {
        let genotype = args.genotype_in.as_deref().unwrap_or_default();
        return elsewhere(genotype, &given, ui);
    };
    if !RunDir::open(run)?.file("genotype.txt").is_file() {
        let try_this = "a run that has saved its first checkpoint";
        return Err(Error::file(run, None, "a run folder with genotype.txt", "none", try_this));
    }
    architecture(&run.to_string_lossy(), &given, ui)
}

/// The network of the export.
fn network(args: &ExportArgs, space: &Arc<dyn Space>, alpha: &Alpha, ui: &Ui) -> Result<Trained> {
    if let Some(run) = &args.run {
        return of_run(run, space, alpha, &ui.events());
    }
    let usual = if args.stem == Some(Stem::Imagenet) { 224 } else { 32 };
    let weights = args.weights.as_deref().unwrap_or(Path::new(""));
    // Flags have priority over the metadata of the file.
    let known = Images::of(weights);
    let size = args.size.or(known.size).unwrap_or(Size::square(usual));
    let extents = Extents {
        space: Arc::clone(space),
        kind: args.network.map_or(NetworkKind::Final, Into::into),
        channels: args.channels.unwrap_or_default(),
        size: size.sides(),
    };
    let narrow = |numbers: Vec<f64>| numbers.iter().map(|x| *x as f32).collect();
    let about = About {
        mean: args.mean.clone().or(known.mean.map(narrow)).unwrap_or_default(),
        std: args.std.clone().or(known.std.map(narrow)).unwrap_or_default(),
        class_names: args.labels.as_deref().map(read_labels).transpose()?.unwrap_or(known.class_names),
    };
    Trained::read(weights, alpha.clone(), &extents, about)
}

/// Reads one name per line. Empty lines are skipped.
fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}
