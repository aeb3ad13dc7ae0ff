//! `metrics.jsonl` → the numbers of a run as columns over its steps, and the children that a search drew.
//!
//! A file may be read again while a run appends to it: [`History::read_more`] goes on where it ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::space::Alpha;

/// The children of one step of a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// The step, from 1.
    pub step: u64,
    /// Whether the step only trained the weights.
    pub warm_up: bool,
    /// The children, one choice per slot each. Empty in runs of version 0.1.0.
    pub alphas: Vec<Alpha>,
    /// Log-likelihood of each child, nats over the whole batch.
    pub log_likelihood: Vec<f64>,
    /// Importance weight of each child.
    pub weights: Vec<f64>,
}

/// The metrics of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    path: PathBuf,
    /// Number of bytes that were read, up to the end of a line.
    offset: u64,
    /// Every number of the records by its place, such as `entropy.normal`: pairs (step, number) in the order of the
    /// file. Truth values are 0 and 1.
    pub columns: BTreeMap<String, Vec<(f64, f64)>>,
    /// The children of each step. Empty in a training.
    pub drawn: Vec<Drawn>,
    /// The last step, from 1; 0 if there is none.
    pub last_step: u64,
    /// Number of lines that are no records of steps.
    pub n_skipped: usize,
}

impl History {
    /// The metrics in the file at `path`. They are empty if there is no such file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let mut history = Self { path: path.to_owned(), ..Self::default() };
        history.read_more()?;
        Ok(history)
    }

    /// Reads the lines that were written since the last call. A line without its end is left for the next call. If the
    /// file became shorter, as by a resume, it is read anew.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read.
    pub fn read_more(&mut self) -> Result<()> {
        let io = |e| Error::io("read", &self.path, e);
        let mut file = match File::open(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(io)?,
        };
        if file.metadata().map_err(io)?.len() < self.offset {
            *self = Self { path: std::mem::take(&mut self.path), ..Self::default() };
        }
        let io = |e| Error::io("read", &self.path, e);
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
        self.offset += bytes.len() as u64;
        bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).for_each(|line| self.add(line));
        Ok(())
    }

    /// Adds a line of the metrics. A step that is there already, or that is before one that is there, replaces it and
    /// all later ones.
    pub fn add(&mut self, line: &[u8]) {
        let record = serde_json::from_slice::<Value>(line).ok();
        let step = record.as_ref().and_then(|record| record["step"].as_u64());
        let (Some(Value::Object(mut record)), Some(step)) = (record, step) else {
            self.n_skipped += 1;
            return;
        };
        if step <= self.last_step {
            self.cut_back(step);
        }
        self.last_step = step;
        let alphas =
            record.remove("alpha").and_then(|alphas| serde_json::from_value::<Vec<Vec<u16>>>(alphas).ok());
        let mut numbers = |key: &str| record.remove(key).and_then(|list| serde_json::from_value(list).ok());
        if let (Some(log_likelihood), Some(weights)) = (numbers("log_likelihood"), numbers("weights")) {
            let warm_up = record.get("warm_up").and_then(Value::as_bool).unwrap_or(false);
            let alphas = alphas.unwrap_or_default().into_iter().map(Alpha).collect();
            self.drawn.push(Drawn { step, warm_up, alphas, log_likelihood, weights });
        }
        for (key, value) in record {
            self.put(key, step as f64, &value);
        }
    }

    /// Removes `step` and all later ones.
    fn cut_back(&mut self, step: u64) {
        self.drawn.retain(|drawn| drawn.step < step);
        for column in self.columns.values_mut() {
            column.retain(|(at, _)| *at < step as f64);
        }
    }

    fn put(&mut self, key: String, step: f64, value: &Value) {
        let number = value.as_f64().or(value.as_bool().map(f64::from));
        if let Some(number) = number {
            self.columns.entry(key).or_default().push((step, number));
        } else if let Value::Object(inner) = value {
            for (name, value) in inner {
                self.put(format!("{key}.{name}"), step, value);
            }
        }
    }

    /// The column `key`; empty if there is none.
    pub fn column(&self, key: &str) -> &[(f64, f64)] {
        self.columns.get(key).map_or(&[], Vec::as_slice)
    }

    /// The column `key` of the steps after the warm-up.
    pub fn after_warm_up(&self, key: &str) -> Vec<(f64, f64)> {
        let mut warm_up = self.column("warm_up").iter().filter(|p| p.1 > 0.0).map(|p| p.0).peekable();
        let is_after = |at: f64| {
            while warm_up.next_if(|step| *step < at).is_some() {}
            warm_up.peek() != Some(&at)
        };
        let mut is_after = is_after;
        self.column(key).iter().copied().filter(|p| is_after(p.0)).collect()
    }

    /// The steps that are missing between the first and the last: the first of them, if there is one.
    pub fn gap(&self) -> Option<u64> {
        let steps = || self.column("lr").iter().map(|p| p.0 as u64);
        std::iter::once(0).chain(steps()).zip(steps()).find(|(a, b)| a + 1 != *b).map(|(a, _)| a + 1)
    }

    /// The names of the columns below `key`, such as the groups of `entropy`.
    pub fn below(&self, key: &str) -> Vec<&str> {
        let names = self.columns.keys().filter_map(|name| name.strip_prefix(key)?.strip_prefix('.'));
        names.collect()
    }

    /// The sum of the columns below `key` at each step that all of them have.
    pub fn sum_below(&self, key: &str) -> Vec<(f64, f64)> {
        let columns: Vec<&[(f64, f64)]> =
            self.below(key).iter().map(|name| self.column(&format!("{key}.{name}"))).collect();
        let Some((first, others)) = columns.split_first() else { return Vec::new() };
        let mut sums: BTreeMap<u64, (usize, f64)> = first.iter().map(|(x, y)| (*x as u64, (1, *y))).collect();
        for (x, y) in others.iter().flat_map(|column| column.iter()) {
            if let Some((n, sum)) = sums.get_mut(&(*x as u64)) {
                *n += 1;
                *sum += y;
            }
        }
        sums.into_iter()
            .filter(|(_, (n, _))| *n == columns.len())
            .map(|(x, (_, sum))| (x as f64, sum))
            .collect()
    }

    /// Whether the metrics are those of a search: only searches have importance weights.
    pub fn is_search(&self) -> bool {
        !self.drawn.is_empty() || self.columns.contains_key("ess")
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.last_step == 0
    }
}
