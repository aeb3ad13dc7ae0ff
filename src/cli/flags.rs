//! Declared settings → the flags of a command, and the given flags → a table of settings.

use std::marker::PhantomData;

use clap::error::Error;
use clap::{Arg, ArgMatches, Command};
use toml::Table;

use crate::config::in_a_preset;
use crate::config::keys::{Concern, Key, Kind};

/// A configuration whose settings are the flags of a command.
pub trait Declared {
    /// All settings.
    const CONCERNS: &'static [Concern];
    /// Settings that are no flags of the command.
    const EXCLUDED: &'static [&'static str] = &[];
}

/// The settings of `T` that were given as flags.
#[derive(Clone, Debug)]
pub struct Flags<T> {
    /// The settings by their names in a file.
    pub table: Table,
    declared: PhantomData<T>,
}

impl<T> Default for Flags<T> {
    fn default() -> Self {
        Self { table: Table::new(), declared: PhantomData }
    }
}

impl<T: Declared> Flags<T> {
    fn keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
        let all =
            T::CONCERNS.iter().flat_map(|concern| concern.keys.iter().map(|key| (concern.title.trim(), key)));
        all.filter(|(_, key)| !T::EXCLUDED.contains(&key.name))
    }
}

impl<T: Declared> clap::Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        Self::keys().fold(command, |command, (title, key)| command.arg(flag(key).help_heading(title)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Declared> clap::FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for (_, key) in Self::keys() {
            if let Some(text) = matches.get_one::<String>(key.name) {
                self.table.insert(key.name.to_owned(), key.kind.read(text));
            }
        }
        Ok(())
    }
}

/// The flag of a setting.
fn flag(key: &'static Key) -> Arg {
    let arg = Arg::new(key.name).long(key.name.replace('_', "-")).value_name(key.value).help(help(key));
    match key.kind {
        Kind::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::PerChannel(..) | Kind::ClassWeights => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// Description of a setting with its default, unless the default differs between presets or the description explains it.
/// For the images it includes the forms of their specification.
pub fn help(key: &Key) -> String {
    let text = if key.name == "data" { crate::data::HELP } else { key.help.trim() };
    match key.default.filter(|_| !in_a_preset(key.name) && !text.to_lowercase().contains("default")) {
        Some("false") | None => text.to_owned(),
        Some(value) => {
            let value = value.trim_matches(['[', ']']).replace('"', "").replace(", ", ",");
            format!("{text} [default: {value}]")
        }
    }
}

/// Refuses `true` or `false` as the name of the configuration file. The user meant it as the value of a flag.
pub fn check_file(file: Option<&std::path::Path>) -> crate::Result<()> {
    match file.and_then(std::path::Path::to_str) {
        Some(word @ ("true" | "false")) if !std::path::Path::new(word).exists() => {
            let found = format!("\"{word}\" by itself");
            Err(crate::Error::usage(
                "CONFIG.toml",
                "a file of settings",
                found,
                format!("--flag={word}, in one word"),
            ))
        }
        _ => Ok(()),
    }
}
