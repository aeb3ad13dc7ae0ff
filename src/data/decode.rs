//! An image file → its pixels as a viewer shows them, scaled.
//!
//! The content of a file decides its type, and the name of the file is ignored. The orientation that a camera noted is
//! applied. Of an animation only the first frame is read. Transparency is ignored, and samples of 16 bits are rounded
//! to 8.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, imageops};

use super::files;
use crate::error::{Error, Result};

/// Extensions of the files that are read.
pub(super) const EXTENSIONS: &[&str] =
    &["png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "tif", "tiff", "gif"];
/// Description of the files that are read.
pub(super) const WHAT: &str = "an image (png, jpeg, webp, bmp, tiff, gif)";
const AGAIN: &str = "replace or remove the file";
const CONVERT: &str = "convert it to jpeg or png, or remove it";

const MAX_FILE_BYTES: u64 = 256 << 20;
/// Most bytes of a decoded image.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// Most pixels that one byte of a compressed file can encode: 1,032 bytes of eight pixels each in a PNG file. A JPEG
/// file has at least one bit for a block of 64 pixels. A blank WebP or TIFF image of any size takes a few bytes, so
/// only the limit on decoded bytes applies to these types.
const MOST_PIXELS_PER_BYTE: u64 = 8 * 1032;
const MAX_SIDE: u32 = 1 << 15;

/// Kinds of files that are recognised but not read: position of the known bytes, the known bytes, name of the kind.
const KNOWN: &[(usize, &[u8], &str)] = &[
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftyphev", "a HEIC image"),
    (4, b"ftypmif1", "a HEIF image"),
    (4, b"ftypmsf1", "a HEIF image"),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftypcrx", "a raw image (CR3)"),
    (4, b"ftyp", "a film"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"<!DOC", "a web page"),
    (0, b"<!doc", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an XML file"),
    (0, b"version https://git-lfs", "a pointer of Git LFS in place of the file"),
];

/// How an image file is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Whether the noted orientation is applied.
    pub oriented: bool,
    /// Channels of the result: three, or one of grey values.
    pub channels: usize,
    /// Rows of the result.
    pub height: usize,
    /// Columns of the result.
    pub width: usize,
}

/// The image file at `path`, scaled to `height` x `width`, upright: bytes `[C][H][W]` of `channels` channels, which is
/// three or one (grey values).
///
/// # Errors
/// [`Error::File`] for a file that is no complete image of a type that is read, [`Error::Io`] if the file cannot be
/// read.
pub fn read_scaled(path: &Path, channels: usize, height: usize, width: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; channels * height * width];
    read_into(path, Form { oriented: true, channels, height, width }, &mut out)?;
    Ok(out)
}

/// The image file at `path` as bytes `[C][H][W]` in `out`.
pub(super) fn read_into(path: &Path, form: Form, out: &mut [u8]) -> Result<()> {
    decode_into(path, &read(path)?, form, out)
}

/// The bytes of the image file at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() {
        std::fs::read_dir(path).map_err(|e| Error::io("read", path, e))?;
        return Err(Error::file(path, None, WHAT, "a folder without images", "another folder"));
    }
    files::read(path, MAX_FILE_BYTES, WHAT, AGAIN)
}

/// An image file with the content `bytes` as bytes `[C][H][W]` in `out`. `path` is for messages. A decoder that panics
/// is treated as a damaged file.
pub(super) fn decode_into(path: &Path, bytes: &[u8], form: Form, out: &mut [u8]) -> Result<()> {
    let done = catch_unwind(AssertUnwindSafe(|| {
        let rgb = scaled(path, bytes, form)?;
        if form.channels == 1 {
            out.copy_from_slice(imageops::grayscale(&rgb).as_raw());
        } else {
            planes(&rgb, out);
        }
        Ok(())
    }));
    done.unwrap_or_else(|_| {
        Err(Error::file(path, None, WHAT, "damaged data that its decoder does not bear", AGAIN))
    })
}

fn planes(rgb: &image::RgbImage, out: &mut [u8]) {
    let area = out.len() / 3;
    for (i, pixel) in rgb.pixels().enumerate() {
        for (channel, value) in pixel.0.into_iter().enumerate() {
            out[channel * area + i] = value;
        }
    }
}

fn scaled(path: &Path, bytes: &[u8], form: Form) -> Result<image::RgbImage> {
    let (height, width) = (form.height as u32, form.width as u32);
    let (width_in, height_in) = dimensions(bytes).unwrap_or_default();
    // Three bytes per pixel decoded, three scaled, and the decoder's own buffers.
    let _room = ROOM.take(9 * u64::from(width_in) * u64::from(height_in));
    let rgb = decode(path, bytes, form.oriented)?.into_rgb8();
    if rgb.dimensions() == (width, height) {
        return Ok(rgb);
    }
    Ok(imageops::resize(&rgb, width, height, imageops::FilterType::Triangle))
}

/// Memory that all threads together use for decoding. A larger image is decoded alone.
static ROOM: Room = Room { used: Mutex::new(0), freed: Condvar::new() };
const ROOM_BYTES: u64 = 256 << 20;

struct Room {
    used: Mutex<u64>,
    freed: Condvar,
}

/// A part of the room, which is free again when this value is dropped.
struct Taken(u64);

impl Room {
    /// Waits until `bytes` are free. A request larger than the whole room waits until everything is free.
    fn take(&'static self, bytes: u64) -> Taken {
        let bytes = bytes.min(ROOM_BYTES);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used + bytes > ROOM_BYTES {
            used = self.freed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Taken(bytes)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *ROOM.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        ROOM.freed.notify_all();
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits
}

/// The size in the header, read with little memory. `None` for a damaged header; decoding reports the damage.
fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    reader.no_limits();
    reader.into_dimensions().ok()
}

fn decode(path: &Path, bytes: &[u8], oriented: bool) -> Result<DynamicImage> {
    let end = bytes.len() as u64;
    let truncated = || Error::file(path, Some(end), WHAT, "the end of the file (truncated)", AGAIN);
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| Error::io("read", path, e))?;
    let format = reader.format();
    match format {
        Some(
            ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp | ImageFormat::Tiff | ImageFormat::Gif,
        ) => {}
        // The decoder fills the missing rest of a cut JPEG file with grey instead of failing.
        Some(ImageFormat::Jpeg) => {
            let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
            if last([0xff, 0xd9]).is_none_or(|eoi| last([0xff, 0xda]).is_some_and(|scan| eoi < scan)) {
                return Err(truncated());
            }
        }
        _ => return Err(unknown(path, bytes)),
    }
    let (width, height) = dimensions(bytes).unwrap_or_default();
    let pixels = u64::from(width) * u64::from(height);
    if !matches!(format, Some(ImageFormat::WebP | ImageFormat::Tiff))
        && pixels > MOST_PIXELS_PER_BYTE.saturating_mul(end)
    {
        let found = format!("{width}x{height} pixels in {end} bytes, which cannot hold them");
        return Err(Error::file(path, None, WHAT, found, AGAIN));
    }
    reader.limits(limits());
    let image = reader.into_decoder().and_then(|mut decoder| {
        let mut limits = limits();
        limits.reserve(decoder.total_bytes())?;
        decoder.set_limits(limits)?;
        // If the orientation is damaged, the image is still read.
        let orientation = if oriented {
            decoder.orientation().unwrap_or(Orientation::NoTransforms)
        } else {
            Orientation::NoTransforms
        };
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image)
    });
    image.map_err(|e| match e {
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => truncated(),
        ImageError::Limits(e) => too_large(path, &e, width, height),
        ImageError::Unsupported(e) => {
            Error::file(path, None, WHAT, format!("a kind that is not read ({e})"), CONVERT)
        }
        e => Error::file(path, None, WHAT, format!("damaged data ({e})"), AGAIN),
    })
}

/// The error about a file with the content `bytes`, which is of no type that is read.
fn unknown(path: &Path, bytes: &[u8]) -> Error {
    let known =
        KNOWN.iter().find(|(at, magic, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, name)) = known {
        return Error::file(path, Some(0), WHAT, *name, CONVERT);
    }
    let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Error::file(path, Some(0), WHAT, format!("a file that starts with {}", start.join(" ")), AGAIN)
}

/// The error about an image that exceeds a limit. The error names the limit.
fn too_large(path: &Path, e: &image::error::LimitError, width: u32, height: u32) -> Error {
    let megapixels = f64::from(width) * f64::from(height) / 1e6;
    // The size is unknown if the decoder does not even read the header of so large an image.
    let found = match width {
        0 => "a header that says more".into(),
        _ => format!("{width}x{height} pixels ({megapixels:.0} megapixels)"),
    };
    let expected = if e.kind() == LimitErrorKind::DimensionError || width.max(height) > MAX_SIDE {
        format!("an image with sides of at most {MAX_SIDE} pixels")
    } else {
        let most = MAX_DECODED_BYTES / 3 / 1_000_000;
        format!(
            "an image that takes at most {} MiB decoded (about {most} megapixels of three bytes)",
            MAX_DECODED_BYTES >> 20
        )
    };
    Error::file(path, None, expected, found, "a smaller copy of the image")
}
