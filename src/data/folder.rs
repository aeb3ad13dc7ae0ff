//! A folder with one sub-folder of image files per class → images.
//!
//! Classes are numbered in the order of their folders' names, and the images of a class are those in its folder and
//! below it. If `train` and one of `val` and `test` exist (or folders with other usual names of these, in upper or
//! lower case), each of them holds the class folders of its part. With all three, results are chosen by `val`, and
//! `test` is reported. Without parts, every fifth image of a class in the order of names is held out (in a class of two
//! to four images: the last one).
//!
//! Every image gets three channels (grey is repeated). The whole image is scaled to the wanted height and width with a
//! triangle filter. All cores decode; the images and their order do not depend on the number of threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::account::passed;
use super::cache::{Cache, Kept};
use super::decode::Form;
use super::many::{decode_all, refused};
use super::size::Size;
use super::spec::{Loaded, Need, Reading, quoted};
use super::walk::{Entries, File, Walk, kinds_in};
use super::{Images, files};
use crate::error::{Error, Result};

/// The default side to which images are scaled: the side of CIFAR images.
pub const DEFAULT_SIZE: usize = 32;
const SIZES: std::ops::RangeInclusive<usize> = 4..=1024;
const LAYOUT: &str = "one sub-folder of image files per class (or train/ and val/ or test/ with those)";
/// Names of the parts in lower case.
const TRAIN: &[&str] = &["train", "training"];
const VAL: &[&str] = &["val", "valid", "validation", "dev"];
const TEST: &[&str] = &["test", "testing"];
/// The flag that skips damaged files, for messages.
const SKIP: &str = "--skip-bad-images to go on without";

/// Files with their class.
type Listed = Vec<(File, u16)>;

/// A part of the images before they are read.
#[derive(Default)]
struct Part {
    place: String,
    listed: Listed,
}

/// The images before they are read.
struct Layout {
    train: Part,
    held_out: Part,
    report: Option<Part>,
    names: Vec<String>,
}

pub(super) fn load(dir: &Path, reading: &Reading) -> Result<Loaded> {
    let size = reading.options.size.unwrap_or(Size::square(DEFAULT_SIZE));
    if !size.sides().iter().all(|side| SIZES.contains(side)) {
        let expected = format!("{} to {} pixels", SIZES.start(), SIZES.end());
        return Err(Error::usage("the image size", expected, size.to_string(), format!("{DEFAULT_SIZE}")));
    }
    files::check_dir(dir, LAYOUT)?;
    let mut walk = Walk::new(reading.options.before);
    let Layout { train, held_out, report, names } = layout(dir, &mut walk)?;
    let places =
        [Some(&train), Some(&held_out), report.as_ref()].into_iter().flatten().map(|part| part.place.clone());
    let places: Vec<String> = places.collect();

    let if_needed = |listed: Listed, is_reported: bool| {
        if reading.need == Need::All || is_reported { listed } else { vec![] }
    };
    let listed = [
        if_needed(train.listed, false),
        if_needed(held_out.listed, report.is_none()),
        report.as_ref().map(|part| part.listed.clone()).unwrap_or_default(),
    ];
    let [train, test, last] = read_all(dir, listed, size, reading, &mut walk)?;
    if reading.need == Need::All
        && let Some(class) = (0..names.len()).find(|class| !train.labels.contains(&(*class as u16)))
    {
        let expected = format!("an image of the class {} to train on", names[class]);
        return Err(Error::file(dir, None, expected, "only damaged ones", "replace the damaged files"));
    }
    let reported = if report.is_some() { &last } else { &test };
    if reported.n == 0 || (reading.need == Need::All && test.n == 0) {
        return Err(Error::file(
            dir,
            None,
            "images to hold out",
            "only damaged ones",
            "replace the damaged files",
        ));
    }
    Ok(Loaded {
        train,
        test,
        report: report.is_some().then_some(last),
        class_names: names,
        places,
        passed_over: walk.passed_over,
    })
}

// ---- which files ----

/// Whether the name of a folder is one of `names`, in upper or lower case.
fn is_one_of(path: &Path, names: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    names.contains(&name.as_str())
}

/// The folder among `dirs`, the sub-folders of `dir`, whose name is one of `names`.
fn one_of(dirs: &[PathBuf], names: &[&str], dir: &Path) -> Result<Option<PathBuf>> {
    let found: Vec<&PathBuf> = dirs.iter().filter(|path| is_one_of(path, names)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        several => {
            let found: Vec<String> = several.iter().map(|path| place(path)).collect();
            let expected = format!("one folder of the part {}", names[0]);
            Err(Error::file(dir, None, expected, found.join(" and "), "join them, or move one away"))
        }
    }
}

/// The name of a folder with a slash.
fn place(path: &Path) -> String {
    format!("{}/", path.file_name().unwrap_or_default().to_string_lossy())
}

fn layout(dir: &Path, walk: &mut Walk) -> Result<Layout> {
    let top = walk.entries(dir, dir)?;
    let [train, val, test] = parts(dir, &top.dirs, walk)?;
    let Some(train_dir) = train else { return held_out_of(dir, place(dir), dir, top, walk) };
    let is_named = |path: &Path| [TRAIN, VAL, TEST].iter().any(|names| is_one_of(path, names));
    for path in top.dirs.iter().filter(|path| !is_named(path)) {
        walk.pass_over(format!("{} beside {}", place(path), place(&train_dir)), 1);
    }
    let n_outside = top.files.iter().filter(|file| walk.is_image(&file.path)).count();
    walk.pass_over(passed::OUTSIDE, n_outside);
    let entries = walk.entries(dir, &train_dir)?;
    if val.is_none() && test.is_none() {
        return held_out_of(dir, place(&train_dir), &train_dir, entries, walk);
    }

    let (listed, names) = list(dir, &train_dir, entries, walk)?;
    let train = Part { place: place(&train_dir), listed };
    let mut others = Vec::new();
    for part_dir in [val, test].into_iter().flatten() {
        let entries = walk.entries(dir, &part_dir)?;
        let (listed, part_names) = list(dir, &part_dir, entries, walk)?;
        if let Some(name) = names.iter().find(|&name| !part_names.contains(name)) {
            return Err(other_classes(&part_dir.join(name), &train_dir));
        }
        if let Some(name) = part_names.iter().find(|&name| !names.contains(name)) {
            return Err(other_classes(&train_dir.join(name), &part_dir));
        }
        others.push(Part { place: place(&part_dir), listed });
    }
    let mut others = others.into_iter();
    Ok(Layout { train, held_out: others.next().unwrap_or_default(), report: others.next(), names })
}

/// The folders of the parts train, val and test among `dirs`, the sub-folders of `dir`.
fn parts(dir: &Path, dirs: &[PathBuf], walk: &mut Walk) -> Result<[Option<PathBuf>; 3]> {
    if walk.is_before() {
        let part = |names: &[&str]| names.iter().map(|name| dir.join(name)).find(|path| dirs.contains(path));
        let (train, held_out) = (part(&["train"]), part(&["test", "val", "valid"]));
        let is_split = train.is_some() && (held_out.is_some() || dirs.len() == 1);
        return Ok(if is_split { [train, held_out, None] } else { [None, None, None] });
    }
    let [train, mut val, mut test] =
        [one_of(dirs, TRAIN, dir)?, one_of(dirs, VAL, dir)?, one_of(dirs, TEST, dir)?];
    let Some(train) = train else {
        let alone =
            [val, test].into_iter().flatten().find(|path| dirs.len() <= 2 && holds(path) == (true, false));
        let Some(path) = alone else { return Ok([None, None, None]) };
        let expected = format!("a folder train/ beside {}", place(&path));
        let try_this = "train/ with the same classes, or the folder of all classes";
        return Err(Error::file(dir, None, expected, "no folder of that name", try_this));
    };
    if val.is_none() && test.is_none() {
        let is_part = dirs.len() == 1 || holds(&train) == (true, false);
        return Ok([is_part.then_some(train), None, None]);
    }
    // The test images of a competition have no classes.
    let (has_classes, _) = holds(&train);
    for part in [&mut val, &mut test] {
        if let Some(path) = part.take_if(|path| has_classes && holds(path) == (false, true)) {
            walk.pass_over(format!("{} (no class folders)", place(&path)), 1);
        }
    }
    Ok([Some(train), val, test])
}

/// Whether a folder has sub-folders, and whether it has images of its own. A part has class folders only. A folder of
/// images may be a class with the name of a part.
fn holds(dir: &Path) -> (bool, bool) {
    let mut walk = Walk::new(false);
    let entries = walk.entries(dir, dir).unwrap_or_default();
    (!entries.dirs.is_empty(), entries.files.iter().any(|file| walk.is_image(&file.path)))
}

fn other_classes(missing: &Path, has: &Path) -> Error {
    let expected = format!("a class folder, as there is one in {}", has.display());
    Error::file(missing, None, expected, "no such folder", "the same classes in all parts")
}

/// The images of all class folders in `dir`, and the names of the classes. `entries` are the entries of `dir`, and
/// `root` is the folder of the data.
fn list(root: &Path, dir: &Path, entries: Entries, walk: &mut Walk) -> Result<(Listed, Vec<String>)> {
    let Entries { dirs: classes, files } = entries;
    if classes.len() < 2 || classes.len() > usize::from(u16::MAX) {
        let n_images = files.iter().filter(|file| walk.is_image(&file.path)).count();
        let (found, try_this) = match classes.as_slice() {
            [] if n_images > 0 => (format!("no sub-folder, but {n_images} images"), LAYOUT.to_owned()),
            [] => ("no sub-folder".to_owned(), LAYOUT.to_owned()),
            [one] if holds(one) == (true, false) => (
                format!("only {}", one.display()),
                format!("--data {}", quoted(&format!("folder:{}", one.display()))),
            ),
            [one] => (format!("only {}", one.display()), LAYOUT.to_owned()),
            several => (format!("{} sub-folders", several.len()), LAYOUT.to_owned()),
        };
        return Err(Error::file(dir, None, "2 to 65535 class folders", found, try_this));
    }
    walk.pass_over(passed::OUTSIDE, files.iter().filter(|file| walk.is_image(&file.path)).count());
    let mut listed = Vec::new();
    let mut names = Vec::new();
    for (class, class_dir) in classes.iter().enumerate() {
        let n_unreadable = walk.unreadable.len();
        let (images, n_files) = walk.images(root, class_dir);
        if images.is_empty() && walk.unreadable.len() == n_unreadable {
            let found = format!("none among {n_files} files");
            let passed_over = kinds_in(class_dir);
            let found = if passed_over.is_empty() { found } else { format!("{found} ({passed_over})") };
            let hint = "remove the empty class, or convert its images to one of these types";
            return Err(Error::file(
                class_dir,
                None,
                "image files (png, jpeg, webp, bmp, tiff, gif)",
                found,
                hint,
            ));
        }
        listed.extend(images.into_iter().map(|file| (file, class as u16)));
        names.push(class_dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    Ok((listed, names))
}

/// The images of the class folders in `dir`, of which a fifth is held out. `entries` are the entries of `dir`.
fn held_out_of(root: &Path, place: String, dir: &Path, entries: Entries, walk: &mut Walk) -> Result<Layout> {
    let (listed, names) = list(root, dir, entries, walk)?;
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for class in listed.chunk_by(|a, b| a.1 == b.1) {
        let n = class.len();
        for (i, image) in class.iter().enumerate() {
            let is_held_out = i % 5 == 4 || ((2..5).contains(&n) && i == n - 1);
            if is_held_out { &mut held_out } else { &mut train }.push(image.clone());
        }
    }
    if held_out.is_empty() {
        let hint = "at least two images in some class, or train/ and val/ folders";
        return Err(Error::file(root, None, "images to hold out", "one image per class", hint));
    }
    let train = Part { place, listed: train };
    let held_out = Part { place: "every fifth image".into(), listed: held_out };
    Ok(Layout { train, held_out, report: None, names })
}

// ---- their pixels ----

/// The images of each part. Damaged and unreadable files are counted as passed over, or are named in one error.
fn read_all(
    dir: &Path,
    parts: [Listed; 3],
    size: Size,
    reading: &Reading,
    walk: &mut Walk,
) -> Result<[Images; 3]> {
    let options = reading.options;
    let form = Form { oriented: !options.before, channels: 3, height: size.height, width: size.width };
    let len = 3 * size.area();
    let keys = parts.each_ref().map(|part| Cache::key(dir, form, part.iter().map(|(file, _)| file)));
    let cache_of = |part: &Listed| {
        let bytes: u64 = part.iter().map(|(file, _)| file.len).sum();
        options.cache.as_ref().filter(|cache| bytes > 0 && bytes >= cache.least_bytes)
    };
    let kept: Vec<Option<Kept>> = (parts.iter().zip(&keys))
        .map(|(part, key)| cache_of(part)?.get(key, part.len() * len))
        .map(|kept| kept.filter(|kept| kept.bad.is_empty() || options.skip_bad))
        .collect();

    let missing = parts.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
    let total = missing.map(|(part, _)| part.len()).sum();
    let n_done = AtomicUsize::new(0);
    let (mut bad, mut out) = (std::mem::take(&mut walk.unreadable), Vec::new());
    let n_unreadable = bad.len();
    for ((part, key), kept) in parts.iter().zip(&keys).zip(kept) {
        let kept = match kept {
            Some(kept) => kept,
            None => {
                let done = || (reading.watch)(n_done.fetch_add(1, Ordering::Relaxed) + 1, total);
                let paths: Vec<&Path> = part.iter().map(|(file, _)| file.path.as_path()).collect();
                let (pixels, errors) = decode_all(&paths, form, options.threads, &done)?;
                let positions: Vec<usize> = errors.iter().map(|(i, _)| *i).collect();
                // A file that the system refuses to read now may be readable later, so such a result is not kept.
                let is_lasting = errors.iter().all(|(_, e)| matches!(e, Error::File { .. }));
                if let Some(cache) = cache_of(part).filter(|_| is_lasting) {
                    cache.keep(key, &pixels, positions.clone());
                }
                bad.extend(errors.into_iter().map(|(_, e)| e));
                Kept { pixels, bad: positions }
            }
        };
        if options.skip_bad {
            walk.pass_over(passed::BAD, kept.bad.len());
        }
        out.push(without_bad(part, kept, size));
    }
    if !options.skip_bad && !bad.is_empty() {
        return Err(refused(dir, bad, SKIP));
    }
    walk.pass_over(passed::UNREADABLE, n_unreadable);
    let mut out = out.into_iter();
    Ok([(); 3].map(|()| out.next().unwrap_or_default()))
}

/// The images of a part without the damaged ones.
fn without_bad(part: &Listed, kept: Kept, size: Size) -> Images {
    let Kept { mut pixels, bad } = kept;
    let len = 3 * size.area();
    let mut labels: Vec<u16> = part.iter().map(|(_, class)| *class).collect();
    let (mut bad, mut n) = (bad.into_iter().peekable(), 0);
    for i in 0..labels.len() {
        if bad.next_if_eq(&i).is_some() {
            continue;
        }
        if n < i {
            pixels.copy_within(i * len..(i + 1) * len, n * len);
            labels[n] = labels[i];
        }
        n += 1;
    }
    pixels.truncate(n * len);
    labels.truncate(n);
    Images { n, channels: 3, height: size.height, width: size.width, pixels, labels }
}
