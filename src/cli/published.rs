//! The table of published numbers of a comparison → the numbers of the found architectures.

use serde::Serialize;

use super::table::{Held, Table};
use crate::config::CompareConfig;
use crate::error::Result;
use crate::report::comparison::ByTable;
use crate::space::{Alpha, Space};

/// The published numbers of the architectures in the space of a comparison. A larger number is better.
pub struct Published {
    path: String,
    key: String,
    /// Architectures in canonical form, with their numbers. Architectures of equal networks have the same canonical
    /// form.
    numbers: Vec<(Alpha, f64)>,
    best: f64,
    left_out: Option<String>,
}

/// The summary of the table in `comparison.json`.
#[derive(Serialize)]
pub struct Summary {
    path: String,
    key: String,
    /// Number of architectures of the table that are in the space.
    n: usize,
    /// The largest number of these architectures.
    best: f64,
    /// Number of runs whose architecture is not in the table.
    n_not_held: usize,
}

impl Published {
    /// The table that the comparison names. `None` if it names no table.
    ///
    /// # Errors
    /// The errors of [`Table::read`] and [`Table::held`].
    pub fn read(config: &CompareConfig, space: &dyn Space) -> Result<Option<Self>> {
        let Some(path) = &config.table else { return Ok(None) };
        let Held { key, entries, left_out } =
            Table::read(path)?.held(space, config.key.as_deref(), "`key`")?;
        let of = entries.len();
        let left_out = left_out.map(|(n, first)| {
            format!("{n} of {} architectures of the table are not in the space; the first is {first}", n + of)
        });
        let best = entries.iter().map(|entry| entry.value).fold(f64::NEG_INFINITY, f64::max);
        let numbers = entries.into_iter().map(|entry| (space.canonical(&entry.alpha), entry.value)).collect();
        Ok(Some(Self { path: path.display().to_string(), key, numbers, best, left_out }))
    }

    /// A warning about architectures of the table that are not in the space.
    pub fn warning(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// Name of the number.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The numbers of an architecture. If the table has the architecture twice, the first entry is used.
    pub fn lookup(&self, space: &dyn Space, alpha: &Alpha) -> ByTable {
        let form = space.canonical(alpha);
        let published = self.numbers.iter().find(|(held, _)| *held == form).map(|(_, value)| *value);
        ByTable { published, regret: published.map(|value| self.best - value) }
    }

    /// The summary of the table. `n_not_held`: number of runs whose architecture is not in the table.
    pub fn summary(&self, n_not_held: usize) -> Summary {
        let (path, key) = (self.path.clone(), self.key.clone());
        Summary { path, key, n: self.numbers.len(), best: self.best, n_not_held }
    }
}

impl Summary {
    /// The summary in plain words.
    pub fn text(&self, n_runs: usize) -> String {
        let Self { path, key, n, best, n_not_held } = self;
        let found =
            format!("published: `{key}` of {path}, {n} architectures of the space, the best with {best}");
        match n_not_held {
            0 => found,
            missing => {
                format!("{found}; {missing} of {n_runs} runs have an architecture that is not in the table")
            }
        }
    }
}
