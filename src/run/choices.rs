//! The kernel variants that trials chose, kept on disk by adapter, driver and version of the program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::atomic_write;
use crate::{Error, Result};

/// Choices by adapter: the content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Choices(BTreeMap<String, Value>);

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

fn path() -> Option<PathBuf> {
    cache_folder().map(|folder| folder.join("variants.json"))
}

/// The choice kept for `adapter`. A file that cannot be read counts as none: it can be made again.
pub fn kept(adapter: &str) -> Option<Value> {
    let text = std::fs::read_to_string(path()?).ok()?;
    let mut choices: Choices = serde_json::from_str(&text).ok()?;
    choices.0.remove(adapter)
}

/// Keeps the choice for `adapter`; returns where.
///
/// Errors: [`Error::Io`] where the file cannot be written, [`Error::Usage`] where the system names no folder.
pub fn keep(adapter: &str, choice: Value) -> Result<PathBuf> {
    let path = path().ok_or_else(|| {
        Error::usage("PARSEC_CACHE", "a folder for the choice of kernel variants", "nothing", "set it")
    })?;
    let folder = super::files::parent(&path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut choices: Choices = serde_json::from_str(&text).unwrap_or_default();
    choices.0.insert(adapter.to_owned(), choice);
    let text = serde_json::to_string_pretty(&choices)
        .map_err(|e| Error::usage("the choice of variants", "what JSON can hold", e.to_string(), ""))?;
    atomic_write(&path, text.as_bytes())?;
    Ok(path)
}
