//! CIFAR-10 and CIFAR-100, in the binary version or in the Python version (which torchvision unpacks) → images.
//!
//! A binary file is a sequence of records: one label byte (CIFAR-100: coarse, then fine) and 3072 pixel bytes,
//! `[3][32][32]`. The files do not contain counts, so truncation shows as a broken record or as a file
//! that differs from its siblings. A file of the Python version is a pickled dict with the array `data`, `[N][3072]`, and
//! a list of labels.

use std::path::{Path, PathBuf};

use super::{Images, files};
use crate::error::{Error, Result};
use crate::files::pickle::{self, Dtype, Value};

const SIDE: usize = 32;
const AGAIN: &str = "unpack or download the archive again";
const IMAGE_LEN: usize = 3 * SIDE * SIDE;

/// One of the two archives of a set.
#[derive(Debug)]
struct Version {
    /// The folder inside the archive.
    archive_dir: &'static str,
    train_files: &'static [&'static str],
    test_file: &'static str,
    names_file: &'static str,
}

/// The differences between the two sets.
#[derive(Debug)]
pub struct CifarKind {
    binary: Version,
    python: Version,
    /// The keys of the labels and of the classes' names in the dicts of the Python version.
    python_keys: [&'static str; 2],
    /// The label bytes before the pixels, as (name of the label, number of classes). The last one is used.
    labels: &'static [(&'static str, u8)],
    /// Records of one training file and of the test file in the official archive.
    official: (usize, usize),
    default_names: &'static [&'static str],
}

/// CIFAR-10.
pub const CIFAR10: CifarKind = CifarKind {
    binary: Version {
        archive_dir: "cifar-10-batches-bin",
        train_files: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test_file: "test_batch.bin",
        names_file: "batches.meta.txt",
    },
    python: Version {
        archive_dir: "cifar-10-batches-py",
        train_files: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test_file: "test_batch",
        names_file: "batches.meta",
    },
    python_keys: ["labels", "label_names"],
    labels: &[("label", 10)],
    official: (10_000, 10_000),
    default_names: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
};

/// CIFAR-100 with its fine labels.
pub const CIFAR100: CifarKind = CifarKind {
    binary: Version {
        archive_dir: "cifar-100-binary",
        train_files: &["train.bin"],
        test_file: "test.bin",
        names_file: "fine_label_names.txt",
    },
    python: Version {
        archive_dir: "cifar-100-python",
        train_files: &["train"],
        test_file: "test",
        names_file: "meta",
    },
    python_keys: ["fine_labels", "fine_label_names"],
    labels: &[("coarse label", 20), ("fine label", 100)],
    official: (50_000, 10_000),
    default_names: &[],
};

impl CifarKind {
    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.labels.last().map_or(0, |&(_, n)| n as usize)
    }

    fn record_len(&self) -> usize {
        self.labels.len() + IMAGE_LEN
    }
}

/// Reads the files of `kind` in `dir`, or in the folder of an archive inside `dir`. If both versions exist, the binary
/// one is read.
pub(super) fn load(kind: &CifarKind, dir: &Path) -> Result<(Images, Images, Vec<String>)> {
    files::check_dir(dir, &format!("{} and its siblings", kind.binary.train_files[0]))?;
    let places = [&kind.binary, &kind.python]
        .into_iter()
        .flat_map(|version| [dir.to_owned(), dir.join(version.archive_dir)].map(|dir| (version, dir)));
    let found = places.clone().find(|(version, dir)| files::exists(&dir.join(version.train_files[0])));
    let named = || places.clone().find(|(_, place)| place != dir && files::exists(place));
    let (version, dir) = found.or_else(named).unwrap_or((&kind.binary, dir.to_owned()));
    let is_python = std::ptr::eq(version, &kind.python);

    let (mut train, mut pixels) = (empty(), Vec::new());
    let mut counts = Vec::new();
    for name in version.train_files {
        let (path, part) = read(kind, is_python, &dir.join(name), kind.official.0)?;
        counts.push((path, part.n));
        train.n += part.n;
        pixels.extend_from_slice(part.bytes());
        train.labels.extend(part.labels);
    }
    train.pixels = pixels.into();
    let (test_path, test) = read(kind, is_python, &dir.join(version.test_file), kind.official.1)?;

    // Records of the Python version have no place of their own in the file.
    let record_len = (!is_python).then(|| kind.record_len());
    // The median count: one damaged file among five does not change it.
    let mut sorted: Vec<usize> = counts.iter().map(|&(_, n)| n).collect();
    sorted.sort_unstable();
    let usual = sorted[sorted.len() / 2];
    for (path, n) in &counts {
        check_count(record_len, path, *n, usual, "as most of its siblings have")?;
    }
    // If one part has its official size and the other part does not, the other part was cut short. A user's own smaller
    // set is accepted.
    let (official_train, official_test) = kind.official;
    if usual == official_train {
        check_count(record_len, &test_path, test.n, official_test, "as the original has")?;
    } else if test.n == official_test && version.train_files.len() == 1 {
        check_count(record_len, &counts[0].0, usual, official_train, "as the original has")?;
    }
    let names_path = dir.join(version.names_file);
    let names = if is_python {
        python_names(kind, &names_path)?
    } else {
        files::class_names(&names_path, kind.n_classes())?
    };
    let names = names.unwrap_or_else(|| {
        let numbered = (0..kind.n_classes()).map(|class| format!("class {class}"));
        let known = kind.default_names.iter().map(|&name| name.to_owned());
        if kind.default_names.is_empty() { numbered.collect() } else { known.collect() }
    });
    Ok((train, test, names))
}

fn check_count(record_len: Option<usize>, path: &Path, n: usize, expected: usize, why: &str) -> Result<()> {
    if n == expected {
        return Ok(());
    }
    Err(Error::file(
        path,
        record_len.map(|len| (n.min(expected) * len) as u64),
        format!("{expected} images, {why}"),
        format!("{n} images"),
        AGAIN,
    ))
}

fn read(kind: &CifarKind, is_python: bool, path: &Path, max_records: usize) -> Result<(PathBuf, Images)> {
    let missing = format!(
        "unpack the set; its folder is called {} or {}",
        kind.binary.archive_dir, kind.python.archive_dir
    );
    let images = if is_python {
        let what = "a pickled CIFAR file";
        // Beside the pixels a file has the names of the images and lists of labels.
        let bytes = files::read(path, 2 * (max_records * IMAGE_LEN) as u64, what, &missing)?;
        parse_python_cifar(kind, path, &bytes)?
    } else {
        let what = format!("a CIFAR file of {}-byte records", kind.record_len());
        let bytes = files::read(path, (max_records * kind.record_len()) as u64, &what, &missing)?;
        parse_cifar(kind, path, &bytes)?
    };
    Ok((path.to_owned(), images))
}

/// The names of the classes, or `None` if there is no such file.
fn python_names(kind: &CifarKind, path: &Path) -> Result<Option<Vec<String>>> {
    if !files::exists(path) {
        return Ok(None);
    }
    let bytes = files::read(path, 1 << 20, "the names of the classes", AGAIN)?;
    let meta = pickle::parse(&bytes, path)?;
    let key = kind.python_keys[1];
    let names = match meta.get(key) {
        Some(Value::List(names)) => names.iter().map(|name| name.as_text().map(str::to_owned)).collect(),
        _ => None,
    };
    let wanted = kind.n_classes();
    let names: Option<Vec<String>> = names;
    match names.filter(|names| names.len() == wanted) {
        Some(names) => Ok(Some(names)),
        None => Err(Error::file(path, None, format!("a list `{key}` of {wanted} names"), "none", AGAIN)),
    }
}

/// The bytes of one CIFAR file of the Python version → its images; `path` is for messages only.
///
/// # Errors
/// [`Error::File`] for a pickle that is damaged or has another content, and for a label out of range.
pub fn parse_python_cifar(kind: &CifarKind, path: &Path, bytes: &[u8]) -> Result<Images> {
    let dict = pickle::parse(bytes, path)?;
    let key = kind.python_keys[0];
    let wrong = |expected: String, found: String| Err(Error::file(path, None, expected, found, AGAIN));
    let expected = format!("an array `data` of bytes, [N][{IMAGE_LEN}]");
    let array = match dict.get("data") {
        Some(Value::Array(array)) if array.dtype == Dtype::U8 => array,
        Some(_) => return wrong(expected, "a value of another kind".into()),
        None => return wrong(expected, "no such key".into()),
    };
    let &[n, IMAGE_LEN] = &*array.shape else {
        return wrong(expected, format!("an array of shape {:?}", array.shape));
    };
    let Some(Value::List(labels)) = dict.get(key) else {
        return wrong(format!("a list `{key}`"), "none".into());
    };
    if labels.len() != n || n == 0 {
        return wrong(
            format!("a label for each of {n} images, at least one"),
            format!("{} labels", labels.len()),
        );
    }
    let mut images = Images { n, pixels: array.data.to_vec().into(), ..empty() };
    for (i, label) in labels.iter().enumerate() {
        let known = match label {
            Value::Int(label) => {
                u16::try_from(*label).ok().filter(|label| usize::from(*label) < kind.n_classes())
            }
            _ => None,
        };
        let Some(label) = known else {
            return wrong(
                format!("labels below {} in `{key}`", kind.n_classes()),
                format!("{label:?} for image {i}"),
            );
        };
        images.labels.push(label);
    }
    Ok(images)
}

fn empty() -> Images {
    Images { n: 0, channels: 3, height: SIDE, width: SIDE, pixels: vec![].into(), labels: vec![] }
}

/// The bytes of one CIFAR file → its images; `path` is for messages only.
///
/// # Errors
/// [`Error::File`] with the offset of a broken record or of a label out of range.
pub fn parse_cifar(kind: &CifarKind, path: &Path, bytes: &[u8]) -> Result<Images> {
    let record_len = kind.record_len();
    let n = bytes.len() / record_len;
    let rest = bytes.len() % record_len;
    if n == 0 || rest != 0 {
        return Err(Error::file(
            path,
            Some((n * record_len) as u64),
            format!("whole records of {record_len} bytes"),
            format!("{rest} bytes at the end of {n} records (truncated, or of another format)"),
            AGAIN,
        ));
    }
    let mut images = empty();
    images.n = n;
    let mut all = Vec::with_capacity(n * IMAGE_LEN);
    for (i, record) in bytes.chunks_exact(record_len).enumerate() {
        let (labels, pixels) = record.split_at(kind.labels.len());
        for (k, (&label, &(what, n_classes))) in labels.iter().zip(kind.labels).enumerate() {
            if label >= n_classes {
                return Err(Error::file(
                    path,
                    Some((i * record_len + k) as u64),
                    format!("a {what} below {n_classes}"),
                    format!("{label} (image {i})"),
                    "check that the folder holds the set that --data names, and unpack it again",
                ));
            }
        }
        images.labels.extend(labels.last().map(|&label| u16::from(label)));
        all.extend_from_slice(pixels);
    }
    images.pixels = all.into();
    Ok(images)
}
