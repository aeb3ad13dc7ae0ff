//! A folder of images → the image files in it and below it, and a count of everything that is passed over.
//!
//! Symbolic links are followed, except into a folder in which the walk already is. Hidden files are passed over without
//! a count: files whose names start with a dot, and files that Windows, macOS and storage servers add to folders.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::account::passed;
use super::decode::EXTENSIONS;
use super::encoded::{changed, modified};
use crate::error::{Error, Result};

/// Names that are treated as hidden.
const HIDDEN: &[&str] = &["__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "lost+found"];
/// Extensions that earlier versions read.
const EXTENSIONS_BEFORE: &[&str] = &["png", "jpg", "jpeg"];

/// A file.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub path: PathBuf,
    /// Length in bytes.
    pub len: u64,
    /// Nanoseconds between 1970 and the last change; 0 if unknown.
    pub modified: u128,
    /// Nanoseconds between 1970 and the last change of the entry; 0 if unknown.
    pub changed: u128,
}

/// The entries of a folder, each list in the order of names.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub dirs: Vec<PathBuf>,
    pub files: Vec<File>,
}

/// A walk through folders of images.
#[derive(Debug)]
pub(super) struct Walk {
    /// Whether the rules are those of version 0.1.0. By these rules links, folders in class folders, and files of types
    /// other than png and jpeg are passed over without a count.
    before: bool,
    /// Extensions of the files that the walk is for.
    extensions: &'static [&'static str],
    /// Number of passed-over entries by kind.
    pub passed_over: BTreeMap<String, usize>,
    /// Errors about folders and files that the system refuses to read.
    pub unreadable: Vec<Error>,
}

impl Walk {
    /// A walk by the rules of this version, or by those of version 0.1.0.
    pub fn new(before: bool) -> Self {
        let extensions = if before { EXTENSIONS_BEFORE } else { EXTENSIONS };
        Self { before, extensions, passed_over: BTreeMap::new(), unreadable: vec![] }
    }

    /// A walk for files with other extensions than images.
    pub fn of(extensions: &'static [&'static str]) -> Self {
        Self { extensions, ..Self::new(false) }
    }

    /// Whether the rules are those of version 0.1.0.
    pub fn is_before(&self) -> bool {
        self.before
    }

    /// Counts `n` entries of a kind as passed over.
    pub fn pass_over(&mut self, kind: impl Into<String>, n: usize) {
        if n > 0 && !self.before {
            *self.passed_over.entry(kind.into()).or_default() += n;
        }
    }

    /// The entries of `dir`, which is `root`, the folder in which the walk began, or below it.
    pub fn entries(&mut self, root: &Path, dir: &Path) -> Result<Entries> {
        self.entries_below(dir, &above(root, dir))
    }

    /// The entries of `dir`. `above` has the real paths of `dir` and of the folders through which the walk came to
    /// `dir`.
    fn entries_below(&mut self, dir: &Path, above: &[PathBuf]) -> Result<Entries> {
        let failed = |e| Error::io("read", dir, e);
        let mut out = Entries::default();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if name.starts_with('.') || (!self.before && HIDDEN.contains(&&*name)) {
                continue;
            }
            let is_link = entry.file_type().map_err(|e| Error::io("read", &path, e))?.is_symlink();
            if is_link && self.before {
                continue;
            }
            let meta = match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(e) if is_link && e.kind() == ErrorKind::NotFound => {
                    self.pass_over(passed::NOWHERE, 1);
                    continue;
                }
                // A link to itself.
                Err(_) if is_link && real(&path).is_none() => {
                    self.pass_over(passed::LOOPS, 1);
                    continue;
                }
                Err(e) => {
                    self.unreadable.push(Error::io("read", &path, e));
                    continue;
                }
            };
            if meta.is_dir() {
                if is_link && real(&path).is_some_and(|real| above.contains(&real)) {
                    self.pass_over(passed::LOOPS, 1);
                } else {
                    out.dirs.push(path);
                }
            } else if meta.is_file() {
                out.files.push(File {
                    path,
                    len: meta.len(),
                    modified: modified(&meta),
                    changed: changed(&meta),
                });
            } else {
                self.pass_over(passed::SPECIAL, 1);
            }
        }
        out.dirs.sort();
        out.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    /// The image files in `dir` and in the folders below it, in the order of their paths, and the number of all files.
    /// `root` is the folder in which the walk began. Other files are counted as passed over.
    pub fn images(&mut self, root: &Path, dir: &Path) -> (Vec<File>, usize) {
        let mut above = above(root, dir);
        let (mut images, mut n_files) = (vec![], 0);
        self.add_images(dir, &mut above, &mut images, &mut n_files);
        images.sort_by(|a, b| a.path.cmp(&b.path));
        (images, n_files)
    }

    fn add_images(&mut self, dir: &Path, above: &mut Vec<PathBuf>, out: &mut Vec<File>, n_files: &mut usize) {
        let Some(real) = real(dir) else {
            return self.unreadable.push(Error::io("read", dir, ErrorKind::NotFound.into()));
        };
        above.push(real);
        match self.entries_below(dir, above) {
            Err(e) => self.unreadable.push(e),
            Ok(entries) => {
                *n_files += entries.files.len();
                for file in entries.files {
                    if self.is_image(&file.path) {
                        out.push(file);
                    } else {
                        self.pass_over(kind(&file.path), 1);
                    }
                }
                if !self.before {
                    entries.dirs.iter().for_each(|dir| self.add_images(dir, above, out, n_files));
                }
            }
        }
        above.pop();
    }

    /// Whether the name has the extension of an image type that is read.
    pub fn is_image(&self, path: &Path) -> bool {
        extension(path).is_some_and(|extension| self.extensions.contains(&extension.as_str()))
    }
}

/// The kinds of the files in `dir` and below it that are no images: `70 .heic`.
pub(super) fn kinds_in(dir: &Path) -> String {
    let mut walk = Walk::new(false);
    walk.images(dir, dir);
    super::Account { passed_over: walk.passed_over, ..super::Account::default() }.passed_over()
}

/// The real paths of `dir` and of the folders above it up to `root`. A link to any of them would lead back.
fn above(root: &Path, dir: &Path) -> Vec<PathBuf> {
    dir.ancestors().take_while(|path| path.starts_with(root)).filter_map(real).collect()
}

fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

/// The kind of a file that is passed over: `.heic`.
fn kind(path: &Path) -> String {
    extension(path).map_or(passed::NO_EXTENSION.into(), |extension| format!(".{extension}"))
}

/// Takes back that `path` was counted as passed over, since it is used after all.
pub(super) fn take_back(passed_over: &mut BTreeMap<String, usize>, path: &Path) {
    let kind = kind(path);
    if let Some(n) = passed_over.get_mut(&kind) {
        *n -= 1;
        if *n == 0 {
            passed_over.remove(&kind);
        }
    }
}
