//! A folder with one sub-folder of PNG and JPEG files per class → images.
//!
//! Classes are numbered in the order of their folders' names. If `train` and one of `test`, `val`, `valid` exist, each
//! of the two holds the class folders of its part. Otherwise every fifth image of a class, in the order of names, is
//! held out (in a class of two to four images: the last one).
//!
//! Every image gets three channels (grey is repeated, transparency ignored). The whole image is scaled
//! to `size` x `size` with a triangle filter. Names that start with a dot, files of other types and
//! symbolic links are skipped.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageError, ImageReader, Limits, imageops};

use super::{Images, files};
use crate::error::{Error, Result};

/// The default side to which images are scaled: the side of CIFAR images.
pub const DEFAULT_SIZE: usize = 32;
const SIZES: std::ops::RangeInclusive<usize> = 4..=1024;
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Most pixels that one byte of a compressed file can encode: 1,032 bytes of eight pixels each in a PNG file. A JPEG
/// file has at least one bit for a block of 64 pixels.
const MOST_PIXELS_PER_BYTE: u64 = 8 * 1032;
const MAX_SIDE: u32 = 1 << 15;
const LAYOUT: &str = "one sub-folder of png or jpeg files per class (or train/ and test/ with those)";

/// Paths with their class.
type Listed = Vec<(PathBuf, u16)>;

pub(super) fn load(dir: &Path, size: usize) -> Result<(Images, Images, Vec<String>)> {
    if !SIZES.contains(&size) {
        let expected = format!("{} to {} pixels", SIZES.start(), SIZES.end());
        return Err(Error::usage("the image size", expected, size.to_string(), format!("{DEFAULT_SIZE}")));
    }
    files::check_dir(dir, LAYOUT)?;
    let sub_dirs = files::entries(dir)?.dirs;
    let part = |names: &[&str]| names.iter().map(|name| dir.join(name)).find(|path| sub_dirs.contains(path));
    let (train, test, names) = match (part(&["train"]), part(&["test", "val", "valid"])) {
        (Some(train_dir), Some(test_dir)) => {
            let (train, names) = list(&train_dir)?;
            let (test, test_names) = list(&test_dir)?;
            if let Some(name) = names.iter().find(|&name| !test_names.contains(name)) {
                return Err(other_classes(&test_dir.join(name), &train_dir));
            }
            if let Some(name) = test_names.iter().find(|&name| !names.contains(name)) {
                return Err(other_classes(&train_dir.join(name), &test_dir));
            }
            (train, test, names)
        }
        (Some(train_dir), None) if sub_dirs.len() == 1 => hold_out(list(&train_dir)?),
        _ => hold_out(list(dir)?),
    };
    if test.is_empty() {
        let hint = "at least two images in some class, or train/ and test/ folders";
        return Err(Error::file(dir, None, "images to hold out", "one image per class", hint));
    }
    Ok((read_all(&train, size)?, read_all(&test, size)?, names))
}

fn other_classes(missing: &Path, has: &Path) -> Error {
    let expected = format!("a class folder, as there is one in {}", has.display());
    Error::file(missing, None, expected, "no such folder", "the same classes in both parts")
}

/// The images of every class folder in `dir`, and the classes' names.
fn list(dir: &Path) -> Result<(Listed, Vec<String>)> {
    let classes = files::entries(dir)?.dirs;
    if classes.len() < 2 || classes.len() > usize::from(u16::MAX) {
        let found = match classes.first() {
            None => "no sub-folder".to_owned(),
            Some(one) if classes.len() == 1 => format!("only {}", one.display()),
            Some(_) => format!("{} sub-folders", classes.len()),
        };
        return Err(Error::file(dir, None, "2 to 65535 class folders", found, LAYOUT));
    }
    let mut listed = Vec::new();
    let mut names = Vec::new();
    for (class, class_dir) in classes.iter().enumerate() {
        let entries = files::entries(class_dir)?;
        let n_others = entries.others.len() + entries.dirs.len();
        let n_files = entries.files.len();
        let before = listed.len();
        listed
            .extend(entries.files.into_iter().filter(|path| is_image(path)).map(|path| (path, class as u16)));
        if listed.len() == before {
            let found = format!("none among {n_files} files and {n_others} links and folders");
            let hint = "remove the empty class, or put its images there themselves (links are not followed)";
            return Err(Error::file(class_dir, None, "png or jpeg files", found, hint));
        }
        names.push(class_dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    Ok((listed, names))
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ["png", "jpg", "jpeg"].contains(&extension.as_str())
}

fn hold_out((listed, names): (Listed, Vec<String>)) -> (Listed, Listed, Vec<String>) {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for class in listed.chunk_by(|a, b| a.1 == b.1) {
        let n = class.len();
        for (i, image) in class.iter().enumerate() {
            let held_out = i % 5 == 4 || ((2..5).contains(&n) && i == n - 1);
            if held_out { &mut test } else { &mut train }.push(image.clone());
        }
    }
    (train, test, names)
}

fn read_all(listed: &Listed, size: usize) -> Result<Images> {
    let mut images =
        Images { n: listed.len(), channels: 3, height: size, width: size, pixels: vec![], labels: vec![] };
    for (path, class) in listed {
        let rgb = read_image(path, size as u32)?;
        for channel in 0..3 {
            images.pixels.extend(rgb.pixels().map(|pixel| pixel.0[channel]));
        }
        images.labels.push(*class);
    }
    Ok(images)
}

/// The whole PNG or JPEG file at `path`, scaled to `height` x `width`: bytes `[C][H][W]` of `channels` channels, which
/// is three or one (grey values).
///
/// # Errors
/// [`Error::File`] for a file that is no complete image of these types, [`Error::Io`] if the file cannot be read.
pub fn read_scaled(path: &Path, channels: usize, height: usize, width: usize) -> Result<Vec<u8>> {
    let rgb = scaled(decode(path)?, height as u32, width as u32);
    if channels == 1 {
        return Ok(imageops::grayscale(&rgb).into_raw());
    }
    Ok((0..3).flat_map(|c| rgb.pixels().map(move |pixel| pixel.0[c])).collect())
}

fn read_image(path: &Path, size: u32) -> Result<image::RgbImage> {
    Ok(scaled(decode(path)?, size, size))
}

fn scaled(rgb: image::RgbImage, height: u32, width: u32) -> image::RgbImage {
    if rgb.dimensions() == (width, height) {
        return rgb;
    }
    imageops::resize(&rgb, width, height, imageops::FilterType::Triangle)
}

/// The size in the header, read with little memory. `None` for a damaged header; decoding reports the damage.
fn dimensions(bytes: &[u8], limits: Limits) -> Option<(u32, u32)> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    reader.limits(limits);
    reader.into_dimensions().ok()
}

fn decode(path: &Path) -> Result<image::RgbImage> {
    let what = "a png or jpeg image";
    let again = "replace or remove the file";
    let bytes = files::read(path, MAX_FILE_BYTES, what, again)?;
    let end = bytes.len() as u64;
    let truncated = || Error::file(path, Some(end), what, "the end of the file (truncated)", again);

    let mut reader = ImageReader::new(Cursor::new(bytes.as_slice()));
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits.clone());
    let reader = reader.with_guessed_format().map_err(|e| Error::io("read", path, e))?;
    match reader.format() {
        Some(image::ImageFormat::Png) => {}
        // The decoder fills the missing rest of a cut JPEG file with grey instead of failing.
        Some(image::ImageFormat::Jpeg) => {
            let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
            if last([0xff, 0xd9]).is_none_or(|eoi| last([0xff, 0xda]).is_some_and(|scan| eoi < scan)) {
                return Err(truncated());
            }
        }
        _ => {
            let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            let found = format!("a file that starts with {}", start.join(" "));
            return Err(Error::file(path, Some(0), what, found, again));
        }
    }
    let (claimed_width, claimed_height) = dimensions(&bytes, limits.clone()).unwrap_or_default();
    let most = MOST_PIXELS_PER_BYTE.saturating_mul(end);
    if u64::from(claimed_width) * u64::from(claimed_height) > most {
        let found = format!("{claimed_width}x{claimed_height} pixels in {end} bytes, which cannot hold them");
        return Err(Error::file(path, None, what, found, again));
    }
    let image = reader.decode().map_err(|e| match e {
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => truncated(),
        ImageError::Limits(e) => {
            Error::file(path, None, format!("sides of at most {MAX_SIDE}"), e.to_string(), again)
        }
        e => Error::file(path, None, what, format!("damaged data ({e})"), again),
    })?;
    Ok(image.to_rgb8())
}
