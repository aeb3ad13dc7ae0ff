//! A run → event files of TensorBoard in `RUN/tensorboard`, live or afterwards.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::{Resolved, TrainConfig};
use crate::error::{Error, Result};
use crate::host::since_1970;
use crate::report::{self, History, tensorboard};
use crate::run::{METRICS, RunDir};
use crate::search::take_prior;
use crate::space::read_architecture;

/// The folder in a run's folder.
pub const FOLDER: &str = "tensorboard";
/// Pixels of a picture per pixel of its drawing.
const SCALE: f32 = 1.5;

/// The event file of a run that is going on.
pub struct Board {
    run: PathBuf,
    file: Option<File>,
    /// Whether writing failed. The run goes on without the file.
    is_broken: bool,
}

impl Board {
    /// The event file of the run in the folder `run`. It begins with the first step.
    pub fn new(run: &Path) -> Self {
        Self { run: run.to_owned(), file: None, is_broken: false }
    }

    /// Adds a step, given by its line of the metrics. The first call writes the whole history, so that a resumed run
    /// has one file without gaps. Returns a warning if the file cannot be written.
    pub fn step(&mut self, line: &str) -> Option<String> {
        if self.is_broken {
            return None;
        }
        let done = match &mut self.file {
            None => begin(&self.run).map(|file| self.file = Some(file)),
            Some(file) => {
                let mut history = History::default();
                history.add(line.as_bytes());
                append(file, &self.run, &tensorboard::steps(&history, now()))
            }
        };
        done.err().map(|e| {
            self.is_broken = true;
            format!("{e}\n  the run goes on; parsec report --tensorboard writes the file afterwards")
        })
    }
}

/// Writes the event file of a run that is over or interrupted: the whole history, pictures, and the end.
pub fn write(run: &Path) -> Result<PathBuf> {
    begin(run)?;
    finish(run)?;
    Ok(run.join(FOLDER))
}

/// Adds the pictures of the present state to the newest event file of `run`, and the end if the run is finished.
pub fn finish(run: &Path) -> Result<()> {
    let Some(path) = event_files(run)?.pop() else { return Ok(()) };
    let mut file = File::options().append(true).open(&path).map_err(|e| Error::io("open", &path, e))?;
    let dir = RunDir::open(run)?;
    let step = History::read(&dir.metrics_path())?.last_step;
    let mut records = Vec::new();
    for (tag, svg) in pictures(&dir)? {
        let png = report::png(&svg, SCALE)?;
        // A PNG file has its width and height in these bytes.
        let side =
            |at: usize| png.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let size = [side(16), side(20)];
        records.extend(tensorboard::picture(tag, png, size, step, now()));
    }
    if dir.is_finished() {
        records.extend(tensorboard::end(now()));
    }
    append(&mut file, run, &records)
}

/// The drawings of the architecture and of the prior.
fn pictures(run: &RunDir) -> Result<Vec<(&'static str, String)>> {
    let mut pictures = Vec::new();
    let is_training = run.manifest()?.kind == TrainConfig::KIND;
    let space = if is_training { run.train_config()?.space()? } else { run.config()?.space()? };
    let genotype = fs::read_to_string(run.file("genotype.txt")).unwrap_or_default();
    if let Ok(alpha) = read_architecture(&*space, genotype.trim()) {
        pictures.push(("architecture", report::architecture_svg(&*space, &alpha)));
    }
    if !is_training
        && let Ok((newest, _)) = run.checkpoints().newest_good()
        && let Ok(prior) = take_prior(&newest.state, run.path(), &*space)
    {
        pictures.push(("prior", report::prior_svg(&*space, &prior)));
        pictures.push(("prior_network", report::flow_svg(&*space, &prior.probabilities())));
    }
    Ok(pictures)
}

/// A new event file with the history of `run`. It takes the place of those that are there.
fn begin(run: &Path) -> Result<File> {
    let (dir, folder) = (RunDir::open(run)?, run.join(FOLDER));
    let history = History::read(&run.join(METRICS))?;
    if folder.exists() && !folder.is_dir() {
        return Err(Error::file(
            &folder,
            None,
            "a folder for event files",
            "a file",
            "another name for that file",
        ));
    }
    fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
    let old = event_files(run)?;
    let is_search = dir.manifest()?.kind != TrainConfig::KIND;
    let mut records = tensorboard::head(now());
    records.extend(tensorboard::settings(&dir.manifest()?.config, is_search, now()));
    records.extend(tensorboard::steps(&history, now()));
    // A later name than those of the old files, also within a second.
    let nanos = since_1970().as_nanos();
    let name = format!("events.out.tfevents.{}.{:09}.parsec", nanos / 1_000_000_000, nanos % 1_000_000_000);
    let path = folder.join(name);
    let mut file = File::create_new(&path).map_err(|e| Error::io("create", &path, e))?;
    append(&mut file, run, &records)?;
    for path in old {
        fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
    }
    Ok(file)
}

/// The event files of `run` in the order of their times.
fn event_files(run: &Path) -> Result<Vec<PathBuf>> {
    let folder = run.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io("read", &folder, e))?,
    };
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("events.out.tfevents.") && name.ends_with(".parsec")
    };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one).collect();
    files.sort();
    Ok(files)
}

fn append(file: &mut File, run: &Path, records: &[u8]) -> Result<()> {
    file.write_all(records).map_err(|e| Error::io("write", run.join(FOLDER), e))
}

/// Seconds since 1970.
fn now() -> f64 {
    since_1970().as_secs_f64()
}
