//! A data specification (`embedded`, `cifar10:DIR`, …) → images, their identity, and batches by step number.
//!
//! Every source ends in the same plain arrays of bytes ([`Images`]). Normalisation and augmentation
//! happen when a batch is made. A batch is a pure function of the data, the seed and the step
//! ([`BatchSource::batch`]), so that neither a resume nor the number of threads can change it.
//!
//! Left out on purpose: downloading, and image sets that do not fit in memory as bytes.

mod augment;
mod batch;
mod cifar;
mod colour;
mod embedded;
mod files;
mod folder;
mod idx;
mod prefetch;
mod spec;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

pub use augment::{Augment, Normalisation};
pub use batch::{Batch, BatchSource, Part, Split, eval_batches, first_mixed_batches, mixed_batches, split};
pub use cifar::{CIFAR10, CIFAR100, CifarKind, parse_cifar, parse_python_cifar};
pub use folder::{DEFAULT_SIZE, read_scaled};
pub use idx::{parse_images as parse_idx_images, parse_labels as parse_idx_labels};
pub use prefetch::Prefetch;
pub use spec::{FORMS, HELP, SOURCES, Source, Spec};

/// Labelled images as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images N.
    pub n: usize,
    /// Channels C: 1 or 3.
    pub channels: usize,
    /// Rows H.
    pub height: usize,
    /// Columns W.
    pub width: usize,
    /// `[N][C][H][W]`, 0 = black, 255 = full.
    pub pixels: Vec<u8>,
    /// `[N]`, below the number of classes.
    pub labels: Vec<u16>,
}

impl Images {
    /// Bytes of one image: C·H·W.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The bytes `[C][H][W]` of image `i`.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.image_len()..(i + 1) * self.image_len()]
    }
}

/// A data set in memory: a training part, a held-out part, and the identity of both.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The training part, which is cut into the search and the train split.
    pub train: Images,
    /// The held-out part.
    pub test: Images,
    /// One name per class. Its length is the number of classes.
    pub class_names: Vec<String>,
    /// The identity that a run's manifest records.
    pub identity: Identity,
}

impl Dataset {
    fn new(kind: &str, train: Images, test: Images, class_names: Vec<String>) -> Self {
        let identity = Identity::of(kind, &train, &test, class_names.len());
        Self { train, test, class_names, identity }
    }
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
    /// Channels of every image.
    pub channels: usize,
    /// Rows of every image.
    pub height: usize,
    /// Columns of every image.
    pub width: usize,
    /// Number of classes.
    pub n_classes: usize,
    /// SHA-256 (hexadecimal) over the pixels and labels (little-endian) of both parts, train first.
    pub sha256: String,
}

impl Identity {
    fn of(kind: &str, train: &Images, test: &Images, n_classes: usize) -> Self {
        let mut hash = Sha256::new();
        for part in [train, test] {
            hash.update(&part.pixels);
            for label in &part.labels {
                hash.update(label.to_le_bytes());
            }
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            kind: kind.to_owned(),
            n_train: train.n,
            n_test: test.n,
            channels: train.channels,
            height: train.height,
            width: train.width,
            n_classes,
            sha256,
        }
    }

    /// The first difference as (name, value here, value there), or `None` if both are the same data.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let fields = |id: &Self| {
            [
                ("kind of data", id.kind.clone()),
                ("number of training images", id.n_train.to_string()),
                ("number of held-out images", id.n_test.to_string()),
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

/// Options of a source besides its specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Side in pixels to which `folder:` resizes its images; [`DEFAULT_SIZE`] if not given. Other
    /// sources have a fixed size and ignore this option.
    pub size: Option<usize>,
}

/// Reads the data that `spec` names, in one of the [`FORMS`].
///
/// # Errors
/// [`Error::Usage`] for a text that is no specification, [`Error::File`] for missing or wrong data, [`Error::Io`] where
/// the operating system refuses.
pub fn load(spec: &str, opts: &LoadOptions) -> Result<Dataset> {
    load_near(spec, opts, &[], None)
}

/// Reads the data that `spec` names. A relative folder is looked for as it is written and below each of `bases`. If it is
/// in several of these places, the place with the data `wanted` is taken, or else the first.
///
/// # Errors
/// The errors of [`load`]. If the folder is nowhere, the error lists the places.
pub fn load_near(
    spec: &str,
    opts: &LoadOptions,
    bases: &[PathBuf],
    wanted: Option<&Identity>,
) -> Result<Dataset> {
    let spec: Spec = spec.parse()?;
    let places = spec.places(bases);
    let mut there: Vec<&PathBuf> = places.iter().filter(|place| place.exists()).collect();
    if there.is_empty() && places.len() > 1 {
        let tried: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let found = format!("nothing of that name; tried {}", tried.join(", "));
        let try_this = "--data SPEC with the place where the data are now";
        return Err(Error::file(&spec.dir, None, "the folder of the data", found, try_this));
    }
    if there.is_empty() {
        there.push(&spec.dir);
    }
    let read = |place: &Path| {
        let (train, test, class_names) = (spec.source.load)(place, opts)?;
        Ok(Dataset::new(spec.source.name(), train, test, class_names))
    };
    let first = read(there[0]);
    let is_wanted = |data: &Result<Dataset>| {
        data.as_ref().is_ok_and(|data| wanted.is_none_or(|wanted| data.identity == *wanted))
    };
    if is_wanted(&first) {
        return first;
    }
    there[1..].iter().map(|place| read(place)).find(is_wanted).unwrap_or(first)
}
