//! The table of published numbers of a comparison → what it says of the architectures that are found.

use serde::Serialize;

use super::table::{Held, Table};
use crate::config::CompareConfig;
use crate::error::Result;
use crate::report::comparison::ByTable;
use crate::space::{Alpha, Space};

/// The numbers of the architectures that the space of a comparison holds. More is better.
pub struct Published {
    path: String,
    key: String,
    /// By the form in which equal networks are equal.
    numbers: Vec<(Alpha, f64)>,
    best: f64,
    left_out: Option<String>,
}

/// What `comparison.json` says of the table.
#[derive(Serialize)]
pub struct Summary {
    path: String,
    key: String,
    /// Architectures that the space holds.
    n: usize,
    /// The largest of their numbers.
    best: f64,
    /// Runs whose architecture the table does not hold.
    n_not_held: usize,
}

impl Published {
    /// The table that the comparison names, if it names one.
    ///
    /// # Errors
    /// Those of [`Table::read`] and [`Table::held`].
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

    /// What is worth a warning: architectures of the table that the space does not hold.
    pub fn warning(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// The name of the number.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What the table says of an architecture; where it has one twice, the first.
    pub fn of(&self, space: &dyn Space, alpha: &Alpha) -> ByTable {
        let form = space.canonical(alpha);
        let published = self.numbers.iter().find(|(held, _)| *held == form).map(|(_, value)| *value);
        ByTable { published, regret: published.map(|value| self.best - value) }
    }

    /// For the file, of so many runs whose architecture the table does not hold.
    pub fn summary(&self, n_not_held: usize) -> Summary {
        let (path, key) = (self.path.clone(), self.key.clone());
        Summary { path, key, n: self.numbers.len(), best: self.best, n_not_held }
    }
}

impl Summary {
    /// In plain words.
    pub fn text(&self, n_runs: usize) -> String {
        let Self { path, key, n, best, n_not_held } = self;
        let held = match n_not_held {
            0 => String::new(),
            missing => format!("; it does not hold the architecture of {missing} of {n_runs} runs"),
        };
        format!(
            "published is `{key}` of {path}, which holds {n} architectures of the space, the best with {best}{held}"
        )
    }
}
