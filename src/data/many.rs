//! Names of files, folders and patterns → many image files → their pixels, decoded on all cores, and the errors of all
//! damaged ones.
//!
//! The pixels have the order of the files, whatever thread decodes which file.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::sync_channel;

use glob::{MatchOptions, Pattern};

use super::Account;
use super::decode::{WHAT, read_scaled};
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::host::{thread, threads};

/// Number of files that an error names.
const NAMED: usize = 10;
/// Most folders inside each other in which a pattern with `**` looks for files.
const MOST_DEPTH: usize = 64;

/// The image files that `paths` name, and an account of the entries that were passed over. A path is a file, a folder,
/// in which and below which the image files are taken, or a pattern of such names (`photos/*.jpg`, `photos/**/*.jpg`).
/// A path that exists is no pattern. Folders without images and folders that cannot be read are in the list like files, so
/// that each has an error of its own when it is read.
///
/// # Errors
/// [`Error::File`] for a pattern without a match.
pub fn image_files(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Account)> {
    let (mut walk, mut out) = (Walk::new(false), Vec::new());
    for path in paths {
        match matches(path)? {
            None => add(&mut walk, path, &mut out),
            Some(found) => {
                let mut all = Vec::new();
                found.iter().for_each(|path| add(&mut walk, path, &mut all));
                // A pattern with `**` matches a folder and the files in the folder.
                let mut seen = BTreeSet::new();
                out.extend(all.into_iter().filter(|path| seen.insert(path.clone())));
            }
        }
    }
    Ok((out, Account { passed_over: walk.passed_over, ..Account::default() }))
}

/// The paths that match `path` in the order of their names, or `None` if `path` is no pattern.
fn matches(path: &Path) -> Result<Option<Vec<PathBuf>>> {
    let text = path.to_str().filter(|text| text.contains(['*', '?', '[']) && !super::files::exists(path));
    // As in a shell, a star matches neither a slash nor the dot of a hidden file.
    let options = MatchOptions {
        case_sensitive: !cfg!(windows),
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let pattern = text.and_then(|text| Pattern::new(text.strip_prefix("./").unwrap_or(text)).ok());
    let Some(pattern) = pattern else { return Ok(None) };
    let is_plain = |name: &Component<'_>| !name.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let base: PathBuf =
        path.components().skip_while(|c| *c == Component::CurDir).take_while(is_plain).collect();
    let depth = if pattern.as_str().contains("**") { MOST_DEPTH } else { path.components().count() };
    let mut found = Vec::new();
    let mut folders = vec![base];
    while let Some(folder) = folders.pop() {
        let at = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            // A byte that is not UTF-8 matches a question mark or a star.
            if pattern.matches_with(&path.to_string_lossy(), options) {
                found.push(path.clone());
            }
            // As in a shell, `**` does not follow links.
            let is_folder =
                entry.file_type().is_ok_and(|kind| kind.is_dir()) || (depth < MOST_DEPTH && path.is_dir());
            if is_folder && path.components().count() < depth {
                folders.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        let expected = "a file, a folder, or a pattern that some of them match";
        return Err(Error::file(path, None, expected, "no match", "check the folder and the pattern"));
    }
    Ok(Some(found))
}

/// Adds the file `path`, or the image files in and below the folder `path`, to `out`. A folder without images and a folder
/// that cannot be read are added themselves, since each of them has its own error when it is read as an image.
fn add(walk: &mut Walk, path: &Path, out: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        out.push(path.to_owned());
        return;
    }
    let (images, _) = walk.images(path, path);
    let unreadable = std::mem::take(&mut walk.unreadable);
    if images.is_empty() && unreadable.is_empty() {
        out.push(path.to_owned());
    }
    out.extend(images.into_iter().map(|file| file.path));
    out.extend(unreadable.iter().filter_map(Error::path).map(Path::to_owned));
}

/// Passes the image files at `paths` to `take` as bytes `[C][H][W]`, in order, scaled and upright as by [`read_scaled`],
/// or the error of a file that cannot be read. The files are decoded on `n_threads` threads (0: one per core), about
/// `ahead` files ahead of `take`. If `take` returns early, the other files are not read.
///
/// # Errors
/// [`Error::Io`] if a thread cannot be started; the errors of `take`.
pub fn decode_ahead<T>(
    paths: &[PathBuf],
    [channels, height, width]: [usize; 3],
    n_threads: usize,
    ahead: usize,
    take: impl FnOnce(&mut dyn Iterator<Item = Result<Vec<u8>>>) -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        // Thread i decodes every n-th file from file i on, and has a queue of its own. So the order needs no sorting.
        let n = threads(n_threads).min(paths.len()).max(1);
        let mut queues = Vec::new();
        for first in 0..n {
            let (send, receive) = sync_channel(ahead.div_ceil(n));
            let work = move || {
                for path in paths.iter().skip(first).step_by(n) {
                    if send.send(read_scaled(path, channels, height, width)).is_err() {
                        return;
                    }
                }
            };
            let started = thread::Builder::new().name(format!("decode-{first}")).spawn_scoped(scope, work);
            started.map_err(|e| Error::io("start", "a thread that decodes", e))?;
            queues.push(receive);
        }
        take(&mut queues.iter().cycle().take(paths.len()).map_while(|queue| queue.recv().ok()))
    })
}

/// The error about files that cannot be read. For one file it is the error of this file. For several files it is an
/// error about `place` that names the first of them. `skip` is the flag that skips them; empty if there is none.
pub fn refused(place: &Path, mut bad: Vec<Error>, skip: &str) -> Error {
    let or = |object: &str| if skip.is_empty() { String::new() } else { format!(", or {skip} {object}") };
    if let [Error::File { try_this, .. } | Error::Io { try_this, .. }] = bad.as_mut_slice() {
        *try_this = format!("{try_this}{}", or("it")).trim_start_matches(", or ").into();
        return bad.remove(0);
    }
    let line = |error: &Error| match (error.path(), reason(error)) {
        (Some(path), reason) => format!("{}: {reason}", path.strip_prefix(place).unwrap_or(path).display()),
        (None, reason) => reason,
    };
    let mut lines: Vec<String> = bad.iter().take(NAMED).map(line).collect();
    if bad.len() > NAMED {
        lines.push(format!("and {} more", bad.len() - NAMED));
    }
    let found = format!("{} that cannot:\n    {}", bad.len(), lines.join("\n    "));
    Error::file(place, None, "files that can be read", found, format!("replace or remove them{}", or("them")))
}

/// The reason why an image file cannot be read, without its path.
pub fn reason(error: &Error) -> String {
    match error {
        Error::File { expected, found, .. } if *expected == WHAT => found.clone(),
        Error::File { expected, found, .. } => format!("expected {expected}, found {found}"),
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
