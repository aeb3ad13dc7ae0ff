//! Arguments → one call into the library: the commands of `parsec`.
//!
//! Each command is a thin file: its flags as a struct, and a function that turns them into plain
//! values and passes these on. Results go to standard output (JSON only, with `--json`), all other output
//! goes to standard error.

pub mod devices;
pub mod show;

mod bar;
mod bench;
mod compare;
mod consensus;
mod eval;
mod export;
mod flags;
mod interrupt;
pub mod line;
mod predict;
mod published;
mod rank;
mod replay;
mod report;
mod resume;
mod search;
mod selftest;
mod show_args;
mod space_args;
pub mod table;
mod tensorboard;
mod tips;
mod train;
mod trained;
mod ui;
mod window;

use std::path::Path;
use std::sync::Arc;

use clap::{Parser, Subcommand};

pub use bar::{Bar, Verbosity};
pub use bench::BenchArgs;
pub use compare::CompareArgs;
pub use consensus::ConsensusArgs;
pub use eval::EvalArgs;
pub use export::ExportArgs;
pub use predict::PredictArgs;
pub use rank::RankArgs;
pub use replay::{Mode, Network, ReplayArgs, Stem};
pub use report::ReportArgs;
pub use resume::ResumeArgs;
pub use search::SearchArgs;
pub use selftest::SelftestArgs;
pub use show_args::ShowFlags;
pub use train::TrainArgs;
pub use ui::{Ui, remark};
pub use window::WindowArgs;

use crate::config::Resolved;
use crate::run::RunDir;
use crate::runner::{self, Runnable, Running};
use crate::{Error, Result};

/// Probabilistic neural architecture search (PARSEC) on any GPU.
#[derive(Debug, Parser)]
#[command(name = "parsec", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// Flags of all commands.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of all commands.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Adapter to use: its index or a part of its name (also PARSEC_DEVICE); default: the fastest class
    #[arg(long, global = true, value_name = "INDEX|SUBSTRING")]
    pub device: Option<String>,
    /// Only JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// A line of progress for every step
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the adapters, with the limits that matter
    Devices,
    /// Search for an architecture; without any argument, on the embedded images
    #[command(allow_negative_numbers = true)]
    Search(Box<SearchArgs>),
    /// Train the final network of an architecture
    #[command(allow_negative_numbers = true)]
    Train(Box<TrainArgs>),
    /// Open the desktop window: start runs, watch them, use what was found
    Window(WindowArgs),
    /// Compare methods over seeds: search, train what was found, evaluate; the same command goes on
    Compare(CompareArgs),
    /// Join the priors of several searches into one: their normalised product to the power 1/n
    Consensus(ConsensusArgs),
    /// Write one HTML file about a run or a comparison: result, doubts, curves, prior, costs
    Report(ReportArgs),
    /// Rank architectures by a search's shared weights, against a table of published numbers
    Rank(RankArgs),
    /// Evaluate a trained network on its test or held-out images, and time it
    Eval(Box<EvalArgs>),
    /// Name the classes of image files with a trained network
    Predict(PredictArgs),
    /// Go on with a run from its newest good checkpoint
    Resume(ResumeArgs),
    /// Show the architecture of a run or a genotype: text, counts, drawings
    Show(ShowFlags),
    /// One forward and backward pass of a given architecture on given tensors
    Replay(ReplayArgs),
    /// Write a network for other programs: safetensors, ONNX, PyTorch, genotype
    Export(Box<ExportArgs>),
    /// Every kernel against its f64 reference on this adapter
    Selftest(SelftestArgs),
    /// Measure the limits of the adapter, a child and a step of the search
    Bench(BenchArgs),
}

/// Runs the program's command line. Wrong usage and `--help` end the process here (codes 2 and 0).
pub fn run() -> Result<()> {
    let Cli { common, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => {
            ui::put(&help.render().to_string())?;
            std::process::exit(help.exit_code());
        }
        // If standard error is broken, only the code says that the usage was wrong.
        Err(usage) => tips::mended(usage, std::env::args_os().map(lossy)).exit(),
    };
    let ui = Ui::new(&common);
    // Check the class before any kernel runs, so that no kernels of a wrong class run.
    crate::gpu::class_from_env()?;
    interrupt::outlive_the_limit_of_files();
    let can_save = matches!(
        command,
        Command::Search(_)
            | Command::Train(_)
            | Command::Compare(_)
            | Command::Resume(_)
            | Command::Window(_)
    );
    if !can_save {
        interrupt::ignore_requests_to_save()?;
    }
    match command {
        Command::Devices => devices::devices(common.json),
        Command::Search(args) => search::search(&args, &ui),
        Command::Train(args) => train::train(&args, &ui),
        Command::Window(args) => window::window(&args, &ui),
        Command::Compare(args) => compare::compare(&args, &ui),
        Command::Consensus(args) => consensus::consensus(&args, &ui),
        Command::Report(args) => report::report(&args, &ui),
        Command::Rank(args) => rank::rank(&args, &ui),
        Command::Eval(args) => eval::eval(&args, &ui),
        Command::Predict(args) => predict::predict(&args, &ui),
        Command::Resume(args) => resume::resume(&args, &ui),
        Command::Show(flags) => show_args::show(&flags, &ui),
        Command::Replay(args) => replay::replay(&args, &ui),
        Command::Export(args) => export::export(&args, &ui),
        Command::Selftest(args) => selftest::selftest(&args, &ui),
        Command::Bench(args) => bench::bench(&args, &ui),
    }
}

fn lossy(arg: std::ffi::OsString) -> String {
    arg.to_string_lossy().into_owned()
}

/// Starts a run in the folder of the configuration or in the next free one, and drives it to its end. The folder is taken
/// before the data are read and the device is opened, because these may take a while.
fn start_new<J: Runnable>(config: J::Config, ui: &Ui) -> Result<()> {
    interrupt::starting(None)?;
    let claim = match &config.session().run {
        Some(path) => RunDir::check_free(path).map(|()| None)?,
        None => Some(Arc::new(RunDir::claim(J::Config::KIND)?)),
    };
    interrupt::starting(claim.as_ref())?;
    let given = config.session().run.clone();
    let path = given.or(claim.as_ref().map(|claim| claim.path().to_owned())).unwrap_or_default();
    driven(begun::<J>(config, &path, ui)?, ui)
}

/// Starts a run in the new folder `path`.
fn begun<J: Runnable>(mut config: J::Config, path: &Path, ui: &Ui) -> Result<Running<J>> {
    if let Some(device) = &ui.device {
        config.session_mut().device = Some(device.clone());
    }
    runner::start::<J>(config, path, &ui.events_of(path))
}

/// Drives a run to its end, or until Ctrl-C, and prints its result.
fn driven<J: Runnable>(running: Running<J>, ui: &Ui) -> Result<()> {
    let path = running.path().to_owned();
    let saved = path.join("result.json");
    let outcome = running.drive(interrupt::control()?);
    if let Ok(_) | Err(Error::Interrupted { .. }) = &outcome
        && let Err(e) = tensorboard::finish(&path)
    {
        ui.warn(e);
    }
    let outcome = outcome?;
    ui.emit_saved(&outcome, &saved)?;
    ui.report(&outcome.to_string());
    Ok(())
}
