//! `parsec compare CONFIG.toml --run DIR` → a search and a training for every method and seed, and their table.
//!
//! Every run is an ordinary run folder, DIR/METHOD-SEED/search and DIR/METHOD-SEED/train. The same command goes on:
//! finished runs are left as they are, an unfinished one is resumed. The table is made of what the runs wrote, so
//! that it is the same however often the comparison was interrupted.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{Ui, resume, search, train};
use crate::config::{CompareConfig, Config, Method, TrainConfig};
use crate::report::comparison::{Entry, Row, comparison_rows, comparison_svg, comparison_text};
use crate::run::{RunDir, files};
use crate::search::random_architecture;
use crate::space::Prior;
use crate::{Error, Result};

/// The arguments of `compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// A TOML file: methods, seeds, data, and the tables `search` and `train` with the keys of those commands
    #[arg(value_name = "CONFIG.toml")]
    pub config: PathBuf,
    /// Folder of the comparison, new or to go on with; default: the next free runs/compare-NNNN
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Images, in place of those of the file
    #[arg(long, value_name = "SPEC")]
    pub data: Option<String>,
}

/// The content of `comparison.json`.
#[derive(Serialize)]
struct Comparison {
    data: String,
    /// Images on which accuracy was measured.
    test_images: u64,
    adapter: String,
    methods: Vec<Row>,
    runs: Vec<Entry>,
}

const CONFIG: &str = "config.toml";

/// Does what is left to do of the comparison, and writes its table.
pub fn compare(args: &CompareArgs, ui: &Ui) -> Result<()> {
    let config = CompareConfig::read(&args.config, args.data.as_deref())?;
    let folder = args.run.clone().unwrap_or_else(|| RunDir::next_free("compare"));
    open(&folder, &config)?;
    ui.note(&format!("comparison folder {}", folder.display()));
    let (mut runs, mut last) = (vec![], Value::Null);
    // Seed by seed, so that all methods have come as far if it takes longer than one has time.
    for &seed in &config.seeds {
        for &method in &config.methods {
            let (entry, training) = both(&folder, &config, method, seed, ui).inspect_err(|e| {
                if e.exit_code() == 130 {
                    let (file, folder) = (args.config.display(), folder.display());
                    ui.note(&format!("the comparison goes on with: parsec compare {file} --run {folder}"));
                }
            })?;
            runs.push(entry);
            last = training;
        }
    }
    // In the order of the methods, seeds within.
    runs.sort_by_key(|e| config.methods.iter().position(|m| m.to_string() == e.method));
    let comparison = Comparison {
        data: config.data,
        test_images: last["n"].as_u64().unwrap_or(0),
        adapter: last["adapter"].as_str().unwrap_or_default().to_owned(),
        methods: comparison_rows(&runs),
        runs,
    };
    let text = comparison_text(&comparison.runs);
    files::atomic_write(&folder.join("comparison.txt"), text.as_bytes())?;
    files::atomic_write(&folder.join("comparison.svg"), comparison_svg(&comparison.runs).as_bytes())?;
    let mut json = serde_json::to_vec_pretty(&comparison)
        .map_err(|e| Error::usage("comparison.json", "numbers that JSON can hold", e.to_string(), ""))?;
    json.push(b'\n');
    files::atomic_write(&folder.join("comparison.json"), &json)?;
    ui.emit(&comparison)?;
    ui.say(&format!("{text}\n{folder}/comparison.json .txt .svg", folder = folder.display()))
}

/// A folder for this comparison: a new one, or the one in which it was begun. Methods and seeds may come and go,
/// since each run is for itself.
fn open(folder: &Path, config: &CompareConfig) -> Result<()> {
    let path = folder.join(CONFIG);
    if !path.is_file() || folder.join("manifest.json").exists() {
        RunDir::check_free(folder)?;
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    } else if let Some([key, was, is]) = config.first_difference(&CompareConfig::read(&path, None)?)? {
        let expected = format!("{was}, with which {} was begun", folder.display());
        return Err(Error::usage(format!("`{key}`"), expected, is, "the old value, or another --run"));
    }
    let text = toml::to_string(&config.resolved()?)
        .map_err(|e| Error::usage(CONFIG, "settings that TOML can hold", e.to_string(), ""))?;
    let text = format!("# A comparison, resolved.\n{text}");
    match std::fs::read(&path) {
        Ok(there) if there == text.as_bytes() => Ok(()),
        _ => files::atomic_write(&path, text.as_bytes()),
    }
}

/// Search and training of one method with one seed; the training's result too.
fn both(folder: &Path, config: &CompareConfig, method: Method, seed: u64, ui: &Ui) -> Result<(Entry, Value)> {
    let folder = folder.join(format!("{method}-{seed}"));
    let mut entry = Entry { method: method.to_string(), seed, ..Entry::default() };
    let search = config.search_config(method, seed)?;
    if method == Method::Random {
        // Nothing has to be searched for it.
        let space = search.space()?;
        entry.genotype = space.print(&random_architecture(&Prior::uniform(&*space), search.seed));
    } else {
        let path = folder.join("search");
        let found =
            finish(&path, ui, |ui| search::start(Config { run: Some(path.clone()), ..search }, &path, ui))?;
        entry.genotype = text(&found, "genotype", &path)?;
        (entry.search_seconds, entry.arena_bytes) = cost(&path)?;
    }
    let path = folder.join("train");
    let training = config.train_config(&entry.genotype, seed)?;
    let trained =
        finish(&path, ui, |ui| train::start(TrainConfig { run: Some(path.clone()), ..training }, &path, ui))?;
    entry.accuracy = number(&trained, "accuracy", &path)?;
    entry.parameters = number(&trained, "parameters", &path)? as u64;
    entry.macs = number(&trained, "macs", &path)? as u64;
    Ok((entry, trained))
}

/// The result of the run at `path`, which is started or gone on with as far as it is not over.
fn finish(path: &Path, ui: &Ui, start: impl FnOnce(&Ui) -> Result<()>) -> Result<Value> {
    if !path.join("manifest.json").is_file() {
        start(&ui.silent())?;
    } else if !RunDir::open(path)?.is_finished() {
        ui.note(&format!("run folder {}", path.display()));
        resume::resume(path, &ui.silent())?;
    }
    RunDir::open(path)?.result()
}

/// Seconds in the steps of the run at `path`, evaluation between them included, and its largest arena. Of the
/// metrics, since those have the steps of all the processes that worked on the run.
fn cost(path: &Path) -> Result<(f64, u64)> {
    let path = RunDir::open(path)?.metrics_path();
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    let (mut seconds, mut arena) = (0.0, 0);
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let phases = line["seconds"].as_object();
        seconds += phases.into_iter().flat_map(|p| p.values()).filter_map(Value::as_f64).sum::<f64>();
        arena = arena.max(line["arena_bytes"].as_u64().unwrap_or(0));
    }
    Ok((seconds, arena))
}

fn number(result: &Value, key: &str, run: &Path) -> Result<f64> {
    result[key].as_f64().ok_or_else(|| without(key, run))
}

fn text(result: &Value, key: &str, run: &Path) -> Result<String> {
    result[key].as_str().map(str::to_owned).ok_or_else(|| without(key, run))
}

fn without(key: &str, run: &Path) -> Error {
    let expected = format!("a result with `{key}`");
    Error::file(run.join("result.json"), None, expected, "none", "remove the run's folder, to run it again")
}
