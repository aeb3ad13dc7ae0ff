//! CIFAR-10 and CIFAR-100, in the binary version or in the Python version (which torchvision unpacks) → images. The files
//! are in a folder or in the published archive.
//!
//! A binary file is a sequence of records: one label byte (CIFAR-100: coarse, then fine) and 3072 pixel bytes,
//! `[3][32][32]`. The files do not contain counts, so truncation shows as a broken record or as a file
//! that differs from its siblings. A file of the Python version is a pickled dict with the array `data`, `[N][3072]`, and
//! a list of labels.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::spec::Loaded;
use super::{Images, archive, files};
use crate::error::{Error, Result};
use crate::files::pickle::{self, Dtype, Value};

const SIDE: usize = 32;
const AGAIN: &str = "unpack or download the archive again";
const OTHER: &str = "check that this is the archive of the set that --data names, and download it again";
/// Bytes of a file with the names of the classes, at most.
const MAX_NAMES: u64 = 1 << 20;
/// Bytes of an archive beside those of the images, at most.
const MAX_OTHERS: u64 = 16 << 20;
const IMAGE_LEN: usize = 3 * SIDE * SIDE;

/// One of the two archives of a set.
#[derive(Debug)]
struct Version {
    /// The archive.
    archive: &'static str,
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
        archive: "cifar-10-binary.tar.gz",
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
        archive: "cifar-10-python.tar.gz",
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
        archive: "cifar-100-binary.tar.gz",
        archive_dir: "cifar-100-binary",
        train_files: &["train.bin"],
        test_file: "test.bin",
        names_file: "fine_label_names.txt",
    },
    python: Version {
        archive: "cifar-100-python.tar.gz",
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

    fn versions(&self) -> [&Version; 2] {
        [&self.binary, &self.python]
    }

    fn is_python(&self, version: &Version) -> bool {
        std::ptr::eq(version, &raw const self.python)
    }

    /// The largest number of bytes of a file with at most `n` images.
    fn max_bytes(&self, is_python: bool, n: usize) -> u64 {
        // Beside the pixels a file of the Python version has the names of the images and lists of labels.
        (if is_python { 2 * n * IMAGE_LEN } else { n * self.record_len() }) as u64
    }

    fn parse(&self, is_python: bool, path: &Path, bytes: &[u8]) -> Result<Images> {
        if is_python { parse_python_cifar(self, path, bytes) } else { parse_cifar(self, path, bytes) }
    }
}

impl Version {
    /// The files with images, the test file last.
    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train_files.iter().copied().chain([self.test_file])
    }
}

/// Reads the files of `kind` in the folder `place`, in the folder of an archive inside `place`, or in the archive
/// `place`. If both versions exist, the binary one is read. Files in a folder come before an archive.
pub(super) fn load(kind: &CifarKind, place: &Path) -> Result<Loaded> {
    if place.is_file() {
        return load_archive(kind, place);
    }
    let [binary, python] = kind.versions();
    let first = binary.train_files[0];
    let expected =
        format!("{first} and its siblings, or the archive {} or {}", binary.archive, python.archive);
    files::check_dir(place, &expected)?;
    let places = kind
        .versions()
        .into_iter()
        .flat_map(|version| [place.to_owned(), place.join(version.archive_dir)].map(|dir| (version, dir)));
    let found = places.clone().find(|(version, dir)| files::exists(&dir.join(version.train_files[0])));
    let named = || places.clone().find(|(_, dir)| dir != place && files::exists(dir));
    let found = found.or_else(named);
    if found.is_none()
        && let Some(path) = archive_in(kind, place)
    {
        return load_archive(kind, &path);
    }
    let (version, dir) = found.unwrap_or((binary, place.to_owned()));

    let is_python = kind.is_python(version);
    let (official_train, official_test) = kind.official;
    let train = version.train_files.iter().map(|name| read(kind, is_python, &dir.join(name), official_train));
    let train = train.collect::<Result<_>>()?;
    let test = read(kind, is_python, &dir.join(version.test_file), official_test)?;
    let path = dir.join(version.names_file);
    let names = if files::exists(&path) {
        let bytes = files::read(&path, MAX_NAMES, "the names of the classes", AGAIN)?;
        Some((path, bytes))
    } else {
        None
    };
    Ok(joined(kind, is_python, train, test, names)?.into())
}

/// The archive of `kind` in the folder `dir`.
pub(super) fn archive_in(kind: &CifarKind, dir: &Path) -> Option<PathBuf> {
    kind.versions().map(|version| dir.join(version.archive)).into_iter().find(|path| path.is_file())
}

fn load_archive(kind: &CifarKind, path: &Path) -> Result<Loaded> {
    let file = std::fs::File::open(path).map_err(|e| Error::io("read", path, e))?;
    let (train, test, names, test_file) = read_archive(kind, path, BufReader::new(file))?;
    let mut loaded = Loaded::from((train, test, names));
    loaded.places =
        vec![path.file_name().unwrap_or_default().to_string_lossy().into_owned(), test_file.into()];
    Ok(loaded)
}

/// The bytes of an archive of `kind`, gzipped or not → training images, test images and the names of the classes;
/// `path` is for messages only.
///
/// # Errors
/// [`Error::File`] for a damaged archive, for a missing or damaged member, and the errors of [`parse_cifar`] and
/// [`parse_python_cifar`], whose path ends in the name of the member.
pub fn parse_cifar_archive(
    kind: &CifarKind,
    path: &Path,
    archive: impl BufRead,
) -> Result<(Images, Images, Vec<String>)> {
    read_archive(kind, path, archive).map(|(train, test, names, _)| (train, test, names))
}

/// The parts, the names of the classes, and the name of the file of the second part.
fn read_archive(
    kind: &CifarKind,
    path: &Path,
    archive: impl BufRead,
) -> Result<(Images, Images, Vec<String>, &'static str)> {
    let (official_train, official_test) = kind.official;
    let of =
        |name: &str| kind.versions().into_iter().find(|version| version.files().any(|file| file == name));
    let max_bytes = |name: &str| match of(name) {
        Some(version) => {
            let n = if name == version.test_file { official_test } else { official_train };
            Some(kind.max_bytes(kind.is_python(version), n))
        }
        None => kind.versions().iter().any(|version| version.names_file == name).then_some(MAX_NAMES),
    };
    let (mut images, mut names) = (BTreeMap::new(), BTreeMap::new());
    let take = |name: &str, bytes: Vec<u8>| {
        let place = path.join(name);
        match of(name) {
            Some(version) => {
                let part = kind.parse(kind.is_python(version), &place, &bytes)?;
                images.insert(name.to_owned(), (place, part));
            }
            None => _ = names.insert(name.to_owned(), (place, bytes)),
        }
        Ok(())
    };
    let n_images = kind.binary.train_files.len() * official_train + official_test;
    let max_total = 2 * (n_images * IMAGE_LEN) as u64 + MAX_OTHERS;
    let n_members = archive::each_member(path, archive, max_total, max_bytes, take)?;

    let has = |version: &&Version| version.files().any(|name| images.contains_key(name));
    let version = kind.versions().into_iter().find(has);
    let Some(version) = version else {
        let expected = format!("the member {} or {}", kind.binary.train_files[0], kind.python.train_files[0]);
        let found = format!("no such member among {n_members}");
        return Err(Error::file(path, None, expected, found, OTHER));
    };
    let mut part = |name: &str| {
        let missing = || Error::file(path, None, format!("the member {name}"), "no such member", OTHER);
        images.remove(name).ok_or_else(missing)
    };
    let train = version.train_files.iter().map(|name| part(name)).collect::<Result<_>>()?;
    let test = part(version.test_file)?;
    let names = names.remove(version.names_file);
    let (train, test, names) = joined(kind, kind.is_python(version), train, test, names)?;
    Ok((train, test, names, version.test_file))
}

/// The parts and the names of the classes. `names` is the file of the names, if there is one.
fn joined(
    kind: &CifarKind,
    is_python: bool,
    files: Vec<(PathBuf, Images)>,
    (test_path, test): (PathBuf, Images),
    names: Option<(PathBuf, Vec<u8>)>,
) -> Result<(Images, Images, Vec<String>)> {
    // Records of the Python version have no place of their own in the file.
    let record_len = (!is_python).then(|| kind.record_len());
    // The median count: one damaged file among five does not change it.
    let mut sorted: Vec<usize> = files.iter().map(|(_, part)| part.n).collect();
    sorted.sort_unstable();
    let usual = sorted[sorted.len() / 2];
    for (path, part) in &files {
        check_count(record_len, path, part.n, usual, "as most of its siblings have")?;
    }
    // If one part has its official size and the other part does not, the other part was cut short. A user's own smaller
    // set is accepted.
    let (official_train, official_test) = kind.official;
    if usual == official_train {
        check_count(record_len, &test_path, test.n, official_test, "as the original has")?;
    } else if test.n == official_test && files.len() == 1 {
        check_count(record_len, &files[0].0, usual, official_train, "as the original has")?;
    }
    let (mut train, mut pixels) = (empty(), Vec::new());
    for (_, part) in files {
        train.n += part.n;
        pixels.extend_from_slice(part.bytes());
        train.labels.extend(part.labels);
    }
    train.pixels = pixels.into();
    let names = match names {
        Some((path, bytes)) if is_python => python_names(kind, &path, &bytes)?,
        Some((path, bytes)) => files::class_names(&path, &bytes, kind.n_classes())?,
        None if kind.default_names.is_empty() => {
            (0..kind.n_classes()).map(|class| format!("class {class}")).collect()
        }
        None => kind.default_names.iter().map(|&name| name.to_owned()).collect(),
    };
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

fn read(kind: &CifarKind, is_python: bool, path: &Path, max_images: usize) -> Result<(PathBuf, Images)> {
    let missing = format!(
        "unpack the set; its folder is called {} or {}",
        kind.binary.archive_dir, kind.python.archive_dir
    );
    let what = if is_python {
        "a pickled CIFAR file".to_owned()
    } else {
        format!("a CIFAR file of {}-byte records", kind.record_len())
    };
    let bytes = files::read(path, kind.max_bytes(is_python, max_images), &what, &missing)?;
    Ok((path.to_owned(), kind.parse(is_python, path, &bytes)?))
}

/// The names of the classes in a pickled dict.
fn python_names(kind: &CifarKind, path: &Path, bytes: &[u8]) -> Result<Vec<String>> {
    let meta = pickle::parse(bytes, path)?;
    let key = kind.python_keys[1];
    let names: Option<Vec<String>> = match meta.get(key) {
        Some(Value::List(names)) => names.iter().map(|name| name.as_text().map(str::to_owned)).collect(),
        _ => None,
    };
    let wanted = kind.n_classes();
    names
        .filter(|names| names.len() == wanted)
        .ok_or_else(|| Error::file(path, None, format!("a list `{key}` of {wanted} names"), "none", AGAIN))
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
