//! `--tune`, the results kept on disk, the manifest → the kernel variants of a run, checked on its adapter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bench::{self, Shape};
use crate::gpu::{AdapterInfo, Class, Excluded, Gpu, Tuned, Variants};
use crate::kernel::source::fingerprint;
use crate::ops::Tuning;
use crate::run::Events;
use crate::run::choices::{self, Store};
use crate::selftest::proof;
use crate::{Error, Result};

/// The variants of a new run. If `tune` is true they come from a new trial. If `tune` is absent they come from the
/// trial kept on disk for this adapter, driver and these kernels. If there is none, or if `tune` is false, they are the
/// fixed ones.
///
/// # Errors
/// [`Error::Device`] if no variant of a kernel gives correct results on the adapter.
pub fn choose(tune: Option<bool>, gpu: &Gpu, shape: &Shape, events: &Events) -> Result<Tuned> {
    match tune {
        Some(false) => proven(Variants::fixed(gpu), Vec::new(), gpu, events),
        None => of_adapter(gpu, events),
        Some(true) => {
            events.note(
                "timing kernel variants, which compiles each of them: a minute or more on a software adapter",
            );
            // The comparison and the trial have devices of their own, for three reasons: wrong kernels may break the
            // device on which they run, the trial must see each variant uncompiled to measure its compilation, and
            // neither may leave anything on the device of the run.
            let mut other = gpu.apart()?;
            let mut prove = |variants, shaders: &[&str]| proof::prove(&mut other, variants, shaders);
            let tuned = bench::tune(gpu.apart()?, shape, &mut prove, &mut |line: &str| events.note(line))?;
            match Store::Variants.keep(&key(gpu.info()), to_value(tuned.variants)?) {
                Ok(path) => events.note(format!("kept for later runs in {}", path.display())),
                Err(e) => events.warn(format!("the choice serves this run and is not kept: {e}")),
            }
            // Check the whole choice once more, and keep it together with the excluded variants.
            proven(tuned.variants, tuned.excluded, gpu, events)
        }
    }
}

/// The variants for a command without a run: those kept on disk, or the fixed ones.
///
/// # Errors
/// The errors of [`choose`].
pub fn of_adapter(gpu: &Gpu, events: &Events) -> Result<Tuned> {
    proven(kept_or_fixed(gpu, events), Vec::new(), gpu, events)
}

/// The variants of the trial kept on disk. The fixed ones if there is no trial, or if it names variants that do not
/// exist.
fn kept_or_fixed(gpu: &Gpu, events: &Events) -> Variants {
    let key = key(gpu.info());
    let (kept, warning) = Store::Variants.kept(&key);
    warning.iter().for_each(|w| events.warn(w));
    let Some(value) = kept else { return Variants::fixed(gpu) };
    match serde_json::from_value::<Variants>(value.clone()) {
        Ok(variants) if variants.is_known() => variants,
        _ => {
            events.warn(Store::Variants.unknown(&gpu.info().name, &value));
            Variants::fixed(gpu)
        }
    }
}

/// One comparison with the reference: the variants that were wanted and the variants that were found.
#[derive(Serialize, Deserialize)]
struct Proof {
    wanted: Variants,
    found: Tuned,
}

/// `wanted`, or other variants that are correct on this GPU if the kernels of `wanted` are wrong. The comparison takes
/// some seconds and is made once per [`key`]. It is not made on software adapters, because the test suite runs on them.
/// `excluded`: the variants that a trial has already excluded.
fn proven(wanted: Variants, mut excluded: Vec<Excluded>, gpu: &Gpu, events: &Events) -> Result<Tuned> {
    if gpu.info().is_software && gpu.info().class() == Class::Software {
        return Ok(Tuned { variants: wanted, excluded });
    }
    let key = key(gpu.info());
    let (kept, warning) = Store::Proofs.kept(&key);
    warning.iter().for_each(|w| events.warn(w));
    let mut proofs: Vec<Proof> = match kept.map(serde_json::from_value).transpose() {
        Ok(proofs) => proofs.unwrap_or_default(),
        Err(e) => {
            events
                .warn(format!("what is kept of earlier comparisons on {} is ignored: {e}", gpu.info().name));
            Vec::new()
        }
    };
    let known = proofs.iter().find(|p| p.wanted == wanted && p.found.variants.is_known());
    if let Some(known) = known.filter(|_| excluded.is_empty()) {
        return Ok(known.found.clone());
    }
    events.note("comparing the kernels with their reference on this adapter, once per driver: some seconds");
    // Wrong kernels may break the device, so the comparison does not use the device of the run.
    let mut other = gpu.apart()?;
    let class = gpu.info().class();
    let mut found = Variants::right(wanted, class, &mut |v, shaders| proof::prove(&mut other, v, shaders))?;
    found.excluded.iter().for_each(|e| events.warn(format!("wrong on this adapter and left out: {e}")));
    excluded.append(&mut found.excluded);
    found.excluded = excluded;
    proofs.retain(|p| p.wanted != wanted);
    proofs.push(Proof { wanted, found: found.clone() });
    let value = serde_json::to_value(&proofs).unwrap_or_default();
    if let Err(e) = Store::Proofs.keep(&key, value) {
        events.warn(format!("the comparison is not kept, the next run makes it again: {e}"));
    }
    Ok(found)
}

/// Gives the adapter the kernels that its driver compiled in earlier runs.
pub fn load_compiled(gpu: &mut Gpu) {
    let kept = choices::compiled_kernels(&key(gpu.info()));
    gpu.use_compiled_kernels(kept.as_deref());
}

/// Keeps the kernels that the adapter's driver has compiled, if the driver hands them out and there are new ones.
pub fn keep_compiled(gpu: &Gpu, events: &Events) {
    let key = key(gpu.info());
    let Some(data) = gpu.compiled_kernels() else { return };
    if choices::compiled_kernels(&key).is_some_and(|kept| kept == data) {
        return;
    }
    if let Err(e) = choices::keep_compiled_kernels(&key, &data) {
        events.warn(format!("compiled kernels are not kept: {e}"));
    }
}

/// The key of results kept for an adapter. The results are valid for one driver, one class, and the kernels of this
/// program.
pub fn key(info: &AdapterInfo) -> String {
    let (class, kernels) = (info.class(), fingerprint());
    format!(
        "{} | {} {} | {} | {class:?} | kernels {kernels:016x}",
        info.name, info.driver, info.driver_info, info.backend
    )
}

fn to_value(variants: Variants) -> Result<Value> {
    serde_json::to_value(variants)
        .map_err(|e| Error::usage("kernel variants", "what JSON can hold", e.to_string(), ""))
}

/// The variants by name, as in the manifest of a run.
pub fn to_manifest(variants: Variants) -> Result<BTreeMap<String, String>> {
    let value = to_value(variants)?;
    let entries = value.as_object().into_iter().flatten();
    Ok(entries.map(|(name, value)| (name.clone(), value.to_string())).collect())
}

/// The variants in the manifest of a run, which a resumed run must use. A missing name has its value of version 0.1.0.
///
/// # Errors
/// [`Error::Usage`] for entries that are no variants. [`Error::Device`] if the variants are wrong on this adapter.
pub fn from_manifest(entries: &BTreeMap<String, String>, gpu: &Gpu, events: &Events) -> Result<Tuned> {
    let textures = u32::from(gpu.info().class() == Class::Software);
    let mut all = to_manifest(Variants { tuning: Tuning::default(), textures })?;
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
    if !variants.is_known() {
        return Err(wrong(found.to_string()));
    }
    let right = proven(variants, Vec::new(), gpu, events)?;
    if right.variants != variants {
        events.warn("kernels that the run was started with are wrong on this adapter; it goes on with others, not with the same bits");
    }
    Ok(right)
}
