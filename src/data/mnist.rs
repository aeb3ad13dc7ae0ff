//! The files of the MNIST family → images.
//!
//! The files are in the given folder, in its sub-folder `raw` (torchvision) or `gzip` (EMNIST's archive), or in the
//! folder of a set below torchvision's root. MNIST, Fashion-MNIST and KMNIST have the same four names. The names of
//! QMNIST and EMNIST start with the name of the set. EMNIST has six splits. `DIR/letters` is the split `letters` of the
//! files in `DIR`, if nothing has that name.
//!
//! Pixels are as the files have them. The images of EMNIST are transposed in the files, as torchvision returns them.

use std::path::{Path, PathBuf};

use super::idx::{MAX_BYTES, assemble, header_bytes, parse_images, parse_int_labels, parse_labels};
use super::labels::LabelFile;
use super::spec::Loaded;
use super::{Images, files};
use crate::error::{Error, Result, quoted};

const NAMES: &str = "the IDX files train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], t10k-…";
/// Sub-folders in which the files of a set may be.
const INNER: [&str; 2] = ["raw", "gzip"];
/// The folders of the sets below torchvision's root.
const SETS: [&str; 5] = ["MNIST", "FashionMNIST", "KMNIST", "QMNIST", "EMNIST"];

/// The names of the classes of a split of EMNIST, one character each, from label 0 on. NIST numbers the letters from
/// 1. `bymerge` and `balanced` have no lower-case letters that look like their upper-case form.
const SPLITS: [(&str, &str); 6] = [
    ("byclass", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    ("bymerge", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
    ("balanced", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
    ("letters", "-abcdefghijklmnopqrstuvwxyz"),
    ("digits", "0123456789"),
    ("mnist", "0123456789"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Plain,
    Qmnist,
    Emnist { split: &'static str, classes: &'static str },
}

impl Names {
    /// The possible first words of the names of the files of a part.
    fn prefixes(self, is_train: bool) -> Vec<String> {
        let part = if is_train { "train" } else { "test" };
        match (self, is_train) {
            (Self::Plain, true) => vec!["train".into()],
            (Self::Plain, false) => vec!["t10k".into(), "test".into()],
            (Self::Qmnist, _) => vec![format!("qmnist-{part}")],
            (Self::Emnist { split, .. }, _) => vec![format!("emnist-{split}-{part}")],
        }
    }

    /// The type of the elements in the name of a file of labels.
    fn label_type(self) -> &'static str {
        if self == Self::Qmnist { "idx2-int" } else { "idx1-ubyte" }
    }
}

/// A set of four files.
struct Set {
    dir: PathBuf,
    names: Names,
}

/// The name of the split if `dir` may name a split of EMNIST, and the folder in which the files would be.
fn split_of(dir: &Path) -> Option<(&'static str, &Path)> {
    let name = dir.file_name()?.to_str()?;
    let (split, _) = SPLITS.iter().find(|(split, _)| *split == name)?;
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (!dir.exists()).then_some((*split, above))
}

/// Whether `dir` names a split of EMNIST whose files are in the folder above.
pub(super) fn is_split(dir: &Path) -> bool {
    split_of(dir).is_some_and(|(split, above)| !sets(above, Some(split)).is_empty())
}

/// Whether the files of a set are in `dir` or below it.
pub(super) fn is_in(dir: &Path) -> bool {
    !sets(dir, None).is_empty()
}

/// The sets in `dir`, in a sub-folder of it, or in the folders of torchvision's sets. `split`: only this split of
/// EMNIST.
fn sets(dir: &Path, split: Option<&str>) -> Vec<Set> {
    let inner = |dir: &Path| {
        let places = std::iter::once(dir.to_owned()).chain(INNER.map(|name| dir.join(name)));
        places.map(|dir| sets_in(&dir, split)).find(|sets| !sets.is_empty()).unwrap_or_default()
    };
    let here = inner(dir);
    if here.is_empty() { SETS.iter().flat_map(|name| inner(&dir.join(name))).collect() } else { here }
}

fn sets_in(dir: &Path, split: Option<&str>) -> Vec<Set> {
    if !dir.is_dir() {
        return vec![];
    }
    let exists = |names: Names| {
        [true, false].into_iter().any(|is_train| {
            let prefixes = names.prefixes(is_train);
            let files = [("images", "idx3-ubyte"), ("labels", names.label_type())];
            files.iter().any(|(what, kind)| files::exists(&find(dir, &prefixes, what, kind)))
        })
    };
    let all = SPLITS.iter().map(|&(split, classes)| Names::Emnist { split, classes });
    let splits = all.filter(|names| match (names, split) {
        (Names::Emnist { split, .. }, Some(wanted)) => *split == wanted,
        _ => true,
    });
    // Beside the plain names the other sets are read by their split only.
    let found: Vec<Names> = match split {
        Some(_) => splits.filter(|names| exists(*names)).collect(),
        None if exists(Names::Plain) => vec![Names::Plain],
        None => splits.chain([Names::Qmnist]).filter(|names| exists(*names)).collect(),
    };
    found.into_iter().map(|names| Set { dir: dir.to_owned(), names }).collect()
}

/// Reads the four files of a set. The number of classes is the highest training label plus one. Of EMNIST's labels
/// the numbers below the lowest training label are no classes.
pub(super) fn load(dir: &Path) -> Result<Loaded> {
    let found = match split_of(dir) {
        Some((split, above)) if above.is_dir() => {
            let found = sets(above, Some(split));
            if found.is_empty() {
                let expected = format!(
                    "a folder with {NAMES}, or the split of that name in {} \
                     (emnist-{split}-train-images-idx3-ubyte[.gz], …)",
                    above.display()
                );
                let hint = "check the folder after --data's colon";
                return Err(Error::file(dir, None, expected, "nothing of that name", hint));
            }
            found
        }
        _ => {
            files::check_dir(dir, NAMES)?;
            sets(dir, None)
        }
    };
    match found.as_slice() {
        // The error about a missing file names all files.
        [] => load_set(&Set { dir: dir.to_owned(), names: Names::Plain }, dir),
        [set] => load_set(set, dir),
        several => Err(choose(dir, several)),
    }
}

/// The error that names all sets.
fn choose(dir: &Path, sets: &[Set]) -> Error {
    let name = |set: &Set| match set.names {
        Names::Plain => set.dir.strip_prefix(dir).unwrap_or(&set.dir).display().to_string(),
        Names::Qmnist => "QMNIST".into(),
        Names::Emnist { split, .. } => format!("EMNIST's {split}"),
    };
    let spec = |set: &Set| {
        let place = match set.names {
            Names::Emnist { split, .. } => set.dir.join(split),
            Names::Plain | Names::Qmnist => set.dir.clone(),
        };
        format!("--data {}", quoted(&format!("idx:{}", place.display())))
    };
    let list = |of: &dyn Fn(&Set) -> String| sets.iter().map(of).collect::<Vec<_>>();
    let found = format!("{}: {}", sets.len(), list(&name).join(", "));
    let try_this = list(&spec).join(", or ");
    Error::file(dir, None, "one set of images of the MNIST family", found, try_this)
}

fn load_set(set: &Set, given: &Path) -> Result<Loaded> {
    let Set { dir, names } = set;
    let (mut train, train_labels) = load_part(set, true)?;
    let (mut test, test_labels) = load_part(set, false)?;
    if (train.height, train.width) != (test.height, test.width) {
        return Err(Error::file(
            find(dir, &names.prefixes(false), "images", "idx3-ubyte"),
            Some(8),
            format!("images of {}x{} as in the training part", train.height, train.width),
            format!("{}x{}", test.height, test.width),
            "files of one data set in one folder",
        ));
    }
    let n_classes = train_labels.n_classes(&train.labels)?;
    let class_names = match *names {
        Names::Plain | Names::Qmnist => {
            test_labels.check(&test.labels, 0, n_classes)?;
            (0..n_classes).map(|class| class.to_string()).collect()
        }
        Names::Emnist { split, classes } => {
            let n_known = classes.len();
            if let Some(i) = train.labels.iter().position(|&label| usize::from(label) >= n_known) {
                let expected = format!("a label below {n_known} in EMNIST's split {split}");
                return Err(train_labels.error(i, train.labels[i], expected));
            }
            let first = train.labels.iter().copied().min().unwrap_or(0);
            test_labels.check(&test.labels, first, n_classes)?;
            for label in train.labels.iter_mut().chain(&mut test.labels) {
                *label -= first;
            }
            classes.chars().take(n_classes).skip(first.into()).map(String::from).collect()
        }
    };
    let mut loaded = Loaded::from((train, test, class_names));
    let is_inner = dir.file_name().is_some_and(|name| INNER.iter().any(|inner| name == *inner));
    if is_inner || *names != Names::Plain || dir != given {
        loaded.places = vec![place(set, is_inner), "the test part".into()];
    }
    Ok(loaded)
}

/// The place of a set without a path of this machine: `FashionMNIST/raw/` or `EMNIST/raw letters`.
fn place(Set { dir, names }: &Set, is_inner: bool) -> String {
    let name = |dir: &Path| dir.file_name().map(|name| format!("{}/", name.to_string_lossy()));
    let above = dir.parent().filter(|_| is_inner).and_then(name).unwrap_or_default();
    let place = above + &name(dir).unwrap_or_default();
    match names {
        Names::Plain | Names::Qmnist => place,
        Names::Emnist { split, .. } => format!("{} {split}", place.trim_end_matches('/')).trim().to_owned(),
    }
}

fn load_part(Set { dir, names }: &Set, is_train: bool) -> Result<(Images, LabelFile)> {
    let prefixes = names.prefixes(is_train);
    let read = |what: &str, kind: &str| -> Result<(PathBuf, Vec<u8>)> {
        let path = find(dir, &prefixes, what, kind);
        let missing = format!("all four files are needed; {}.gz is read too", path.display());
        let bytes = files::read(&path, MAX_BYTES, &format!("an IDX file of {what}"), &missing)?;
        Ok((path, bytes))
    };
    let (image_path, bytes) = read("images", "idx3-ubyte")?;
    let images = parse_images(&image_path, &bytes)?;
    let (path, bytes) = read("labels", names.label_type())?;
    let (labels, start, step) = if *names == Names::Qmnist {
        let (labels, width) = parse_int_labels(&path, &bytes)?;
        (labels, header_bytes(2), 4 * width as u64)
    } else {
        let labels = parse_labels(&path, &bytes)?;
        (labels.into_iter().map(u16::from).collect(), header_bytes(1), 1)
    };
    let images = assemble(&image_path, images, &path, labels)?;
    Ok((images, LabelFile { path, start, step }))
}

/// The first of the possible file names that exists, or the usual name for the error message.
fn find(dir: &Path, prefixes: &[String], what: &str, kind: &str) -> PathBuf {
    let spellings = prefixes.iter().flat_map(|prefix| {
        ["-", "."]
            .into_iter()
            .flat_map(move |sep| ["", ".gz"].map(|end| dir.join(format!("{prefix}-{what}{sep}{kind}{end}"))))
    });
    let usual = dir.join(format!("{}-{what}-{kind}", prefixes[0]));
    // Some archives have each file in a folder of its own name, and the folder beside the file.
    let inner = |path: &PathBuf| {
        let name = path.file_name()?;
        let spellings = [path.join(name), path.join(name.to_string_lossy().replace("-idx", ".idx"))];
        spellings.into_iter().find(|path| path.is_file())
    };
    let all: Vec<PathBuf> = spellings.collect();
    let file = all.iter().find(|path| files::exists(path) && !path.is_dir()).cloned();
    let there = || all.iter().find(|path| files::exists(path)).cloned();
    file.or_else(|| all.iter().find_map(inner)).or_else(there).unwrap_or(usual)
}
