//! `parsec report RUN` → one HTML file about a run or a comparison.

mod comparison;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::compare::HEAD;
use super::{Ui, tensorboard};
use crate::error::{Error, Result, word};
use crate::files;
use crate::report::page::Page;
use crate::run::RunDir;
use crate::view;

/// The flags of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Folder of a search, a training, a consensus or a finished comparison; a run may still be going on
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// File to write; default: report.html in the folder
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write TensorBoard's event files too, into RUN/tensorboard
    #[arg(long)]
    pub tensorboard: bool,
}

/// The output with `--json`.
#[derive(Serialize)]
struct Written {
    /// The page.
    report: String,
    /// The folder of the event files.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensorboard: Option<String>,
    /// Reasons to distrust the result.
    doubts: Vec<String>,
}

/// Writes the page.
pub fn report(args: &ReportArgs, ui: &Ui) -> Result<()> {
    let out = match &args.out {
        Some(folder) if folder.is_dir() => folder.join(REPORT),
        Some(file) => file.clone(),
        None => args.run.join(REPORT),
    };
    check_out(&out)?;
    let is_comparison = args.run.join("comparison.json").is_file();
    if is_comparison && args.tensorboard {
        let try_this = format!("one of its runs, such as {}/METHOD-SEED/search", args.run.display());
        return Err(Error::usage("--tensorboard", "a run, which has steps", "a comparison", try_this));
    }
    let (page, doubts) = if is_comparison {
        (comparison::page(&args.run)?, Vec::new())
    } else {
        page(&args.run, &files::parent(&out).join(""), ui)?
    };
    let folder = files::parent(&out);
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    files::atomic_write(&out, page.finish().as_bytes())?;
    let report = out.display().to_string();
    ui.report(&format!("{report}    the report, to be opened by a browser"));
    let tensorboard = if args.tensorboard { board(&args.run, ui)? } else { None };
    ui.emit(&Written { report, tensorboard, doubts })
}

/// The usual name of a page.
const REPORT: &str = "report.html";

/// Refuses to write over a file that is no page, such as a file of the run.
fn check_out(out: &Path) -> Result<()> {
    let begins_as_page = |path: &Path| -> std::io::Result<bool> {
        let mut start = [0; 15];
        let mut file = std::fs::File::open(path)?;
        let n = std::io::Read::read(&mut file, &mut start)?;
        Ok(n == 0 || start.eq_ignore_ascii_case(b"<!DOCTYPE html>"))
    };
    if !out.is_file() || begins_as_page(out).unwrap_or(true) {
        return Ok(());
    }
    let what = format!("--out {}", out.display());
    Err(Error::usage(what, "a new file, or an earlier page", "another file", "another name"))
}

/// The page about the run in `folder`, and its doubts. `beside` is the folder of the page.
fn page(folder: &Path, beside: &Path, ui: &Ui) -> Result<(Page, Vec<String>)> {
    if !folder.join("manifest.json").exists() && is_comparison(folder) {
        let (config, folder_word) = (word(&folder.join("config.toml")), word(folder));
        let try_this =
            format!("the same command again, which goes on: parsec compare {config} --run {folder_word}");
        let expected = "a finished comparison, with comparison.json";
        return Err(Error::file(folder, None, expected, "an unfinished one", try_this));
    }
    let page = view::page::of_run(folder, beside)?;
    // Damage is said on the terminal too.
    page.damage.iter().for_each(|damage| ui.warn(damage));
    Ok((page.page, page.doubts))
}

/// Whether the folder is that of a comparison.
fn is_comparison(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
    text.starts_with(HEAD)
}

/// Writes the event files of the run in the folder `run`, unless the run itself is writing them.
fn board(run: &Path, ui: &Ui) -> Result<Option<String>> {
    let dir = RunDir::open(run)?;
    let folder = run.join(tensorboard::FOLDER);
    if !dir.is_finished() && folder.is_dir() {
        ui.note(&format!("{} is there already: the run writes it", folder.display()));
        return Ok(None);
    }
    let folder = tensorboard::write(run)?.display().to_string();
    ui.report(&format!("{folder}    for: tensorboard --logdir {}", word(Path::new(&folder))));
    Ok(Some(folder))
}
