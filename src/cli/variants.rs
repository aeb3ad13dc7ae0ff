//! `--tune`, the trial kept on disk, the manifest → the kernel variants of a run.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Ui;
use crate::bench::{self, Shape};
use crate::gpu::{AdapterInfo, Gpu, Options, Variants};
use crate::run::choices;
use crate::{Error, Result};

/// The variants of a new run: of a fresh trial if `tune` says so, else of the trial kept on disk for this
/// adapter, driver and version, else (and where `tune` is false) the fixed choice.
pub fn choose(tune: Option<bool>, gpu: &Gpu, shape: &Shape, ui: &Ui) -> Result<Variants> {
    match tune {
        Some(false) => Ok(Variants::fixed(gpu)),
        None => Ok(kept_or_fixed(gpu)),
        Some(true) => {
            ui.note(
                "timing kernel variants, which compiles each of them: a minute or more on a software adapter",
            );
            // A device of its own: nothing of the trial is left on the run's.
            let index = gpu.info().index.to_string();
            let trial = Gpu::open(Some(&index), Options::default())?;
            let variants = bench::tune(trial, shape, &mut |line| ui.note(line))?;
            let path = choices::keep(&key(gpu.info()), to_value(variants)?)?;
            ui.note(&format!("kept for later runs in {}", path.display()));
            Ok(variants)
        }
    }
}

/// The variants of the trial kept on disk, or else, and where the file has none that there are, the fixed ones.
pub fn kept_or_fixed(gpu: &Gpu) -> Variants {
    let kept = choices::kept(&key(gpu.info())).and_then(|value| serde_json::from_value(value).ok());
    kept.filter(Variants::is_known).unwrap_or_else(|| Variants::fixed(gpu))
}

fn key(info: &AdapterInfo) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{} | {} {} | {} | parsec {version}", info.name, info.driver, info.driver_info, info.backend)
}

fn to_value(variants: Variants) -> Result<Value> {
    serde_json::to_value(variants)
        .map_err(|e| Error::usage("kernel variants", "what JSON can hold", e.to_string(), ""))
}

/// As the manifest of a run holds them: by name.
pub fn to_manifest(variants: Variants) -> Result<BTreeMap<String, String>> {
    let value = to_value(variants)?;
    let entries = value.as_object().into_iter().flatten();
    Ok(entries.map(|(name, value)| (name.clone(), value.to_string())).collect())
}

/// From the manifest of a run, which a resumed run must use; those that it does not name are the fixed ones.
pub fn from_manifest(entries: &BTreeMap<String, String>, gpu: &Gpu) -> Result<Variants> {
    let mut all = to_manifest(Variants::fixed(gpu))?;
    all.extend(entries.clone());
    let number = |(name, text): (String, String)| {
        let number = text.parse::<u32>().map_err(|_| {
            let expected = format!("a number for the variant {name}");
            Error::usage("manifest.json", expected, text, "the manifest that the run was started with")
        })?;
        Ok((name, Value::from(number)))
    };
    let map = all.into_iter().map(number).collect::<Result<Map<_, _>>>()?;
    let found = Value::Object(map);
    let wrong = |found: String| {
        let try_this = "the manifest that the run was started with";
        Error::usage("manifest.json", "kernel variants that there are", found, try_this)
    };
    let variants: Variants = serde_json::from_value(found.clone()).map_err(|e| wrong(e.to_string()))?;
    if variants.is_known() { Ok(variants) } else { Err(wrong(found.to_string())) }
}
