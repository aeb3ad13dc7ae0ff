//! `parsec predict RUN IMAGE...` → the most probable classes of image files, or the reason why a file cannot be read.
//!
//! Files are decoded on all cores while the adapter works on earlier ones. The answers are printed in the order of the
//! files, after each batch, so that the number of files is not limited by the memory.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ui::SharedBar;
use super::{Ui, interrupt, ui};
use crate::data::{Images, decode_ahead, eval_batches, image_files, reason};
use crate::error::{Error, Result};
use crate::files;
use crate::runner::TrainingRun;
use crate::train::{Trained, order, probabilities};

/// Number of batches that are decoded ahead.
const AHEAD: usize = 4;
/// Number of missing files for which a similar name is looked up.
const LOOKED_UP: usize = 10;

/// The flags of `predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    /// A training run; its best checkpoint is used
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Image files, folders of such files, and patterns ('photos/*.jpg', 'photos/**/*.jpg')
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// Names of the classes, one per line, in place of the run's
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How many classes of each image are named
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// Answers as a table of comma-separated values, in FILE or on standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub csv: Option<Option<PathBuf>>,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub batch: u32,
    /// Threads that decode images; default: one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

/// The answer about one file.
#[derive(Serialize)]
struct Answer {
    image: String,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    /// The most probable class first.
    Classes(Vec<Class>),
    /// The reason why the file cannot be read.
    Error(String),
}

#[derive(Serialize)]
struct Class {
    class: usize,
    name: String,
    probability: f64,
}

/// Predicts the classes and prints them. An error at the end counts the files that cannot be read.
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
    let normalisation = run.normalisation()?;
    run.check_adapter(ui.device.as_deref())?;
    let (paths, account) = image_files(&args.images)?;
    if !account.passed_over.is_empty() {
        ui.warn(format!("passed over: {}", account.passed_over()));
    }
    let top = names.len().min(args.top as usize);
    let mut output = Output::new(args, ui, &paths, top)?;

    // All batches have the same size, so that one plan serves all of them.
    let n = paths.len();
    let size = n.div_ceil(n.div_ceil(args.batch as usize));
    let extents = [spec.in_channels, spec.height, spec.width];
    let image_len: usize = extents.iter().product();
    let mut bad = Bad { n: 0, last: None, n_files: n };
    let mut network = None;
    let mut done = 0;
    let control = interrupt::predict_control()?;
    let threads = args.threads.map_or(0, |n| n as usize);
    let ended = decode_ahead(&paths, extents, threads, AHEAD * size, |decoded| {
        for paths in paths.chunks(size) {
            // A file that cannot be read has a black image in the batch.
            let mut pixels = vec![0; size * image_len];
            let mut errors = Vec::new();
            for (out, image) in pixels.chunks_exact_mut(image_len).zip(decoded.take(paths.len())) {
                errors.push(image.map(|image| out.copy_from_slice(&image)).err());
            }
            let logits = if errors.iter().all(Option::is_some) {
                vec![0.0; size * names.len()]
            } else {
                let network = opened(&mut network, &run, ui)?;
                let [channels, height, width] = extents;
                let images =
                    Images { n: size, channels, height, width, pixels: pixels.into(), labels: vec![0; size] };
                let mut logits = Vec::new();
                for batch in eval_batches(&images, &normalisation, size)? {
                    logits.extend(network.logits(&batch?.images)?);
                }
                logits
            };
            let mut answers = Vec::new();
            for ((path, error), logits) in paths.iter().zip(errors).zip(logits.chunks_exact(names.len())) {
                let found = match error {
                    None => Found::Classes(classes(logits, &names, top)),
                    Some(error) => Found::Error(bad.add(path, error, &output.bar)),
                };
                answers.push(Answer { image: path.display().to_string(), found });
            }
            done += answers.len();
            if !output.add(&answers, (done, n))? || control.is_stopping() {
                return Ok(done == n);
            }
        }
        Ok(true)
    });
    output.end(ended.is_ok())?;
    match ended? {
        true => bad.check(),
        false if control.is_stopping() => {
            ui.note(&format!("stopped after {done} of {n} images"));
            std::process::exit(130);
        }
        // Nobody reads on.
        false => Ok(()),
    }
}

/// The network on the adapter, which is opened when the first image is there.
fn opened<'a>(network: &'a mut Option<Trained>, run: &TrainingRun, ui: &Ui) -> Result<&'a mut Trained> {
    if network.is_none() {
        let events = ui.events();
        let (tensors, path, _) = run.weights(&events)?;
        *network = Some(run.trained((&tensors, &path), ui.device.as_deref(), &events)?);
    }
    network.as_mut().ok_or_else(|| Error::internal("the network is open"))
}

/// The `top` most probable classes.
fn classes(logits: &[f32], names: &[String], top: usize) -> Vec<Class> {
    let probability = probabilities(logits);
    let class = |class: usize| Class { class, name: names[class].clone(), probability: probability[class] };
    order(logits, top).into_iter().map(class).collect()
}

/// The files that cannot be read.
struct Bad {
    n: usize,
    last: Option<Error>,
    n_files: usize,
}

impl Bad {
    /// Reports that `path` cannot be read, and returns the reason. The error about the only file is kept for the end.
    fn add(&mut self, path: &Path, error: Error, bar: &SharedBar) -> String {
        let is_missing = std::fs::metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        let near = if is_missing && self.n < LOOKED_UP { similar(path) } else { None };
        let near = near.map(|path| path.display().to_string());
        let reason = reason(&error);
        self.n += 1;
        if self.n_files > 1 {
            let near = near.map(|near| format!("; there is {near}")).unwrap_or_default();
            bar.lock().say(&format!("warning: {}: {reason}{near}", path.display()));
        } else if is_missing {
            let try_this = match near {
                Some(near) => format!("{near}, which is there"),
                None if path.extension().is_some_and(|e| e == "csv") => {
                    format!("--csv={}, if it is to be written", path.display())
                }
                None => "check the path".into(),
            };
            let expected = "an image, a folder of images, or a pattern such as 'photos/*.jpg'";
            self.last = Some(Error::file(path, None, expected, reason.clone(), try_this));
        } else {
            self.last = Some(error);
        }
        reason
    }

    fn check(self) -> Result<()> {
        match self {
            Self { n: 0, .. } => Ok(()),
            Self { last: Some(error), .. } => Err(error),
            Self { n, n_files, .. } => {
                let expected = format!("{n_files} images that can be read");
                Err(Error::file(
                    "predict",
                    None,
                    expected,
                    format!("{n} that cannot"),
                    "replace or remove them",
                ))
            }
        }
    }
}

/// The file beside the missing file `path` that has the most similar name, if one is similar.
fn similar(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let distance =
        |other: &std::ffi::OsString| strsim::levenshtein(&name, &other.to_string_lossy().to_lowercase());
    let near = names.map(|name| (distance(&name), name));
    // A link that leads nowhere has its own name. Names of one or two letters are similar to everything short.
    let near = near.filter(|(d, _)| name.len() > 2 && (1..=1 + name.len() / 4).contains(d)).min();
    near.map(|(_, name)| path.with_file_name(name))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Text,
    Json,
    Csv,
}

/// The destination of the answers.
struct Output {
    form: Form,
    /// A file in place of standard output.
    file: Option<(PathBuf, File)>,
    /// Number of classes in a row of the table.
    top: usize,
    /// Whether an answer was written.
    begun: bool,
    bar: SharedBar,
    /// Whether the progress is shown. On a terminal the answers show it.
    shows_progress: bool,
}

impl Output {
    fn new(args: &PredictArgs, ui: &Ui, images: &[PathBuf], top: usize) -> Result<Self> {
        if args.csv.is_some() && ui.json {
            return Err(Error::usage("--csv", "one form of the answers", "--json too", "one of the two"));
        }
        let path = args.csv.iter().flatten().next();
        if let Some(path) = path.filter(|path| images.contains(path)) {
            let found = "one of the images";
            return Err(Error::usage(format!("--csv={}", path.display()), "another file", found, ""));
        }
        let create = |path: &PathBuf| {
            let file = File::create(path).map_err(|e| Error::io("write", path, e))?;
            Ok((path.clone(), file))
        };
        let form = match (ui.json, &args.csv) {
            (true, _) => Form::Json,
            (_, Some(_)) => Form::Csv,
            _ => Form::Text,
        };
        let file = path.map(create).transpose()?;
        let shows_progress = file.is_some() || !std::io::stdout().is_terminal();
        Ok(Self { form, file, top, begun: false, bar: ui.bar(), shows_progress })
    }

    /// Writes the answers of a batch. Returns whether anyone reads on. `done` of `total` files have their answers.
    fn add(&mut self, answers: &[Answer], (done, total): (usize, usize)) -> Result<bool> {
        let mut text = String::new();
        for answer in answers {
            match self.form {
                Form::Text => text += &line(answer),
                Form::Json => {
                    let failed = |e: serde_json::Error| {
                        Error::usage("--json", "a result that JSON can hold", e.to_string(), "")
                    };
                    text += if self.begun { ",\n" } else { "[" };
                    text += &serde_json::to_string(answer).map_err(failed)?;
                }
                Form::Csv if self.begun => text += &row(answer, self.top),
                Form::Csv => text += &(header(self.top) + &row(answer, self.top)),
            }
            self.begun = true;
        }
        let is_read = self.put(&text)?;
        if self.shows_progress {
            self.bar.lock().images(answers.len(), done, total);
        }
        Ok(is_read)
    }

    /// Writes the end of the answers. Without an answer nothing is written.
    fn end(&mut self, is_good: bool) -> Result<()> {
        self.bar.lock().close();
        if self.form != Form::Json || !self.begun {
            return Ok(());
        }
        match self.put("]\n") {
            // The first error is reported.
            Err(e) if is_good => Err(e),
            _ => Ok(()),
        }
    }

    fn put(&mut self, text: &str) -> Result<bool> {
        match &mut self.file {
            None => ui::write(text),
            Some((path, file)) => {
                let path = path.as_path();
                file.write_all(text.as_bytes()).map(|()| true).map_err(|e| Error::io("write", path, e))
            }
        }
    }
}

/// The answer as text: `red.png: red 93.1 %, blue 6.9 %`. A file that cannot be read was reported already.
fn line(answer: &Answer) -> String {
    let Found::Classes(classes) = &answer.found else { return String::new() };
    let class = |c: &Class| format!("{} {:.1} %", c.name, 100.0 * c.probability);
    let classes: Vec<String> = classes.iter().map(class).collect();
    format!("{}: {}\n", answer.image, classes.join(", "))
}

/// The names of the columns: `image,class,name,probability,class_2,name_2,probability_2,error`.
fn header(top: usize) -> String {
    let rank = |i: usize| if i == 1 { String::new() } else { format!("_{i}") };
    let columns = (1..=top).map(|i| format!("class{0},name{0},probability{0}", rank(i)));
    format!("image,{},error\n", columns.collect::<Vec<_>>().join(","))
}

fn row(answer: &Answer, top: usize) -> String {
    let mut fields = vec![quoted(&answer.image)];
    let error = match &answer.found {
        Found::Classes(classes) => {
            for Class { class, name, probability } in classes {
                fields.extend([class.to_string(), quoted(name), probability.to_string()]);
            }
            String::new()
        }
        Found::Error(error) => quoted(error),
    };
    fields.resize(1 + 3 * top, String::new());
    fields.push(error);
    fields.join(",") + "\n"
}

/// A field of a table of comma-separated values (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn read_labels(path: &Path, n_classes: usize) -> Result<Vec<String>> {
    let names = files::lines(&std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?);
    if names.len() != n_classes {
        let expected = format!("{n_classes} lines, one name per class");
        return Err(Error::file(path, None, expected, names.len().to_string(), ""));
    }
    Ok(names)
}
