//! Argument of a user → architecture: a published name, a file that holds an architecture, or its text.

use std::fmt;
use std::path::Path;

use super::{Alpha, Darts, Genotype, Space, genotype};
use crate::error::{Error, Result};

/// A file longer than this holds no architecture.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The place at which a text stops being an architecture, the expected text and the text found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte offset.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// The text that is expected at this place.
    pub expected: String,
    /// The text at this place.
    pub found: String,
    /// Suggestion for the user; may be empty.
    pub hint: String,
}

impl ParseError {
    /// An error at byte `offset` of `text`, where `expected` was expected.
    pub fn at(text: &str, offset: usize, expected: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let rest = text.get(offset..).unwrap_or("");
        // Show enough to recognise the place: one word, or one character.
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let shown: String = rest.chars().take(rest[..word].chars().count().clamp(1, 24)).collect();
        Self {
            offset,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            expected: expected.into(),
            found: if shown.is_empty() { "the end of the text".into() } else { format!("{shown:?}") },
            hint: String::new(),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { line, column, expected, found, hint, .. } = self;
        write!(f, "line {line}, column {column}: expected {expected}, found {found}")?;
        if hint.is_empty() { Ok(()) } else { write!(f, " (try: {hint})") }
    }
}

impl std::error::Error for ParseError {}

/// The architecture that a user names by `arg`: a published name, a file that holds an architecture, or its text.
///
/// [`Error::Usage`] for a text that is no architecture of the space, [`Error::File`] for a file with such a text,
/// [`Error::Io`] for a file that cannot be read.
pub fn read_architecture(space: &dyn Space, arg: &str) -> Result<Alpha> {
    let parse = |text: &str| match space.named(text.trim()) {
        Some(alpha) => Ok(alpha),
        None => space.parse(text),
    };
    parsed(arg, parse)
}

/// The genotype that a user names by `arg`, of the DARTS space over all primitives.
///
/// # Errors
/// The errors of [`read_architecture`].
pub fn read_genotype(arg: &str) -> Result<Genotype> {
    let all = Darts::all();
    let parse = |text: &str| match genotype::named(text.trim()) {
        Some(genotype) => Ok(genotype),
        None => all.parse(text).map(|alpha| all.genotype(&alpha)),
    };
    parsed(arg, parse)
}

/// The text of the file that `arg` names, or `arg` itself.
///
/// # Errors
/// The errors of [`read_architecture`], except those about the content of the text.
pub fn text_of(arg: &str) -> Result<String> {
    parsed(arg, |text| Ok(text.to_owned()))
}

fn parsed<T>(arg: &str, parse: impl Fn(&str) -> std::result::Result<T, ParseError>) -> Result<T> {
    let path = Path::new(arg);
    let is_name = genotype::named(arg.trim()).is_some();
    if !is_name && (path.is_file() || (!path.exists() && looks_like_path(arg))) {
        let text = read_file(path)?;
        return parse(&text).map_err(|e| {
            let place = format!("{}, at line {}, column {}", e.found, e.line, e.column);
            Error::file(path, Some(e.offset as u64), e.expected, place, e.hint)
        });
    }
    if !is_name && path.is_dir() {
        let found = "a folder";
        return Err(Error::file(path, None, "a file that holds an architecture", found, "its genotype.txt"));
    }
    parse(arg).map_err(|e| {
        let place = format!("{}, at line {}, column {}", e.found, e.line, e.column);
        Error::usage("genotype", e.expected, place, e.hint)
    })
}

/// A word with a dot or a separator, and without the punctuation of a genotype, is taken for the path of a file that
/// does not exist, not for a text with an error.
fn looks_like_path(arg: &str) -> bool {
    let text = |c: char| c.is_control() || "()[]'\"=,".contains(c);
    arg.contains(['/', '\\', '.']) && !arg.contains(text)
}

fn read_file(path: &Path) -> Result<String> {
    let n_bytes = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
    let expected = "the text of an architecture";
    if n_bytes > MAX_FILE_BYTES {
        let found = format!("{n_bytes} bytes");
        return Err(Error::file(path, None, expected, found, "a file such as a run's genotype.txt"));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to() as u64;
        Error::file(path, Some(offset), expected, "bytes that are not UTF-8", "")
    })
}
