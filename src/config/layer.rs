//! One source of settings (a TOML file, the flags) → a checked table. Errors name the source.

use std::ops::Range;
use std::path::Path;

use toml::Table;

use super::keys::{self, Concern};
use crate::{Error, Result};

/// First line of a resolved configuration.
pub const RESOLVED: &str = "# The resolved configuration of this run.\n";

/// Whether a table may contain the length of a run twice.
#[derive(Clone, Copy, PartialEq)]
pub enum Length {
    /// A user's table: `steps` or `epochs`, but not both.
    One,
    /// A resolved table, in which `steps` follows from `epochs`.
    Both,
}

/// The table of the TOML file at `path`.
pub fn read(path: &Path, length: Length, concerns: &'static [Concern]) -> Result<Table> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    parse(path, &text, length, concerns)
}

/// The table of `text`. Errors name `path`.
pub fn parse(path: &Path, text: &str, length: Length, concerns: &'static [Concern]) -> Result<Table> {
    let at = |span: Range<usize>| format!("{}, line {}", path.display(), line_of(text, span.start));
    let syntax = |e: toml::de::Error| {
        let place = e.span().map_or_else(|| path.display().to_string(), at);
        Error::usage(place, "a flat TOML table of `key = value`", e.message().trim_end(), "")
    };
    let spans = toml::de::DeTable::parse(text).map_err(syntax)?;
    let values: Table = toml::from_str(text).map_err(syntax)?;
    let mut table = Table::new();
    for key in spans.get_ref().keys() {
        let name = key.get_ref().as_ref();
        let what = format!("{}: key `{name}`", at(key.span()));
        if values.get(name).is_some_and(toml::Value::is_table) {
            let (expected, found) = ("a flat table, without sections", format!("the section [{name}]"));
            return Err(Error::usage(what, expected, found, "the settings without a line in brackets"));
        }
        if let Some(value) = values.get(name) {
            table.insert(name.to_owned(), keys::check(concerns, name, value, &what)?);
        }
    }
    if length == Length::One && text.starts_with(RESOLVED) && table.contains_key("epochs") {
        // The resolved form has both, and its steps follow from its epochs.
        table.remove("steps");
    }
    if length == Length::One && table.contains_key("steps") && table.contains_key("epochs") {
        return Err(both(&format!("{}: key `epochs`", path.display())));
    }
    Ok(table)
}

/// The table of the flags, whose names are the keys with dashes.
pub fn from_flags(flags: &Table, concerns: &'static [Concern]) -> Result<Table> {
    let mut table = Table::new();
    for (name, value) in flags {
        let what = format!("--{}", name.replace('_', "-"));
        table.insert(name.clone(), keys::check(concerns, name, value, &what)?);
    }
    if table.contains_key("steps") && table.contains_key("epochs") {
        return Err(both("--epochs"));
    }
    Ok(table)
}

/// Puts `upper` over `lower`. The two settings of the length, `steps` and `epochs`, replace each other.
pub fn overlay(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match key.as_str() {
            "steps" => _ = lower.remove("epochs"),
            "epochs" => _ = lower.remove("steps"),
            _ => {}
        }
        lower.insert(key, value);
    }
}

fn both(what: &str) -> Error {
    Error::usage(what, "either steps or epochs", "both", "leave one out")
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}
