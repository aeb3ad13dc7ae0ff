//! The binary versions of CIFAR-10 and CIFAR-100 → images.
//!
//! A file is a sequence of records: one label byte (CIFAR-100: coarse, then fine) and 3072 pixel bytes,
//! `[3][32][32]`. The files do not contain counts, so truncation shows as a broken record or as a file
//! that differs from its siblings.

use std::path::{Path, PathBuf};

use super::{Images, files};
use crate::error::{Error, Result};

const SIDE: usize = 32;
const IMAGE_LEN: usize = 3 * SIDE * SIDE;

/// The differences between the two sets.
#[derive(Debug)]
pub struct CifarKind {
    /// The folder inside the archive.
    archive_dir: &'static str,
    train_files: &'static [&'static str],
    test_file: &'static str,
    names_file: &'static str,
    /// A file of the Python version, to tell users that they have the other archive.
    python_file: &'static str,
    /// The label bytes before the pixels, as (name of the label, number of classes). The last one is used.
    labels: &'static [(&'static str, u8)],
    /// Records of one training file and of the test file in the official archive.
    official: (usize, usize),
    default_names: &'static [&'static str],
}

/// CIFAR-10.
pub const CIFAR10: CifarKind = CifarKind {
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
    python_file: "data_batch_1",
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
    archive_dir: "cifar-100-binary",
    train_files: &["train.bin"],
    test_file: "test.bin",
    names_file: "fine_label_names.txt",
    python_file: "train",
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

/// Reads the files of `kind` in `dir`, or in the folder of the archive inside `dir`.
pub(super) fn load(kind: &CifarKind, dir: &Path) -> Result<(Images, Images, Vec<String>)> {
    files::check_dir(dir, &format!("{} and its siblings", kind.train_files[0]))?;
    let inside = dir.join(kind.archive_dir);
    let nested = !files::exists(&dir.join(kind.train_files[0])) && files::exists(&inside);
    let dir = if nested { inside } else { dir.to_owned() };

    let mut train = empty();
    let mut counts = Vec::new();
    for name in kind.train_files {
        let (path, part) = read(kind, &dir, name, kind.official.0)?;
        counts.push((path, part.n));
        train.n += part.n;
        train.pixels.extend(part.pixels);
        train.labels.extend(part.labels);
    }
    let (test_path, test) = read(kind, &dir, kind.test_file, kind.official.1)?;

    // The median count: one damaged file among five does not change it.
    let mut sorted: Vec<usize> = counts.iter().map(|&(_, n)| n).collect();
    sorted.sort_unstable();
    let usual = sorted[sorted.len() / 2];
    for (path, n) in &counts {
        check_count(kind, path, *n, usual, "as most of its siblings have")?;
    }
    // If one part has its official size and the other does not, the other was cut short. Smaller sets of a user are
    // fine.
    let (official_train, official_test) = kind.official;
    if usual == official_train {
        check_count(kind, &test_path, test.n, official_test, "as the original has")?;
    } else if test.n == official_test && kind.train_files.len() == 1 {
        check_count(kind, &counts[0].0, usual, official_train, "as the original has")?;
    }
    let names = files::class_names(&dir.join(kind.names_file), kind.n_classes())?.unwrap_or_else(|| {
        let numbered = (0..kind.n_classes()).map(|class| format!("class {class}"));
        let known = kind.default_names.iter().map(|&name| name.to_owned());
        if kind.default_names.is_empty() { numbered.collect() } else { known.collect() }
    });
    Ok((train, test, names))
}

fn check_count(kind: &CifarKind, path: &Path, n: usize, expected: usize, why: &str) -> Result<()> {
    if n == expected {
        return Ok(());
    }
    Err(Error::file(
        path,
        Some((n.min(expected) * kind.record_len()) as u64),
        format!("{expected} images, {why}"),
        format!("{n} images"),
        "unpack or download the archive again",
    ))
}

fn read(kind: &CifarKind, dir: &Path, name: &str, max_records: usize) -> Result<(PathBuf, Images)> {
    let path = dir.join(name);
    let missing = if files::exists(&dir.join(kind.python_file)) {
        "this is the Python version of the set; the binary version is needed".to_owned()
    } else {
        format!("unpack the binary version of the set; its folder is called {}", kind.archive_dir)
    };
    let what = format!("a CIFAR file of {}-byte records", kind.record_len());
    let bytes = files::read(&path, (max_records * kind.record_len()) as u64, &what, &missing)?;
    let images = parse_cifar(kind, &path, &bytes)?;
    Ok((path, images))
}

fn empty() -> Images {
    Images { n: 0, channels: 3, height: SIDE, width: SIDE, pixels: vec![], labels: vec![] }
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
            "unpack or download the archive again",
        ));
    }
    let mut images = empty();
    images.n = n;
    images.pixels.reserve_exact(n * IMAGE_LEN);
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
        images.pixels.extend_from_slice(pixels);
    }
    Ok(images)
}
