//! The scaled images of a folder, kept on disk under a key of its files' names, lengths and times.
//!
//! Everything kept here can be made again. A file that is missing, damaged or cannot be written is no error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::decode::Form;
use super::walk::File;

/// Version of the decoding and of the file. Another version is another key.
const VERSION: u32 = 1;
const EXTENSION: &str = "pixels";
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

/// The end of a file, after the pixels. It is written as JSON, followed by the length of the JSON as four bytes
/// (little-endian).
#[derive(Serialize, Deserialize)]
struct Footer {
    key: String,
    /// CRC-32 of the pixels.
    crc32: u32,
    /// Positions of the files that are damaged.
    bad: Vec<usize>,
}

/// The images of a list of files.
#[derive(Debug)]
pub(super) struct Kept {
    pub pixels: Vec<u8>,
    pub bad: Vec<usize>,
}

impl Cache {
    /// The key of the images of `files` in `dir`.
    pub(super) fn key<'a>(dir: &Path, form: Form, files: impl Iterator<Item = &'a File>) -> String {
        let mut hash = Sha256::new();
        let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        hash.update(format!("{VERSION} {form:?} {}\0", real.display()));
        for File { path, len, modified } in files {
            let name = path.strip_prefix(dir).unwrap_or(path);
            hash.update(name.as_os_str().as_encoded_bytes());
            hash.update(format!("\0{len} {modified}\0"));
        }
        super::hexadecimal(hash)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{}.{EXTENSION}", &key[..32]))
    }

    /// The images kept under `key`. `n_bytes`: the length of their pixels.
    pub(super) fn get(&self, key: &str, n_bytes: usize) -> Option<Kept> {
        let path = self.path(key);
        let len = fs::metadata(&path).ok()?.len();
        if len < n_bytes as u64 {
            return None;
        }
        let mut bytes = fs::read(&path).ok()?;
        let end = bytes.len().checked_sub(4)?;
        let n_footer = u32::from_le_bytes(bytes[end..].try_into().ok()?) as usize;
        let start = end.checked_sub(n_footer)?;
        let footer: Footer = serde_json::from_slice(&bytes[start..end]).ok()?;
        bytes.truncate(start);
        if start != n_bytes || footer.key != key || footer.crc32 != crc32(&bytes) {
            return None;
        }
        _ = self.touch(&path);
        Some(Kept { pixels: bytes, bad: footer.bad })
    }

    /// Sets the time of a file to now. `bound` removes the files with the oldest times first. The time comes
    /// from a new file in the same folder, so that all times are from the clock of the disk.
    fn touch(&self, path: &Path) -> std::io::Result<()> {
        let now = tempfile::tempfile_in(&self.folder)?.metadata()?.modified()?;
        fs::File::options().write(true).open(path)?.set_modified(now)
    }

    /// Keeps the images under `key`, as a whole or not at all, and removes the oldest images beyond the limit.
    pub(super) fn keep(&self, key: &str, pixels: &[u8], bad: Vec<usize>) {
        if pixels.len() as u64 > self.most_bytes {
            return;
        }
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let footer = Footer { key: key.into(), crc32: crc32(pixels), bad };
            let footer = serde_json::to_vec(&footer).map_err(std::io::Error::other)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(pixels)?;
            file.write_all(&footer)?;
            file.write_all(&(footer.len() as u32).to_le_bytes())?;
            let file = file.persist(self.path(key)).map_err(|e| e.error)?;
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
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
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
