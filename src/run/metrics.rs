//! Records of steps ↔ `metrics.jsonl`: one JSON object per line, appended and flushed at each step.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Warning;
use crate::files;
use crate::{Error, Result};

/// The open metrics of a run.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the metrics at `path` for appending.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self { file: file.map_err(|e| Error::io("open", path, e))?, path: path.to_owned() })
    }

    /// Appends `record`, an object with a `step`, in one write. Returns the line without its newline.
    pub fn append(&mut self, record: &impl Serialize) -> Result<String> {
        let mut line = serde_json::to_string(record)
            .map_err(|e| Error::file(&self.path, None, "a record that JSON can hold", e.to_string(), ""))?;
        line.push('\n');
        files::write_all(&mut self.file, line.as_bytes()).map_err(|e| Error::io("write", &self.path, e))?;
        line.pop();
        Ok(line)
    }

    /// Waits until all lines are on the disk.
    pub fn sync(&mut self) -> Result<()> {
        // The path may lead to something other than a disk file, which cannot be synced.
        match self.file.sync_data() {
            Err(e) if e.kind() != std::io::ErrorKind::InvalidInput => Err(Error::io("sync", &self.path, e)),
            _ => Ok(()),
        }
    }
}

/// Whether the metrics at `path` have a complete line.
pub fn has_lines(path: &Path) -> Result<bool> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.contains(&b'\n')),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

/// Cuts the metrics at `path` back to steps 1..=`step`, byte for byte unchanged, and drops a line that is incomplete
/// because a process ended. The new file is written beside the old one and renamed.
pub fn cut_back(path: &Path, step: u64) -> Result<Vec<Warning>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => vec![],
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let mut warnings = vec![];
    let mut warn = |problem| warnings.push(Warning { path: path.to_owned(), problem });
    let (mut kept, mut last) = (Vec::with_capacity(bytes.len()), 0);
    for (i, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        // A line without its newline is incomplete. Such a line belongs to a step after the checkpoint.
        match step_of(line).filter(|_| line.ends_with(b"\n")) {
            Some(s) if s <= step => {
                if s != last + 1 {
                    warn(format!("line {} is of step {s}, the one before it of step {last}", i + 1));
                }
                last = s;
                kept.extend_from_slice(line);
            }
            Some(_) => {}
            None if line.ends_with(b"\n") => warn(format!("line {} is no record of a step; dropped", i + 1)),
            None => {}
        }
    }
    if last < step {
        warn(format!("ends at step {last}, the checkpoint is of step {step}"));
    }
    if kept != bytes {
        files::atomic_write(path, &kept)?;
    }
    Ok(warnings)
}

fn step_of(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Step {
        step: u64,
    }
    serde_json::from_slice::<Step>(line).ok().map(|s| s.step)
}
