//! What was found out about adapters, kept on disk by adapter, driver and version of the program.
//!
//! All of it can be made again: a file that cannot be read counts as empty.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::Warning;
use super::files::atomic_write;
use crate::{Error, Result};

/// A file of the cache folder: an object whose keys are adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The kernel variants that trials chose.
    Variants,
    /// Which kernel variants were found right.
    Proofs,
}

impl Store {
    fn path(self) -> Option<PathBuf> {
        let name = match self {
            Self::Variants => "variants.json",
            Self::Proofs => "proofs.json",
        };
        cache_folder().map(|folder| folder.join(name))
    }

    fn read(self) -> (BTreeMap<String, Value>, Option<Warning>) {
        let Some(path) = self.path() else { return Default::default() };
        let Ok(bytes) = std::fs::read(&path) else { return Default::default() };
        match serde_json::from_slice(&bytes) {
            Ok(entries) => (entries, None),
            Err(e) => {
                let problem = format!("ignored, it is not what this program writes there ({e})");
                (BTreeMap::new(), Some(Warning { path, problem }))
            }
        }
    }

    /// What is kept for `adapter`, and what is wrong with the file.
    pub fn kept(self, adapter: &str) -> (Option<Value>, Option<Warning>) {
        let (mut entries, warning) = self.read();
        (entries.remove(adapter), warning)
    }

    /// That what is kept for `adapter` is of no use.
    pub fn unknown(self, adapter: &str, value: &Value) -> Warning {
        let path = self.path().unwrap_or_default();
        Warning { path, problem: format!("ignored, there are no such kernels for {adapter}: {value}") }
    }

    /// Keeps `value` for `adapter`; returns where.
    ///
    /// Errors: [`Error::Io`] where the file cannot be written, [`Error::Usage`] where the system names no folder.
    pub fn keep(self, adapter: &str, value: Value) -> Result<PathBuf> {
        let path = self.path().ok_or_else(|| {
            Error::usage("PARSEC_CACHE", "a folder for what is known of adapters", "nothing", "set it")
        })?;
        let folder = super::files::parent(&path);
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let mut entries = self.read().0;
        entries.insert(adapter.to_owned(), value);
        let text = serde_json::to_string_pretty(&entries).map_err(|e| {
            Error::usage("what is known of adapters", "what JSON can hold", e.to_string(), "")
        })?;
        atomic_write(&path, text.as_bytes())?;
        Ok(path)
    }
}

/// The user's folder for what can be made again: `PARSEC_CACHE`, or the system's place for it.
pub fn cache_folder() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(folder) = var("PARSEC_CACHE") {
        return Some(folder);
    }
    let base = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        var("HOME").map(|home| home.join("Library/Caches"))
    } else {
        var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")))
    };
    base.map(|base| base.join("parsec"))
}
