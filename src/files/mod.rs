//! Bytes → files that are either complete or absent. `tensors` and `torch` read files of tensors, `npz` reads arrays of
//! numpy, `pickle` reads values that Python wrote, and `weights` reads the weights of a network from any of these files.

pub mod npz;
pub mod pickle;
pub mod tensors;
pub mod torch;
pub mod weights;
mod zip;

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes `bytes` to a file beside `path`, syncs this file to the disk and renames it to `path`. After any failure the
/// old content of `path` is unchanged.
///
/// A link stays a link, and the file that it names is replaced. What is no regular file, such as a device or a pipe, is
/// written itself.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Ok(there) = fs::metadata(path) {
        if !there.is_file() && !there.is_dir() {
            let write = || write_all(&mut File::options().write(true).open(path)?, bytes);
            return write().map_err(|e| Error::io("write", path, e));
        }
        if fs::symlink_metadata(path).is_ok_and(|link| link.is_symlink()) {
            let target = fs::canonicalize(path).map_err(|e| Error::io("follow", path, e))?;
            return replace(&target, bytes);
        }
    } else if let Ok(target) = fs::read_link(path) {
        // The file that it names is not there yet.
        return replace(&parent(path).join(target), bytes);
    }
    replace(path, bytes)
}

/// Writes a regular file, completely or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
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
        write_all(&mut file, bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("write", path, e))
}

thread_local! {
    static ROOM: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Simulates a full disk for tests: after `bytes` more bytes of this thread a write fails, in its middle if necessary.
/// `None` ends the simulation.
pub fn limit_writes(bytes: Option<usize>) {
    ROOM.set(bytes);
}

/// Writes all of `bytes`. If the space is too small, it writes the bytes that fit and then fails.
pub(super) fn write_all(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    let Some(room) = ROOM.get() else { return file.write_all(bytes) };
    let written = room.min(bytes.len());
    ROOM.set(Some(room - written));
    file.write_all(&bytes[..written])?;
    if written < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// Fills `out` from the bytes of `file` at `offset`. The file's own position is not used, so that threads can share it.
pub fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, out, offset);
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < out.len() {
            let n = std::os::windows::fs::FileExt::seek_read(file, &mut out[done..], offset + done as u64)?;
            if n == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            done += n;
        }
        Ok(())
    }
    #[cfg(not(any(unix, windows)))]
    {
        _ = (file, out, offset);
        Err(ErrorKind::Unsupported.into())
    }
}

/// Waits until the names in `folder` are on the disk.
pub fn sync_folder(folder: &Path) -> Result<()> {
    // Windows has no such call. There the rename itself goes through the journal.
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", folder, e))?;
    }
    Ok(())
}

/// Removes the files that an earlier process was writing in `folder` when it was killed.
pub(super) fn remove_partials(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| Error::io("read", folder, e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".partial") {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// The hidden name beside `path` under which the file is written first.
pub fn partial_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// The folder that holds `path`. For a bare name the folder is `.`.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The lines of a text without blanks at their ends, without a byte order mark, and without empty lines at the end of the
/// text.
pub fn lines(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.trim_end().lines().map(|line| line.trim().to_owned()).collect()
}
