//! Argument of a user → architecture: a published name, a file that holds an architecture, or its text.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::excerpt::{excerpt, place};
use super::{Alpha, Darts, Genotype, Space, genotype};
use crate::error::{Error, Result};

/// A file with more bytes is not read. The log of a long search is shorter.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The arguments that are architectures.
const WHAT: &str = "the folder of a run, the text of an architecture, or a file that holds it";

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
        let [line, column] = place(text, offset);
        let rest = text.get(offset..).unwrap_or("");
        // Show enough to recognise the place: one word, or one character.
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let shown: String = rest.chars().take(rest[..word].chars().count().clamp(1, 24)).collect();
        Self {
            offset,
            line,
            column,
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
/// The file or the text may also have other content: the lines of a log, comments, a Python source, JSON with the key
/// `genotype`. If there are several genotypes, the last one is read, and [`remark`] says so.
///
/// # Errors
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

/// The text of the architecture that `arg` names, without the other content of the file or of `arg` itself.
///
/// # Errors
/// The errors of [`read_architecture`], except those about the content of the text.
pub fn text_of(arg: &str) -> Result<String> {
    parsed(arg, |text| Ok(text.to_owned()))
}

/// A remark that names the architecture that is read from `arg`, if the text or file has several. `None` if there is
/// only one, or if the file cannot be read.
pub fn remark(arg: &str) -> Option<String> {
    let path = path_of(arg);
    let whole = without_colours(path.map(read_file).transpose().ok()?.unwrap_or_else(|| arg.to_owned()));
    let remark = excerpt(&whole).remark(&whole)?;
    Some(match path {
        Some(path) => format!("{}: {remark}", path.display()),
        None => remark,
    })
}

fn parsed<T>(arg: &str, parse: impl Fn(&str) -> std::result::Result<T, ParseError>) -> Result<T> {
    let path = path_of(arg);
    if let Some(folder) = path.filter(|path| path.is_dir()) {
        let found = "a folder";
        return Err(Error::file(
            folder,
            None,
            "a file that holds an architecture",
            found,
            "its genotype.txt",
        ));
    }
    let whole = without_colours(path.map(read_file).transpose()?.unwrap_or_else(|| arg.to_owned()));
    let excerpt = excerpt(&whole);
    parse(&excerpt.text).map_err(|e| {
        let mut e = excerpt.placed(&whole, e);
        if e.hint.is_empty() {
            e.hint = "a whole text of an architecture, such as genotype.txt of a run".into();
        }
        let place = format!("{}, at line {}, column {}", e.found, e.line, e.column);
        match path {
            Some(path) => Error::file(path, Some(e.offset as u64), e.expected, place, e.hint),
            None => Error::usage("genotype", e.expected, place, e.hint),
        }
    })
}

/// The file or folder that `arg` names. `None` for a published name and for a text.
fn path_of(arg: &str) -> Option<&Path> {
    let path = Path::new(arg);
    let names_path = path.is_file() || path.is_dir() || (!path.exists() && looks_like_path(arg));
    (names_path && genotype::named(arg.trim()).is_none()).then_some(path)
}

/// Whether `arg` is treated as the path of a missing file instead of a text with an error. This is a word with a dot or
/// a separator, and without the punctuation of a genotype.
fn looks_like_path(arg: &str) -> bool {
    let text = |c: char| c.is_control() || "()[]'\"=,".contains(c);
    arg.contains(['/', '\\', '.']) && !arg.contains(text)
}

/// `text` without the control sequences by which terminals show colours (`ESC [ ... m`).
fn without_colours(text: String) -> String {
    const START: &str = "\u{1b}[";
    if !text.contains(START) {
        return text;
    }
    let mut parts = text.split(START);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match rest.strip_prefix('m') {
            Some(rest) => out += rest,
            None => out.extend([START, part]),
        }
    }
    out
}

fn read_file(path: &Path) -> Result<String> {
    let io = |e| Error::io("read", path, e);
    let expected = "the text of an architecture";
    let file = std::fs::File::open(path).map_err(io)?;
    let n_bytes = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    if n_bytes <= MAX_FILE_BYTES {
        // A file may grow while it is read.
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    }
    if n_bytes.max(bytes.len() as u64) > MAX_FILE_BYTES {
        let found = format!("more than {} MiB", MAX_FILE_BYTES >> 20);
        let try_this = "a file such as a run's genotype.txt, or the end of a log";
        return Err(Error::file(path, None, expected, found, try_this));
    }
    if let Some(encoding) = other_encoding(&bytes) {
        let expected = format!("{expected} in UTF-8");
        let try_this = format!("iconv -f {encoding} -t UTF-8 FILE");
        return Err(Error::file(path, Some(0), expected, format!("text in {encoding}"), try_this));
    }
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to() as u64;
        Error::file(path, Some(offset), expected, "bytes that are not UTF-8", WHAT)
    })
}

/// The encoding of a text that is not in UTF-8, by its byte order mark or, without a mark, by the zero byte that the
/// first ASCII character has.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [1..=0x7f, 0, 1..=0x7f, 0, ..] => Some("UTF-16LE"),
        [0, 1..=0x7f, 0, 1..=0x7f, ..] => Some("UTF-16BE"),
        _ => None,
    }
}
