//! The text of `--data` → a source of images and its place, a folder or a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::cifar::{CIFAR10, CIFAR100};
use super::gather::Sums;
use super::{Images, LoadOptions, Watch, cifar, embedded, files, folder, mnist, npz, parquet, tar};
use crate::error::{Error, Result, quoted};

/// The parts that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// All parts.
    All,
    /// The part that is reported. A source may leave the other parts empty.
    Reported,
}

/// A request to a source.
pub(super) struct Reading<'a> {
    pub options: &'a LoadOptions,
    pub need: Need,
    pub watch: Watch<'a>,
}

impl Reading<'_> {
    /// Whether the part to report is read for a run that was not trained on this set. The held-out images of a run on a set
    /// without parts are the same fifth as in its training.
    pub fn is_foreign(&self) -> bool {
        self.need == Need::Reported && self.options.wanted.is_none()
    }
}

/// The content of a source.
pub(super) struct Loaded {
    /// The training part.
    pub train: Images,
    /// The held-out part.
    pub test: Images,
    /// The part that is reported, if it is another one.
    pub report: Option<Images>,
    pub class_names: Vec<String>,
    /// The places of the parts; empty if the source has one place.
    pub places: Vec<String>,
    /// Number of passed-over entries by kind.
    pub passed_over: BTreeMap<String, usize>,
    /// The hashes of the images, if they are known.
    pub sums: Option<Sums>,
}

impl From<(Images, Images, Vec<String>)> for Loaded {
    fn from((train, test, class_names): (Images, Images, Vec<String>)) -> Self {
        Self {
            train,
            test,
            report: None,
            class_names,
            places: vec![],
            passed_over: BTreeMap::new(),
            sums: None,
        }
    }
}

/// A source of images.
#[derive(Debug)]
pub struct Source {
    /// The form of its specification: the name, and `:DIR` or `:FILE` if the source reads a place.
    pub form: &'static str,
    /// Reads the images.
    pub(super) load: fn(&Path, &Reading<'_>) -> Result<Loaded>,
}

macro_rules! forms {
    ($form:literal) => { $form };
    ($form:literal, $($rest:literal),+) => { concat!($form, ", ", forms!($($rest),+)) };
}

/// Defines the list of sources and the texts about them.
macro_rules! sources {
    ($($form:literal $load:expr;)+) => {
        /// All sources.
        pub const SOURCES: &[Source] = &[$(Source { form: $form, load: $load }),+];
        /// The forms of all sources.
        pub const FORMS: &str = forms!($($form),+);
        /// The forms of all sources, for the help of a flag.
        pub const HELP: &str = concat!("Images: ", forms!($($form),+));
    };
}

sources! {
    "embedded" |_, _| embedded::load().map(Loaded::from);
    "cifar10:DIR" |dir, _| cifar::load(&CIFAR10, dir);
    "cifar100:DIR" |dir, _| cifar::load(&CIFAR100, dir);
    "idx:DIR" |dir, _| mnist::load(dir);
    "npz:FILE" |file, _| npz::load(file);
    "folder:DIR" folder::load;
    "parquet:PATH" parquet::load;
    "tar:PATH" tar::load;
}

impl Source {
    /// The word before the colon.
    pub fn name(&self) -> &'static str {
        self.form.split(':').next().unwrap_or(self.form)
    }

    fn reads_a_place(&self) -> bool {
        self.name() != self.form
    }
}

/// A parsed data specification.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The source.
    pub source: &'static Source,
    /// The folder or the file of the source. Empty if the source has none.
    pub dir: PathBuf,
}

impl Spec {
    /// The place of the images without a path of this machine.
    pub(super) fn place(&self) -> String {
        match self.dir.file_name() {
            Some(name) => format!("{}/", name.to_string_lossy()),
            None if self.dir.as_os_str().is_empty() => "the program".into(),
            None => self.dir.display().to_string(),
        }
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, dir) = text.split_once(':').unwrap_or((text, ""));
        let wrong =
            |expected: String, try_this| Err(Error::usage("--data", expected, format!("{text:?}"), try_this));
        let Some(source) = SOURCES.iter().find(|source| source.name() == name) else {
            return wrong(FORMS.into(), suggestion(text, name));
        };
        match (source.reads_a_place(), dir.is_empty()) {
            (false, false) => wrong(format!("{name} without a folder"), format!("--data {name}")),
            (true, true) if source.form.ends_with(":FILE") => {
                wrong(format!("{name}:FILE, FILE being the file"), format!("--data {name}:path/to/file"))
            }
            (true, true) if source.form.ends_with(":PATH") => wrong(
                format!("{name}:PATH, PATH being a file or a folder with such files"),
                format!("--data {name}:path/to/folder"),
            ),
            (true, true) => wrong(
                format!("{name}:DIR, DIR being the folder with the files"),
                format!("--data {name}:path/to/folder"),
            ),
            _ => Ok(Self { source, dir: in_home(dir) }),
        }
    }
}

impl Spec {
    /// The possible places of the folder: the folder as it is written, and a relative folder below each of `bases`.
    pub fn places(&self, bases: &[PathBuf]) -> Vec<PathBuf> {
        let mut places = vec![self.dir.clone()];
        if self.is_relative() {
            for place in bases.iter().map(|base| base.join(&self.dir)) {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places
    }

    /// Whether there are data at `place`, one of the places of this specification.
    pub(super) fn is_at(&self, place: &Path) -> bool {
        place.exists() || (self.source.name() == "idx" && mnist::is_split(place))
    }

    /// Whether the place of the data depends on the current folder.
    pub fn is_relative(&self) -> bool {
        self.source.reads_a_place() && self.dir.is_relative()
    }
}

/// The folder `dir`, where `~` and `~/...` are in the home folder. A shell does not replace this `~`, because the word
/// starts with the name of the source.
fn in_home(dir: &str) -> PathBuf {
    let home =
        std::env::var_os(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).filter(|home| !home.is_empty());
    let below =
        dir.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(std::path::is_separator));
    match (home, below) {
        (Some(home), Some(below)) => Path::new(&home).join(below.trim_start_matches(std::path::is_separator)),
        _ => dir.into(),
    }
}

/// What to try with a folder that the datasets library saved.
pub(super) const ARROW: &str = "in Python, datasets.load_from_disk(FOLDER), and to_parquet(\"NEW/train.parquet\") of each part; then --data parquet:NEW";

fn suggestion(text: &str, name: &str) -> String {
    let place = in_home(text);
    if has_shards(&place, "arrow") {
        return ARROW.into();
    }
    if let Some((source, because)) = probable(&place) {
        return format!("--data {}{because}", quoted(&format!("{source}:{text}")));
    }
    let distance = |source: &&Source| strsim::levenshtein(&name.to_lowercase(), source.name());
    match SOURCES.iter().min_by_key(distance).filter(|source| distance(source) <= 3) {
        Some(source) => format!("did you mean {}?", source.form),
        None if place.exists() => format!("a folder or a file of images, in one of the forms {FORMS}"),
        None if text.contains(['/', '\\']) => {
            format!("a folder that is there (nothing has the name {text}), in one of the forms {FORMS}")
        }
        None => format!("one of {FORMS}"),
    }
}

/// The specification that probably reads the folder or the file `place`.
pub fn guess(place: &Path) -> Option<String> {
    Some(format!("{}:{}", probable(place)?.0, place.display()))
}

/// The source that probably reads the folder or the file `place`, and the condition for this as text.
fn probable(place: &Path) -> Option<(&'static str, &'static str)> {
    if place.is_file() {
        return probable_file(place).map(|source| (source, ""));
    }
    if mnist::is_split(place) {
        return Some(("idx", ""));
    }
    if !place.is_dir() {
        return None;
    }
    let has = |names: &[&str]| names.iter().any(|name| place.join(name).exists());
    let is_archived = |kind| cifar::archive_in(kind, place).is_some();
    let cifar10 = ["data_batch_1.bin", "cifar-10-batches-bin", "data_batch_1", "cifar-10-batches-py"];
    Some(if has(&cifar10) {
        ("cifar10", "")
    } else if has(&["cifar-100-binary", "cifar-100-python"])
        || (has(&["train.bin"]) && has(&["test.bin"]))
        || (has(&["train"]) && has(&["test"]) && place.join("train").is_file())
    {
        ("cifar100", "")
    } else if is_archived(&CIFAR10) {
        ("cifar10", "")
    } else if is_archived(&CIFAR100) {
        ("cifar100", "")
    } else if mnist::is_in(place) {
        ("idx", "")
    } else if !files::files_in(place, "npz").is_empty() {
        ("npz", "")
    } else if let Some(source) = ["parquet", "tar"].into_iter().find(|source| has_shards(place, source)) {
        (source, "")
    } else {
        ("folder", " if that folder has one sub-folder of images per class")
    })
}

/// Whether files with this extension are in the folder `place` or in a folder of it, such as Hugging Face's `data`.
fn has_shards(place: &Path, extension: &str) -> bool {
    let inner = std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(place.to_owned())
        .chain(inner.filter(|path| path.is_dir()).take(16))
        .any(|folder| !files::files_in(&folder, extension).is_empty())
}

/// The source that probably reads a file of this name.
fn probable_file(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let is_tar = [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
    match name {
        _ if name.ends_with(".npz") => Some("npz"),
        _ if name.ends_with(".parquet") => Some("parquet"),
        _ if is_tar && name.starts_with("cifar-100") => Some("cifar100"),
        _ if is_tar && name.starts_with("cifar-10") => Some("cifar10"),
        _ if name.ends_with(".tar") => Some("tar"),
        _ => None,
    }
}
