//! A data specification (`embedded`, `cifar10:DIR`, …) → images, their identity, and batches by step number.
//!
//! Every source ends in the same images as bytes ([`Images`]), in memory or on disk. Normalisation and augmentation
//! happen when a batch is made. A batch is a pure function of the data, the seed and the step
//! ([`BatchSource::batch`]), so that neither a resume nor the number of threads can change it.
//!
//! Left out on purpose: downloading.

mod account;
mod archive;
mod augment;
mod batch;
mod cache;
mod cifar;
mod classes;
mod colour;
mod decode;
mod disk;
mod embedded;
mod encoded;
mod files;
mod folder;
mod gather;
mod idx;
mod images;
mod labels;
mod many;
mod mnist;
mod npz;
mod parquet;
mod prefetch;
mod shards;
mod size;
mod spec;
mod tar;
mod walk;

use std::collections::BTreeMap;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use gather::Sums;
use spec::{Loaded, Need, Reading};

pub use account::{Account, PartRead, Role};
pub use augment::{Augment, Normalisation};
pub use batch::{
    Batch, BatchSource, Split, Splits, eval_batches, first_mixed_batches, mixed_batches, splits,
};
pub use cache::Cache;
pub use cifar::{CIFAR10, CIFAR100, CifarKind, parse_cifar, parse_cifar_archive, parse_python_cifar};
pub use classes::Classes;
pub use decode::read_scaled;
pub use disk::Disk;
pub use folder::DEFAULT_SIZE;
pub use idx::{
    parse_images as parse_idx_images, parse_int_labels as parse_idx_int_labels,
    parse_labels as parse_idx_labels,
};
pub use images::{Images, Pixels};
pub use many::{decode_ahead, image_files, reason, refused};
pub use npz::parse_npz;
pub use prefetch::Prefetch;
pub use size::Size;
pub use spec::{FORMS, HELP, SOURCES, Source, Spec, guess};

/// A data set: a training part, one or two other parts, and the identity of all.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The training part, which is cut into the search and the train split.
    pub train: Images,
    /// The held-out part. Checkpoints and results are chosen by it.
    pub test: Images,
    /// The part that `eval` reports. Nothing is chosen by it. `None` if `eval` reports the held-out part.
    pub report: Option<Images>,
    /// One name per class. Its length is the number of classes.
    pub class_names: Vec<String>,
    /// The identity that a run's manifest records.
    pub identity: Identity,
    /// The parts that were read, and the entries that were passed over.
    pub account: Account,
}

impl Dataset {
    /// The reported images: the report part, or else the held-out part.
    pub fn reported(&self) -> &Images {
        self.report.as_ref().unwrap_or(&self.test)
    }

    /// The reported images, without the other parts.
    pub fn into_reported(self) -> Reported {
        Reported {
            images: self.report.unwrap_or(self.test),
            class_names: self.class_names,
            account: self.account,
        }
    }

    fn new(spec: &Spec, loaded: Loaded) -> Self {
        let Loaded { train, test, report, class_names, places, passed_over, sums } = loaded;
        let all = [Some(&train), Some(&test), report.as_ref()];
        let (identity, sums) = Identity::of(spec.source.name(), all, class_names.len(), sums);
        let roles = [Role::Train, Role::HeldOut, Role::Report];
        let mut places =
            places.into_iter().map(Some).chain([Some(spec.place())]).chain(std::iter::repeat(None));
        let parts = (roles.into_iter().zip(all).zip(sums)).filter_map(|((role, images), sha256)| {
            let n = images?.n;
            Some(PartRead { role, place: places.next().flatten().unwrap_or_default(), n, sha256 })
        });
        let parts = parts.collect();
        let account = account(parts, class_names.len(), &train, passed_over);
        Self { train, test, report, class_names, identity, account }
    }
}

fn account(
    parts: Vec<PartRead>,
    n_classes: usize,
    images: &Images,
    passed_over: BTreeMap<String, usize>,
) -> Account {
    let Images { channels, height, width, .. } = *images;
    Account { parts, n_classes, channels, height, width, passed_over }
}

/// The reported images, without the other parts.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The images.
    pub images: Images,
    /// One name per class.
    pub class_names: Vec<String>,
    /// The parts that were read, and the entries that were passed over.
    pub account: Account,
}

/// Identity of a data set, without its location: two loads of the same data are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The kind in the specification: `embedded`, `cifar10`, …
    pub kind: String,
    /// Number of images in the training part.
    pub n_train: usize,
    /// Number of images in the held-out part.
    pub n_test: usize,
    /// Number of images in the report part. 0 if the held-out part is reported.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_report: usize,
    /// Channels of every image.
    pub channels: usize,
    /// Rows of every image.
    pub height: usize,
    /// Columns of every image.
    pub width: usize,
    /// Number of classes.
    pub n_classes: usize,
    /// SHA-256 (hexadecimal) over the pixels and labels (little-endian) of all parts, train first.
    pub sha256: String,
}

impl Identity {
    /// The identity of the parts train, held out and report, and the SHA-256 of each part. `sums` are the hashes if
    /// they are known.
    fn of(
        kind: &str,
        parts: [Option<&Images>; 3],
        n_classes: usize,
        sums: Option<Sums>,
    ) -> (Self, [String; 3]) {
        let Sums { all, parts: sums } = sums.unwrap_or_else(|| sums_of(parts));
        let n = |i: usize| parts[i].map_or(0, |part| part.n);
        let [channels, height, width] =
            parts[0].map_or([0; 3], |part| [part.channels, part.height, part.width]);
        let identity = Self {
            kind: kind.to_owned(),
            n_train: n(0),
            n_test: n(1),
            n_report: n(2),
            channels,
            height,
            width,
            n_classes,
            sha256: all,
        };
        (identity, sums)
    }

    /// The first difference as (name, value here, value there), or `None` if both are the same data. The kind of the source
    /// does not matter: a folder may have been packed.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let fields = |id: &Self| {
            [
                ("number of training images", id.n_train.to_string()),
                ("number of held-out images", id.n_test.to_string()),
                ("number of images to report", id.n_report.to_string()),
                ("channels", id.channels.to_string()),
                ("image height", id.height.to_string()),
                ("image width", id.width.to_string()),
                ("number of classes", id.n_classes.to_string()),
                ("sha256 of pixels and labels", id.sha256.clone()),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        pairs.filter(|(a, b)| a.1 != b.1).map(|((what, a), (_, b))| (what, a, b)).next()
    }
}

/// The hashes of images in memory.
fn sums_of(parts: [Option<&Images>; 3]) -> Sums {
    let mut all = Sha256::new();
    let mut sums = [(); 3].map(|()| String::new());
    for (i, part) in parts.iter().enumerate() {
        let Some(part) = part else { continue };
        add(&mut all, part);
        // After the first part, the hash of all parts equals the hash of the first part.
        sums[i] = if i == 0 { hexadecimal(all.clone()) } else { sha256(part) };
    }
    Sums { all: hexadecimal(all), parts: sums }
}

/// Adds the pixels and labels of `part`.
fn add(hash: &mut Sha256, part: &Images) {
    hash.update(part.bytes());
    for label in &part.labels {
        hash.update(label.to_le_bytes());
    }
}

fn sha256(part: &Images) -> String {
    let mut hash = Sha256::new();
    add(&mut hash, part);
    hexadecimal(hash)
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde asks for.
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Options of a source besides its specification. Sources of arrays use only `bases` and `wanted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Size to which `folder:` resizes its images; a square of [`DEFAULT_SIZE`] if not given.
    pub size: Option<Size>,
    /// Whether damaged images are counted as passed over. Otherwise they are an error that names them.
    pub skip_bad: bool,
    /// Whether a folder is read by the rules of version 0.1.0, for runs that this version began. By these rules only
    /// `png` and `jpeg` files are read. Links, folders in class folders, the orientation, and `val` beside `test` are
    /// ignored.
    pub before: bool,
    /// Number of threads that decode; 0: one per core. The images do not depend on it.
    pub threads: usize,
    /// The place where the resized images are kept; `None`: nowhere.
    pub cache: Option<Cache>,
    /// Most bytes of scaled images that are held in memory. More images stay on disk, and each is read when it is used.
    /// The images do not depend on it.
    pub memory_bytes: u64,
    /// Folders in which a relative place is looked up if it is not in the current folder.
    pub bases: Vec<PathBuf>,
    /// Identity of the expected data. It decides if the place exists in several of these folders. Without an identity
    /// the first place is used.
    pub wanted: Option<Identity>,
    /// SHA-256 of the reported part of `wanted`, if known. [`load_reported`] reads no other part to compare.
    pub wanted_part: Option<String>,
}

/// The default of [`LoadOptions::memory_bytes`] in MiB.
pub const MEMORY_MIB: usize = 256;

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            size: None,
            skip_bad: false,
            before: false,
            threads: 0,
            cache: None,
            memory_bytes: (MEMORY_MIB as u64) << 20,
            bases: vec![],
            wanted: None,
            wanted_part: None,
        }
    }
}

/// A listener to the progress of decoding. It is called with the number of decoded images and the number of all images
/// to decode, after each image, on the threads that decode.
pub type Watch<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Reads the data that `spec` names, in one of the [`FORMS`].
///
/// # Errors
/// [`Error::Usage`] for a text that is no specification, [`Error::File`] for missing or wrong data, [`Error::Io`] where
/// the operating system refuses.
pub fn load(spec: &str, opts: &LoadOptions) -> Result<Dataset> {
    load_watched(spec, opts, &|_, _| ())
}

/// Like [`load`], with a listener to the progress.
///
/// # Errors
/// The errors of [`load`].
pub fn load_watched(spec: &str, options: &LoadOptions, watch: Watch<'_>) -> Result<Dataset> {
    let is_wanted = |data: &Dataset| options.wanted.as_ref().is_none_or(|wanted| data.identity == *wanted);
    nearest(spec, options, is_wanted, |spec| {
        let loaded = (spec.source.load)(&spec.dir, &Reading { options, need: Need::All, watch })?;
        Ok(Dataset::new(spec, loaded))
    })
}

/// Like [`load_watched`], but returns only the part that is reported ([`Dataset::reported`]). Of a folder only this
/// part is decoded.
///
/// # Errors
/// The errors of [`load`].
pub fn load_reported(spec: &str, options: &LoadOptions, watch: Watch<'_>) -> Result<Reported> {
    let is_wanted = |data: &Reported| {
        let images = &data.images;
        options.wanted.as_ref().is_none_or(|wanted| {
            let n = if wanted.n_report > 0 { wanted.n_report } else { wanted.n_test };
            let extents = [images.channels, images.height, images.width];
            let part = data.account.parts.first().map(|part| &part.sha256);
            let is_known = options.wanted_part.as_ref().is_none_or(|sha256| part == Some(sha256));
            is_known && images.n == n && extents == [wanted.channels, wanted.height, wanted.width]
        })
    };
    nearest(spec, options, is_wanted, |spec| {
        let loaded = (spec.source.load)(&spec.dir, &Reading { options, need: Need::Reported, watch })?;
        Ok(reported(spec, loaded))
    })
}

/// Reads `spec` with `read` at each place that exists, and returns the first result that `is_wanted` accepts. If no
/// result is accepted, the result at the first existing place is returned.
fn nearest<T>(
    spec: &str,
    options: &LoadOptions,
    is_wanted: impl Fn(&T) -> bool,
    read: impl Fn(&Spec) -> Result<T>,
) -> Result<T> {
    let spec: Spec = spec.parse()?;
    let places = spec.places(&options.bases);
    let mut there: Vec<PathBuf> = places.iter().filter(|place| spec.is_at(place)).cloned().collect();
    if there.is_empty() && places.len() > 1 {
        let tried: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let found = format!("nothing of that name; tried {}", tried.join(", "));
        let try_this = "--data SPEC with the place where the data are now";
        return Err(Error::file(&spec.dir, None, "the folder or the file of the data", found, try_this));
    }
    if there.is_empty() {
        there.push(spec.dir.clone());
    }
    let read = |dir: PathBuf| read(&Spec { source: spec.source, dir });
    let is_right = |data: &Result<T>| data.as_ref().is_ok_and(&is_wanted);
    let mut there = there.into_iter();
    let first = there.next().map_or_else(|| read(spec.dir.clone()), read);
    if is_right(&first) {
        return first;
    }
    there.map(read).find(is_right).unwrap_or(first)
}

fn reported(spec: &Spec, loaded: Loaded) -> Reported {
    let Loaded { test, report, class_names, places, passed_over, sums, .. } = loaded;
    let at = if report.is_some() { 2 } else { 1 };
    let role = if report.is_some() { Role::Report } else { Role::HeldOut };
    let images = report.unwrap_or(test);
    let place = match places.as_slice() {
        [all, .., part] if part.is_empty() => all.clone(),
        [all, .., part] if !part.ends_with('/') => format!("{part} of {all}"),
        [.., part] => part.clone(),
        [] => spec.place(),
    };
    let sha256 = sums.map_or_else(|| sha256(&images), |sums| sums.parts[at].clone());
    let part = PartRead { role, place, n: images.n, sha256 };
    let account = account(vec![part], class_names.len(), &images, passed_over);
    Reported { images, class_names, account }
}
