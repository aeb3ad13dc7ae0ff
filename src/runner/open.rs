//! Preparation of every run: its data, its adapter, and the facts about both in the manifest.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::variants;
use crate::config::Resolved;
use crate::data::{self, Dataset, LoadOptions, Normalisation};
use crate::gpu::{AdapterInfo, Gpu, Options, Tuned};
use crate::run::{Events, Manifest, RunDir};
use crate::{Error, Result};

/// The data and the adapter of a configuration.
pub struct Wanted<'a> {
    /// Specification of the data.
    pub data: &'a str,
    /// Side to which images of a folder are scaled.
    pub size: Option<u32>,
    /// Mean per channel, if given.
    pub mean: Option<&'a [f64]>,
    /// Standard deviation per channel, if given.
    pub std: Option<&'a [f64]>,
    /// Name of the adapter, if given.
    pub device: Option<&'a str>,
    /// The manifest of a run that goes on. It knows other places of the data.
    pub resumed: Option<&'a Manifest>,
    /// The folder of the run.
    pub run: Option<&'a Path>,
}

/// The data in memory and the adapter.
pub struct Opened {
    /// The images.
    pub dataset: Arc<Dataset>,
    /// The given normalisation, or one computed from the training images.
    pub normalisation: Normalisation,
    /// The adapter.
    pub gpu: Gpu,
}

/// Loads the data and opens the adapter.
pub fn open(wanted: &Wanted<'_>, events: &Events) -> Result<Opened> {
    let dataset = match wanted.resumed {
        Some(manifest) => data_of_run(manifest, wanted.data, wanted.size, wanted.run)?,
        None => data::load(wanted.data, &LoadOptions { size: wanted.size.map(|s| s as usize) })?,
    };
    let normalisation = normalisation(wanted, &dataset)?;
    let gpu = adapter(wanted.device, events)?;
    Ok(Opened { dataset: Arc::new(dataset), normalisation, gpu })
}

/// Records in `manifest` the place of the data, given in the current folder. `moved` if it is another place than that of
/// the configuration.
///
/// # Errors
/// [`Error::Usage`] if `spec` is no specification.
pub fn set_place(manifest: &mut Manifest, spec: &str, moved: bool) -> Result<()> {
    let relative = spec.parse::<data::Spec>()?.is_relative();
    manifest.data_at = moved.then(|| spec.to_owned());
    manifest.data_from = relative.then(std::env::current_dir).and_then(std::result::Result::ok);
    Ok(())
}

/// Reads the data of the run in the folder `run`, whose configuration has the specification `spec`.
///
/// # Errors
/// The errors of [`data::load_near`].
pub fn data_of_run(
    manifest: &Manifest,
    spec: &str,
    size: Option<u32>,
    run: Option<&Path>,
) -> Result<Dataset> {
    let identity = serde_json::from_value(manifest.data.clone()).ok();
    let options = LoadOptions { size: size.map(|s| s as usize) };
    let spec = manifest.data_at.as_deref().unwrap_or(spec);
    data::load_near(spec, &options, &manifest.bases(run), identity.as_ref())
}

/// Opens the named adapter, or the one of the fastest class.
pub fn adapter(configured: Option<&str>, events: &Events) -> Result<Gpu> {
    let mut gpu = Gpu::open(configured, Options::default())?;
    events.note(format!("on {} ({})", gpu.info().name, gpu.info().driver));
    gpu.remarks().iter().for_each(|remark| events.warn(remark));
    variants::load_compiled(&mut gpu);
    Ok(gpu)
}

fn normalisation(wanted: &Wanted<'_>, dataset: &Dataset) -> Result<Normalisation> {
    let mut out = Normalisation::of(&dataset.train);
    let channels = dataset.train.channels;
    for (name, given, values) in [("mean", wanted.mean, &mut out.mean), ("std", wanted.std, &mut out.std)] {
        if let Some(given) = given {
            if given.len() != channels {
                let expected = format!("{channels} numbers, one per channel of the images");
                return Err(Error::usage(format!("--{name}"), expected, given.len().to_string(), ""));
            }
            *values = given.iter().map(|x| *x as f32).collect();
        }
    }
    Ok(out)
}

/// The content of a run's manifest besides its configuration.
pub struct Facts(Manifest);

impl Facts {
    /// The facts of a run on these data and this adapter.
    pub fn of(
        dataset: &Dataset,
        normalisation: &Normalisation,
        info: &AdapterInfo,
        tuned: &Tuned,
    ) -> Result<Self> {
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        let entries = |value: Value| value.as_object().cloned().unwrap_or_default().into_iter();
        let limits = entries(json(serde_json::to_value(&info.limits)));
        Ok(Self(Manifest {
            adapter: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info),
            backend: info.backend.clone(),
            limits: limits.filter_map(|(k, v)| Some((k, v.as_u64()?))).collect(),
            data: json(serde_json::to_value(&dataset.identity)),
            class_names: dataset.class_names.clone(),
            normalisation: json(serde_json::to_value(normalisation)),
            variants: variants::to_manifest(tuned.variants)?,
            excluded: tuned.excluded.iter().map(ToString::to_string).collect(),
            ..Manifest::default()
        }))
    }

    /// The manifest for the resolved `config`.
    pub fn manifest<C: Resolved>(self, config: &C) -> Result<Manifest> {
        let Manifest { kind, version, seed, total_steps, config, .. } = Manifest::new(config)?;
        Ok(Manifest { kind, version, seed, total_steps, config, ..self.0 })
    }
}

/// Compares `now` with the manifest of `run`. Other data are an error; another adapter or driver is a warning.
pub fn check(now: &Manifest, run: &RunDir, events: &Events) -> Result<()> {
    let was = run.manifest()?;
    was.check_data(&now.data, &run.file("manifest.json"))?;
    if (&was.adapter, &was.driver) != (&now.adapter, &now.driver) {
        events.warn(format!(
            "the run was started on {} ({}); on this adapter it goes on, but not with the same bits",
            was.adapter, was.driver
        ));
    }
    Ok(())
}
