//! A text with other content (a log, a Python source, JSON) → the place of the last genotype in the text.

use super::genotype::FIELDS;
use crate::space::{Found, literal};

/// The number of genotypes that were found, and the first bytes of the last two.
#[derive(Clone, Copy, Default)]
struct Matches {
    n: usize,
    last: Option<usize>,
    second_last: Option<usize>,
}

impl Matches {
    fn add(&mut self, at: usize) {
        *self = Self { n: self.n + 1, last: Some(at), second_last: self.last };
    }
}

/// The last genotype of a text. Genotypes in comments are only read if there is no other.
pub(super) fn find(text: &str) -> Option<Found> {
    let matches = in_object(text).unwrap_or_else(|| in_lines(text));
    let at = matches.last?;
    let open = at + text[at..].find(['(', '{'])?;
    let end = literal::bracket_end(text, open);
    let range = at..end.unwrap_or(text.len());
    Some(Found { range, n: matches.n, before: matches.second_last, is_whole: end.is_some() })
}

/// The genotypes in a text of any form.
fn in_lines(text: &str) -> Matches {
    let (mut matches, mut in_comments) = (Matches::default(), Matches::default());
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut is_comment = false;
        for (i, sign) in line.match_indices(['G', '{', '#']) {
            if sign == "#" {
                is_comment |= begins_comment(&line[..i]);
            } else if is_head(text, start + i) {
                if is_comment { in_comments.add(start + i) } else { matches.add(start + i) }
            }
        }
        start += line.len();
    }
    if matches.n > 0 { matches } else { in_comments }
}

/// Whether a genotype begins at `at`: `Genotype(`, or the bracket of a dictionary whose first key is a field.
fn is_head(text: &str, at: usize) -> bool {
    let (before, rest) = text.split_at(at);
    if let Some(rest) = rest.strip_prefix('{') {
        let key = rest.trim_start();
        let Some(quote) = key.chars().next().filter(|c| "'\"".contains(*c)) else { return false };
        let is_field = |field: &str| {
            let rest = key[1..].strip_prefix(field).and_then(|rest| rest.strip_prefix(quote));
            rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        return FIELDS.into_iter().any(is_field);
    }
    let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let arguments = rest.strip_prefix("Genotype").and_then(|rest| rest.trim_start().strip_prefix('('));
    let Some(arguments) = arguments.filter(|_| is_word) else { return false };
    let declares = ["class", "def"].iter().any(|word| before.trim_end().ends_with(word));
    !declares && begins_genotype(arguments.trim_start())
}

/// Whether a genotype may have these arguments. Documents name the form (`Genotype(...)`), and Python sources have calls
/// whose arguments are names (`Genotype(normal=cells[0], ...)`).
fn begins_genotype(arguments: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let value = arguments.trim_start_matches(is_name);
    if value.len() == arguments.len() {
        return value.is_empty() || value.starts_with(['[', '(', '#']);
    }
    match value.trim_start().strip_prefix('=') {
        Some(value) => !value.trim_start().starts_with(|c: char| c.is_alphabetic() || c == '_'),
        None => value.is_empty(),
    }
}

/// Whether a `#` after `before` begins a comment. It does at the start of a line, and after a bracket or a comma. Elsewhere
/// it is text of a log.
fn begins_comment(before: &str) -> bool {
    before.trim_end().chars().next_back().is_none_or(|c| "()[]{},".contains(c))
}

/// The genotypes in a text that is one object or dictionary. Either the object is a genotype, or some of its values are.
/// `None` for another text.
fn in_object(text: &str) -> Option<Matches> {
    let has_cells = |at: usize| {
        let mut found = false;
        literal::members(text, at, |key, _| found |= key == FIELDS[0]).filter(|_| found)
    };
    let start = literal::token(text, 0);
    let mut matches = Matches::default();
    let end = literal::members(text, start, |_, value| {
        if has_cells(value).is_some() {
            matches.add(value);
        }
    })?;
    if has_cells(start).is_some() {
        matches = Matches { n: 1, last: Some(start), second_last: None };
    }
    (matches.n > 0 && literal::token(text, end) == text.len()).then_some(matches)
}
