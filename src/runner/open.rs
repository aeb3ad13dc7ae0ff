//! Preparation of every run: its data, its adapter, and the facts about both in the manifest.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::variants;
use crate::config::{Images, Resolved, Session};
use crate::data::{
    self, Account, Cache, Dataset, Identity, LoadOptions, MEMORY_MIB, Normalisation, Pixels, Reported, Role,
    Size,
};
use crate::error::word;
use crate::gpu::{self, AdapterInfo, Gpu, Options, Tuned};
use crate::run::{self, Event, Events, Manifest, RunDir};
use crate::{Error, Result};

/// The data and the adapter of a configuration.
pub struct Wanted<'a> {
    /// Specification of the data.
    pub data: &'a str,
    /// Size to which images of a folder are scaled.
    pub size: Option<Size>,
    /// Whether damaged images of a folder are counted instead of refused.
    pub skip_bad: bool,
    /// Whether a folder is read by the rules of version 0.1.0.
    pub before: bool,
    /// Number of threads that decode; 0: one per core.
    pub threads: usize,
    /// Memory for scaled images, MiB.
    pub image_memory: usize,
    /// Mean per channel, if given.
    pub mean: Option<&'a [f64]>,
    /// Standard deviation per channel, if given.
    pub std: Option<&'a [f64]>,
    /// Name of the adapter, if given.
    pub device: Option<&'a str>,
    /// The manifest of a resumed run. It has other places of the data.
    pub resumed: Option<&'a Manifest>,
    /// The folder of the run.
    pub run: Option<&'a Path>,
}

impl<'a> Wanted<'a> {
    /// The data at `data`, with the default of each setting.
    pub fn at(data: &'a str) -> Self {
        Self {
            data,
            size: None,
            skip_bad: false,
            before: false,
            threads: 0,
            image_memory: MEMORY_MIB,
            mean: None,
            std: None,
            device: None,
            resumed: None,
            run: None,
        }
    }

    /// The data and the adapter of a run by its configuration. A run is resumed with the rules of its version.
    pub fn of(images: &'a Images, session: &'a Session, resumed: Option<&'a Manifest>) -> Self {
        Self {
            data: &images.data,
            size: images.size,
            skip_bad: images.skip_bad_images,
            before: resumed.is_some_and(|manifest| manifest.read.is_null()),
            threads: session.threads,
            image_memory: session.image_memory,
            mean: images.mean.as_deref(),
            std: images.std.as_deref(),
            device: session.device.as_deref(),
            resumed,
            run: session.run.as_deref(),
        }
    }

    /// Specification of the data at their present place.
    pub fn spec(&self) -> &str {
        self.resumed.and_then(|manifest| manifest.data_at.as_deref()).unwrap_or(self.data)
    }

    fn options(&self) -> Result<LoadOptions> {
        let cache = run::choices::image_cache()?;
        Ok(LoadOptions {
            size: self.size,
            skip_bad: self.skip_bad,
            before: self.before,
            threads: self.threads,
            memory_bytes: (self.image_memory as u64) << 20,
            cache: cache.map(|(folder, most_bytes)| Cache { folder, most_bytes, least_bytes: LEAST_KEPT }),
            bases: self.resumed.map(|manifest| manifest.bases(self.run)).unwrap_or_default(),
            wanted: self.resumed.and_then(|manifest| serde_json::from_value(manifest.data.clone()).ok()),
            wanted_part: self.resumed.and_then(reported_part),
        })
    }
}

/// SHA-256 of the reported part of a run's data.
fn reported_part(manifest: &Manifest) -> Option<String> {
    let account: Account = serde_json::from_value(manifest.read.clone()).ok()?;
    let part = account.part(Role::Report).or_else(|| account.part(Role::HeldOut))?;
    Some(part.sha256.clone())
}

/// Images whose files have fewer bytes together than this are decoded again each time.
const LEAST_KEPT: u64 = 4 << 20;

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
    check_adapter(wanted.device)?;
    let dataset = dataset(wanted, events)?;
    let normalisation = normalisation(wanted, &dataset.train)?;
    let gpu = adapter(wanted.device, events)?;
    Ok(Opened { dataset: Arc::new(dataset), normalisation, gpu })
}

/// Records in `manifest` that the data are at `spec`, as seen from the current folder. `moved` says whether this is a
/// different place from that in the configuration.
///
/// # Errors
/// [`Error::Usage`] if `spec` is no specification.
pub fn set_place(manifest: &mut Manifest, spec: &str, moved: bool) -> Result<()> {
    let relative = spec.parse::<data::Spec>()?.is_relative();
    manifest.data_at = moved.then(|| spec.to_owned());
    manifest.data_from = relative.then(std::env::current_dir).and_then(std::result::Result::ok);
    Ok(())
}

/// Loads the data, and reports their account.
pub fn dataset(wanted: &Wanted<'_>, events: &Events) -> Result<Dataset> {
    let watch = |done, total| events.tell(Event::Reading { done, total });
    let dataset = data::load_watched(wanted.spec(), &wanted.options()?, &watch)?;
    tell(&dataset.account, wanted.spec(), events);
    tell_if_on_disk(&dataset, events);
    warn_if_not_scaled(wanted, &dataset.train, events);
    Ok(dataset)
}

/// Warns if the images do not have the wanted size. Only images that are decoded are scaled.
fn warn_if_not_scaled(wanted: &Wanted<'_>, images: &data::Images, events: &Events) {
    let has = Size { height: images.height, width: images.width };
    if let Some(size) = wanted.size.filter(|size| *size != has) {
        events.warn(format!(
            "--size {size} is ignored: these images are arrays of {has}, which are not scaled"
        ));
    }
}

/// Reports that the images stay on disk.
fn tell_if_on_disk(dataset: &Dataset, events: &Events) {
    let Pixels::Disk(disk) = &dataset.train.pixels else { return };
    let parts = [Some(&dataset.train), Some(&dataset.test), dataset.report.as_ref()];
    let bytes: usize = parts.into_iter().flatten().map(|part| part.n * part.image_len()).sum();
    let use_of_each = match disk.is_kept() {
        true => "the scaled images are kept in the cache folder, and each is read when it is used",
        false => {
            "each image is decoded when it is used, since the cache folder does not keep them (PARSEC_IMAGE_CACHE)"
        }
    };
    events.note(format!("{} MiB of images, more than --image-memory: {use_of_each}", bytes >> 20));
}

/// Loads the part of the data that is reported, and reports its account.
pub fn reported(wanted: &Wanted<'_>, events: &Events) -> Result<Reported> {
    let watch = |done, total| events.tell(Event::Reading { done, total });
    let reported = data::load_reported(wanted.spec(), &wanted.options()?, &watch)?;
    tell(&reported.account, wanted.spec(), events);
    Ok(reported)
}

/// Reports the account of the data. The account has the name of the folder; the line has the folder as the user wrote it.
fn tell(account: &Account, spec: &str, events: &Events) {
    let mut shown = account.clone();
    let dir = spec.split_once(':').map_or("", |(_, dir)| dir).trim_end_matches('/');
    let name = Path::new(dir).file_name().map(|name| format!("{}/", name.to_string_lossy()));
    for part in &mut shown.parts {
        if let Some(before) = name.as_ref().and_then(|name| part.place.strip_suffix(name.as_str()))
            && (before.is_empty() || before.ends_with(' '))
        {
            part.place = format!("{before}{dir}/");
        }
    }
    events.tell(Event::Read { line: shown.to_string(), passed_over: account.passed_over() });
}

/// Checks that there is an adapter with the given name. A wrong name is reported before anything slow.
///
/// # Errors
/// [`Error::Usage`] for a name that no adapter has.
pub fn check_adapter(configured: Option<&str>) -> Result<()> {
    configured.map_or(Ok(()), |name| gpu::choose(Some(name)).map(|_| ()))
}

/// Reports the weights of the classes in the loss, if there are any.
///
/// # Errors
/// [`Error::Usage`] for weights that do not fit the data.
pub fn class_weights(images: &Images, dataset: &Dataset, events: &Events) -> Result<()> {
    images.class_weights.line(dataset)?.into_iter().for_each(|line| events.note(line));
    Ok(())
}

/// Opens the named adapter, or the one of the fastest class.
pub fn adapter(configured: Option<&str>, events: &Events) -> Result<Gpu> {
    let mut gpu = Gpu::open(configured, Options::default())?;
    events.note(format!("on {} ({})", gpu.info().name, gpu.info().driver));
    gpu.remarks().iter().for_each(|remark| events.warn(remark));
    variants::load_compiled(&mut gpu);
    Ok(gpu)
}

/// The wanted normalisation. A mean or a deviation that is not given is computed from `images`.
pub fn normalisation(wanted: &Wanted<'_>, images: &data::Images) -> Result<Normalisation> {
    let mut out = Normalisation::of(images);
    let channels = images.channels;
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
            read: json(serde_json::to_value(&dataset.account)),
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

/// Checks that `now`, the identity of the data that were read from `spec`, is the identity in `was`, the manifest of
/// the run in the folder `run`.
///
/// # Errors
/// [`Error::File`] with the first difference.
pub fn check_data(was: &Manifest, now: &Value, spec: &str, run: &Path) -> Result<()> {
    if was.data == *now {
        return Ok(());
    }
    let identity = |value: &Value| serde_json::from_value::<Identity>(value.clone()).ok();
    let (what, from, to, hint) = match identity(&was.data).zip(identity(now)) {
        None => ("identity", was.data.to_string(), now.to_string(), ""),
        Some((was, now)) => match was.difference(&now) {
            None => return Ok(()),
            Some((what, from, to)) if was.kind != now.kind && what.starts_with("sha256") => (
                what,
                from,
                to,
                "the images in the order that they had (tar --sort=name packs a folder so), or ",
            ),
            Some((what, from, to)) => (what, from, to, ""),
        },
    };
    let resume = format!("parsec resume {} --data SPEC", word(run));
    Err(Error::file(
        spec,
        None,
        format!("the data with which {} was started ({what}: {from})", run.display()),
        to,
        format!("{hint}put back the data, name their place with `{resume}`, or start a new run"),
    ))
}

/// Compares `now` with the manifest of `run`. Other data, read from `spec`, are an error; another adapter or driver is
/// a warning.
pub fn check(now: &Manifest, spec: &str, run: &RunDir, events: &Events) -> Result<()> {
    let was = run.manifest()?;
    check_data(&was, &now.data, spec, run.path())?;
    if (&was.adapter, &was.driver) != (&now.adapter, &now.driver) {
        events.warn(format!(
            "the run was started on {} ({}); on this adapter it goes on, but not with the same bits",
            was.adapter, was.driver
        ));
    }
    Ok(())
}
