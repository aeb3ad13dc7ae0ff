//! What the configurations of a search and of a training have in common: layers of tables → checked
//! settings → the resolved TOML of a run, and back.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::keys::{self, Key};
use super::layer::{self, Length};
use crate::space::owner;
use crate::{Error, Result};

/// A resolved configuration: a flat record whose fields are its keys.
pub trait Resolved: Serialize + DeserializeOwned {
    /// What it configures, as the manifest of a run says it.
    const KIND: &'static str;
    /// Every key, with its range.
    const KEYS: &'static [Key];
    /// A preset, for the keys of other spaces, which a resolved form leaves out.
    const PRESET: &'static str;

    /// Whether every value is in its range and the values fit together.
    fn check(&self) -> Result<()>;

    /// Key of every random stream.
    fn seed(&self) -> u64;

    /// Steps in all; 0 as long as only the number of epochs is known.
    fn steps(&self) -> u64;
}

/// The resolved form: every key; those without a value are named in a comment.
pub fn to_toml<T: Resolved>(config: &T) -> Result<String> {
    let table = to_table(config)?;
    let unset: Vec<&str> = T::KEYS.iter().map(|k| k.name).filter(|name| !table.contains_key(*name)).collect();
    let body = toml::to_string(config).map_err(|e| unreadable("the configuration", e))?;
    // In the order of the record, a line per key.
    let name = space_name(&table);
    let is_own = |line: &&str| line.split_once(" = ").is_none_or(|(key, _)| owner(key, &name).is_none());
    let body: String = body.split_inclusive('\n').filter(is_own).collect();
    let note = if unset.is_empty() { String::new() } else { format!("# Not set: {}.\n", unset.join(", ")) };
    Ok(format!("# The resolved configuration of this run.\n{note}{body}"))
}

/// The keys that have a value, as a TOML table.
pub fn to_table<T: Resolved>(config: &T) -> Result<Table> {
    let mut table = Table::try_from(config).map_err(|e| unreadable("the configuration", e))?;
    if config.steps() == 0 {
        table.remove("steps");
    }
    let name = space_name(&table);
    table.retain(|key, _| owner(key, &name).is_none());
    Ok(table)
}

/// The resolved configuration that [`to_toml`] wrote to `path`.
pub fn read<T: Resolved>(path: &Path) -> Result<T> {
    let mut table = layer::read(path, Length::Both, T::KEYS)?;
    let name = space_name(&table);
    let others = preset(T::PRESET, T::KEYS)?;
    table.extend(others.into_iter().filter(|(key, _)| owner(key, &name).is_some()));
    let config: T = from_table(table, &path.display().to_string())?;
    match config.check() {
        // Keys that do not go together: each by itself has been read already.
        Err(Error::Usage { what, expected, found, try_this }) => {
            Err(Error::usage(format!("{}: {what}", path.display()), expected, found, try_this))
        }
        other => other.map(|()| config),
    }
}

/// The user's settings: the TOML file, overridden by the flags.
pub(super) fn user_table(file: Option<&Path>, flags: &Table, keys: &[Key]) -> Result<Table> {
    let mut user = match file {
        Some(path) => layer::read(path, Length::One, keys)?,
        None => Table::new(),
    };
    layer::overlay(&mut user, layer::from_flags(flags, keys)?);
    Ok(user)
}

/// The preset, overridden by the user's settings; not checked as a whole yet.
pub(super) fn over_preset<T: Resolved>(preset: &str, user: Table) -> Result<T> {
    let mut merged = self::preset(preset, T::KEYS)?;
    layer::overlay(&mut merged, user);
    from_table(merged, "the configuration")
}

fn preset(text: &str, keys: &[Key]) -> Result<Table> {
    layer::parse(Path::new("the embedded preset"), text, Length::One, keys)
}

/// The space that a configuration names.
pub(super) fn space_name(table: &Table) -> String {
    table.get("space").and_then(Value::as_str).unwrap_or("darts").to_owned()
}

/// Whether every value is in its range.
pub(super) fn check_values<T: Resolved>(config: &T) -> Result<()> {
    for (name, value) in to_table(config)? {
        keys::check_in(T::KEYS, &name, &value, &format!("`{name}`"))?;
    }
    Ok(())
}

/// Whether there is a length.
pub(super) fn check_length(steps: u64, epochs: Option<u64>) -> Result<()> {
    if steps == 0 && epochs.is_none() {
        return Err(Error::usage("`steps`", "`steps` or `epochs`", "neither", "add --steps N"));
    }
    Ok(())
}

/// Whether the learning rate falls.
pub(super) fn check_rates(lr: f64, lr_min: f64) -> Result<()> {
    if lr_min > lr {
        let expected = format!("at most `lr` ({lr})");
        return Err(Error::usage("`lr_min`", expected, lr_min.to_string(), "also give --lr-min"));
    }
    Ok(())
}

/// Whether mean and deviation are of as many channels.
pub(super) fn check_normalisation(mean: Option<&[f64]>, std: Option<&[f64]>) -> Result<()> {
    let (n_mean, n_std) = (mean.map(<[f64]>::len), std.map(<[f64]>::len));
    if n_mean != n_std {
        let found = format!("{} and {}", n_mean.unwrap_or_default(), n_std.unwrap_or_default());
        let expected = "the same number of values in both";
        return Err(Error::usage("`mean` and `std`", expected, found, "give both or none"));
    }
    Ok(())
}

fn from_table<T: Resolved>(table: Table, origin: &str) -> Result<T> {
    Value::Table(table).try_into().map_err(|e| unreadable(origin, e))
}

fn unreadable(origin: &str, e: impl std::fmt::Display) -> Error {
    Error::usage(origin, "every key of a resolved configuration", e.to_string(), "")
}
