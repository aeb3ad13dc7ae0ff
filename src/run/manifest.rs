//! The origin of a run: the program, the adapter, the data, the configuration.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Lengths, Resolved};
use crate::{Error, Result};

/// The kind of a run that is the consensus of searches. Such a run has a prior without shared weights.
pub const CONSENSUS: &str = "consensus";

/// The content of `manifest.json`. Runs with equal manifests (and equal seeds) give the same bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Kind of the run: `search`, `train` or `consensus`.
    #[serde(default = "search")]
    pub kind: String,
    /// The program's version.
    pub version: String,
    /// The adapter's name.
    pub adapter: String,
    /// The driver's name and version.
    pub driver: String,
    /// Vulkan, Metal or DirectX 12.
    pub backend: String,
    /// The limits with which the device was opened.
    pub limits: BTreeMap<String, u64>,
    /// Key of every random stream.
    pub seed: u64,
    /// Identity of the data: sizes, hash.
    pub data: Value,
    /// The account of the data: the parts that were read, and the entries that were passed over. Null in runs of
    /// version 0.1.0. For these runs folders are read by the rules of that version.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub read: Value,
    /// Names of the data's classes, in the order of their labels.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Mean and standard deviation per channel of the normalisation.
    pub normalisation: Value,
    /// The kernel variants of the run, by setting: the fixed ones of the adapter or those of a trial.
    pub variants: BTreeMap<String, String>,
    /// Kernel variants that were excluded, because their results were wrong on this adapter or because its driver took
    /// too long to compile them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// Specification of the data, if they were moved after the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_at: Option<String>,
    /// The folder that was the current folder when a relative place of the data was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_from: Option<PathBuf>,
    /// Number of all steps.
    pub total_steps: u64,
    /// The changes of the number of all steps after the start.
    #[serde(default, skip_serializing_if = "Lengths::is_empty")]
    pub lengths: Lengths,
    /// The configuration. A resume compares it with `config.toml`.
    pub config: Value,
    /// Checksum of the file with an empty text in place of the checksum. It is set only in the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub check: String,
}

impl Manifest {
    /// A manifest of this program for `config`. The caller fills in the other fields.
    pub fn new<C: Resolved>(config: &C) -> Result<Self> {
        Ok(Self {
            kind: C::KIND.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            seed: config.session().seed,
            total_steps: config.steps(),
            config: config_json(config)?,
            ..Self::default()
        })
    }

    /// The bytes of the file, with its checksum.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let open = Self { check: String::new(), ..self.clone() };
        let check = super::checkpoint::sha256(&super::dir::json(&open)?);
        super::dir::json(&Self { check, ..open })
    }

    /// The manifest in `bytes`, the content of the file `path`.
    ///
    /// # Errors
    /// [`Error::File`] if the content is no manifest, or was changed after it was written.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |found: String| {
            Error::file(path, None, "a manifest of this version", found, "restore it, or start a new run")
        };
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        // Earlier versions wrote no checksum.
        if !manifest.check.is_empty() && manifest.to_bytes()? != bytes {
            return Err(damaged("a checksum that does not fit it: it was changed or damaged".into()));
        }
        Ok(Self { check: String::new(), ..manifest })
    }

    /// The folders in which a relative place of the data is looked up, for the run in the folder `run`. The first is
    /// the folder in which the place was given. The second is the present place of the folder in which the run was
    /// started, if the run was moved together with that folder. The third is the run's own folder.
    pub fn bases(&self, run: Option<&Path>) -> Vec<PathBuf> {
        let mut bases: Vec<PathBuf> = self.data_from.iter().cloned().collect();
        let now = run.and_then(|run| std::path::absolute(run).ok());
        let was = self.config["run"].as_str().map(Path::new).filter(|was| was.is_relative());
        if let (Some(now), Some(was)) = (&now, was)
            && was.components().all(|part| matches!(part, Component::Normal(_)))
        {
            bases.extend(now.ancestors().nth(was.components().count()).map(Path::to_owned));
        }
        bases.extend(now);
        bases
    }
}

/// The kind of a manifest without a kind. Such a manifest is from a version that had only searches.
fn search() -> String {
    crate::config::Config::KIND.into()
}

/// A configuration as JSON.
pub fn config_json<C: Resolved>(config: &C) -> Result<Value> {
    serde_json::to_value(crate::config::to_table(config)?)
        .map_err(|e| Error::usage("the configuration", "values that JSON can hold", e.to_string(), ""))
}

/// A difference between two JSON values.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The key that differs; `value` if the values are no objects.
    pub key: String,
    /// The old value, `nothing` if it was absent.
    pub was: String,
    /// The new value, `nothing` if it is absent.
    pub is: String,
}

/// The first key, in alphabetical order, whose value in `is` differs from its value in `was`.
pub fn first_change(was: &Value, is: &Value) -> Option<Change> {
    let show = |v: Option<&Value>| v.map_or_else(|| "nothing".into(), Value::to_string);
    if let (Value::Object(a), Value::Object(b)) = (was, is) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        return keys.into_iter().find(|k| a.get(*k) != b.get(*k)).map(|k| Change {
            key: k.clone(),
            was: show(a.get(k)),
            is: show(b.get(k)),
        });
    }
    (was != is).then(|| Change { key: "value".into(), was: was.to_string(), is: is.to_string() })
}
