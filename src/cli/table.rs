//! A JSON file with a table of architectures and numbers → the architectures in a space, each with one number.
//!
//! There are two forms: a list of objects with a `genotype` and numbers, and an object from the text of an architecture
//! to an object with numbers. Numbers may be nested: `test_accuracy.600` is the member `600` of the member
//! `test_accuracy`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::error::nearest;
use crate::error::{Error, Result};
use crate::space::{Alpha, Space};

/// Default names of the number. The first of them that the table has is used.
const USUAL: [&str; 3] = ["mean_acc", "accuracy", "test_accuracy.600"];

/// Number of characters of an entry that a message shows.
const MOST_SHOWN: usize = 60;

/// The content of a table, in the order of the file.
#[derive(Clone, Debug)]
pub struct Table {
    path: PathBuf,
    /// Text of each architecture, and its numbers.
    entries: Vec<(String, Value)>,
}

/// An architecture of a space, and its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The architecture.
    pub alpha: Alpha,
    /// Text of the architecture in the table.
    pub text: String,
    /// Number of the architecture, in the table's unit.
    pub value: f64,
}

/// The part of a table that is in a space.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Name of the number.
    pub key: String,
    /// The architectures that are in the space, in the order of the table.
    pub entries: Vec<Entry>,
    /// Number of architectures that are not in the space, and the first of them with the reason.
    pub left_out: Option<(usize, String)>,
}

impl Table {
    /// The table in the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, and the errors of [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        Self::parse(&bytes, path)
    }

    /// The table in `bytes`, the content of the file `path`.
    ///
    /// # Errors
    /// [`Error::File`] for a content that is no JSON, has another form, or has no entry.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let wrong = |expected: String, found: String| {
            let try_this =
                "[{\"genotype\": \"012\", \"accuracy\": 0.9}, ...] or {\"012\": {\"accuracy\": 0.9}, ...}";
            Error::file(path, None, expected, found, try_this)
        };
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|e| wrong("a table of architectures as JSON".into(), e.to_string()))?;
        let mut entries = Vec::new();
        for (i, (text, value)) in raw.0.into_iter().enumerate() {
            let text = match text.or_else(|| value.get("genotype")?.as_str().map(str::to_owned)) {
                Some(text) => text,
                None => {
                    let expected = format!("an object with a text `genotype` as entry {}", i + 1);
                    return Err(wrong(expected, shown(&value)));
                }
            };
            if !value.is_object() {
                return Err(wrong(format!("an object with numbers for `{text}`"), shown(&value)));
            }
            entries.push((text, value));
        }
        if entries.is_empty() {
            return Err(wrong("at least one architecture".into(), "none".into()));
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// The architectures that are in `space`, with the number `key` or the usual number. `option` is the user's name
    /// for the key: `--key`, or `key` of a file.
    ///
    /// # Errors
    /// [`Error::Usage`] for a key that the table does not have. [`Error::File`] if no entry is in the space, or if an
    /// entry has no such number.
    pub fn held(&self, space: &dyn Space, key: Option<&str>, option: &str) -> Result<Held> {
        let key = self.key(key, option)?;
        let (mut entries, mut n_left_out, mut first) = (Vec::new(), 0, None);
        for (text, numbers) in &self.entries {
            let parsed = space.named(text.trim()).map_or_else(|| space.parse(text), Ok);
            match parsed {
                Ok(alpha) => {
                    let value = self.number(text, numbers, &key, option)?;
                    entries.push(Entry { alpha, text: text.clone(), value });
                }
                Err(e) => {
                    n_left_out += 1;
                    // The hint of the error is left out, because it is for users who type an architecture.
                    let name = cut(text, MOST_SHOWN);
                    let reason = format!("`{name}`: expected {}, found {}", e.expected, e.found);
                    first.get_or_insert(reason);
                }
            }
        }
        if entries.is_empty() {
            let expected = format!("architectures of the space {}", described(space));
            let found = format!("none among {}; the first is {}", n_left_out, first.unwrap_or_default());
            return Err(Error::file(
                &self.path,
                None,
                expected,
                found,
                "a table of that space, or a search of the table's space",
            ));
        }
        Ok(Held { key, entries, left_out: first.map(|first| (n_left_out, first)) })
    }

    /// The name of the number: the given name, or a usual one that the first entry has.
    fn key(&self, given: Option<&str>, option: &str) -> Result<String> {
        let first = &self.entries[0].1;
        let is_there = |key: &&str| find(first, key).is_some_and(Value::is_number);
        let found = match given {
            Some(key) => Some(key).filter(is_there),
            None => USUAL.into_iter().find(is_there),
        };
        if let Some(key) = found {
            return Ok(key.to_owned());
        }
        let mut keys = Vec::new();
        numeric_keys(first, "", &mut keys);
        if keys.is_empty() {
            let expected = format!("numbers with `{}`", self.entries[0].0);
            return Err(Error::file(&self.path, None, expected, shown(first), "a table with numbers"));
        }
        let list = || keys.iter().map(String::as_str);
        let near = given.and_then(|key| nearest(key, list())).unwrap_or(&keys[0]);
        let what = given.map_or(format!("no {option}"), |key| format!("{option} {key}"));
        let expected = format!("a number of the table: {}", keys.join(", "));
        let found = match given.map(|key| find(first, key)) {
            None => format!("none of {}", USUAL.join(", ")),
            Some(None) => "no such key".into(),
            Some(Some(value)) => shown(value),
        };
        Err(Error::usage(what, expected, found, format!("{option} {near}")))
    }

    fn number(&self, text: &str, numbers: &Value, key: &str, option: &str) -> Result<f64> {
        let found = find(numbers, key);
        found.and_then(Value::as_f64).ok_or_else(|| {
            let expected = format!("a number `{key}` for `{text}`");
            let found = found.map_or("nothing".into(), shown);
            let try_this = format!("another {option}, or a table without that entry");
            Error::file(&self.path, None, expected, found, try_this)
        })
    }
}

/// The member of `value` that `key` names. Dots separate the parts of the key. A member whose name contains dots comes
/// first.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).or_else(|| {
        let mut splits = key.match_indices('.').map(|(at, _)| (&key[..at], &key[at + 1..]));
        splits.find_map(|(first, rest)| find(value.get(first)?, rest))
    })
}

/// The keys of all numbers in `value`, with dots between their parts.
fn numeric_keys(value: &Value, prefix: &str, out: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if value.is_number() {
            out.push(key);
        } else {
            numeric_keys(value, &key, out);
        }
    }
}

/// A space with its settings.
fn described(space: &dyn Space) -> String {
    let settings: Vec<String> =
        space.settings().iter().map(|(key, value)| format!("{key} {value}")).collect();
    format!("{} ({})", space.name(), settings.join("; "))
}

/// The beginning of a value as JSON.
fn shown(value: &Value) -> String {
    cut(&value.to_string(), MOST_SHOWN)
}

/// The first `n_chars` characters, with "..." if the text is longer.
fn cut(text: &str, n_chars: usize) -> String {
    let start: String = text.chars().take(n_chars).collect();
    if start.len() < text.len() { format!("{start}...") } else { start }
}

/// Entries in the order of the file. A map of serde_json would sort them.
struct Raw(Vec<(Option<String>, Value)>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects, or an object from architectures to objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(value) = list.next_element()? {
            entries.push((None, value));
        }
        Ok(Raw(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some((text, value)) = map.next_entry()? {
            entries.push((Some(text), value));
        }
        Ok(Raw(entries))
    }
}
