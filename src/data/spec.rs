//! The text of `--data` → the kind of source and its folder.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

const FORMS: &str = "embedded, cifar10:DIR, cifar100:DIR, idx:DIR or folder:DIR";

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The images inside the program.
    Embedded,
    /// CIFAR-10, binary version.
    Cifar10,
    /// CIFAR-100, binary version, fine labels.
    Cifar100,
    /// IDX files as of MNIST, gzipped or not.
    Idx,
    /// One sub-folder of PNG and JPEG files per class.
    Folder,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Embedded, Self::Cifar10, Self::Cifar100, Self::Idx, Self::Folder];

    /// The word before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Idx => "idx",
            Self::Folder => "folder",
        }
    }
}

/// A parsed data specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Which kind of source.
    pub kind: Kind,
    /// Its folder; empty for `embedded`.
    pub dir: PathBuf,
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, dir) = text.split_once(':').unwrap_or((text, ""));
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
            return Err(Error::usage("--data", FORMS, format!("{text:?}"), suggestion(text, name)));
        };
        let name = kind.name();
        match (kind, dir.is_empty()) {
            (Kind::Embedded, false) => Err(Error::usage(
                "--data",
                "embedded without a folder",
                format!("{text:?}"),
                "--data embedded",
            )),
            (Kind::Embedded, true) => Ok(Self { kind, dir: PathBuf::new() }),
            (_, true) => Err(Error::usage(
                "--data",
                format!("{name}:DIR, DIR being the folder with the files"),
                format!("{text:?}"),
                format!("--data {name}:path/to/folder"),
            )),
            (_, false) => Ok(Self { kind, dir: dir.into() }),
        }
    }
}

fn suggestion(text: &str, name: &str) -> String {
    if std::path::Path::new(text).is_dir() {
        return format!("--data folder:{text} if that folder has one sub-folder of images per class");
    }
    let nearest = Kind::ALL.into_iter().min_by_key(|kind| edits(&name.to_lowercase(), kind.name()));
    match nearest.filter(|kind| edits(&name.to_lowercase(), kind.name()) <= 3) {
        Some(Kind::Embedded) => "did you mean embedded?".to_owned(),
        Some(kind) => format!("did you mean {}:DIR?", kind.name()),
        None => format!("one of {FORMS}"),
    }
}

/// Insertions, deletions and substitutions between two words.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}
