//! A path → its bytes or entries. Errors name the path and the expected content.
//!
//! Symbolic links below the folder that the user named are not followed, so that a downloaded archive cannot make the
//! program read anything outside that folder.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The entries of a folder, by type.
pub(super) struct Entries {
    pub dirs: Vec<PathBuf>,
    pub files: Vec<PathBuf>,
    /// Entries that are neither files nor folders: symbolic links, devices.
    pub others: Vec<PathBuf>,
}

/// Fails unless `dir` is a folder. `expected` describes the content that it should have.
pub(super) fn check_dir(dir: &Path, expected: &str) -> Result<()> {
    let found = match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => "a file",
        Err(e) if e.kind() == ErrorKind::NotFound => "nothing of that name",
        Err(e) => return Err(Error::io("read", dir, e)),
    };
    let expected = format!("a folder with {expected}");
    Err(Error::file(dir, None, expected, found, "check the folder after --data's colon"))
}

/// The entries of `dir` sorted by name, without names that start with a dot.
pub(super) fn entries(dir: &Path) -> Result<Entries> {
    let mut out = Entries { dirs: vec![], files: vec![], others: vec![] };
    for entry in fs::read_dir(dir).map_err(|e| Error::io("read", dir, e))? {
        let entry = entry.map_err(|e| Error::io("read", dir, e))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // This is the type of the entry itself: a link is neither a file nor a folder here.
        let kind = entry.file_type().map_err(|e| Error::io("read", entry.path(), e))?;
        let list = match (kind.is_dir(), kind.is_file()) {
            (true, _) => &mut out.dirs,
            (_, true) => &mut out.files,
            _ => &mut out.others,
        };
        list.push(entry.path());
    }
    for list in [&mut out.dirs, &mut out.files, &mut out.others] {
        list.sort();
    }
    Ok(out)
}

/// Whether anything with this name exists. A dangling link exists.
pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The bytes of the regular file `path`, at most `max_bytes` of them.
///
/// `what` describes the expected file, and `missing` says what to try if the file is not there.
pub(super) fn read(path: &Path, max_bytes: u64, what: &str, missing: &str) -> Result<Vec<u8>> {
    let found = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => None,
        Ok(meta) if meta.is_dir() => Some("a folder"),
        Ok(meta) if meta.is_symlink() => Some("a symbolic link, which is not followed"),
        Ok(_) => Some("something that is no regular file"),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Error::file(path, None, what, "no such file", missing));
        }
        Err(e) => return Err(Error::io("read", path, e)),
    };
    if let Some(found) = found {
        return Err(Error::file(path, None, what, found, "put the file itself there"));
    }
    let file = fs::File::open(path).map_err(|e| Error::io("read", path, e))?;
    let len = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
    if len == 0 {
        return Err(Error::file(path, Some(0), what, "an empty file", "download or copy it again"));
    }
    if len > max_bytes {
        return Err(Error::file(
            path,
            Some(max_bytes),
            format!("{what}, at most {max_bytes} bytes"),
            format!("{len} bytes"),
            "download or copy it again, and check that it is the right file",
        ));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(max_bytes).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    Ok(bytes)
}

/// The lines of an optional file of class names; `None` if it does not exist.
pub(super) fn class_names(path: &Path, n_classes: usize) -> Result<Option<Vec<String>>> {
    if !exists(path) {
        return Ok(None);
    }
    let what = format!("the names of {n_classes} classes, one a line");
    let bytes = read(path, 1 << 20, &what, "")?;
    let text = String::from_utf8_lossy(&bytes);
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() != n_classes {
        let found = format!("{} names", names.len());
        return Err(Error::file(path, None, what, found, "restore the file, or remove it: it is optional"));
    }
    Ok(Some(names))
}
