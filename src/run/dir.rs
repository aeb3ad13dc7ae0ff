//! A path → a run folder: created as a whole, opened, locked.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::manifest::{config_json, first_change};
use super::{CONSENSUS, Checkpoints, Manifest};
use crate::config::{Config, Resolved, TrainConfig, in_words};
use crate::error::word;
use crate::files;
use crate::{Error, Result};

const CONFIG: &str = "config.toml";
const MANIFEST: &str = "manifest.json";
/// Name of the file with a line per step.
pub const METRICS: &str = "metrics.jsonl";
const RESULT: &str = "result.json";
const LOCK: &str = ".lock";

/// A run folder. Writers hold its lock, which the system releases when the process ends.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The lock, held for as long as this value exists.
    _lock: Option<File>,
}

impl RunDir {
    /// Creates a run folder with `config` and `manifest`, and locks it. The folder appears as a whole:
    /// a process that is killed during the creation leaves no folder.
    ///
    /// # Errors
    /// [`Error::Usage`] if anything but an empty folder exists at `path`.
    pub fn create<C: Resolved>(path: &Path, config: &C, manifest: &Manifest) -> Result<Self> {
        Self::check_free(path)?;
        let parent = files::parent(path);
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
        let partial = files::partial_name(path);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|e| Error::io("remove", &partial, e))?;
        }
        let fill = || {
            let checkpoints = partial.join("checkpoints");
            fs::create_dir_all(&checkpoints).map_err(|e| Error::io("create", &checkpoints, e))?;
            let text = crate::config::to_toml(config)?;
            files::write_synced(&partial.join(CONFIG), text.as_bytes())?;
            files::write_synced(&partial.join(MANIFEST), &manifest.to_bytes()?)?;
            files::sync_folder(&partial)?;
            replace_empty(&partial, path).map_err(|e| Error::io("create", path, e))
        };
        let filled = fill();
        if filled.is_err() {
            _ = fs::remove_dir_all(&partial);
        }
        filled?;
        files::sync_folder(parent)?;
        Ok(Self { _lock: Some(lock(path)?), path: path.to_owned() })
    }

    /// Checks that a run folder can be created at `path`: nothing or an empty folder is there.
    pub fn check_free(path: &Path) -> Result<()> {
        let found = match fs::read_dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return check_writable(path),
            Err(e) if e.kind() == ErrorKind::NotADirectory => "a file",
            Err(e) => return Err(Error::io("read", path, e)),
            Ok(mut entries) => match entries.next() {
                None => return check_writable(path),
                Some(_) if path.join(MANIFEST).is_file() => "a run",
                Some(_) => "a folder that is not empty",
            },
        };
        let what = format!("--run {}", path.display());
        let go_on = format!("another --run, or to go on with it: parsec resume {}", word(path));
        let try_this = if found == "a run" { go_on } else { "another --run".into() };
        Err(Error::usage(what, "a folder that does not exist yet", found, try_this))
    }

    /// Takes the first free path of `runs/search-0001`, `runs/search-0002`, … (for the kind `search`).
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be created.
    pub fn claim(kind: &str) -> Result<Claim> {
        Self::claim_in(Path::new("runs"), kind)
    }

    /// Takes the first free number of `kind` in the folder `parent`. Several processes take different numbers, because
    /// the system creates a folder for one process only.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be created.
    pub fn claim_in(parent: &Path, kind: &str) -> Result<Claim> {
        let made_parent = !parent.is_dir();
        let mut number = 1u32;
        loop {
            fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
            let path = parent.join(format!("{kind}-{number:04}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Claim { path, made_parent }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists && number < u32::MAX => number += 1,
                // Another process has just given up its claim, and removed the parent.
                Err(e) if e.kind() == ErrorKind::NotFound && !parent.is_dir() => {}
                Err(e) => return Err(Error::io("create", &path, e)),
            }
        }
    }

    /// Opens the run at `path` for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let found = match fs::metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => "nothing there",
            Err(e) => return Err(Error::io("open", path, e)),
            Ok(meta) if !meta.is_dir() => "a file",
            Ok(_) if !path.join(MANIFEST).is_file() => "no manifest.json",
            Ok(_) if !path.join(CONFIG).is_file() => "no config.toml",
            Ok(_) => {
                return Ok(Self { path: path.to_owned(), _lock: None });
            }
        };
        Err(Error::file(
            path,
            None,
            "a run folder",
            found,
            "the folder that `parsec search` or `parsec train` named at its end",
        ))
    }

    /// Opens the run at `path` to continue it: locks it, and checks that it is unchanged.
    pub fn open_for_writing(path: &Path) -> Result<Self> {
        let mut run = Self::open(path)?;
        run._lock = Some(lock(path)?);
        files::remove_partials(path)?;
        files::remove_partials(&run.file("checkpoints"))?;
        let manifest = run.manifest()?;
        let (mut is, was) = if manifest.kind == TrainConfig::KIND {
            (config_json(&run.train_config()?)?, in_words::<TrainConfig>(manifest.config.clone()))
        } else {
            (config_json(&run.config()?)?, in_words::<Config>(manifest.config.clone()))
        };
        // A setting that is newer than the run is in neither file. Such a setting has its value for older runs, and is
        // not compared.
        if let (Value::Object(is), Value::Object(was)) = (&mut is, &was) {
            let written: toml::Table = fs::read_to_string(run.file(CONFIG))
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default();
            is.retain(|key, _| was.contains_key(key) || written.contains_key(key));
        }
        if let Some(change) = first_change(&was, &is) {
            let expected =
                format!("the configuration the run was started with ({} = {})", change.key, change.was);
            let try_this = format!(
                "restore it, or start a new run: parsec {} {}/{CONFIG} --run DIR",
                manifest.kind,
                path.display()
            );
            return Err(Error::file(run.file(CONFIG), None, expected, change.is, try_this));
        }
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of the metrics.
    pub fn metrics_path(&self) -> PathBuf {
        self.file(METRICS)
    }

    /// The checkpoints.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.file("checkpoints"))
    }

    /// The resolved configuration.
    pub fn read_config<C: Resolved>(&self) -> Result<C> {
        crate::config::read_resolved(&self.file(CONFIG))
    }

    /// Refuses a consensus where shared weights are needed.
    ///
    /// # Errors
    /// [`Error::File`] naming the runs that have shared weights.
    pub fn check_weights(&self) -> Result<()> {
        if self.manifest()?.kind != CONSENSUS {
            return Ok(());
        }
        let result = self.result().unwrap_or_default();
        let members = result["runs"].as_array().into_iter().flatten();
        let paths: Vec<&str> = members.filter_map(|member| member["run"].as_str()).collect();
        let try_this = format!("one of the searches that it was made of: {}", paths.join(", "));
        let found = "a consensus, which has a prior only";
        Err(Error::file(&self.path, None, "a run with shared weights", found, try_this))
    }

    /// The resolved configuration of a search.
    pub fn config(&self) -> Result<Config> {
        self.read_config()
    }

    /// The resolved configuration of a training.
    pub fn train_config(&self) -> Result<TrainConfig> {
        self.read_config()
    }

    /// The manifest: the program, adapter, data and configuration with which the run was started.
    pub fn manifest(&self) -> Result<Manifest> {
        let path = self.file(MANIFEST);
        let text = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        Manifest::parse(&text, &path)
    }

    /// Replaces the manifest.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        self.write(MANIFEST, &manifest.to_bytes()?)
    }

    /// Whether the run is over. Its result is written last.
    pub fn is_finished(&self) -> bool {
        self.file(RESULT).is_file()
    }

    /// The content of `result.json`.
    pub fn result(&self) -> Result<serde_json::Value> {
        let path = self.file(RESULT);
        let text = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::file(&path, None, "a result as JSON", e.to_string(), ""))
    }

    /// Writes `result.json`, which marks the run as over.
    pub fn write_result(&self, result: &impl Serialize) -> Result<()> {
        self.write(RESULT, &json(result)?)
    }

    /// Removes `result.json`, so that the run is no longer over.
    pub fn remove_result(&self) -> Result<()> {
        let path = self.file(RESULT);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path, e)),
            _ => files::sync_folder(&self.path),
        }
    }

    /// Writes a file of the folder, completely or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        files::atomic_write(&self.file(name), bytes)
    }
}

/// The empty folder of a run that is being prepared. If no run was created in it, the folder is removed at the end.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Whether the folder's parent was created for it.
    made_parent: bool,
}

impl Claim {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder, unless there is something in it.
    pub fn give_up(&self) {
        if fs::remove_dir(&self.path).is_ok() && self.made_parent {
            _ = fs::remove_dir(files::parent(&self.path));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Fails if a run folder cannot be written at `path`: reading the data may take a while, and this is known before.
fn check_writable(path: &Path) -> Result<()> {
    let there = path
        .ancestors()
        .skip(1)
        .map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let Some(there) = there.into_iter().find(|above| above.exists()) else { return Ok(()) };
    tempfile::tempfile_in(there).map(drop).map_err(|e| Error::io("create a run folder in", there, e))
}

/// Moves the folder `partial` to `path`. There may be an empty folder at `path`. It is not removed first, because
/// another process could then take its name.
fn replace_empty(partial: &Path, path: &Path) -> std::io::Result<()> {
    if !cfg!(windows) || !path.exists() {
        return fs::rename(partial, path);
    }
    // Windows does not replace a folder. The manifest, which makes the folder a run, is moved last.
    let mut names =
        fs::read_dir(partial)?.map(|e| Ok(e?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    names.sort_by_key(|name| name == MANIFEST);
    names.iter().try_for_each(|name| fs::rename(partial.join(name), path.join(name)))?;
    fs::remove_dir(partial)
}

/// Readable JSON that ends with a newline.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::usage("a JSON file", "values that JSON can hold", e.to_string(), ""))?;
    text.push(b'\n');
    Ok(text)
}

/// A killed process keeps its locks until the system has freed its memory, so the lock is tried for two seconds.
fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    for _ in 0..20 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                crate::host::thread::sleep(std::time::Duration::from_millis(100))
            }
            other => return other,
        }
    }
    file.try_lock()
}

/// Takes the lock of the run at `path`.
fn lock(path: &Path) -> Result<File> {
    let name = path.join(LOCK);
    // Opening must not truncate the file, because the file holds the id of the lock's present owner.
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&name);
    let mut file = open.map_err(|e| Error::io("open", &name, e))?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // On Windows others cannot read a locked file. The id stays unknown there.
            let found = match file.read_to_string(&mut owner) {
                Ok(n) if n > 0 => format!("process {} working on it", owner.trim()),
                _ => "another process working on it".into(),
            };
            return Err(Error::file(
                path,
                None,
                "a run that nobody else is writing",
                found,
                "wait for it, or stop it",
            ));
        }
        // Some network file systems have no locks. A run there is not locked.
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", &name, e)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| Error::io("write", &name, e))?;
    Ok(file)
}
