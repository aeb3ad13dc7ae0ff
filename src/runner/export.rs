//! The folder of a run → its network, for other programs.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::export::network::{Extents, of_checkpoint};
use crate::export::{About, Trained};
use crate::run::{Events, RunDir};
use crate::space::{Alpha, NetworkKind, Space};

/// The network of a run. For a training the weights are from the best checkpoint, or from the newest one if none has a
/// score. For a search the weights are from the newest checkpoint.
///
/// # Errors
/// [`Error::File`] for a run without weights, or one whose files do not fit together.
pub fn of_run(path: &Path, space: &Arc<dyn Space>, alpha: &Alpha, events: &Events) -> Result<Trained> {
    let run = RunDir::open(path)?;
    run.check_weights()?;
    let (newest, warnings) = run.checkpoints().newest_good()?;
    warnings.iter().for_each(|w| events.warn(w));
    // Only final networks keep running statistics.
    let is_final = newest.state.keys().any(|name| name.starts_with("state."));
    let best = if is_final { run.checkpoints().best()? } else { None };
    let checkpoint = best.unwrap_or(newest);
    let config = run.file("config.toml");
    let text = std::fs::read_to_string(&config).map_err(|e| Error::io("read", &config, e))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let offset = e.span().map(|span| span.start as u64);
        Error::file(&config, offset, "TOML", e.message(), "the config.toml that the run was started with")
    })?;
    let manifest = run.manifest()?;
    let number = |file: &str, key: &str, found: Option<i64>| {
        let found = found.and_then(|n| usize::try_from(n).ok());
        found.ok_or_else(|| Error::file(run.file(file), None, format!("a number `{key}`"), "none", ""))
    };
    let configured = |key: &str| number("config.toml", key, table.get(key).and_then(toml::Value::as_integer));
    let of_data = |key: &str| {
        number("manifest.json", &format!("data.{key}"), manifest.data.get(key).and_then(Value::as_i64))
    };
    let extents = Extents {
        space: Arc::clone(space),
        kind: if is_final { NetworkKind::Final } else { NetworkKind::Search },
        channels: configured("channels")?,
        size: [of_data("height")?, of_data("width")?],
    };
    let list = |key: &str| serde_json::from_value(manifest.normalisation.get(key)?.clone()).ok();
    let about = About {
        mean: list("mean").unwrap_or_default(),
        std: list("std").unwrap_or_default(),
        class_names: manifest.class_names.clone(),
    };
    let state_path = checkpoint.state_path();
    Trained::of_tensors(alpha.clone(), &extents, of_checkpoint(checkpoint.state), about, &state_path)
}
