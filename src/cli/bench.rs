//! `parsec bench` → the highest rates of the adapter, and the times of a child and of a step on it.

use std::sync::Arc;

use super::Ui;
use super::space_args::{SpaceArgs, architecture};
use crate::bench::step::{Start, Wanted};
use crate::bench::{self, Probes, Report, Shape};
use crate::config::space::space_of;
use crate::config::{Memory, Samples};
use crate::data::Size;
use crate::gpu::{Device, Gpu, Options, Tuned};
use crate::runner::variants;
use crate::space::{Alpha, Paths, Space};
use crate::{Error, Result};

/// The flags of `bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// The child: a file with an architecture, its text, or the name of a published one; default: DARTS_V2, or the widest
    /// chain
    #[arg(long, value_name = "FILE|TEXT")]
    pub genotype: Option<String>,
    /// The search space and its settings.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// Cells; default: 8
    #[arg(long, value_name = "L")]
    pub layers: Option<usize>,
    /// Channels of the first cells, even
    #[arg(long, value_name = "C", default_value_t = 16)]
    pub channels: usize,
    /// Examples per batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// Height and width of the images in pixels; one number: squares
    #[arg(long, value_name = "SIDE|H,W", default_value = "32")]
    pub size: Size,
    /// Architectures of the step: K, or auto:LAMBDA
    #[arg(long, value_name = "K", default_value = "16")]
    pub samples: String,
    /// Children whose weights add up to at most this have no backward pass
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = part)]
    pub drop_mass: f64,
    /// Repetitions of everything, after those that warm it up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: u32,
    /// Key of every random number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// What training keeps in memory
    #[arg(long, value_name = "normal|low", default_value = "normal")]
    pub memory: Memory,
    /// Leave out the step of Algorithm 1
    #[arg(long)]
    pub no_step: bool,
    /// Kernel variants: time them first and keep the choice; =false: the fixed choice
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub tune: Option<bool>,
}

/// A number from 0 to 0.5, as in a search.
fn part(text: &str) -> std::result::Result<f64, String> {
    let x: f64 = text.parse().map_err(|_| "expected a number from 0 to 0.5".to_owned())?;
    if (0.0..=0.5).contains(&x) { Ok(x) } else { Err("expected a number from 0 to 0.5".into()) }
}

/// The child, and its space.
fn child(args: &BenchArgs, ui: &Ui) -> Result<(Arc<dyn Space>, Alpha)> {
    let settings = args.space.with_cells(args.layers, None);
    let named = settings.get("space").and_then(|name| name.as_str()).unwrap_or("darts");
    match &args.genotype {
        Some(genotype) => architecture(genotype, &settings, ui),
        None if named == "darts" => architecture("DARTS_V2", &settings, ui),
        None => {
            let space = space_of(&settings, None)?;
            let widest = space.largest().into_iter().next();
            widest.map(|alpha| (space, alpha)).ok_or_else(|| Error::internal("a space without architectures"))
        }
    }
}

/// Measures the adapter and prints the report.
pub fn bench(args: &BenchArgs, ui: &Ui) -> Result<()> {
    let (space, alpha) = child(args, ui)?;
    let samples: Samples =
        args.samples.parse().map_err(|e: String| Error::usage("--samples", e, args.samples.clone(), ""))?;
    if args.channels == 0 || !args.channels.is_multiple_of(2) {
        return Err(Error::usage(
            "--channels",
            "an even number of at least 2",
            args.channels.to_string(),
            "",
        ));
    }
    let shape = Shape {
        layers: space.depth(),
        space,
        channels: args.channels,
        batch: args.batch as usize,
        size: args.size,
        in_channels: 3,
        classes: 10,
        seed: args.seed,
        memory: crate::train::memory(args.memory),
    };
    // The images are made before anything is measured, so that a wrong size is reported at once.
    let images = if args.no_step { None } else { Some(bench::step::images(&shape)?) };
    let device = Device::open(ui.device.as_deref(), Options::default())?;
    let mut gpu = Gpu::on(&device)?;
    let adapter = gpu.info().clone();
    ui.note(&format!("on {} ({})", adapter.name, adapter.driver));
    gpu.remarks().iter().for_each(|remark| ui.warn(remark));
    let Tuned { variants, excluded } = variants::choose(args.tune, &gpu, &shape, &ui.events())?;
    gpu.read_through_textures(variants.textures == 1);
    let timing = if gpu.has_clock() { "timestamps" } else { "wall" };
    let repeats = args.repeats as usize;
    ui.note("probes");
    let probes = Probes::measure(&mut gpu, repeats)?;
    let mut network = bench::child::network(gpu, &shape, variants)?;
    let net = Arc::new(bench::child::spec(&shape).net(Paths::Child(&alpha)));
    let text = shape.space.print(&alpha);
    let child = (text.as_str(), &net);
    let (child, kernels) = bench::child::measure(&mut network, child, &probes, repeats, &mut |t| ui.note(t))?;
    drop(network);
    let (mut step, mut sharpened) = (None, None);
    if let Some(images) = images {
        ui.note("steps of Algorithm 1 at the start of a search");
        let measure = |samples, start| {
            let wanted = Wanted { samples, start, drop_mass: args.drop_mass, repeats };
            bench::step::measure(Gpu::on(&device)?, images.clone(), &shape, variants, wanted)
        };
        let start = measure(samples, Start::Uniform)?;
        ui.note("steps when the prior has sharpened");
        let auto = Samples::Auto(start.samples as f64 / start.entropy);
        sharpened = Some(measure(auto, Start::Entropy(1.0 / 3.0))?);
        step = Some(start);
    }
    let report =
        Report { adapter, variants, excluded, timing, shape, probes, kernels, child, step, sharpened };
    ui.emit(&report)?;
    ui.say(&report.to_string())
}
