//! An `.npz` file of images and labels, as MedMNIST and Keras have them → images.
//!
//! Images are arrays of bytes `[N][H][W]`, `[N][H][W][C]` or `[N][C][H][W]`, and labels are integers `[N]` or `[N][1]` from 0
//! on. With the arrays of three parts, the network is chosen by `val` and reported on `test`.

use std::path::{Path, PathBuf};

use super::account::passed;
use super::idx::MAX_BYTES;
use super::labels::LabelFile;
use super::spec::Loaded;
use super::{Images, files};
use crate::error::{Error, Result, quoted};
use crate::files::npz::Npz;

/// Channels of an image, at most.
const MAX_CHANNELS: usize = 1024;
/// Bytes of a file, at most: three arrays of images and their labels.
const MAX_FILE: u64 = 4 * MAX_BYTES;
/// The names of the images and the labels of the parts train, val and test: MedMNIST's, and Keras's.
const NAMES: [[&[(&str, &str)]; 3]; 2] = [
    [
        &[("train_images", "train_labels")],
        &[("val_images", "val_labels"), ("valid_images", "valid_labels")],
        &[("test_images", "test_labels")],
    ],
    [&[("x_train", "y_train")], &[("x_val", "y_val"), ("x_valid", "y_valid")], &[("x_test", "y_test")]],
];
/// The parts with the names of their arrays of images.
type Parts = Vec<(&'static str, Images)>;
const EXPECTED: &str = "an .npz file of images and labels, or a folder with one";

/// Reads the file `place`, or the only `.npz` file in the folder `place`.
pub(super) fn load(place: &Path) -> Result<Loaded> {
    let path = file_of(place)?;
    let hint = "check the file after --data's colon";
    let bytes = files::read(&path, MAX_FILE, EXPECTED, hint)?;
    let (parts, class_names, n_unused) = read(&path, &bytes)?;
    let (names, images): (Vec<&str>, Vec<Images>) = parts.into_iter().unzip();
    let mut images = images.into_iter();
    let (train, test) = (images.next().unwrap_or_default(), images.next().unwrap_or_default());
    let mut loaded = Loaded::from((train, test, class_names));
    loaded.report = images.next();
    if n_unused > 0 {
        loaded.passed_over.insert(passed::ARRAYS.into(), n_unused);
    }
    loaded.places = vec![path.file_name().unwrap_or_default().to_string_lossy().into_owned()];
    loaded.places.extend(names.into_iter().skip(1).map(str::to_owned));
    Ok(loaded)
}

fn file_of(place: &Path) -> Result<PathBuf> {
    if !place.is_dir() {
        return Ok(place.to_owned());
    }
    let paths = files::files_in(place, "npz");
    let (found, try_this) = match paths.as_slice() {
        [path] => return Ok(path.clone()),
        [] => ("none".to_owned(), "--data npz:FILE with the path of the file".to_owned()),
        [first, ..] => {
            let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let names: Vec<String> = paths.iter().take(10).map(name).collect();
            let dots = if paths.len() > names.len() { ", …" } else { "" };
            let found = format!("{}: {}{dots}", paths.len(), names.join(", "));
            (found, format!("--data {}", quoted(&format!("npz:{}", first.display()))))
        }
    };
    Err(Error::file(place, None, "one .npz file in this folder", found, try_this))
}

/// The bytes of an `.npz` file → its parts: the training part, the held-out part, and the part to report if there are
/// three. `path` is for messages only.
///
/// # Errors
/// [`Error::File`] for a damaged file, for missing arrays, and for arrays of another type or shape.
pub fn parse_npz(path: &Path, bytes: &[u8]) -> Result<Vec<Images>> {
    read(path, bytes).map(|(parts, ..)| parts.into_iter().map(|(_, images)| images).collect())
}

/// The parts with the names of their images, the names of the classes, and the number of other arrays.
fn read(path: &Path, bytes: &[u8]) -> Result<(Parts, Vec<String>, usize)> {
    let npz = Npz::open(bytes, path)?;
    let has = |name: &str| npz.names().any(|other| other == name);
    let found = || {
        // Names are bytes of the file, so they are shortened, and their control characters are escaped.
        let short = |name: &str| name.chars().take(40).flat_map(char::escape_debug).collect::<String>();
        let names: Vec<String> = npz.names().take(12).map(short).collect();
        if names.is_empty() { "no arrays".to_owned() } else { format!("the arrays {}", names.join(", ")) }
    };
    let missing = |expected: String| {
        let hint = "an .npz file with MedMNIST's names of arrays (train_images, train_labels, ...)";
        Error::file(path, None, expected, found(), hint)
    };
    let names = NAMES.iter().find(|[train, ..]| has(train[0].0));
    let names = names.ok_or_else(|| missing("the array train_images or x_train".into()))?;
    let present: Vec<(&'static str, &'static str)> =
        names.iter().filter_map(|names| names.iter().copied().find(|(images, _)| has(images))).collect();
    if present.len() < 2 {
        return Err(missing(format!("the array {} or {}", names[1][0].0, names[2][0].0)));
    }
    if let Some((images, labels)) = present.iter().find(|(_, labels)| !has(labels)) {
        return Err(missing(format!("the array {labels} beside {images}")));
    }

    let mut parts: Parts = vec![];
    let mut n_classes = 0;
    for (images_name, labels_name) in present {
        let mut images = read_images(&npz, images_name)?;
        let shape = |images: &Images| [images.height, images.width, images.channels];
        if let Some((_, train)) = parts.first()
            && shape(train) != shape(&images)
        {
            let expected = format!("images of shape {:?} as in the training part", shape(train));
            let found = format!("{:?}", shape(&images));
            let hint = "parts of one data set in one file";
            return Err(Error::file(npz.path_of(images_name), None, expected, found, hint));
        }
        let (labels, file) = read_labels(&npz, labels_name, images.n)?;
        if parts.is_empty() {
            n_classes = file.n_classes(&labels)?;
            if !labels.contains(&0) {
                let first = labels.iter().min().copied().unwrap_or(0);
                let i = labels.iter().position(|&label| label == first).unwrap_or(0);
                return Err(file.error(i, first, "labels from 0 on in the training part".into()));
            }
        } else {
            file.check(&labels, 0, n_classes)?;
        }
        images.labels = labels;
        parts.push((images_name, images));
    }
    let n_unused = npz.names().count() - 2 * parts.len();
    Ok((parts, (0..n_classes).map(|class| class.to_string()).collect(), n_unused))
}

/// The images of an array, without labels.
fn read_images(npz: &Npz<'_>, name: &str) -> Result<Images> {
    let header = npz.header(name, MAX_BYTES)?;
    let bad = |expected: &str, found: String, hint: &str| {
        Err(Error::file(npz.path_of(name), None, expected, found, hint))
    };
    let [n, height, width, channels] = match *header.shape {
        [n, height, width] => [n, height, width, 1],
        [n, channels, height, width] if is_channels_first([channels, height, width]) => {
            [n, height, width, channels]
        }
        [n, height, width, channels] => [n, height, width, channels],
        _ => {
            let expected = "images of shape [N, H, W], [N, H, W, C] or [N, C, H, W]";
            return bad(expected, format!("{:?}", header.shape), "another file, or numpy.reshape");
        }
    };
    if header.integer() != Some((1, false)) {
        let hint = "images as uint8, from 0 (black) to 255";
        return bad("images of unsigned bytes (uint8)", format!("the type {}", header.descr), hint);
    }
    if n * height * width == 0 || !(1..=MAX_CHANNELS).contains(&channels) {
        let expected = format!("extents above 0, with 1 to {MAX_CHANNELS} channels");
        return bad(&expected, format!("{:?}", header.shape), "another file");
    }
    let data = npz.data(name, &header)?;
    let is_as_wanted = channels == 1 || header.shape[1..] == [channels, height, width];
    let pixels =
        if is_as_wanted { data.into_owned() } else { channels_first(&data, channels, height * width) };
    Ok(Images { n, channels, height, width, pixels: pixels.into(), labels: vec![] })
}

/// Whether the extents `[a, b, c]` of an image are its channels, height and width, as PyTorch has them. Otherwise they are
/// its height, width and channels. An image has no side of four pixels or fewer, and most images are square.
fn is_channels_first([a, b, c]: [usize; 3]) -> bool {
    b.min(c) > 4 && (a <= 4 || (b == c && a != b))
}

/// `[N][H·W][C]` → `[N][C][H·W]`.
fn channels_first(data: &[u8], channels: usize, area: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(data.len());
    for image in data.chunks_exact(channels * area) {
        for channel in 0..channels {
            pixels.extend(image.iter().skip(channel).step_by(channels));
        }
    }
    pixels
}

/// The labels of `n` images.
fn read_labels(npz: &Npz<'_>, name: &str, n: usize) -> Result<(Vec<u16>, LabelFile)> {
    let header = npz.header(name, MAX_BYTES)?;
    let path = npz.path_of(name);
    let bad =
        |expected: &str, found: String, hint: &str| Err(Error::file(&path, None, expected, found, hint));
    match *header.shape {
        [found] | [found, 1] if found == n => {}
        [_, k] if k > 1 => {
            let hint = "numpy.argmax(labels, 1) if each row has a single one, or a set with one class for each image";
            let found =
                format!("shape {:?}: {k} numbers per image (one-hot rows, or several labels)", header.shape);
            return bad("one label per image, of shape [N] or [N, 1]", found, hint);
        }
        _ => {
            let expected = format!("{n} labels, one for each image, of shape [{n}] or [{n}, 1]");
            return bad(&expected, format!("shape {:?}", header.shape), "parts of one data set in one file");
        }
    }
    let Some((item_bytes, _)) = header.integer() else {
        let hint = "labels as integers, from 0 on";
        return bad("labels of an integer type", format!("the type {}", header.descr), hint);
    };
    let data = npz.data(name, &header)?;
    let file = LabelFile { path: path.clone(), start: header.start as u64, step: item_bytes as u64 };
    let label = |(i, number): (usize, i128)| {
        let label = u16::try_from(number).ok().filter(|&label| label < u16::MAX);
        label.ok_or_else(|| file.error(i, number, format!("a label from 0 to {}", u16::MAX - 1)))
    };
    let labels = header.integers(&data).enumerate().map(label).collect::<Result<_>>()?;
    Ok((labels, file))
}
