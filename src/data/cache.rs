//! The scaled images of a data set, kept on disk under a key of its files' names, lengths and times.
//!
//! Everything kept here can be made again. A file that is missing, damaged or cannot be written is no error.
//!
//! A file of images has the pixels `[N][C][H][W]`, the CRC-32 of each image as u32 (little-endian), a footer as JSON, and
//! the length of the footer as u32.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::decode::Form;
use super::encoded::{Encoded, Listed};
use crate::files::read_exact_at;

/// Version of the decoding and of the files. Another version is another key.
const VERSION: u32 = 2;
const PIXELS: &str = "pixels";
const FACTS: &str = "facts";
/// Unfinished files of processes that ended are removed after this time.
const UNFINISHED: Duration = Duration::from_secs(24 * 3600);

/// The place of the kept images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The folder, which is created.
    pub folder: PathBuf,
    /// Most bytes in the folder. The files that were not used for the longest time are removed.
    pub most_bytes: u64,
    /// Least total bytes of the image files. The images of smaller files are not kept.
    pub least_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Footer {
    key: String,
    /// Positions of the files that are damaged.
    bad: Vec<usize>,
}

/// A file with the images of a list of files.
#[derive(Debug)]
pub(super) struct Kept {
    file: File,
    crc32s: Vec<u32>,
    /// Positions of the files that are damaged.
    pub bad: Vec<usize>,
}

impl Kept {
    /// The images from position `first` on, as many as fit `out`. `None` if their bytes are damaged.
    pub fn read(&self, first: usize, image_len: usize, out: &mut [u8]) -> Option<()> {
        read_exact_at(&self.file, out, (first * image_len) as u64).ok()?;
        let mut images = out.chunks_exact(image_len).zip(self.crc32s.get(first..)?);
        images.all(|(image, crc)| crc32(image) == *crc).then_some(())
    }
}

/// A file of images that is being written.
pub(super) struct Keeping<'a> {
    cache: &'a Cache,
    key: String,
    image_len: usize,
    file: BufWriter<NamedTempFile>,
    crc32s: Vec<u32>,
}

impl Keeping<'_> {
    /// Adds images.
    pub fn add(&mut self, pixels: &[u8]) -> std::io::Result<()> {
        self.crc32s.extend(pixels.chunks_exact(self.image_len).map(crc32));
        self.file.write_all(pixels)
    }

    /// Completes the file, and removes the oldest files beyond the limit.
    pub fn finish(mut self, bad: Vec<usize>) -> std::io::Result<Kept> {
        for crc32 in &self.crc32s {
            self.file.write_all(&crc32.to_le_bytes())?;
        }
        let footer = Footer { key: self.key.clone(), bad };
        let bytes = serde_json::to_vec(&footer).map_err(std::io::Error::other)?;
        self.file.write_all(&bytes)?;
        self.file.write_all(&(bytes.len() as u32).to_le_bytes())?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let path = self.cache.path(&self.key, PIXELS);
        let written = file.persist(&path).map_err(|e| e.error)?;
        self.cache.bound(&written.metadata()?)?;
        // A file that was opened for writing only cannot be read.
        Ok(Kept { file: File::open(&path)?, crc32s: self.crc32s, bad: footer.bad })
    }
}

impl Cache {
    /// The key of images of `encoded` in the form `form`. `dir` is the place of the data.
    pub(super) fn key(dir: &Path, form: Form, encoded: &dyn Encoded, listed: &Listed) -> String {
        let mut hash = Sha256::new();
        let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        hash.update(format!("{VERSION} {form:?} {}\0", real.display()));
        listed.iter().for_each(|(at, _)| encoded.stamp(*at as usize, &mut hash));
        super::hexadecimal(hash)
    }

    fn path(&self, key: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", &key[..32]))
    }

    /// The `n` images of `image_len` bytes kept under `key`. Their pixels are checked when they are read.
    pub(super) fn get(&self, key: &str, n: usize, image_len: usize) -> Option<Kept> {
        let path = self.path(key, PIXELS);
        let file = File::open(&path).ok()?;
        let len = file.metadata().ok()?.len();
        let n_pixels = (n * image_len) as u64;
        let rest = len.checked_sub(n_pixels).filter(|rest| *rest < 1 << 32)?;
        let mut end = vec![0; rest as usize];
        read_exact_at(&file, &mut end, n_pixels).ok()?;
        let (end, n_footer) = end.split_at(end.len().checked_sub(4)?);
        let n_footer = u32::from_le_bytes(n_footer.try_into().ok()?) as usize;
        let (crc32s, footer) = end.split_at(end.len().checked_sub(n_footer)?);
        let footer: Footer = serde_json::from_slice(footer).ok()?;
        if footer.key != key || crc32s.len() != 4 * n {
            return None;
        }
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        _ = self.touch(&path);
        Some(Kept { file, crc32s: crc32s.chunks_exact(4).map(word).collect(), bad: footer.bad })
    }

    /// Sets the time of a file to now. `bound` removes the files with the oldest times first. The time comes
    /// from a new file in the same folder, so that all times are from the clock of the disk.
    fn touch(&self, path: &Path) -> std::io::Result<()> {
        let now = tempfile::tempfile_in(&self.folder)?.metadata()?.modified()?;
        fs::File::options().write(true).open(path)?.set_modified(now)
    }

    /// Begins a file of `n` images of `image_len` bytes under `key`. `None` if it would exceed the limit, or if the
    /// folder cannot be written.
    pub(super) fn begin(&self, key: &str, n: usize, image_len: usize) -> Option<Keeping<'_>> {
        if (n * image_len) as u64 > self.most_bytes {
            return None;
        }
        fs::create_dir_all(&self.folder).ok()?;
        let file = BufWriter::with_capacity(1 << 20, NamedTempFile::new_in(&self.folder).ok()?);
        Some(Keeping { cache: self, key: key.into(), image_len, file, crc32s: Vec::with_capacity(n) })
    }

    /// The facts kept under `key`.
    pub(super) fn facts<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let path = self.path(key, FACTS);
        let (found, facts): (String, T) = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        _ = self.touch(&path);
        (found == key).then_some(facts)
    }

    /// Keeps facts under `key`, as a whole or not at all.
    pub(super) fn keep_facts(&self, key: &str, facts: &impl Serialize) {
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let mut file = NamedTempFile::new_in(&self.folder)?;
            file.write_all(&serde_json::to_vec(&(key, facts)).map_err(std::io::Error::other)?)?;
            let file = file.persist(self.path(key, FACTS)).map_err(|e| e.error)?;
            self.bound(&file.metadata()?)
        };
        _ = write();
    }

    /// Removes the files that were not used for the longest time until the rest is within the limit. `newest` is a file
    /// written now.
    fn bound(&self, newest: &fs::Metadata) -> std::io::Result<()> {
        let (now, mut kept) = (newest.modified()?, vec![]);
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let (path, meta) = (entry.path(), entry.metadata()?);
            let used = meta.modified()?;
            if path.extension().is_some_and(|extension| extension == PIXELS || extension == FACTS) {
                kept.push((used, meta.len(), path));
            } else if meta.is_file() && now.duration_since(used).is_ok_and(|age| age > UNFINISHED) {
                fs::remove_file(&path)?;
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in kept {
            if total <= self.most_bytes {
                break;
            }
            fs::remove_file(&path)?;
            total -= len;
        }
        Ok(())
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
