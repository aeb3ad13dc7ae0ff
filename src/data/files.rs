//! A path → its bytes or entries. Errors name the path and the expected content.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

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
    let found = match fs::metadata(path) {
        Ok(meta) if meta.is_file() => None,
        Ok(meta) if meta.is_dir() => Some("a folder"),
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
    let names = names(path, bytes)?;
    if names.len() != n_classes {
        let what = format!("the names of {n_classes} classes, one a line");
        let found = format!("{} names", names.len());
        return Err(Error::file(path, None, what, found, "restore the file, or remove it: it is optional"));
    }
    Ok(names)
}

/// The names in `bytes`, one a line, each of them once. `path` is for messages.
pub(super) fn names(path: &Path, bytes: &[u8]) -> Result<Vec<String>> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let expected = "names of classes in UTF-8, one a line";
        let at = Some(e.valid_up_to() as u64);
        Error::file(
            path,
            at,
            expected,
            "bytes that are not UTF-8",
            "iconv -t UTF-8 FILE, or remove it: it is optional",
        )
    })?;
    let names = crate::files::lines(text);
    let mut seen = BTreeSet::new();
    match names.iter().enumerate().find(|(_, name)| name.is_empty() || !seen.insert(*name)) {
        None => Ok(names),
        Some((i, name)) => {
            let found = if name.is_empty() { "an empty line".into() } else { format!("`{name}` again") };
            let expected = format!("another name in line {}", i + 1);
            Err(Error::file(path, None, expected, found, "one name a line, each class with its own"))
        }
    }
}

/// The files in the folder `dir` whose names end in a dot and `extension`, sorted.
pub(super) fn files_in(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let fits = |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(extension));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(fits).collect();
    paths.sort();
    paths
}
