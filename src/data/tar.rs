//! Tar files with images → images. Samples are those of WebDataset: consecutive files with the same name before the
//! first dot, an image and its class in a `.cls` file (a number or a name) or in a `.json` file (the key `label`, `cls`,
//! `class` or `target`). If no sample has a class, the class of an image is its folder in the tar file.
//!
//! Tar files are read once for the positions of their images. Nothing is unpacked.

use std::collections::BTreeMap;
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
use crate::error::{Error, Result};
use crate::files::read_exact_at;

/// Most bytes of a `.cls` or `.json` file.
const MOST_LABEL_BYTES: u64 = 1 << 20;
/// Most bytes of an image file.
const MOST_IMAGE_BYTES: u64 = 256 << 20;
const KEYS: [&str; 4] = ["label", "cls", "class", "target"];
const AGAIN: &str = "download or copy the file again";
const BLOCK: u64 = 512;

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
            let mut fill = || -> std::io::Result<()> {
                if open.as_ref().is_none_or(|(opened, _)| opened != shard) {
                    open = Some((*shard, File::open(path)?));
                }
                bytes.clear();
                bytes.resize(*len as usize, 0);
                open.as_ref().map_or(Ok(()), |(_, file)| read_exact_at(file, &mut bytes, *offset))
            };
            match fill() {
                Ok(()) => see(i, Ok(&bytes)),
                Err(e) => see(i, Err(Error::io("read", path, e))),
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
    if index.labels.labels.iter().all(|label| *label == Label::None) {
        index.classes_of_folders();
    }
    let encoded = Tars { shards, records: index.records };
    let path = |at: usize| encoded.path(at);
    let all: Vec<&Shard> = encoded.shards.iter().collect();
    let layout = shards::layout(place, &all, &ends, &index.labels, None, &path, &mut passed_over)?;
    let encoded = Arc::new(encoded);
    Gather { dir: place, encoded, form, reading, passed_over, unreadable: vec![] }.load(layout)
}

#[derive(Default)]
struct Index {
    records: Vec<Record>,
    labels: Labels,
    passed_over: BTreeMap<String, usize>,
}

/// A sample while its files are read.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<Record>,
    cls: Option<Label>,
    json: Option<Label>,
}

impl Index {
    /// Adds the images of a shard.
    fn add(&mut self, at: u32, shard: &Shard) -> Result<()> {
        let damaged = |found: String| Error::file(&shard.path, None, "a tar file", found, AGAIN);
        let file = File::open(&shard.path).map_err(|e| Error::io("read", &shard.path, e))?;
        let mut start = [0; 6];
        if read_exact_at(&file, &mut start, 0).is_ok() && start.starts_with(&[0x1f, 0x8b]) {
            let name = shard.path.display();
            let try_this =
                format!("gunzip {name}; a compressed file has no places that can be read by themselves");
            return Err(Error::file(&shard.path, Some(0), "a tar file", "gzip data", try_this));
        }
        let mut archive = tar::Archive::new(&file);
        let mut sample = Sample::default();
        let mut end = 0;
        for entry in archive.entries_with_seek().map_err(|e| damaged(e.to_string()))? {
            let mut entry = entry.map_err(|e| damaged(format!("damaged data ({e})")))?;
            let (offset, len) = (entry.raw_file_position(), entry.size());
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
            let kind = entry.header().entry_type();
            if kind.is_dir() {
                continue;
            }
            if !kind.is_file() {
                self.pass_over(passed::SPECIAL, 1);
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let file_name = name.rsplit('/').next().unwrap_or_default();
            if file_name.starts_with('.') || name.starts_with("__MACOSX") {
                continue;
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
            if EXTENSIONS.contains(&extension.as_str()) {
                if sample.image.is_some() || len > MOST_IMAGE_BYTES {
                    self.pass_over(&format!(".{extension}"), 1);
                    continue;
                }
                sample.image = Some(Record { shard: at, len: len as u32, offset, name: name.into() });
            } else if matches!(extension.as_str(), "cls" | "json") && len <= MOST_LABEL_BYTES {
                let mut text = String::new();
                entry.read_to_string(&mut text).map_err(|e| {
                    Error::file(shard.path.join(&name), None, "a class as text", e.to_string(), AGAIN)
                })?;
                if extension == "cls" {
                    sample.cls = Some(self.labels.number_or_text(text.trim()));
                } else {
                    sample.json = self.json_label(&text);
                }
            } else {
                self.pass_over(&format!(".{extension}"), 1);
            }
        }
        self.end(sample);
        // A tar file ends with blocks of zeros. Without them a file that was cut between two entries looks complete.
        let mut block = [1; BLOCK as usize];
        if end == 0 || read_exact_at(&file, &mut block, end).is_err() || block.iter().any(|byte| *byte != 0) {
            let found = if end == 0 { "no entry" } else { "the end of the file after an entry (truncated)" };
            return Err(Error::file(
                &shard.path,
                Some(end),
                "a complete tar file with its end mark",
                found,
                AGAIN,
            ));
        }
        Ok(())
    }

    /// Adds a sample that is complete.
    fn end(&mut self, sample: Sample) {
        match sample.image {
            Some(record) => {
                self.records.push(record);
                self.labels.push(sample.cls.or(sample.json).unwrap_or(Label::None));
            }
            None if sample.key.is_empty() => {}
            None => self.pass_over(passed::NO_IMAGE, 1),
        }
    }

    fn json_label(&mut self, text: &str) -> Option<Label> {
        let value: Value = serde_json::from_str(text).ok()?;
        let label = KEYS.iter().find_map(|key| value.get(key))?;
        match label {
            Value::Number(number) => number.as_i64().map(Label::Number),
            Value::String(text) => Some(self.labels.number_or_text(text.trim())),
            _ => None,
        }
    }

    /// Sets the class of each image to the name of its folder.
    fn classes_of_folders(&mut self) {
        let labels = std::mem::take(&mut self.labels.labels);
        for (record, _) in self.records.iter().zip(labels) {
            let folder = Path::new(&*record.name).parent().and_then(Path::file_name);
            let label = match folder {
                Some(folder) => self.labels.text(&folder.to_string_lossy()),
                None => Label::None,
            };
            self.labels.push(label);
        }
    }

    fn pass_over(&mut self, kind: &str, n: usize) {
        *self.passed_over.entry(kind.to_owned()).or_default() += n;
    }
}
