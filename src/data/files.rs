//! A path → its bytes or entries. Errors name the path and the expected content.
//!
//! In a published set, a symbolic link in the place of a file is not followed. Otherwise a downloaded archive could
//! make the program read files outside of its folder. A folder of images is the user's own work, and its links are
//! followed (`walk`).

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

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

/// Whether anything with this name exists. A dangling link exists.
pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The bytes of the regular file `path`, at most `max_bytes` of them.
///
/// `what` describes the expected file, and `missing` says what to try if the file is not there.
pub(super) fn read(path: &Path, max_bytes: u64, what: &str, missing: &str) -> Result<Vec<u8>> {
    read_as(path, fs::symlink_metadata(path), max_bytes, what, missing)
}

/// Like [`read`], but a symbolic link at `path` is followed.
pub(super) fn read_followed(path: &Path, max_bytes: u64, what: &str, missing: &str) -> Result<Vec<u8>> {
    read_as(path, fs::metadata(path), max_bytes, what, missing)
}

fn read_as(
    path: &Path,
    meta: std::io::Result<fs::Metadata>,
    max_bytes: u64,
    what: &str,
    missing: &str,
) -> Result<Vec<u8>> {
    let found = match meta {
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

/// The class names in `bytes`, one a line; `path` is for messages.
pub(super) fn class_names(path: &Path, bytes: &[u8], n_classes: usize) -> Result<Vec<String>> {
    let names = lines(bytes);
    if names.len() != n_classes {
        let what = format!("the names of {n_classes} classes, one a line");
        let found = format!("{} names", names.len());
        return Err(Error::file(path, None, what, found, "restore the file, or remove it: it is optional"));
    }
    Ok(names)
}

/// The lines of a text that are not empty, without blanks at their ends.
pub(super) fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
