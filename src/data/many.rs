//! Many image files → their pixels, decoded on all cores, and the errors of all damaged ones.
//!
//! The pixels have the order of the files, whatever thread decodes which file.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Account;
use super::decode::{Form, WHAT, read_into};
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::host::{thread, threads};

/// Number of files that an error names.
const NAMED: usize = 10;

/// The pixels of files, and the position and the error of each file that could not be read.
pub type Decoded = (Vec<u8>, Vec<(usize, Error)>);

/// The image files in `paths` and in the folders of `paths`, and an account of the entries that were passed over.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read, [`Error::File`] for one without images.
pub fn image_files(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Account)> {
    let (mut walk, mut out) = (Walk::new(false), Vec::new());
    for path in paths {
        if !path.is_dir() {
            out.push(path.clone());
            continue;
        }
        let (images, n_files) = walk.images(path, path);
        if let Some(error) = walk.unreadable.pop() {
            return Err(error);
        }
        if images.is_empty() {
            let found = format!("none among {n_files} files");
            return Err(Error::file(path, None, WHAT, found, "another folder"));
        }
        out.extend(images.into_iter().map(|file| file.path));
    }
    Ok((out, Account { passed_over: walk.passed_over, ..Account::default() }))
}

/// The image files at `paths` as bytes `[N][C][H][W]`, scaled and upright as by [`read_scaled`](super::read_scaled), and
/// the errors of the files that cannot be read. Their pixels are black.
///
/// # Errors
/// [`Error::Memory`] if the images do not fit in memory.
pub fn read_files(paths: &[PathBuf], channels: usize, height: usize, width: usize) -> Result<Decoded> {
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    decode_all(&paths, Form { oriented: true, channels, height, width }, 0, &|| ())
}

/// Decodes the files at `paths`, and calls `done` after each one.
pub(super) fn decode_all(
    paths: &[&Path],
    form: Form,
    n_threads: usize,
    done: &(impl Fn() + Sync),
) -> Result<Decoded> {
    let len = form.channels * form.height * form.width;
    let n_bytes = paths.len().saturating_mul(len);
    let mut pixels = Vec::new();
    if pixels.try_reserve_exact(n_bytes).is_err() {
        return Err(Error::Memory {
            what: format!("{} images of {}x{}", paths.len(), form.height, form.width),
            need_bytes: n_bytes as u64,
            have_bytes: 0,
            try_this: "a smaller --size, or fewer images".into(),
        });
    }
    pixels.resize(n_bytes, 0);
    let next = Mutex::new(paths.iter().zip(pixels.chunks_exact_mut(len)).enumerate());
    let work = || {
        let mut errors = Vec::new();
        loop {
            let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((i, (path, out))) = taken else { return errors };
            errors.extend(read_into(path, form, out).err().map(|e| (i, e)));
            done();
        }
    };
    let mut errors: Vec<(usize, Error)> = thread::scope(|scope| {
        let n_others = threads(n_threads).min(paths.len()).saturating_sub(1);
        let others: Vec<_> = (0..n_others).map(|_| scope.spawn(work)).collect();
        let mut errors = work();
        let done = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        errors.extend(done.flatten());
        errors
    });
    errors.sort_by_key(|(i, _)| *i);
    Ok((pixels, errors))
}

/// The error about files that cannot be read. For one file it is the error of this file. For several files it is an
/// error about `place` that names the first of them. `skip` is the flag that skips them; empty if there is none.
pub fn refused(place: &Path, mut bad: Vec<Error>, skip: &str) -> Error {
    let or = |object: &str| if skip.is_empty() { String::new() } else { format!(", or {skip} {object}") };
    if let [Error::File { try_this, .. } | Error::Io { try_this, .. }] = bad.as_mut_slice() {
        *try_this = format!("{try_this}{}", or("it")).trim_start_matches(", or ").into();
        return bad.remove(0);
    }
    let line = |error: &Error| {
        let (path, text) = match error {
            Error::File { path, expected, found, .. } if *expected == WHAT => (path, found.clone()),
            Error::File { path, expected, found, .. } => {
                (path, format!("expected {expected}, found {found}"))
            }
            Error::Io { path, source, .. } => (path, source.to_string()),
            other => return other.to_string(),
        };
        format!("{}: {text}", path.strip_prefix(place).unwrap_or(path).display())
    };
    let mut lines: Vec<String> = bad.iter().take(NAMED).map(line).collect();
    if bad.len() > NAMED {
        lines.push(format!("and {} more", bad.len() - NAMED));
    }
    let found = format!("{} that cannot:\n    {}", bad.len(), lines.join("\n    "));
    Error::file(place, None, "files that can be read", found, format!("replace or remove them{}", or("them")))
}
