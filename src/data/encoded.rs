//! Images before they are decoded: where their files are, their classes, and the parts of a data set.

use std::fmt::Debug;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::Sha256;

use crate::error::{Error, Result};

/// Called with an index into the wanted positions, and the bytes of the image there.
pub(super) type See<'a> = &'a mut dyn FnMut(usize, Result<&[u8]>);

/// Encoded images, known by their positions.
pub(super) trait Encoded: Debug + Send + Sync {
    /// The file of an image, for messages.
    fn path(&self, at: usize) -> PathBuf;

    /// Bytes of an encoded image. An estimate is enough.
    fn len(&self, at: usize) -> u64;

    /// Adds to `hash` what changes when the image changes: names, lengths and times of files.
    fn stamp(&self, at: usize, hash: &mut Sha256);

    /// Reads the images at the positions `at`, which ascend, and shows them in this order.
    fn read(&self, at: &[u32], see: See<'_>);
}

/// The time of the last change in nanoseconds since 1970; 0 if unknown.
pub(super) fn modified(meta: &Metadata) -> u128 {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos())
}

/// The time of the last change of the entry (its name, its rights, its content) in nanoseconds since 1970; 0 if unknown.
/// Unlike the time of the content, programs cannot set it.
pub(super) fn changed(meta: &Metadata) -> u128 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec())).unsigned_abs()
    }
    #[cfg(not(unix))]
    {
        _ = meta;
        0
    }
}

/// Fails if a file has another length or time than when it was listed.
pub(super) fn unchanged(path: &Path, listed: (u64, u128), meta: &Metadata) -> Result<()> {
    if (meta.len(), modified(meta)) == listed {
        return Ok(());
    }
    let expected = format!("the file of {} bytes that was there at the start", listed.0);
    let found = format!("another one of {} bytes", meta.len());
    Err(Error::file(path, None, expected, found, "restore the file, or start again"))
}

/// Positions of images with their classes.
pub(super) type Listed = Vec<(u32, u16)>;

/// A part of the images.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Its place, for the account.
    pub place: String,
    pub listed: Listed,
}

/// The images of a source, before they are decoded.
#[derive(Debug)]
pub(super) struct Layout {
    pub train: Part,
    pub held_out: Part,
    pub report: Option<Part>,
    /// Names of the classes.
    pub names: Vec<String>,
}

/// Names of the parts in lower case.
pub(super) const TRAIN: &[&str] = &["train", "training"];
pub(super) const VAL: &[&str] = &["val", "valid", "validation", "dev"];
pub(super) const TEST: &[&str] = &["test", "testing"];

/// Holds out every fifth image of each class; of two to four images the last one. The order stays. `root` is for the
/// message.
pub(super) fn hold_out(root: &Path, place: String, listed: Listed, names: Vec<String>) -> Result<Layout> {
    let (mut totals, mut seen) = (vec![0; names.len()], vec![0; names.len()]);
    listed.iter().for_each(|(_, class)| totals[usize::from(*class)] += 1);
    let (held_out, train): (Listed, Listed) = listed.into_iter().partition(|(_, class)| {
        let (n, i) = (totals[usize::from(*class)], seen[usize::from(*class)]);
        seen[usize::from(*class)] += 1;
        i % 5 == 4 || ((2..5).contains(&n) && i == n - 1)
    });
    if held_out.is_empty() {
        let hint = "at least two images in some class, or train/ and val/ folders";
        return Err(Error::file(root, None, "images to hold out", "one image per class", hint));
    }
    let train = Part { place, listed: train };
    let held_out = Part { place: "every fifth image".into(), listed: held_out };
    Ok(Layout { train, held_out, report: None, names })
}
