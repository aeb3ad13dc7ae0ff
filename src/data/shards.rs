//! Files with many images each (shards) → the parts and the classes of their images.
//!
//! A part is named by a word in the name of a shard or of a folder above it: `train-00000-of-00004.parquet`,
//! `val/0.tar`. Shards without such a word are one set, of which a fifth is held out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::{counted, passed};
use super::encoded::{Layout, Listed, Part, TEST, TRAIN, VAL, changed, hold_out, modified, unchanged};
use super::files;
use super::labels::is_far;
use super::walk::{self, Walk};
use crate::error::{Error, Result};

/// Most classes.
const MOST_CLASSES: usize = u16::MAX as usize;
/// Optional files with one name per class, beside the shards.
const NAMES: &[&str] = &["classnames.txt", "classes.txt"];

/// A file with images.
#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    len: u64,
    /// Times of the last change of its content and of its entry.
    modified: (u128, u128),
    part: Option<&'static [&'static str]>,
}

impl Shard {
    /// Adds the file's name, length and time to `hash`.
    pub fn stamp(&self, hash: &mut Sha256) {
        hash.update(self.path.as_os_str().as_encoded_bytes());
        hash.update(format!("\0{} {:?}\0", self.len, self.modified));
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`Error::File`] if its content changed after it was listed.
    pub fn open(&self) -> Result<fs::File> {
        let file = fs::File::open(&self.path).map_err(|e| Error::io("read", &self.path, e))?;
        let meta = file.metadata().map_err(|e| Error::io("read", &self.path, e))?;
        unchanged(&self.path, (self.len, self.modified.0), &meta)?;
        Ok(file)
    }

    /// Whether its name says that it is for training.
    pub fn is_to_train(&self) -> bool {
        self.part == Some(TRAIN)
    }

    /// Whether its name has no word of a part.
    pub fn is_of_no_part(&self) -> bool {
        self.part.is_none()
    }

    /// The part that its name says.
    pub fn part(&self) -> Option<&'static [&'static str]> {
        self.part
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }
}

/// The shards at `place`, a file, or a folder with files that end in one of `extensions`, in the order of their paths.
/// Other entries of a folder are counted in `passed_over`.
pub(super) fn find(
    place: &Path,
    extensions: &'static [&'static str],
    passed_over: &mut BTreeMap<String, usize>,
) -> Result<Vec<Shard>> {
    let what = format!("a .{} file, or a folder of such files", extensions[0]);
    let meta = match fs::metadata(place) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::file(
                place,
                None,
                what,
                "nothing of that name",
                "check the path after --data's colon",
            ));
        }
        Err(e) => return Err(Error::io("read", place, e)),
    };
    if meta.is_file() {
        let path = place.to_owned();
        return Ok(vec![Shard {
            path,
            len: meta.len(),
            modified: (modified(&meta), changed(&meta)),
            // Alone a training part is a whole set.
            part: match parts_in(&name(place)).as_slice() {
                [part] if *part != TRAIN => Some(part),
                _ => None,
            },
        }]);
    }
    let mut walk = Walk::of(extensions);
    let (found, n_files) = walk.images(place, place);
    if let Some(error) = walk.unreadable.pop() {
        return Err(error);
    }
    for (kind, n) in walk.passed_over {
        *passed_over.entry(kind).or_default() += n;
    }
    if found.is_empty() {
        let found = format!("none among {n_files} files");
        return Err(Error::file(place, None, what, found, "check the path after --data's colon"));
    }
    for kind in missing(found.iter().map(|file| file.path.as_path())) {
        *passed_over.entry(kind).or_default() += 1;
    }
    let mut seen = BTreeSet::new();
    let mut shards = Vec::new();
    for walk::File { path, len, modified, changed } in found {
        // A link to another shard would bring its images twice.
        if !fs::canonicalize(&path).is_ok_and(|real| seen.insert(real)) {
            *passed_over.entry(passed::TWICE.into()).or_default() += 1;
            continue;
        }
        let part = part_of(path.strip_prefix(place).unwrap_or(&path), &path)?;
        shards.push(Shard { path, len, modified: (modified, changed), part });
    }
    Ok(shards)
}

/// The shards that are not there, according to the names of the others (`train-00000-of-00004.parquet`): one text for
/// each set of shards that is not whole.
fn missing<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let mut sets: BTreeMap<(PathBuf, String), BTreeSet<usize>> = BTreeMap::new();
    for path in paths {
        let (folder, stem) =
            (path.parent().unwrap_or(path), path.file_stem().unwrap_or_default().to_string_lossy());
        // Hugging Face's library may add the fingerprint of the shard.
        let mut words: Vec<&str> = stem.split('-').collect();
        let Some(of) =
            words.iter().rposition(|word| *word == "of").filter(|of| *of > 0 && of + 1 < words.len())
        else {
            continue;
        };
        words.truncate(of + 2);
        let is_number = |word: &str| word.len() >= 5 && word.bytes().all(|b| b.is_ascii_digit());
        if let (true, true, Ok(at)) =
            (is_number(words[of - 1]), is_number(words[of + 1]), words[of - 1].parse())
        {
            words[of - 1] = "{}";
            sets.entry((folder.to_owned(), words.join("-"))).or_default().insert(at);
        }
    }
    let text = |((_, name), there): ((PathBuf, String), BTreeSet<usize>)| {
        let total: usize = name.rsplit('-').next()?.parse().ok()?;
        let n = total.saturating_sub(there.len());
        let first = (0..total).find(|at| !there.contains(at)).filter(|_| n > 0)?;
        let digits = name.rsplit('-').next()?.len();
        let first = name.replace("{}", &format!("{first:0digits$}"));
        Some(if n == 1 {
            format!("{}{first}", passed::MISSING)
        } else {
            format!("{}{first} and {} more", passed::MISSING, n - 1)
        })
    };
    sets.into_iter().filter_map(text).collect()
}

/// The part that the words of `below`, the path below the place of the data, name. Words are separated by other
/// characters than letters, and by a capital letter behind a small one.
fn part_of(below: &Path, path: &Path) -> Result<Option<&'static [&'static str]>> {
    match parts_in(&below.to_string_lossy()).as_slice() {
        [] => Ok(None),
        [part] => Ok(Some(part)),
        several => {
            let names: Vec<&str> = several.iter().map(|names| names[0]).collect();
            let expected = "a name with the word of one part";
            let try_this = "rename the file or its folder";
            Err(Error::file(path, None, expected, format!("the parts {}", names.join(" and ")), try_this))
        }
    }
}

/// The parts that the words of `name` name, in the order of the words.
pub(super) fn parts_in(name: &str) -> Vec<&'static [&'static str]> {
    let mut text = String::new();
    let mut is_small = false;
    for c in name.chars() {
        if is_small && c.is_uppercase() {
            text.push(' ');
        }
        is_small = c.is_lowercase();
        text.extend(c.to_lowercase());
    }
    let words = text.split(|c: char| !c.is_alphabetic());
    let mut found: Vec<&'static [&'static str]> = words.filter_map(part_of_word).collect();
    found.dedup();
    found
}

/// The part that a word in lower case names, also with another word that is not separated (`trainset`).
pub(super) fn part_of_word(word: &str) -> Option<&'static [&'static str]> {
    let short = ["set", "data", "images"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
    [TRAIN, VAL, TEST].into_iter().find(|names| names.contains(&word) || names.contains(&short))
}

/// The class of an image as a shard has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Number(i64),
    /// Index into [`Labels::texts`].
    Text(u32),
    None,
}

/// The labels of all images, in the order of the shards.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub labels: Vec<Label>,
    /// The names of the classes if the shards have them.
    pub names: Option<Vec<String>>,
    texts: Vec<String>,
    known: BTreeMap<String, u32>,
}

impl Labels {
    pub fn push(&mut self, label: Label) {
        self.labels.push(label);
    }

    /// The label with this text.
    pub fn text(&mut self, text: &str) -> Label {
        if let Some(at) = self.known.get(text) {
            return Label::Text(*at);
        }
        let at = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.known.insert(text.to_owned(), at);
        Label::Text(at)
    }

    /// The label with this text, which may be a whole number.
    pub fn number_or_text(&mut self, text: &str) -> Label {
        let number = text.parse().ok().or_else(|| text.parse().ok().and_then(whole));
        number.map_or_else(|| self.text(text), Label::Number)
    }
}

/// A number without a fraction as an integer.
pub(super) fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
}

/// The parts of the images. `ends`: the number of images up to the end of each shard. `path`: the file of an image, for
/// messages. Of a foreign set (`Reading::is_foreign`) that is one part by its name, every image is reported.
pub(super) fn layout(
    place: &Path,
    is_foreign: bool,
    shards: &[&Shard],
    ends: &[usize],
    labels: &Labels,
    path: &dyn Fn(usize) -> PathBuf,
    passed_over: &mut BTreeMap<String, usize>,
) -> Result<Layout> {
    let n_images = labels.labels.len();
    let beside = if passed_over.is_empty() {
        String::new()
    } else {
        format!(" (beside them: {})", counted(passed_over))
    };
    if n_images == 0 || n_images > u32::MAX as usize {
        let expected = "images with labels (png, jpeg, webp, bmp, tiff, gif), at most 4 billion";
        let try_this = "check that these are the right files";
        return Err(Error::file(place, None, expected, format!("{n_images}{beside}"), try_this));
    }
    let mut pass_over = |kind: String, n: usize| {
        if n > 0 {
            *passed_over.entry(kind).or_default() += n;
        }
    };
    let start = |i: usize| if i == 0 { 0 } else { ends[i - 1] };
    let has_train = shards.iter().any(|shard| shard.part == Some(TRAIN));
    let positions = |part: Option<&'static [&'static str]>| -> Vec<usize> {
        let of = shards.iter().enumerate().filter(|(_, shard)| shard.part == part);
        of.flat_map(|(i, _)| start(i)..ends[i]).collect()
    };
    // Shards of one part, or of none, are a set by themselves. Beside shards of other parts, those of none are the
    // training part.
    let is_one = !has_train && shards.iter().all(|shard| shard.part == shards[0].part);
    let is_reported = is_one && is_foreign && shards[0].part.is_some();
    if has_train {
        for shard in shards.iter().filter(|shard| shard.part.is_none()) {
            pass_over(format!("{} beside the parts (no word of a part in its name)", name(&shard.path)), 1);
        }
    } else if !is_one && shards.iter().all(|shard| shard.part.is_some()) {
        let expected = "shards of a part to train on (the word train in their names)";
        let found = "shards of other parts only";
        return Err(Error::file(place, None, expected, found, "--data with the path of one part"));
    }
    let [train, val, test] = if is_one {
        [(0..n_images).collect(), vec![], vec![]]
    } else {
        [has_train.then_some(TRAIN), Some(VAL), Some(TEST)].map(positions)
    };

    let classes = Classes::of(&train, labels, &beside, place, path)?;
    let listed = |positions: Vec<usize>| -> Result<(Listed, usize)> {
        let mut listed = Vec::with_capacity(positions.len());
        let n = positions.len();
        for at in positions {
            if let Some(class) = classes.class(at, labels, path)? {
                listed.push((at as u32, class));
            }
        }
        let n_without = n - listed.len();
        Ok((listed, n_without))
    };
    let mut without = 0;
    let mut part = |positions: Vec<usize>, names: &'static [&'static str]| -> Result<Option<Part>> {
        let n = positions.len();
        let (listed, n_without) = listed(positions)?;
        if n > 0 && n_without == n && names != TRAIN {
            pass_over(format!("{}/ (no labels)", names[0]), 1);
            return Ok(None);
        }
        without += n_without;
        let folder = if place.is_dir() { format!("{}/", name(place)) } else { name(place) };
        let place = if is_one { folder } else { format!("{} of {folder}", names[0]) };
        Ok((!listed.is_empty()).then_some(Part { place, listed }))
    };
    let (train, val, test) = (part(train, TRAIN)?, part(val, VAL)?, part(test, TEST)?);
    pass_over(passed::NO_LABEL.into(), without);
    if let Some(file) = classes.names_file.as_ref().filter(|_| place.is_dir()) {
        walk::take_back(passed_over, file);
    }
    let Part { place: train_place, listed } = train.unwrap_or_default();
    let names = classes.names;
    let mut others = [val, test].into_iter().flatten();
    match others.next() {
        None if is_reported => {
            let held_out = Part { place: train_place, listed };
            Ok(Layout { train: Part::default(), held_out, report: None, names })
        }
        None => hold_out(place, train_place, listed, names),
        Some(held_out) => {
            let train = Part { place: train_place, listed };
            Ok(Layout { train, held_out, report: others.next(), names })
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The classes of labels.
struct Classes {
    names: Vec<String>,
    /// Class of each text, by its index in [`Labels::texts`].
    of_text: Vec<Option<u16>>,
    /// The file beside the shards that the names are from.
    names_file: Option<PathBuf>,
}

impl Classes {
    /// The classes of the images at the positions `train`.
    fn of(
        train: &[usize],
        labels: &Labels,
        beside: &str,
        place: &Path,
        path: &dyn Fn(usize) -> PathBuf,
    ) -> Result<Self> {
        let used: Vec<(usize, Label)> = train.iter().map(|at| (*at, labels.labels[*at])).collect();
        let number = used.iter().find(|(_, label)| matches!(label, Label::Number(_)));
        let text = used.iter().find(|(_, label)| matches!(label, Label::Text(_)));
        let wrong = |expected: String, found: String| {
            Err(Error::file(place, None, expected, found, "a set of images with one class each"))
        };
        match (number, text) {
            (None, None) => {
                let expected = "a class for each image";
                let found = format!("none for {} images{beside}", used.len());
                let try_this = "in a tar file, a .cls or .json file right beside each image, with the same name before the \
                    first dot (tar --sort=name packs them so); in a parquet file, a column of labels";
                Err(Error::file(place, None, expected, found, try_this))
            }
            (Some((a, _)), Some((b, _))) => {
                let found =
                    format!("a number for {} and a name for {}", path(*a).display(), path(*b).display());
                wrong("numbers or names as labels, for all images alike".into(), found)
            }
            (Some(_), None) => Self::numbered(&used, labels.names.clone(), place, path),
            (None, Some(_)) => {
                let texts: BTreeSet<&str> = used
                    .iter()
                    .filter_map(|(_, label)| match label {
                        Label::Text(at) => Some(labels.texts[*at as usize].as_str()),
                        _ => None,
                    })
                    .collect();
                if !(2..=MOST_CLASSES).contains(&texts.len()) {
                    return wrong(format!("2 to {MOST_CLASSES} classes"), texts.len().to_string());
                }
                let names: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
                let class = |text: &String| names.binary_search(text).ok().map(|class| class as u16);
                let of_text = labels.texts.iter().map(class).collect();
                Ok(Self { names, of_text, names_file: None })
            }
        }
    }

    fn numbered(
        used: &[(usize, Label)],
        names: Option<Vec<String>>,
        place: &Path,
        path: &dyn Fn(usize) -> PathBuf,
    ) -> Result<Self> {
        let numbers = || {
            used.iter().filter_map(|(at, label)| match label {
                Label::Number(number) => Some((*at, *number)),
                _ => None,
            })
        };
        let (at, highest) = numbers().max_by_key(|(_, number)| *number).unwrap_or_default();
        let n_different =
            numbers().map(|(_, number)| number).filter(|n| *n >= 0).collect::<BTreeSet<_>>().len();
        let (names, names_file) = match names {
            Some(names) => (Some(names), None),
            None => beside(place)?.map_or((None, None), |(file, names)| (Some(names), Some(file))),
        };
        let is_wrong = match &names {
            Some(names) => highest as usize >= names.len(),
            None => highest as usize >= MOST_CLASSES || is_far(highest as usize, n_different),
        };
        if highest < 0 {
            let found = format!("the label {highest} for all images, which means none");
            return Err(Error::file(place, None, "a class for each image", found, "a set with labels"));
        }
        if is_wrong {
            let expected = match (&names, &names_file) {
                (Some(names), None) => format!("a label below {}, the number of named classes", names.len()),
                (Some(names), Some(file)) => {
                    format!("a label below {}, the number of names in {}", names.len(), file.display())
                }
                (None, _) => format!("labels from 0 without gaps ({n_different} values occur)"),
            };
            return Err(Error::file(path(at), None, expected, highest.to_string(), "check the labels"));
        }
        if n_different < 2 {
            let n_without = used.len() - numbers().filter(|(_, number)| *number >= 0).count();
            let without = if n_without > 0 {
                format!(", and -1 or none for {n_without} of them")
            } else {
                String::new()
            };
            let found = format!("label {highest} for all images{without}");
            return Err(Error::file(
                place,
                None,
                "labels of at least two classes",
                found,
                "a set with more classes",
            ));
        }
        let names = names.unwrap_or_else(|| (0..=highest).map(|class| class.to_string()).collect());
        Ok(Self { names, of_text: vec![], names_file })
    }

    /// The class of the image at a position. `None` if it has no label; some sets have -1 in its place.
    fn class(&self, at: usize, labels: &Labels, path: &dyn Fn(usize) -> PathBuf) -> Result<Option<u16>> {
        let wrong = |found: String| {
            let expected = format!("one of the {} classes of the training part", self.names.len());
            let try_this = "the same classes in all parts; the label -1 means that an image has none";
            Err(Error::file(path(at), None, expected, found, try_this))
        };
        match labels.labels[at] {
            Label::None | Label::Number(-1) => Ok(None),
            Label::Number(number) => match u16::try_from(number) {
                Ok(class) if usize::from(class) < self.names.len() && self.of_text.is_empty() => {
                    Ok(Some(class))
                }
                _ => wrong(format!("label {number}")),
            },
            Label::Text(text) => match self.of_text.get(text as usize) {
                Some(Some(class)) => Ok(Some(*class)),
                _ => wrong(format!("class `{}`", labels.texts[text as usize])),
            },
        }
    }
}

/// A file of names of classes beside the shards, and its names.
fn beside(place: &Path) -> Result<Option<(PathBuf, Vec<String>)>> {
    let folder = if place.is_dir() { place } else { crate::files::parent(place) };
    let mut paths = NAMES.iter().map(|name| folder.join(name));
    let Some(path) = paths.find(|path| path.is_file()) else { return Ok(None) };
    let bytes = files::read(&path, 1 << 20, "the names of the classes, one a line", "")?;
    let names = files::names(&path, &bytes)?;
    Ok(Some((path, names)))
}
