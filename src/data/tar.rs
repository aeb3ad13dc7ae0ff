//! Tar files with images → images. Samples are those of WebDataset: consecutive files with the same name before the
//! first dot, an image and its class in a `.cls` file (a number or a name) or in a `.json` file (the key `label`, `cls`,
//! `class` or `target`). If no sample has a class, the class of an image is its folder in the tar file.
//!
//! Tar files are read once for the positions of their images. Nothing is unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::account::passed;
use super::decode::EXTENSIONS;
use super::encoded::{Encoded, See};
use super::folder::form;
use super::gather::Gather;
use super::shards::{self, Label, Labels, Shard};
use super::spec::{Loaded, Reading};
use crate::error::{Error, Result, quoted};
use crate::files::read_exact_at;

/// Most bytes of a `.cls` or `.json` file.
const MOST_LABEL_BYTES: u64 = 1 << 20;
/// Most bytes of an image file.
const MOST_IMAGE_BYTES: u64 = 256 << 20;
const KEYS: [&str; 4] = ["label", "cls", "class", "target"];
const AGAIN: &str = "download or copy the file again";
const BLOCK: u64 = 512;
const BYTE_ORDER_MARK: char = '\u{feff}';
/// First bytes of compressed files, their kind, and the command that unpacks them.
const COMPRESSED: &[(&[u8], &str, &str)] = &[
    (&[0x1f, 0x8b], "gzip", "gzip -d"),
    (b"BZh", "bzip2", "bzip2 -d"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz", "xz -d"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstandard", "zstd -d"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];

#[derive(Debug)]
struct Tars {
    shards: Vec<Shard>,
    records: Vec<Record>,
}

/// Place of an image.
#[derive(Debug)]
struct Record {
    shard: u32,
    len: u32,
    offset: u64,
    name: Box<str>,
}

impl Encoded for Tars {
    fn path(&self, at: usize) -> PathBuf {
        let record = &self.records[at];
        self.shards[record.shard as usize].path.join(&*record.name)
    }

    fn len(&self, at: usize) -> u64 {
        u64::from(self.records[at].len)
    }

    fn stamp(&self, at: usize, hash: &mut Sha256) {
        let Record { shard, offset, len, .. } = &self.records[at];
        self.shards[*shard as usize].stamp(hash);
        hash.update(format!("{offset} {len}\0"));
    }

    fn read(&self, at: &[u32], see: See<'_>) {
        let mut open: Option<(u32, File)> = None;
        let mut bytes = Vec::new();
        for (i, at) in at.iter().enumerate() {
            let Record { shard, len, offset, .. } = &self.records[*at as usize];
            let path = &self.shards[*shard as usize].path;
            let mut fill = || -> Result<()> {
                if open.as_ref().is_none_or(|(opened, _)| opened != shard) {
                    open = Some((*shard, self.shards[*shard as usize].open()?));
                }
                bytes.clear();
                bytes.resize(*len as usize, 0);
                let read = open.as_ref().map(|(_, file)| read_exact_at(file, &mut bytes, *offset));
                read.unwrap_or(Ok(())).map_err(|e| Error::io("read", path, e))
            };
            match fill() {
                Ok(()) => see(i, Ok(&bytes)),
                Err(e) => see(i, Err(e)),
            }
        }
    }
}

pub(super) fn load(place: &Path, reading: &Reading<'_>) -> Result<Loaded> {
    let form = form(reading.options)?;
    let mut passed_over = BTreeMap::new();
    let shards = shards::find(place, &["tar"], &mut passed_over)?;
    let mut index = Index::default();
    let mut ends = Vec::new();
    for (i, shard) in shards.iter().enumerate() {
        index.add(i as u32, shard)?;
        ends.push(index.records.len());
    }
    for (kind, n) in std::mem::take(&mut index.passed_over) {
        *passed_over.entry(kind).or_default() += n;
    }
    if shards.iter().all(Shard::is_of_no_part) {
        index.refuse_parts(&shards)?;
    }
    let has_no_class = |labels: &Labels| labels.labels.iter().all(|label| *label == Label::None);
    let by_files = !has_no_class(&index.labels);
    if !by_files {
        index.refuse_other_parts(&shards)?;
        index.classes_of_folders(&shards);
    }
    if let Some((path, found)) = index.wrong.filter(|_| by_files || has_no_class(&index.labels)) {
        let expected = "one class for an image, as a number or a name";
        let try_this = "a .cls or .json file with one class for each image";
        return Err(Error::file(path, None, expected, found, try_this));
    }
    let encoded = Tars { shards, records: index.records };
    let path = |at: usize| encoded.path(at);
    let all: Vec<&Shard> = encoded.shards.iter().collect();
    let layout =
        shards::layout(place, reading.is_foreign(), &all, &ends, &index.labels, &path, &mut passed_over)?;
    let encoded = Arc::new(encoded);
    Gather { dir: place, encoded, form, reading, passed_over, unreadable: vec![] }.load(layout)
}

fn several_parts(path: &Path, name: &str) -> Error {
    let found = format!("folders of several parts, as in {name}");
    let try_this = "a tar file for each part, such as train.tar and test.tar";
    Error::file(path, None, "the images of one part in a tar file", found, try_this)
}

/// Whether a file has holes in the form of pax archives (`tar --format=pax -S`).
fn is_pax_sparse(entry: &mut tar::Entry<'_, impl Read>) -> bool {
    let extensions = entry.pax_extensions().ok().flatten();
    extensions.into_iter().flatten().flatten().any(|e| e.key_bytes().starts_with(b"GNU.sparse."))
}

/// What stands behind the first dot of an image's name, in lower case.
fn extension_of(record: &Record) -> String {
    let name = record.name.rsplit('/').next().unwrap_or_default();
    name.split_once('.').unwrap_or_default().1.to_lowercase()
}

/// Whether a number stands between the first dot and the extension: `photo.2.jpg`.
fn is_numbered(record: &Record) -> bool {
    let extension = extension_of(record);
    let middle = extension.rsplit_once('.').unwrap_or_default().0;
    middle.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// A name in a tar file without `./` at its start.
fn plain_name(name: &str) -> &str {
    name.trim_start_matches("./")
}

/// The offset and the length of each file by its name. `file` is a handle of its own, because its position moves. A file that cannot be read to its end has the files before.
fn places_in(file: &File) -> BTreeMap<String, (u64, u64)> {
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries_with_seek().into_iter().flatten().map_while(std::result::Result::ok);
    let files = entries.filter(|entry| entry.header().entry_type().is_file());
    let place = |entry: tar::Entry<'_, &File>| {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        (plain_name(&name).to_owned(), (entry.raw_file_position(), entry.size()))
    };
    files.map(place).collect()
}

#[derive(Default)]
struct Index {
    records: Vec<Record>,
    labels: Labels,
    /// The first file of an image that has no class because of it.
    wrong: Option<(PathBuf, String)>,
    passed_over: BTreeMap<String, usize>,
}

/// A sample while its files are read.
#[derive(Default)]
struct Sample {
    key: String,
    images: Vec<Record>,
    /// Images with more between the first dot and the extension: `photo.2024.jpg`.
    others: Vec<Record>,
    cls: Option<Label>,
    json: Option<Label>,
    /// A file without a class that can be used, and what stands there in its place.
    wrong: Option<(PathBuf, String)>,
    /// Whether a `.json` file has none of the keys of a class.
    has_no_key: bool,
}

impl Index {
    /// Adds the images of a shard.
    fn add(&mut self, at: u32, shard: &Shard) -> Result<()> {
        let damaged = |found: String| Error::file(&shard.path, None, "a tar file", found, AGAIN);
        let file = shard.open()?;
        let mut start = [0; 6];
        _ = read_exact_at(&file, &mut start, 0);
        if let Some((_, name, command)) = COMPRESSED.iter().find(|(magic, ..)| start.starts_with(magic)) {
            let path = quoted(&shard.path.display().to_string());
            let try_this = format!(
                "{command} < {path} > plain.tar; a compressed file has no places that can be read by themselves"
            );
            return Err(Error::file(&shard.path, Some(0), "a tar file", format!("{name} data"), try_this));
        }
        if start.starts_with(b"PAR1") {
            let try_this = format!("--data {}", quoted(&format!("parquet:{}", shard.path.display())));
            return Err(Error::file(&shard.path, Some(0), "a tar file", "a Parquet file", try_this));
        }
        let mut archive = tar::Archive::new(&file);
        let (mut sample, mut names) = (Sample::default(), BTreeSet::new());
        // The places of all files, once there is a hard link.
        let mut places = None;
        let mut end = 0;
        for entry in archive.entries_with_seek().map_err(|e| damaged(e.to_string()))? {
            let mut entry = entry.map_err(|e| damaged(format!("damaged data ({e})")))?;
            let (offset, len) = (entry.raw_file_position(), entry.size());
            let kind = entry.header().entry_type();
            if kind.is_gnu_sparse() || is_pax_sparse(&mut entry) {
                let found = format!("{}, a sparse file", String::from_utf8_lossy(&entry.path_bytes()));
                return Err(Error::file(
                    &shard.path,
                    None,
                    "files that are stored whole",
                    found,
                    "pack them without tar -S",
                ));
            }
            if offset.saturating_add(len) > shard.len() {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(Error::file(
                    &shard.path,
                    Some(shard.len()),
                    format!("{len} bytes of {name}"),
                    "the end of the file (truncated)",
                    AGAIN,
                ));
            }
            end = offset + len.next_multiple_of(BLOCK);
            if kind.is_dir() || kind.is_pax_global_extensions() {
                continue;
            }
            let (offset, len) = if kind.is_hard_link() {
                let places = match &places {
                    Some(places) => places,
                    None => places.insert(places_in(&shard.open()?)),
                };
                let target = entry.link_name_bytes().unwrap_or_default();
                match places.get(plain_name(&String::from_utf8_lossy(&target))) {
                    Some(place) => *place,
                    None => {
                        self.pass_over(passed::HARD_LINKS, 1);
                        continue;
                    }
                }
            } else if kind.is_file() {
                (offset, len)
            } else {
                self.pass_over(passed::SPECIAL, 1);
                continue;
            };
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let file_name = name.rsplit('/').next().unwrap_or_default();
            if file_name.starts_with('.') || name.starts_with("__MACOSX") {
                continue;
            }
            // Unpacked, the last one of them would be left. A sample that is there twice may have two classes.
            if !names.insert(name.clone()) {
                let (expected, try_this) =
                    ("each file once in a tar file", "unpack the file, and pack it again");
                return Err(Error::file(shard.path.join(name), None, expected, "this one twice", try_this));
            }
            let Some(dot) = file_name.find('.') else {
                self.pass_over(passed::NO_EXTENSION, 1);
                continue;
            };
            let (key, extension) = name.split_at(name.len() - file_name.len() + dot);
            let extension = extension[1..].to_lowercase();
            if key != sample.key {
                self.end(std::mem::replace(&mut sample, Sample { key: key.to_owned(), ..Sample::default() }));
            }
            let last = extension.rsplit('.').next().unwrap_or_default();
            if EXTENSIONS.contains(&last) && len <= MOST_IMAGE_BYTES {
                let record = Record { shard: at, len: len as u32, offset, name: name.into() };
                if last != extension {
                    sample.others.push(record);
                } else {
                    sample.images.push(record);
                }
            } else if matches!(extension.as_str(), "cls" | "json") && len <= MOST_LABEL_BYTES {
                let path = shard.path.join(&name);
                let mut bytes = vec![0; len as usize];
                read_exact_at(&file, &mut bytes, offset).map_err(|e| Error::io("read", &path, e))?;
                let text = String::from_utf8(bytes)
                    .map_err(|e| Error::file(&path, None, "a class as text", e.to_string(), AGAIN))?;
                if extension == "cls" {
                    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
                    match text.lines().count() {
                        0 => sample.wrong = Some((path, "an empty file".into())),
                        1 => sample.cls = Some(self.labels.number_or_text(text)),
                        n => sample.wrong = Some((path, format!("{n} lines"))),
                    }
                } else {
                    match self.json_label(&text) {
                        Ok(Some(label)) => sample.json = Some(label),
                        Ok(None) => sample.has_no_key = true,
                        Err(found) => sample.wrong = Some((path, found)),
                    }
                }
            } else {
                self.pass_over(&format!(".{extension}"), 1);
            }
        }
        self.end(sample);
        // A tar file ends with blocks of zeros. Without them a file that was cut between two entries looks complete, and
        // with more behind them a damaged header looks like the end.
        let mut block = [1; BLOCK as usize];
        if end == 0 || read_exact_at(&file, &mut block, end).is_err() {
            let expected = "a complete tar file with its end mark";
            let found = if end == 0 { "no entry" } else { "the end of the file after an entry (truncated)" };
            return Err(Error::file(&shard.path, Some(end), expected, found, AGAIN));
        }
        let mut at = end;
        while at < shard.len() {
            let n = BLOCK.min(shard.len() - at) as usize;
            read_exact_at(&file, &mut block[..n], at).map_err(|e| Error::io("read", &shard.path, e))?;
            if let Some(i) = block[..n].iter().position(|byte| *byte != 0) {
                let expected = "nothing but zeros after the end mark";
                let found =
                    format!("more data (a damaged header at byte {end}, or several tar files in one)");
                let try_this =
                    "copy the file again, or unpack the files that were joined and pack them as one";
                return Err(Error::file(&shard.path, Some(at + i as u64), expected, found, try_this));
            }
            at += n as u64;
        }
        Ok(())
    }

    /// Adds a sample that is complete.
    fn end(&mut self, sample: Sample) {
        let label = sample.cls.or(sample.json);
        // Beside an image, others are masks and the like. Without a class each image is one by itself, since its folder may be
        // its class, and so is one with a number behind the first dot.
        let (mut images, mut others) = (sample.images, sample.others);
        if images.is_empty() {
            std::mem::swap(&mut images, &mut others);
        } else if label.is_some() {
            others.splice(0..0, images.drain(1..));
        } else {
            let (numbered, masks) = others.into_iter().partition(is_numbered);
            images.extend::<Vec<Record>>(numbered);
            others = masks;
        }
        for other in others {
            self.pass_over(&format!(".{}", extension_of(&other)), 1);
        }
        if sample.has_no_key && label.is_none() {
            self.pass_over(passed::NO_KEY, 1);
        }
        if images.is_empty() && !sample.key.is_empty() {
            self.pass_over(passed::NO_IMAGE, 1);
        }
        if label.is_none() && !images.is_empty() {
            self.wrong = self.wrong.take().or(sample.wrong);
        }
        for record in images {
            self.records.push(record);
            self.labels.push(label.unwrap_or(Label::None));
        }
    }

    /// Fails if the shard of a part has a folder of another part.
    fn refuse_other_parts(&self, shards: &[Shard]) -> Result<()> {
        for record in &self.records {
            let Some(part) = shards[record.shard as usize].part() else { continue };
            let mut folders = record.name.split('/').rev().skip(1);
            if folders
                .any(|name| shards::part_of_word(&name.to_lowercase()).is_some_and(|other| other != part))
            {
                return Err(several_parts(&shards[record.shard as usize].path, &record.name));
            }
        }
        Ok(())
    }

    /// The class in a `.json` file. The error is what stands in its place.
    fn json_label(&mut self, text: &str) -> std::result::Result<Option<Label>, String> {
        let value: Value = serde_json::from_str(text.trim_start_matches(BYTE_ORDER_MARK))
            .map_err(|e| format!("no JSON ({e})"))?;
        let Some((key, mut label)) = KEYS.iter().find_map(|key| Some((key, value.get(key)?))) else {
            return Ok(None);
        };
        if let Some([one]) = label.as_array().map(Vec::as_slice) {
            label = one;
        }
        let number = label.as_i64().or_else(|| label.as_f64().and_then(shards::whole));
        match (number, label) {
            (Some(number), _) => Ok(Some(Label::Number(number))),
            (None, Value::String(text)) => Ok(Some(self.labels.number_or_text(text.trim()))),
            (None, Value::Bool(is)) => Ok(Some(Label::Number(i64::from(*is)))),
            (None, Value::Null) => Ok(Some(Label::None)),
            (None, Value::Array(list)) => Err(format!("a list of {} as `{key}`", list.len())),
            (None, Value::Object(_)) => Err(format!("an object as `{key}`")),
            (None, other) => Err(format!("{other} as `{key}`")),
        }
    }

    /// Sets the class of each image to the name of its first folder below the folders that all images have.
    fn classes_of_folders(&mut self, shards: &[Shard]) {
        let folders = |record: &Record| -> Vec<String> {
            let names = record.name.split('/').filter(|name| !name.is_empty() && *name != ".");
            let mut names: Vec<String> = names.map(str::to_owned).collect();
            names.pop();
            // `train.tar` may have all classes in a folder `train`.
            let own = shards[record.shard as usize].part();
            let is_own = |name: &String| own.is_some_and(|own| own.contains(&name.to_lowercase().as_str()));
            let part = names.iter().position(is_own);
            names.split_off(part.map_or(0, |i| i + 1))
        };
        let mut common = self.records.first().map(folders).unwrap_or_default();
        for record in &self.records {
            let n = common.iter().zip(folders(record)).take_while(|(a, b)| **a == *b).count();
            common.truncate(n);
        }
        self.labels.labels.clear();
        for record in &self.records {
            let label = match folders(record).get(common.len()) {
                Some(folder) => self.labels.text(folder),
                None => Label::None,
            };
            self.labels.push(label);
        }
    }

    /// Fails if the folders in tar files tell parts apart. The parts of a set are in tar files of their own.
    fn refuse_parts(&self, shards: &[Shard]) -> Result<()> {
        let part = |record: &Record| {
            let mut folders = record.name.split('/').rev().skip(1);
            folders.find_map(|name| shards::part_of_word(&name.to_lowercase()))
        };
        let mut parts =
            self.records.iter().map(|record| (record, part(record))).filter(|(_, part)| part.is_some());
        let Some((_, first)) = parts.next() else { return Ok(()) };
        let Some((other, _)) = parts.find(|(_, part)| *part != first) else { return Ok(()) };
        Err(several_parts(&shards[other.shard as usize].path, &other.name))
    }

    fn pass_over(&mut self, kind: &str, n: usize) {
        *self.passed_over.entry(kind.to_owned()).or_default() += n;
    }
}
