//! An IDX file, gzipped or not → images or labels. [`super::mnist`] has the names of the files.
//!
//! An IDX file is a big-endian header (two zero bytes, the element type, the number of dimensions,
//! then each dimension as u32), followed by the elements. Offsets in errors count the unpacked bytes.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::Images;
use crate::error::{Error, Result};

/// Type u8 (0x08), three dimensions: images.
const IMAGES_MAGIC: u32 = 0x0803;
/// Type u8 (0x08), one dimension: labels.
const LABELS_MAGIC: u32 = 0x0801;
/// Type i32 (0x0c), two dimensions: the labels of QMNIST.
const INT_LABELS_MAGIC: u32 = 0x0c02;
/// No image set that should fit in memory is larger. The limit also stops a gzip bomb.
pub(super) const MAX_BYTES: u64 = 2 << 30;
const AGAIN: &str = "download or copy the file again";

/// Joins the images and labels of one part. Their numbers must be equal.
pub(super) fn assemble(
    image_path: &Path,
    ([n, height, width], pixels): ([usize; 3], Vec<u8>),
    label_path: &Path,
    labels: Vec<impl Into<u16>>,
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
        labels: labels.into_iter().map(Into::into).collect(),
    })
}

/// The bytes of an IDX image file, gzipped or not → (`[N, H, W]`, pixels); `path` is for messages only.
///
/// # Errors
/// [`Error::File`] with the offset in the unpacked content.
pub fn parse_images(path: &Path, bytes: &[u8]) -> Result<([usize; 3], Vec<u8>)> {
    parse(path, bytes, IMAGES_MAGIC, 1, "images")
}

/// The bytes of an IDX label file, gzipped or not → labels `[N]`; `path` is for messages only.
///
/// # Errors
/// [`Error::File`] with the offset in the unpacked content.
pub fn parse_labels(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    parse::<1>(path, bytes, LABELS_MAGIC, 1, "labels").map(|(_, labels)| labels)
}

/// Bytes of the header of a file with `n_dims` dimensions.
pub(super) const fn header_bytes(n_dims: u64) -> u64 {
    4 + 4 * n_dims
}

/// The bytes of an IDX file of 32-bit integers `[N][K]`, as QMNIST has them, gzipped or not → (labels, K). The label
/// of an image is the first number of its row. `path` is for messages only.
///
/// # Errors
/// [`Error::File`] with the offset in the unpacked content.
pub fn parse_int_labels(path: &Path, bytes: &[u8]) -> Result<(Vec<u16>, usize)> {
    let ([_, width], data) = parse::<2>(path, bytes, INT_LABELS_MAGIC, 4, "rows of labels")?;
    let row = width * 4;
    let label = |(i, row_bytes): (usize, &[u8])| {
        let number = row_bytes.iter().take(4).fold(0u32, |number, &byte| number << 8 | u32::from(byte));
        u16::try_from(number).ok().filter(|&label| label < u16::MAX).ok_or_else(|| {
            let at = header_bytes(2) + (i * row) as u64;
            let found = format!("{} for image {i}", number.cast_signed());
            Error::file(path, Some(at), format!("a label below {}", u16::MAX), found, AGAIN)
        })
    };
    Ok((data.chunks_exact(row).enumerate().map(label).collect::<Result<_>>()?, width))
}

/// The dimensions and the elements of `item_bytes` bytes each.
fn parse<const D: usize>(
    path: &Path,
    bytes: &[u8],
    magic: u32,
    item_bytes: u64,
    what: &str,
) -> Result<([usize; D], Vec<u8>)> {
    let gz = bytes.starts_with(&[0x1f, 0x8b]);
    let mut reader: Box<dyn Read + '_> =
        if gz { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
    let header_len = header_bytes(D as u64);

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
            LABELS_MAGIC | INT_LABELS_MAGIC => "this file holds labels: check which file has which name",
            _ => "check that this is an IDX file of unsigned bytes",
        };
        let expected = format!("magic number {magic:#010x} (IDX, {what})");
        return Err(Error::file(path, Some(0), expected, format!("{:#010x}", word(0)), hint));
    }
    let mut dims = [0usize; D];
    let mut claimed = Some(item_bytes);
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
