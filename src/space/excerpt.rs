//! A text as people have it → the part of it that is an architecture, and the place of that part.
//!
//! The text may be a log, a Python source, JSON with the key `genotype`, or an architecture with comments. This module
//! does not check the part: [`Space::parse`](super::Space::parse) reads it as an architecture of a space.

use std::borrow::Cow;
use std::ops::Range;

use super::{ParseError, SPACES, literal};

/// The architectures in a text that also has other content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Bytes of the last architecture.
    pub range: Range<usize>,
    /// Number of architectures.
    pub n: usize,
    /// First byte of the last architecture but one.
    pub before: Option<usize>,
    /// Whether the brackets of the last architecture are closed.
    pub is_whole: bool,
}

/// The part of a text that is an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt<'a> {
    /// The part. If a text in JSON has escapes, the part is the text without them.
    pub text: Cow<'a, str>,
    /// First byte of the part in the whole text.
    pub offset: usize,
    /// Number of architectures in the whole text. The part is the last one.
    pub n: usize,
    /// First byte of the last architecture but one in the whole text.
    pub before: Option<usize>,
    /// Whether the brackets of the part are closed.
    pub is_whole: bool,
}

/// The last architecture in `whole`: the value of `genotype` in JSON, or else the architecture that a space finds, or
/// else the only line that is no comment. If there is none of these, the result is the whole text.
pub fn excerpt(whole: &str) -> Excerpt<'_> {
    // A byte order mark is no part of the text.
    let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
    let start = whole.len() - text.len();
    let found = in_json(text).or_else(|| SPACES.iter().find_map(|entry| (entry.find)(text)));
    let found = found.unwrap_or_else(|| Found { range: only_line(text), n: 1, before: None, is_whole: true });
    let range = found.range;
    let escaped = range.start > 0 && text[..range.start].ends_with('"') && text[range.clone()].contains('\\');
    let plain = if escaped { unescaped(text, &range) } else { None };
    Excerpt {
        text: plain.map_or(Cow::Borrowed(&text[range.clone()]), Cow::Owned),
        offset: start + range.start,
        n: found.n,
        before: found.before.map(|at| start + at),
        is_whole: found.is_whole,
    }
}

impl Excerpt<'_> {
    /// Moves `error` from a place in the part to the same place in the whole text.
    pub fn placed(&self, whole: &str, error: ParseError) -> ParseError {
        let inside = if matches!(self.text, Cow::Borrowed(_)) { error.offset } else { 0 };
        let offset = self.offset + inside;
        let [line, column] = place(whole, offset);
        let mut hint = error.hint;
        // If the writer of a log was stopped, the log may end inside of a genotype.
        if let (Some(before), false) = (self.before, self.is_whole) {
            let line = place(whole, before)[0];
            hint = format!("the text up to the genotype before, in line {line}, since this one is cut off");
        }
        ParseError { offset, line, column, hint, ..error }
    }

    /// Says which of several architectures of the whole text this one is. `None` if there is only one.
    pub fn remark(&self, whole: &str) -> Option<String> {
        if self.n < 2 {
            return None;
        }
        let line = place(whole, self.offset)[0];
        let name = match assigned(&whole[..self.offset]) {
            Some(name) => format!(" ({name})"),
            None => String::new(),
        };
        Some(format!("{} architectures in the text; the last one, in line {line}{name}, is read", self.n))
    }
}

/// Line and column of a byte, from 1.
pub fn place(text: &str, offset: usize) -> [usize; 2] {
    let before = text.get(..offset).unwrap_or("").trim_start_matches('\u{feff}');
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    [before.matches('\n').count() + 1, before[line_start..].chars().count() + 1]
}

/// The value of `genotype` in a text that consists of objects. The value is from the last object that has it.
fn in_json(text: &str) -> Option<Found> {
    let (mut n, mut before, mut last) = (0, None, None);
    let mut at = literal::token(text, 0);
    while at < text.len() {
        let mut value = None;
        let end = literal::members(text, at, |key, at| value = value.or((key == "genotype").then_some(at)))?;
        if value.is_some() {
            (n, before, last) = (n + 1, last, value);
        }
        at = literal::token(text, end);
    }
    let value = last?;
    let range = match literal::quoted_end(text, value) {
        Some(end) => value + 1..end - 1,
        None => value..literal::value_end(text, value),
    };
    Some(Found { range, n, before, is_whole: true })
}

/// A text in JSON without its escapes.
fn unescaped(text: &str, inside: &Range<usize>) -> Option<String> {
    serde_json::from_str(text.get(inside.start - 1..inside.end + 1)?).ok()
}

/// The only line with content other than a comment. The whole text if there are several such lines or none.
fn only_line(text: &str) -> Range<usize> {
    let mut start = 0;
    let mut lines = text.split_inclusive('\n').filter_map(|line| {
        let code = line.split('#').next().unwrap_or("");
        let from = start + code.len() - code.trim_start().len();
        start += line.len();
        let n = code.trim().len();
        (n > 0).then_some(from..from + n)
    });
    match (lines.next(), lines.next()) {
        (Some(only), None) => only,
        _ => 0..text.len(),
    }
}

/// The name of the assignment `NAME =` with which `before` ends, in a Python source.
fn assigned(before: &str) -> Option<&str> {
    let left = before.trim_end().strip_suffix('=')?.trim_end();
    let name = left.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (!name.is_empty() && name != "genotype").then_some(name)
}
