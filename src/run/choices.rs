//! Results of trials and comparisons on adapters, kept on disk by adapter, driver, class and kernels.
//!
//! All of these results can be computed again. A file that cannot be read is treated as empty.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Warning;
use crate::{Error, Result};

/// A file of the cache folder: an object whose keys are adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The kernel variants that trials chose.
    Variants,
    /// The kernel variants whose results were found correct.
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

    /// The value kept for `adapter`, and a warning if the file is damaged.
    pub fn kept(self, adapter: &str) -> (Option<Value>, Option<Warning>) {
        let (mut entries, warning) = self.read();
        (entries.remove(adapter), warning)
    }

    /// A warning that the value kept for `adapter` is useless.
    pub fn unknown(self, adapter: &str, value: &Value) -> Warning {
        let path = self.path().unwrap_or_default();
        Warning { path, problem: format!("ignored, there are no such kernels for {adapter}: {value}") }
    }

    /// Keeps `value` for `adapter` and returns the path of the file.
    ///
    /// Errors: [`Error::Io`] if the file cannot be written, [`Error::Usage`] if the system names no folder.
    pub fn keep(self, adapter: &str, value: Value) -> Result<PathBuf> {
        let path = self.path().ok_or_else(|| {
            Error::usage("PARSEC_CACHE", "a folder for what is known of adapters", "nothing", "set it")
        })?;
        let folder = crate::files::parent(&path);
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let mut entries = self.read().0;
        entries.insert(adapter.to_owned(), value);
        let text = serde_json::to_string_pretty(&entries).map_err(|e| {
            Error::usage("what is known of adapters", "what JSON can hold", e.to_string(), "")
        })?;
        write_shared(&path, text.as_bytes())?;
        Ok(path)
    }
}

/// Replaces the file as a whole. If several processes replace the file at the same time, the file of the last one
/// stays.
fn write_shared(path: &std::path::Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(crate::files::parent(path))?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|e| e.error)
    };
    write().map(|_| ()).map_err(|e| Error::io("write", path, e))
}

/// Compiled kernels of one adapter and driver: a line of JSON that names the adapter, then the bytes of the driver.
#[derive(Debug, Serialize, Deserialize)]
struct Compiled {
    adapter: String,
    bytes: usize,
    sha256: String,
}

fn compiled_path(adapter: &str) -> Option<PathBuf> {
    let name = format!("kernels-{}.bin", &super::checkpoint::sha256(adapter.as_bytes())[..16]);
    cache_folder().map(|folder| folder.join(name))
}

/// The compiled kernels kept for `adapter` (its name, its driver and this program's version). Kernels of another
/// adapter and damaged files are ignored, because drivers do not check the bytes that they receive.
pub fn compiled_kernels(adapter: &str) -> Option<Vec<u8>> {
    let file = std::fs::read(compiled_path(adapter)?).ok()?;
    let end = file.iter().position(|byte| *byte == b'\n')?;
    let (header, data) = (serde_json::from_slice::<Compiled>(&file[..end]).ok()?, &file[end + 1..]);
    let whole = header.bytes == data.len() && header.sha256 == super::checkpoint::sha256(data);
    (whole && header.adapter == adapter).then(|| data.to_vec())
}

/// Keeps compiled kernels for `adapter`, in place of the old ones.
///
/// Errors: [`Error::Io`] if the file cannot be written.
pub fn keep_compiled_kernels(adapter: &str, data: &[u8]) -> Result<()> {
    let Some(path) = compiled_path(adapter) else { return Ok(()) };
    let folder = crate::files::parent(&path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let header =
        Compiled { adapter: adapter.into(), bytes: data.len(), sha256: super::checkpoint::sha256(data) };
    let mut file = serde_json::to_vec(&header)
        .map_err(|e| Error::usage("compiled kernels", "what JSON can hold", e.to_string(), ""))?;
    file.push(b'\n');
    file.extend(data);
    write_shared(&path, &file)
}

/// The user's folder for files that can be made again: `PARSEC_CACHE`, or the system's folder for them.
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

/// Limit of the kept images in GB, if `PARSEC_IMAGE_CACHE` does not set another limit.
const IMAGE_CACHE_GB: f64 = 10.0;

/// The user's folder for resized images, and the limit on its bytes. `PARSEC_IMAGE_CACHE` sets the limit in GB. `None`
/// if the limit is 0, or if the system names no folder.
///
/// # Errors
/// [`Error::Usage`] for another text than a number.
pub fn image_cache() -> Result<Option<(PathBuf, u64)>> {
    let text = std::env::var("PARSEC_IMAGE_CACHE").unwrap_or_default();
    let gb = match text.trim() {
        "" => IMAGE_CACHE_GB,
        text => text.parse().ok().filter(|gb: &f64| gb.is_finite() && *gb >= 0.0).ok_or_else(|| {
            Error::usage("PARSEC_IMAGE_CACHE", "a limit in GB, 0 for no kept images", text, "10")
        })?,
    };
    let folder = cache_folder().filter(|_| gb > 0.0);
    Ok(folder.map(|folder| (folder.join("images"), (gb * 1e9) as u64)))
}
