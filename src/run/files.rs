//! Bytes → files that are there whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes `bytes` to `path`: into a file beside it, synced to the disk, then renamed over it. On any
/// failure, what was at `path` before is untouched.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = partial_name(path);
    let written = write_synced(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path).map_err(|e| Error::io("write", path, e)));
    if written.is_err() {
        _ = fs::remove_file(&partial);
    }
    written?;
    sync_folder(parent(path))
}

/// Writes `bytes` to `path` and waits until they are on the disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("write", path, e))
}

/// Waits until the names in `folder` are on the disk.
pub fn sync_folder(folder: &Path) -> Result<()> {
    // Windows has no such call; there, the rename itself goes through the journal.
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", folder, e))?;
    }
    Ok(())
}

/// The hidden name beside `path` under which it is written first.
pub fn partial_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// The folder that holds `path`; `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
