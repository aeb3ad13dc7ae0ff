//! The state of a job ↔ `checkpoints/step-NNNNNNNN/` with the files `state.safetensors` and `state.json`. The file
//! `state.json` holds checksums of both files. The files hold no times and no paths, so that equal states give equal
//! bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Warning;
use crate::files;
use crate::files::tensors::{self, Metadata, Tensors};
use crate::{Error, Result};

const STATE: &str = "state.safetensors";
const INFO: &str = "state.json";

/// The folder of a run's checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// A checkpoint that was read and is undamaged.
#[derive(Debug)]
pub struct Checkpoint {
    /// Folder of the checkpoint.
    pub path: PathBuf,
    /// Number of steps done.
    pub step: u64,
    /// Score of the job. Larger is better.
    pub score: Option<f64>,
    /// The job's state.
    pub state: Tensors,
}

impl Checkpoint {
    /// Path of the file of tensors, for messages.
    pub fn state_path(&self) -> PathBuf {
        self.path.join(STATE)
    }
}

/// The content of `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    step: u64,
    score: Option<f64>,
    files: BTreeMap<String, FileSum>,
    /// Checksum of this file with an empty text in place of the checksum.
    check: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSum {
    bytes: u64,
    sha256: String,
}

impl Info {
    /// The bytes of the file, with the checksum of the file.
    fn to_bytes(&self) -> Result<Vec<u8>> {
        let open = Self { check: String::new(), ..self.clone() };
        let check = sha256(&super::dir::json(&open)?);
        super::dir::json(&Self { check, ..open })
    }
}

impl Checkpoints {
    /// The checkpoints in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The steps with a checkpoint, damaged or not, in increasing order.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            other => other.map_err(|e| Error::io("read", &self.folder, e))?,
        };
        let mut steps = vec![];
        for entry in entries {
            let name = entry.map_err(|e| Error::io("read", &self.folder, e))?.file_name();
            steps.extend(
                name.to_str().and_then(|n| n.strip_prefix("step-")).and_then(|n| n.parse::<u64>().ok()),
            );
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The folder of the checkpoint of `step`.
    pub fn path_of(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:08}"))
    }

    /// Writes a checkpoint beside its place, syncs it and renames it. An undamaged checkpoint of the same step is kept.
    pub fn save(&self, step: u64, score: Option<f64>, state: &Tensors) -> Result<()> {
        let path = self.path_of(step);
        if path.exists() {
            if read(&path).is_ok() {
                return Ok(());
            }
            fs::remove_dir_all(&path).map_err(|e| Error::io("replace", &path, e))?;
        }
        let partial = files::partial_name(&path);
        let written = self.write(&partial, &path, step, score, state);
        if written.is_err() {
            _ = fs::remove_dir_all(&partial);
        }
        written
    }

    fn write(
        &self,
        partial: &Path,
        path: &Path,
        step: u64,
        score: Option<f64>,
        state: &Tensors,
    ) -> Result<()> {
        if partial.exists() {
            fs::remove_dir_all(partial).map_err(|e| Error::io("remove", partial, e))?;
        }
        fs::create_dir_all(partial).map_err(|e| Error::io("create", partial, e))?;
        let bytes = tensors::to_bytes(state, &Metadata::new(), &path.join(STATE))?;
        let sum = FileSum { bytes: bytes.len() as u64, sha256: sha256(&bytes) };
        let info = Info { step, score, files: BTreeMap::from([(STATE.into(), sum)]), check: String::new() };
        files::write_synced(&partial.join(STATE), &bytes)?;
        files::write_synced(&partial.join(INFO), &info.to_bytes()?)?;
        files::sync_folder(partial)?;
        fs::rename(partial, path).map_err(|e| Error::io("write", path, e))?;
        files::sync_folder(&self.folder)
    }

    /// Keeps the first checkpoint, the one with the best score (the earliest of equals) and the last `keep`, and
    /// removes the others. Checkpoints after `step` are leftovers of a damaged run and are ignored.
    pub fn prune(&self, step: u64, keep: usize) -> Result<()> {
        let steps: Vec<u64> = self.steps()?.into_iter().filter(|s| *s <= step).collect();
        let score = |step: &u64| {
            let info = read_info(&self.path_of(*step)).ok()?;
            info.score.filter(|s| s.is_finite()).map(|s| (s, *step))
        };
        let best = steps.iter().filter_map(score).reduce(|a, b| if b.0 > a.0 { b } else { a });
        for step in steps.iter().rev().skip(keep.max(1)) {
            if Some(step) == steps.first() || Some(*step) == best.map(|b| b.1) {
                continue;
            }
            // The folder is renamed first, so that no reader sees a half-removed checkpoint.
            let (path, hidden) = (self.path_of(*step), files::partial_name(&self.path_of(*step)));
            fs::rename(&path, &hidden).map_err(|e| Error::io("remove", &path, e))?;
            fs::remove_dir_all(&hidden).map_err(|e| Error::io("remove", &hidden, e))?;
        }
        Ok(())
    }

    /// The newest undamaged checkpoint, and a warning for each newer one that is damaged.
    pub fn newest_good(&self) -> Result<(Checkpoint, Vec<Warning>)> {
        let mut warnings = vec![];
        for step in self.steps()?.into_iter().rev() {
            let path = self.path_of(step);
            match read(&path) {
                Ok(checkpoint) => return Ok((checkpoint, warnings)),
                Err(e) => {
                    let problem = format!("a damaged checkpoint, passed over for the one before it ({e})");
                    warnings.push(Warning { path, problem });
                }
            }
        }
        let found = match warnings.as_slice() {
            [] => "no checkpoint at all".into(),
            list => format!("{} damaged ones: {}", list.len(), list[0].problem),
        };
        Err(Error::file(&self.folder, None, "at least one whole checkpoint", found, "start a new run"))
    }

    /// The checkpoint with the best score, or the newest one if none has a score, and a warning for each damaged newer one.
    pub fn best_or_newest(&self) -> Result<(Checkpoint, Vec<Warning>)> {
        match self.best()? {
            Some(best) => Ok((best, vec![])),
            None => self.newest_good(),
        }
    }

    /// The checkpoint with the best score (the earliest of equals), if any has a score.
    pub fn best(&self) -> Result<Option<Checkpoint>> {
        let mut best: Option<Checkpoint> = None;
        for checkpoint in self.steps()?.into_iter().filter_map(|s| read(&self.path_of(s)).ok()) {
            let better = match (checkpoint.score, best.as_ref().and_then(|b| b.score)) {
                (Some(score), Some(best)) => score > best,
                (score, _) => score.is_some(),
            };
            if better {
                best = Some(checkpoint);
            }
        }
        Ok(best)
    }
}

/// The checkpoint in the folder `path`, if sizes and checksums are correct.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let info = read_info(path)?;
    let file = path.join(STATE);
    let sum = info.files.get(STATE);
    let bytes = fs::read(&file).map_err(|e| Error::io("read", &file, e))?;
    let damaged = |expected, found| Error::file(&file, None, expected, found, "");
    match sum {
        Some(sum) if sum.bytes != bytes.len() as u64 => {
            return Err(damaged(format!("{} bytes", sum.bytes), format!("{} bytes", bytes.len())));
        }
        Some(sum) if sum.sha256 == sha256(&bytes) => {}
        _ => return Err(damaged("the checksum in state.json".into(), "another".into())),
    }
    let (state, _) = tensors::parse(&bytes, &file)?;
    Ok(Checkpoint { path: path.to_owned(), step: info.step, score: info.score, state })
}

fn read_info(path: &Path) -> Result<Info> {
    let file = path.join(INFO);
    let bytes = fs::read(&file).map_err(|e| Error::io("read", &file, e))?;
    let damaged = |found: String| Error::file(&file, None, "the description of a checkpoint", found, "");
    let info: Info = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if info.to_bytes()? != bytes {
        return Err(damaged("a checksum that does not fit it".into()));
    }
    if path.file_name().and_then(|n| n.to_str()) != Some(&format!("step-{:08}", info.step)) {
        return Err(damaged(format!("that of step {}", info.step)));
    }
    Ok(info)
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
