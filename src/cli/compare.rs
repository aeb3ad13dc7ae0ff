//! `parsec compare CONFIG.toml --run DIR` → a search and a training for every method and seed, and their table.
//!
//! Every run is an ordinary run folder, DIR/METHOD-SEED/search and DIR/METHOD-SEED/train. The same command continues a
//! comparison: finished runs stay unchanged, and an unfinished run is resumed. The table is made from the files of the
//! runs, so that it is the same however often the comparison was interrupted. If the configuration names a table of
//! published numbers, the found architectures are looked up in it. The trainings may be left out in that case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::published::{Published, Summary};
use super::{Ui, resume};
use crate::config::compare::{Chooser, FinalSize};
use crate::config::{CompareConfig, Method};
use crate::files;
use crate::report::comparison::{Entry, Row, comparison_rows, comparison_svg, comparison_text};
use crate::report::paired::{Difference, differences};
use crate::run::{Manifest, RunDir};
use crate::runner::Runnable;
use crate::runner::open::{self, Wanted};
use crate::search::{Search, random_architecture};
use crate::space::{NetworkKind, NetworkSpec, Paths, Prior, read_architecture};
use crate::train::Training;
use crate::{Error, Result};

/// The arguments of `compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// A TOML file: methods, seeds, data, perhaps a table of published numbers, and the tables `search` and `train` with the
    /// keys of those commands
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
    /// Number of images on which accuracy was measured. `None` if nothing is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    test_images: Option<u64>,
    /// Adapter of the last run. Empty if nothing was run.
    adapter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Summary>,
    methods: Vec<Row>,
    differences: Vec<Difference>,
    runs: Vec<Entry>,
}

const CONFIG: &str = "config.toml";
/// The first line of the configuration in the folder of a comparison.
pub const HEAD: &str = "# A comparison, resolved.\n";

/// Does the remaining work of the comparison and writes its table.
pub fn compare(args: &CompareArgs, ui: &Ui) -> Result<()> {
    let config = CompareConfig::read(&args.config, args.data.as_deref())?;
    // Errors of the table are found before anything is run.
    let space = config.space()?;
    let published = Published::read(&config, &*space)?;
    super::interrupt::starting(None)?;
    let claim = args.run.is_none().then(|| RunDir::claim("compare")).transpose()?;
    let folder = args.run.clone().or(claim.as_ref().map(|claim| claim.path().to_owned())).unwrap_or_default();
    open(&folder, &config)?;
    ui.note(&format!("comparison folder {}", folder.display()));
    if let Some(warning) = published.as_ref().and_then(Published::warning) {
        ui.warn(warning);
    }
    let mut work = Work {
        folder: &folder,
        config: &config,
        ui,
        spec: None,
        largest: None,
        first: BTreeMap::new(),
        last: Value::Null,
        test_images: None,
    };
    let mut runs = vec![];
    // The runs go seed by seed, so that all methods have the same number of seeds if the time is too short for all.
    for &seed in &config.seeds {
        for &chooser in &config.methods {
            let mut entry = work.one(chooser, seed).inspect_err(|e| {
                if e.exit_code() == 130 {
                    let (file, folder) = (args.config.display(), folder.display());
                    ui.note(&format!("the comparison goes on with: parsec compare {file} --run {folder}"));
                }
            })?;
            if let Some(published) = &published {
                let alpha = read_architecture(&*space, &entry.genotype)?;
                entry.by_table = Some(published.lookup(&*space, &alpha));
            }
            runs.push(entry);
        }
    }
    // The order of the methods, with the seeds of each method together.
    runs.sort_by_key(|e| config.methods.iter().position(|m| m.to_string() == e.method));
    let last = &work.last;
    let n_not_held = runs.iter().filter_map(|e| e.by_table).filter(|t| t.published.is_none()).count();
    let comparison = Comparison {
        test_images: work.test_images,
        adapter: last["adapter"].as_str().unwrap_or_default().to_owned(),
        table: published.as_ref().map(|published| published.summary(n_not_held)),
        methods: comparison_rows(&runs),
        differences: differences(&runs),
        runs,
        data: config.data,
    };
    write(&folder, &comparison, published.as_ref().map_or("", Published::key), ui)
}

/// Writes the files of the comparison and prints its result.
fn write(folder: &Path, comparison: &Comparison, key: &str, ui: &Ui) -> Result<()> {
    let mut text = comparison_text(&comparison.runs);
    let mut lines: Vec<String> = comparison.differences.iter().map(|d| d.text(key)).collect();
    lines.extend(comparison.table.as_ref().map(|table| table.text(comparison.runs.len())));
    if !lines.is_empty() {
        text += &format!("\n{}\n", lines.join("\n"));
    }
    files::atomic_write(&folder.join("comparison.txt"), text.as_bytes())?;
    files::atomic_write(&folder.join("comparison.svg"), comparison_svg(&comparison.runs).as_bytes())?;
    let mut json = serde_json::to_vec_pretty(comparison)
        .map_err(|e| Error::usage("comparison.json", "numbers that JSON can hold", e.to_string(), ""))?;
    json.push(b'\n');
    files::atomic_write(&folder.join("comparison.json"), &json)?;
    ui.emit_saved(comparison, &folder.join("comparison.json"))?;
    ui.report(&format!("{text}\n{folder}/comparison.json .txt .svg", folder = folder.display()));
    Ok(())
}

/// Prepares the folder of this comparison: a new one, or the one in which it was begun. Methods and seeds may be added
/// or removed, since the runs are independent.
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
    let text = format!("{HEAD}{text}");
    match std::fs::read(&path) {
        Ok(there) if there == text.as_bytes() => Ok(()),
        _ => files::atomic_write(&path, text.as_bytes()),
    }
}

/// A comparison in progress.
struct Work<'a> {
    folder: &'a Path,
    config: &'a CompareConfig,
    ui: &'a Ui,
    /// The final network, once its size is needed.
    spec: Option<NetworkSpec>,
    /// The largest architecture as text, once it is needed.
    largest: Option<String>,
    /// The first search of each method, and the first training, with their manifests.
    first: BTreeMap<String, (PathBuf, Manifest)>,
    /// The result of the last run.
    last: Value,
    /// Number of images on which the last training was evaluated.
    test_images: Option<u64>,
}

impl Work<'_> {
    /// Runs one method with one seed: finds the architecture and trains it.
    fn one(&mut self, chooser: Chooser, seed: u64) -> Result<Entry> {
        let folder = self.folder.join(format!("{chooser}-{seed}"));
        let path = folder.join("train");
        let mut entry = Entry { method: chooser.to_string(), seed, ..Entry::default() };
        match chooser {
            Chooser::Search(Method::Random) => {
                // This method needs no search.
                let search = self.config.search_config(Method::Random, seed)?;
                let space = search.space()?;
                entry.genotype =
                    space.print(&random_architecture(&Prior::uniform(&*space), search.session.seed));
            }
            Chooser::Search(method) => self.search(method, &folder.join("search"), &mut entry)?,
            Chooser::Largest if self.config.trains() && is_begun(&path) => {
                entry.genotype = RunDir::open(&path)?.train_config()?.architecture.genotype;
            }
            Chooser::Largest => entry.genotype = self.largest()?,
        }
        if self.config.trains() {
            self.train(&path, &mut entry)?;
        } else {
            let spec = self.spec()?;
            let alpha = read_architecture(&*spec.space, &entry.genotype)?;
            entry.parameters = spec.net(Paths::Child(&alpha)).parameter_count(false);
            entry.macs = spec.macs(&alpha);
        }
        Ok(entry)
    }

    /// The search in the folder `path`. Its architecture and its cost go into `entry`.
    fn search(&mut self, method: Method, path: &Path, entry: &mut Entry) -> Result<()> {
        let search = self.config.search_config(method, entry.seed)?;
        let found = self.finish::<Search>(&method.to_string(), search, path)?;
        entry.genotype = text(&found, "genotype", path)?;
        (entry.search_seconds, entry.arena_bytes) = cost(path)?;
        self.last = found;
        Ok(())
    }

    /// The training in the folder `path`.
    fn train(&mut self, path: &Path, entry: &mut Entry) -> Result<()> {
        let training = self.config.train_config(&entry.genotype, entry.seed)?;
        let trained = self.finish::<Training>("train", training, path)?;
        // Of images in three parts, the held-out ones are for choosing. The comparison is on the ones to report.
        let reported = trained.get("report").unwrap_or(&trained);
        entry.accuracy = Some(number(reported, "accuracy", path)?);
        entry.parameters = number(&trained, "parameters", path)? as u64;
        entry.macs = number(&trained, "macs", path)? as u64;
        self.test_images = reported["n"].as_u64();
        self.last = trained;
        Ok(())
    }

    /// The result of the run at `path`, one of the runs `of` a method, or of the trainings. The run is started with `config`,
    /// or resumed if it is not finished.
    fn finish<J: Runnable>(&mut self, of: &str, config: J::Config, path: &Path) -> Result<Value> {
        let ui = self.ui.silent();
        if is_begun(path) {
            self.check_data(of, path)?;
            if !RunDir::open(path)?.is_finished() {
                self.ui.note(&format!("run folder {}", path.display()));
                resume::resume(&resume::ResumeArgs { run: path.to_owned(), ..Default::default() }, &ui)?;
            }
        } else {
            let running = super::begun::<J>(config, path, &ui)?;
            if let Err(e) = self.check_data(of, path) {
                // Nothing was done in it.
                drop(running);
                _ = std::fs::remove_dir_all(path);
                return Err(e);
            }
            super::driven(running, &ui)?;
        }
        RunDir::open(path)?.result()
    }

    /// Checks that the run at `path` has the data of the first of the runs `of` a method, or of the trainings: the numbers
    /// of a table are of one data set. The searches of two methods may scale the images to different sizes.
    fn check_data(&mut self, of: &str, path: &Path) -> Result<()> {
        let manifest = RunDir::open(path)?.manifest()?;
        let Some((first, was)) = self.first.get(of) else {
            self.first.insert(of.to_owned(), (path.to_owned(), manifest));
            return Ok(());
        };
        open::check_data(was, &manifest.data, &path.display().to_string(), first).map_err(|e| match e {
            Error::File { path: at, offset, expected, found, .. } => {
                let try_this = format!("put back the data, and remove {} if it is there", path.display());
                Error::File { path: at, offset, expected, found, try_this }
            }
            other => other,
        })
    }

    /// The architecture with the most multiply-adds.
    fn largest(&mut self) -> Result<String> {
        if self.largest.is_none() {
            let spec = self.spec()?;
            self.largest = Some(spec.space.print(&spec.most_macs()));
        }
        Ok(self.largest.clone().unwrap_or_default())
    }

    /// The final network for the images. The images are read to know their size.
    fn spec(&mut self) -> Result<NetworkSpec> {
        if let Some(spec) = &self.spec {
            return Ok(spec.clone());
        }
        let FinalSize { space, channels, images, session } = self.config.final_size()?;
        let dataset = open::dataset(&Wanted::of(&images, &session, None), &self.ui.events())?;
        let images = &dataset.train;
        let spec = NetworkSpec {
            space,
            kind: NetworkKind::Final,
            in_channels: images.channels,
            height: images.height,
            width: images.width,
            n_classes: dataset.class_names.len(),
            channels,
        };
        spec.check()?;
        self.spec = Some(spec.clone());
        Ok(spec)
    }
}

/// Whether there is a run in the folder `path`.
fn is_begun(path: &Path) -> bool {
    path.join("manifest.json").is_file()
}

/// Seconds in the steps of the run at `path`, including the evaluations between them, and bytes of its largest arena.
/// Both are read from the metrics, which contain the steps of all processes that worked on the run.
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
