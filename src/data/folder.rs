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
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::account::passed;
use super::decode::{self, Form};
use super::encoded::{Encoded, Layout, Listed, Part, See, TEST, TRAIN, VAL, hold_out, unchanged};
use super::gather::Gather;
use super::shards::parts_in;
use super::size::Size;
use super::spec::{ARROW, Loaded, Need, Reading};
use super::walk::{Entries, File, Walk, kinds_in};
use super::{LoadOptions, files};
use crate::error::{Error, Result, quoted};

/// The default side to which images are scaled: the side of CIFAR images.
pub const DEFAULT_SIZE: usize = 32;
const SIZES: std::ops::RangeInclusive<usize> = 4..=1024;
const LAYOUT: &str = "one sub-folder of image files per class (or train/ and val/ or test/ with those)";

/// The image files of a folder.
#[derive(Debug)]
struct Files {
    dir: PathBuf,
    files: Vec<File>,
}

impl Encoded for Files {
    fn path(&self, at: usize) -> PathBuf {
        self.files[at].path.clone()
    }

    fn len(&self, at: usize) -> u64 {
        self.files[at].len
    }

    fn stamp(&self, at: usize, hash: &mut Sha256) {
        let File { path, len, modified, changed } = &self.files[at];
        let name = path.strip_prefix(&self.dir).unwrap_or(path);
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update(format!("\0{len} {modified} {changed}\0"));
    }

    fn read(&self, at: &[u32], see: See<'_>) {
        for (i, at) in at.iter().enumerate() {
            let File { path, len, modified, .. } = &self.files[*at as usize];
            let bytes = std::fs::metadata(path)
                .map_err(|e| Error::io("read", path, e))
                .and_then(|meta| unchanged(path, (*len, *modified), &meta))
                .and_then(|()| decode::read(path));
            match bytes {
                Ok(bytes) => see(i, Ok(&bytes)),
                Err(e) => see(i, Err(e)),
            }
        }
    }
}

/// The form of images by the options.
pub(super) fn form(options: &LoadOptions) -> Result<Form> {
    let size = options.size.unwrap_or(Size::square(DEFAULT_SIZE));
    if !size.sides().iter().all(|side| SIZES.contains(side)) {
        let expected = format!("{} to {} pixels", SIZES.start(), SIZES.end());
        return Err(Error::usage("the image size", expected, size.to_string(), format!("{DEFAULT_SIZE}")));
    }
    Ok(Form { oriented: !options.before, channels: 3, height: size.height, width: size.width })
}

pub(super) fn load(dir: &Path, reading: &Reading<'_>) -> Result<Loaded> {
    let form = form(reading.options)?;
    files::check_dir(dir, LAYOUT)?;
    let mut walk = Walk::new(reading.options.before);
    let mut found = Vec::new();
    let layout = layout(dir, reading.need, &mut walk, &mut found)?;
    let mut is_listed = vec![false; layout.names.len()];
    layout.train.listed.iter().for_each(|(_, class)| is_listed[usize::from(*class)] = true);
    // Without `--skip-bad-images` the folders that cannot be read are an error of their own.
    if reading.need == Need::All
        && reading.options.skip_bad
        && let Some(class) = is_listed.iter().position(|is_there| !is_there)
    {
        let expected = format!("an image of the class {} to train on", layout.names[class]);
        return Err(Error::file(dir, None, expected, "a folder that cannot be read", "chmod -R u+rX"));
    }
    let Walk { passed_over, unreadable, .. } = walk;
    let encoded = Arc::new(Files { dir: dir.to_owned(), files: found });
    Gather { dir, encoded, form, reading, passed_over, unreadable }.load(layout)
}

// ---- which files ----

/// Whether the name of a folder is one of `names`, in upper or lower case.
fn is_one_of(path: &Path, names: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    names.contains(&name.as_str())
}

/// The only folder of `found`, if there is one. Several are an error about `dir`: each may be the part.
fn only(found: &[&PathBuf], part: &[&str], dir: &Path) -> Result<Option<PathBuf>> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        several => {
            let found: Vec<String> = several.iter().map(|path| place(path)).collect();
            let expected = format!("one folder of the part {}", part[0]);
            Err(Error::file(dir, None, expected, found.join(" and "), "join them, or move one away"))
        }
    }
}

/// The name of a folder with a slash.
fn place(path: &Path) -> String {
    format!("{}/", path.file_name().unwrap_or_default().to_string_lossy())
}

/// The parts in `dir`. Their files are added to `out`.
fn layout(dir: &Path, need: Need, walk: &mut Walk, out: &mut Vec<File>) -> Result<Layout> {
    let top = walk.entries(dir, dir)?;
    let [train, val, test] = parts(dir, &top.dirs, need, walk)?;
    if let (None, Some(path)) = (&train, val.as_ref().or(test.as_ref())) {
        let path = within(path.clone());
        let entries = walk.entries(dir, &path)?;
        let (listed, names) = list(dir, &path, entries, walk, out)?;
        let held_out = Part { place: place(&path), listed };
        return Ok(Layout { train: Part::default(), held_out, report: None, names });
    }
    let Some(train_dir) = train else {
        if !walk.is_before() {
            refuse_inner_parts(dir, &top.dirs)?;
        }
        return held_out_of(dir, place(dir), dir, top, walk, out);
    };
    let parts = [Some(&train_dir), val.as_ref(), test.as_ref()];
    let is_known =
        |path: &PathBuf| parts.contains(&Some(path)) || walk.passed_over.contains_key(&no_classes(path));
    let others: Vec<&PathBuf> = top.dirs.iter().filter(|path| !is_known(path)).collect();
    for path in others {
        walk.pass_over(format!("{} beside {}", place(path), place(&train_dir)), 1);
    }
    let n_outside = top.files.iter().filter(|file| walk.is_image(&file.path)).count();
    walk.pass_over(passed::OUTSIDE, n_outside);
    let is_before = walk.is_before();
    let inner = |part: PathBuf| (place(&part), if is_before { part } else { within(part) });
    let (train_place, train_dir) = inner(train_dir);
    let entries = walk.entries(dir, &train_dir)?;
    if val.is_none() && test.is_none() {
        return held_out_of(dir, train_place, &train_dir, entries, walk, out);
    }

    let (listed, names) = list(dir, &train_dir, entries, walk, out)?;
    let train = Part { place: train_place, listed };
    let mut others = Vec::new();
    for (part_place, part_dir) in [val, test].into_iter().flatten().map(inner) {
        let entries = walk.entries(dir, &part_dir)?;
        let (listed, part_names) = list(dir, &part_dir, entries, walk, out)?;
        if let Some(name) = names.iter().find(|&name| !part_names.contains(name)) {
            return Err(other_classes(&part_dir.join(name), &train_dir));
        }
        if let Some(name) = part_names.iter().find(|&name| !names.contains(name)) {
            return Err(other_classes(&train_dir.join(name), &part_dir));
        }
        others.push(Part { place: part_place, listed });
    }
    let mut others = others.into_iter();
    Ok(Layout { train, held_out: others.next().unwrap_or_default(), report: others.next(), names })
}

/// The folders of the parts train, val and test among `dirs`, the sub-folders of `dir`.
///
/// If only a part to report is needed, it may be there without the others.
fn parts(dir: &Path, dirs: &[PathBuf], need: Need, walk: &mut Walk) -> Result<[Option<PathBuf>; 3]> {
    if walk.is_before() {
        let part = |names: &[&str]| names.iter().map(|name| dir.join(name)).find(|path| dirs.contains(path));
        let (train, held_out) = (part(&["train"]), part(&["test", "val", "valid"]));
        let is_split = train.is_some() && (held_out.is_some() || dirs.len() == 1);
        return Ok(if is_split { [train, held_out, None] } else { [None, None, None] });
    }
    let [train, mut val, mut test] = named(dir, dirs)?;
    let Some(train) = train else {
        let alone =
            [test, val].into_iter().flatten().find(|path| dirs.len() <= 2 && holds(path) == (true, false));
        let Some(path) = alone else { return Ok([None, None, None]) };
        if need == Need::Reported {
            return Ok([None, None, Some(path)]);
        }
        let expected = format!("a folder train/ beside {}", place(&path));
        let try_this = "train/ with the same classes, or the folder of all classes";
        return Err(Error::file(dir, None, expected, "no folder of that name", try_this));
    };
    if val.is_none() && test.is_none() {
        if dirs.len() > 1 && holds(&train) != (true, false) {
            return Ok([None, None, None]);
        }
        // Such a folder is the training part, or one class of several.
        if let Some(other) = dirs.iter().find(|path| **path != train && holds(path) != (false, false)) {
            let expected =
                format!("{} alone or beside val/ or test/, or classes with other names", place(&train));
            let found = format!("{} beside it", place(other));
            let only = quoted(&format!("folder:{}", train.display()));
            let try_this = format!("--data {only} for the classes in it, or another name for a class");
            return Err(Error::file(dir, None, expected, found, try_this));
        }
        return Ok([Some(train), None, None]);
    }
    // The test images of a competition have no classes.
    let (has_classes, _) = holds(&train);
    let of_training = classes_in(&train);
    // They may be in one folder with a name of its own.
    let has_none = |path: &mut PathBuf| {
        let inner = Walk::new(false).entries(path, path).unwrap_or_default().dirs;
        let is_one = matches!(inner.as_slice(), [one] if holds(one) == (false, true)
            && one.file_name().is_some_and(|name| !of_training.contains(&name.to_owned())));
        holds(path) == (false, true) || (holds(path) == (true, false) && is_one)
    };
    for part in [&mut val, &mut test] {
        if let Some(path) = part.take_if(|path| has_classes && has_none(path)) {
            walk.pass_over(no_classes(&path), 1);
        }
    }
    Ok([Some(train), val, test])
}

/// Fails if one of the classes has folders of parts: the images of a test part would be trained on.
fn refuse_inner_parts(dir: &Path, classes: &[PathBuf]) -> Result<()> {
    for class in classes {
        let inner = Walk::new(false).entries(class, class).unwrap_or_default().dirs;
        let of = |part: &[&str]| inner.iter().find(|path| is_one_of(path, part));
        let Some((train, other)) = of(TRAIN).zip(of(VAL).or(of(TEST))) else { continue };
        let expected = format!("images of the class {} in {}", place(class), class.display());
        let found = format!("{} and {}", place(train), place(other));
        let only = quoted(&format!("folder:{}", class.display()));
        let try_this = format!(
            "--data {only}, if that is the set; or move the parts above the classes, {0}train/CLASS/",
            place(dir)
        );
        return Err(Error::file(class, None, expected, found, try_this));
    }
    Ok(())
}

/// The kind of a part that is passed over, because it has no class folders.
fn no_classes(path: &Path) -> String {
    format!("{} (no class folders)", place(path))
}

/// The folders with the names of the parts train, val and test. A name may have more words than the part (`train_set`,
/// `seg_test`) if its folder has the classes of the training part, or only images. A folder of a class has neither.
fn named(dir: &Path, dirs: &[PathBuf]) -> Result<[Option<PathBuf>; 3]> {
    let exactly = |part: &'static [&'static str]| {
        let found: Vec<&PathBuf> = dirs.iter().filter(|path| is_one_of(path, part)).collect();
        only(&found, part, dir)
    };
    let exact = [exactly(TRAIN)?, exactly(VAL)?, exactly(TEST)?];
    let with_word = |part: &'static [&'static str]| {
        dirs.iter().filter(move |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            parts_in(&name) == [part] && holds(path) != (false, false)
        })
    };
    let trains: Vec<&PathBuf> = match &exact[0] {
        Some(path) => vec![path],
        None => with_word(TRAIN).filter(|path| holds(path).0).collect(),
    };
    let Some(first) = trains.first() else {
        // A set to report may have only this part.
        let test = if let [only] = dirs {
            with_word(TEST).chain(with_word(VAL)).find(|path| *path == only)
        } else {
            None
        };
        let [_, val, exact_test] = exact;
        return Ok([None, val, exact_test.or(test.filter(|path| holds(path).0).cloned())]);
    };
    let of_training = classes_in(first);
    let all_are_named = dirs
        .iter()
        .all(|path| with_word(TRAIN).chain(with_word(VAL)).chain(with_word(TEST)).any(|it| it == path));
    let other = |exact: &Option<PathBuf>, part: &'static [&'static str]| match exact {
        Some(path) => Ok(Some(path.clone())),
        None => {
            let fits = |path: &&PathBuf| {
                all_are_named
                    || holds(path) == (false, true)
                    || classes_in(path).iter().any(|name| of_training.contains(name))
            };
            only(&with_word(part).filter(fits).collect::<Vec<_>>(), part, dir)
        }
    };
    let (val, test) = (other(&exact[1], VAL)?, other(&exact[2], TEST)?);
    if exact[0].is_none() && val.is_none() && test.is_none() {
        return Ok([None, None, None]);
    }
    Ok([only(&trains, TRAIN, dir)?, val, test])
}

/// The names of the classes of a part.
fn classes_in(part: &Path) -> Vec<std::ffi::OsString> {
    let part = within(part.to_owned());
    let inner = Walk::new(false).entries(&part, &part).unwrap_or_default().dirs;
    inner.iter().filter_map(|path| path.file_name().map(ToOwned::to_owned)).collect()
}

/// The folder of the classes of a part: the part, or a single folder in it, as archives have when they are unpacked into
/// a folder of their own name (`seg_train/seg_train`).
fn within(mut part: PathBuf) -> PathBuf {
    loop {
        let entries = Walk::new(false).entries(&part, &part).unwrap_or_default();
        match entries.dirs.as_slice() {
            [one] if holds(&part) == (true, false) && holds(one).0 => part = one.clone(),
            _ => return part,
        }
    }
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

/// The images of all class folders in `dir`, and the names of the classes. The files are added to `out`. `entries` are
/// the entries of `dir`, and `root` is the folder of the data.
fn list(
    root: &Path,
    dir: &Path,
    entries: Entries,
    walk: &mut Walk,
    out: &mut Vec<File>,
) -> Result<(Listed, Vec<String>)> {
    let Entries { dirs: classes, files } = entries;
    if classes.len() < 2 || classes.len() > usize::from(u16::MAX) {
        let n_images = files.iter().filter(|file| walk.is_image(&file.path)).count();
        let is_arrow = |file: &&File| file.path.extension().is_some_and(|end| end == "arrow");
        let (found, try_this) = match classes.as_slice() {
            [] if files.iter().any(|file| is_arrow(&file)) => {
                ("files of the datasets library (.arrow)".to_owned(), ARROW.to_owned())
            }
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
        for file in images {
            listed.push((out.len() as u32, class as u16));
            out.push(file);
        }
        names.push(class_dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    Ok((listed, names))
}

/// The images of the class folders in `dir`, of which a fifth is held out. `entries` are the entries of `dir`.
fn held_out_of(
    root: &Path,
    place: String,
    dir: &Path,
    entries: Entries,
    walk: &mut Walk,
    out: &mut Vec<File>,
) -> Result<Layout> {
    let (listed, names) = list(root, dir, entries, walk, out)?;
    hold_out(root, place, listed, names)
}
