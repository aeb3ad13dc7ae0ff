//! IDX files (the MNIST family, gzipped or not) → images.
//!
//! An IDX file is a big-endian header (two zero bytes, the element type, the number of dimensions,
//! then each dimension as u32), followed by the elements. Offsets in errors count the unpacked bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{Images, files};
use crate::error::{Error, Result};

/// Type u8 (0x08), three dimensions: images.
const IMAGES_MAGIC: u32 = 0x0803;
/// Type u8 (0x08), one dimension: labels.
const LABELS_MAGIC: u32 = 0x0801;
/// No image set that should fit in memory is larger. The limit also stops a gzip bomb.
const MAX_BYTES: u64 = 2 << 30;
const AGAIN: &str = "download or copy the file again";

/// Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the files with `t10k-` or `test-` in place of
/// `train-`, each with or without `.gz`. The number of classes is the highest training label plus one.
pub(super) fn load(dir: &Path) -> Result<(Images, Images, Vec<String>)> {
    files::check_dir(
        dir,
        "the IDX files train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], t10k-…",
    )?;
    let (train, train_labels) = load_part(dir, &["train"])?;
    let (test, test_labels) = load_part(dir, &["t10k", "test"])?;
    if (train.height, train.width) != (test.height, test.width) {
        return Err(Error::file(
            find(dir, &["t10k", "test"], "images", 3),
            Some(8),
            format!("images of {}x{} as in the training part", train.height, train.width),
            format!("{}x{}", test.height, test.width),
            "files of one data set in one folder",
        ));
    }
    let n_classes = check_labels(&train_labels, &train.labels)?;
    if let Some(i) = test.labels.iter().position(|&label| label as usize >= n_classes) {
        return Err(label_error(
            &test_labels,
            i,
            test.labels[i],
            format!("a label below {n_classes}: the training labels end at {}", n_classes - 1),
        ));
    }
    Ok((train, test, (0..n_classes).map(|class| class.to_string()).collect()))
}

/// The number of classes. IDX files do not contain it, so a label beyond a gap is treated as damage. With 20 images
/// per class or more, every class from 1 up to the highest must occur (some sets count from 1). With fewer images, at
/// least half of the classes must occur.
fn check_labels(path: &Path, labels: &[u16]) -> Result<usize> {
    let mut first: Vec<Option<usize>> = vec![None; 256];
    for (i, &label) in labels.iter().enumerate() {
        first[label as usize].get_or_insert(i);
    }
    let present: Vec<(usize, usize)> =
        first.iter().enumerate().filter_map(|(class, at)| at.map(|i| (class, i))).collect();
    let (highest, at) = present.last().copied().unwrap_or((0, 0));
    if present.len() < 2 {
        let found = format!("label {highest} for all {} images", labels.len());
        let hint = "a data set with more classes; there is nothing to learn from this one";
        return Err(Error::file(path, Some(8), "labels of at least two classes", found, hint));
    }
    let gap = (1..highest).any(|class| first[class].is_none());
    let plenty = labels.len() >= 20 * (highest + 1);
    if present.len() * 2 < highest + 1 || (plenty && gap) {
        let expected = format!("labels without gaps (only {} values occur)", present.len());
        return Err(label_error(path, at, highest as u16, expected));
    }
    Ok(highest + 1)
}

fn label_error(path: &Path, i: usize, label: u16, expected: String) -> Error {
    let hint = "check that this is the label file of the same data set, and copy it again";
    Error::file(path, Some(8 + i as u64), expected, format!("label {label} for image {i}"), hint)
}

fn load_part(dir: &Path, prefixes: &[&str]) -> Result<(Images, PathBuf)> {
    let read = |what: &str, dims: usize| -> Result<(PathBuf, Vec<u8>)> {
        let path = find(dir, prefixes, what, dims);
        let missing = format!("all four files are needed; {}.gz is read too", path.display());
        let bytes = files::read(&path, MAX_BYTES, &format!("an IDX file of {what}"), &missing)?;
        Ok((path, bytes))
    };
    let (image_path, bytes) = read("images", 3)?;
    let images = parse_images(&image_path, &bytes)?;
    let (label_path, bytes) = read("labels", 1)?;
    let labels = parse_labels(&label_path, &bytes)?;
    Ok((assemble(&image_path, images, &label_path, labels)?, label_path))
}

/// The first of the possible file names that exists, or the usual name for the error message.
fn find(dir: &Path, prefixes: &[&str], what: &str, dims: usize) -> PathBuf {
    let spellings = prefixes.iter().flat_map(|prefix| {
        ["-", "."].into_iter().flat_map(move |sep| {
            ["", ".gz"].map(|end| dir.join(format!("{prefix}-{what}{sep}idx{dims}-ubyte{end}")))
        })
    });
    let usual = dir.join(format!("{}-{what}-idx{dims}-ubyte", prefixes[0]));
    spellings.into_iter().find(|path| files::exists(path)).unwrap_or(usual)
}

/// Joins the images and labels of one part. Their numbers must be equal.
pub(super) fn assemble(
    image_path: &Path,
    ([n, height, width], pixels): ([usize; 3], Vec<u8>),
    label_path: &Path,
    labels: Vec<u8>,
) -> Result<Images> {
    if labels.len() != n {
        return Err(Error::file(
            label_path,
            Some(4),
            format!("{n} labels, one for each image of {}", image_path.display()),
            format!("{} labels", labels.len()),
            "files of one data set in one folder",
        ));
    }
    Ok(Images {
        n,
        channels: 1,
        height,
        width,
        pixels: pixels.into(),
        labels: labels.into_iter().map(u16::from).collect(),
    })
}

/// The bytes of an IDX image file, gzipped or not → (`[N, H, W]`, pixels); `path` is for messages only.
///
/// # Errors
/// [`Error::File`] with the offset in the unpacked content.
pub fn parse_images(path: &Path, bytes: &[u8]) -> Result<([usize; 3], Vec<u8>)> {
    parse(path, bytes, IMAGES_MAGIC, "images")
}

/// The bytes of an IDX label file, gzipped or not → labels `[N]`; `path` is for messages only.
///
/// # Errors
/// [`Error::File`] with the offset in the unpacked content.
pub fn parse_labels(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    parse::<1>(path, bytes, LABELS_MAGIC, "labels").map(|(_, labels)| labels)
}

fn parse<const D: usize>(path: &Path, bytes: &[u8], magic: u32, what: &str) -> Result<([usize; D], Vec<u8>)> {
    let gz = bytes.starts_with(&[0x1f, 0x8b]);
    let mut reader: Box<dyn Read + '_> =
        if gz { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
    let header_len = 4 + 4 * D as u64;

    let header = fill(path, reader.as_mut(), header_len, 0)?;
    if header.len() < header_len as usize {
        let expected = format!("an IDX header of {header_len} bytes");
        return Err(Error::file(path, Some(0), expected, format!("{} bytes in all", header.len()), AGAIN));
    }
    let word =
        |i: usize| header[4 * i..4 * i + 4].iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
    if word(0) != magic {
        let hint = match word(0) {
            IMAGES_MAGIC => "this file holds images: check which file has which name",
            LABELS_MAGIC => "this file holds labels: check which file has which name",
            _ => "check that this is an IDX file of unsigned bytes",
        };
        let expected = format!("magic number {magic:#010x} (IDX, {what})");
        return Err(Error::file(path, Some(0), expected, format!("{:#010x}", word(0)), hint));
    }
    let mut dims = [0usize; D];
    let mut claimed = Some(1u64);
    for (i, dim) in dims.iter_mut().enumerate() {
        *dim = word(i + 1) as usize;
        claimed = claimed.and_then(|len| len.checked_mul(u64::from(word(i + 1))));
        if *dim == 0 {
            let expected = format!("a dimension of {what} above 0");
            return Err(Error::file(path, Some(4 + 4 * i as u64), expected, "0", AGAIN));
        }
    }
    // The size in the header only limits reading. It is never used as the size of an allocation.
    let Some(claimed) = claimed.filter(|&len| len <= MAX_BYTES) else {
        let expected = format!("{what} of at most {MAX_BYTES} bytes");
        return Err(Error::file(path, Some(4), expected, format!("dimensions {dims:?}"), AGAIN));
    };
    let data = fill(path, reader.as_mut(), claimed + 1, header_len)?;
    let found = data.len() as u64;
    if found != claimed {
        let expected = format!("{claimed} bytes of {what} after the header, as its dimensions {dims:?} say");
        let (offset, found) = if found < claimed {
            (header_len + found, format!("the end after {found} (truncated)"))
        } else {
            (header_len + claimed, "more".to_owned())
        };
        return Err(Error::file(path, Some(offset), expected, found, AGAIN));
    }
    Ok((dims, data))
}

/// At most `max` bytes from `reader`, whose position is `offset` of the unpacked content.
fn fill(path: &Path, reader: &mut dyn Read, max: u64, offset: u64) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    let read = reader.take(max).read_to_end(&mut data);
    read.map_err(|e| {
        let found = format!("damaged gzip data at that byte of the unpacked content ({e})");
        Error::file(path, Some(offset + data.len() as u64), "intact gzip data", found, AGAIN)
    })?;
    Ok(data)
}
