//! The common part of the configurations of a search and of a training: layers of tables → checked
//! settings → the resolved TOML of a run, and back.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::keys::{self, Concern, Key, Kind};
use super::layer::{self, Length};
use super::{Aside, Every, Images, Lengths, Session};
use crate::space::owner;
use crate::{Error, Result};

/// A resolved configuration: a flat record whose fields are its keys.
pub trait Resolved: Serialize + DeserializeOwned {
    /// Kind of the run, as in the manifest.
    const KIND: &'static str;
    /// Every setting.
    const CONCERNS: &'static [Concern];
    /// Meaning of 0 in a setting of the kind [`Every`]. Older files have 0 in place of a word.
    const ZERO: Every;

    /// Checks that every value is in its range and that the values fit together.
    fn check(&self) -> Result<()>;

    /// The settings of the images.
    fn images(&self) -> &Images;

    /// The settings of the session.
    fn session(&self) -> &Session;

    /// The settings of the session, mutable.
    fn session_mut(&mut self) -> &mut Session;

    /// Drops the settings about the origin of a run, which a resumed run no longer needs.
    fn forget_origin(&mut self);

    /// Number of steps of an epoch, if there are `n_train` training images.
    fn steps_per_epoch(&self, n_train: usize) -> u64;

    /// Sets the length of a run whose length was changed.
    fn lengthen(&mut self, lengths: &Lengths);

    /// Number of all steps. 0 as long as only the number of epochs is known.
    fn steps(&self) -> u64;
}

/// The resolved form with every key. Keys without a value are named in a comment.
pub fn to_toml<T: Resolved>(config: &T) -> Result<String> {
    let table = to_table(config)?;
    let unset: Vec<&str> =
        keys::keys(T::CONCERNS).map(|k| k.name).filter(|name| !table.contains_key(*name)).collect();
    let body = toml::to_string(config).map_err(|e| unreadable("the configuration", e))?;
    // One line per key, in the order of the record.
    let name = space_name(&table);
    let is_own = |line: &&str| line.split_once(" = ").is_none_or(|(key, _)| owner(key, &name).is_none());
    let body: String = body.split_inclusive('\n').filter(is_own).collect();
    let note = if unset.is_empty() { String::new() } else { format!("# Not set: {}.\n", unset.join(", ")) };
    Ok(format!("{}{note}{body}", layer::RESOLVED))
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
    let mut table = layer::read(path, Length::Both, T::CONCERNS)?;
    let name = space_name(&table);
    // The keys of other spaces are left out of a resolved form.
    let missing = |key: &Key| if owner(key.name, &name).is_some() { key.default } else { key.was };
    fill::<T>(&mut table, missing)?;
    let config: T = from_table(table, &path.display().to_string())?;
    match config.check() {
        // These keys do not fit together. Each key by itself was checked while reading.
        Err(Error::Usage { what, expected, found, try_this }) => {
            Err(Error::usage(format!("{}: {what}", path.display()), expected, found, try_this))
        }
        other => other.map(|()| config),
    }
}

/// The user's settings: the TOML file, overridden by the flags.
pub(super) fn user_table<T: Resolved>(file: Option<&Path>, flags: &Table) -> Result<Table> {
    let mut user = match file {
        Some(path) => layer::read(path, Length::One, T::CONCERNS)?,
        None => Table::new(),
    };
    layer::overlay(&mut user, layer::from_flags(flags, T::CONCERNS)?);
    Ok(user)
}

/// The preset, overridden by the user's settings. The result is not yet checked as a whole.
pub(super) fn over_preset<T: Resolved>(preset: &str, user: Table) -> Result<T> {
    let mut merged = layer::parse(Path::new("the embedded preset"), preset, Length::One, T::CONCERNS)?;
    layer::overlay(&mut merged, user);
    // Settings of another space in the preset have no use, and are not in the resolved form.
    let name = space_name(&merged);
    merged.retain(|key, _| owner(key, &name).is_none());
    fill::<T>(&mut merged, |key| key.default.or(key.was))?;
    from_table(merged, "the configuration")
}

/// Remarks about the user's settings.
pub(super) fn remarks<T: Resolved>(user: &Table) -> Aside<Vec<String>> {
    let zeros = keys::keys(T::CONCERNS).filter(|key| {
        matches!(key.kind, Kind::Every) && user.get(key.name).and_then(Value::as_integer) == Some(0)
    });
    Aside(zeros.map(|key| format!("`{}` 0 is read as {}; better say so", key.name, T::ZERO)).collect())
}

/// The settings of a manifest, with 0 replaced by today's words.
pub fn in_words<T: Resolved>(mut was: serde_json::Value) -> serde_json::Value {
    for key in keys::keys(T::CONCERNS).filter(|key| matches!(key.kind, Kind::Every)) {
        if let Some(value) = was.get_mut(key.name).filter(|value| value.as_u64() == Some(0)) {
            *value = T::ZERO.to_string().into();
        }
    }
    was
}

/// Sets missing settings to the value that `missing` returns for them, and replaces 0 by its meaning.
fn fill<T: Resolved>(table: &mut Table, missing: impl Fn(&Key) -> Option<&'static str>) -> Result<()> {
    for key in keys::keys(T::CONCERNS) {
        match (table.get(key.name), missing(key)) {
            (Some(Value::Integer(0)), _) if matches!(key.kind, Kind::Every) => {
                table.insert(key.name.to_owned(), T::ZERO.to_value());
            }
            (None, Some(text)) => {
                let value: Value = text.parse().map_err(|e| unreadable(key.name, e))?;
                table.insert(key.name.to_owned(), value);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The space that a configuration names.
pub(super) fn space_name(table: &Table) -> String {
    table.get("space").and_then(Value::as_str).unwrap_or("darts").to_owned()
}

/// Checks that every value is in its range.
pub(super) fn check_values<T: Resolved>(config: &T) -> Result<()> {
    for (name, value) in to_table(config)? {
        keys::check(T::CONCERNS, &name, &value, &format!("`{name}`"))?;
    }
    Ok(())
}

/// Checks that there is a length.
pub(super) fn check_length(steps: u64, epochs: Option<u64>) -> Result<()> {
    if steps == 0 && epochs.is_none() {
        return Err(Error::usage("`steps`", "`steps` or `epochs`", "neither", "add --steps N"));
    }
    Ok(())
}

/// Checks that the learning rate falls.
pub(super) fn check_rates(lr: f64, lr_min: f64) -> Result<()> {
    if lr_min > lr {
        let expected = format!("at most `lr` ({lr})");
        return Err(Error::usage("`lr_min`", expected, lr_min.to_string(), "also give --lr-min"));
    }
    Ok(())
}

/// Checks that mean and standard deviation have the same number of channels.
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
