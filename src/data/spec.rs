//! The text of `--data` → a source of images and its folder.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::cifar::{CIFAR10, CIFAR100};
use super::{Images, LoadOptions, cifar, embedded, folder, idx};
use crate::error::{Error, Result};

/// The content of a source: the training part, the held-out part, the names of the classes.
pub type Loaded = (Images, Images, Vec<String>);

/// A source of images.
#[derive(Debug)]
pub struct Source {
    /// The form of its specification: the name, and `:DIR` if the source reads a folder.
    pub form: &'static str,
    /// Reads the images.
    pub(super) load: fn(&Path, &LoadOptions) -> Result<Loaded>,
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
    "embedded" |_, _| embedded::load();
    "cifar10:DIR" |dir, _| cifar::load(&CIFAR10, dir);
    "cifar100:DIR" |dir, _| cifar::load(&CIFAR100, dir);
    "idx:DIR" |dir, _| idx::load(dir);
    "folder:DIR" |dir, options| folder::load(dir, options.size.unwrap_or(folder::DEFAULT_SIZE));
}

impl Source {
    /// The word before the colon.
    pub fn name(&self) -> &'static str {
        self.form.split(':').next().unwrap_or(self.form)
    }

    fn reads_a_folder(&self) -> bool {
        self.name() != self.form
    }
}

/// A parsed data specification.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The source.
    pub source: &'static Source,
    /// The folder of the source. Empty if the source has none.
    pub dir: PathBuf,
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
        match (source.reads_a_folder(), dir.is_empty()) {
            (false, false) => wrong(format!("{name} without a folder"), format!("--data {name}")),
            (true, true) => wrong(
                format!("{name}:DIR, DIR being the folder with the files"),
                format!("--data {name}:path/to/folder"),
            ),
            _ => Ok(Self { source, dir: in_home(dir) }),
        }
    }
}

impl Spec {
    /// The places where the folder may be: as it is written, and if it is relative, below each of `bases`.
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

    /// Whether the place of the data depends on the current folder.
    pub fn is_relative(&self) -> bool {
        self.source.reads_a_folder() && self.dir.is_relative()
    }
}

/// `~` and `~/...` are in the home folder. A shell replaces `~` only at the start of a word, which here is the source.
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

fn suggestion(text: &str, name: &str) -> String {
    if Path::new(text).is_dir() {
        return format!("--data folder:{text} if that folder has one sub-folder of images per class");
    }
    let distance = |source: &&Source| strsim::levenshtein(&name.to_lowercase(), source.name());
    match SOURCES.iter().min_by_key(distance).filter(|source| distance(source) <= 3) {
        Some(source) => format!("did you mean {}?", source.form),
        None => format!("one of {FORMS}"),
    }
}
