//! An adapter → the form of each kernel that runs there. The form is fixed by the adapter's class, or found by a
//! short trial.
//!
//! The trial goes through the settings one after another, and keeps the choices made before. A form takes part only if
//! its results are right on this adapter, and if the driver compiles the form in reasonable time. The trial times the
//! launches of one child that depend on the setting. The forms take turns, so that rising clocks and other programs
//! affect all forms alike. A form must be clearly faster to replace the form in use, so that noise alone changes
//! nothing.

use std::time::Duration;

use crate::host::Instant;

use serde::{Deserialize, Serialize};

use super::adapter::Class;
use super::executor::Gpu;
use super::network::{Child, Network};
use super::record::Recorded;
use crate::kernel::Launch;
use crate::ops::Tuning;
use crate::{Error, Result};

/// The form of each kernel, and how activations are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variants {
    /// The forms of the kernels.
    #[serde(flatten)]
    pub tuning: Tuning,
    /// 1 to read activations through textures, 0 to read them from buffers.
    #[serde(default)]
    pub textures: u32,
}

/// A form that must not or cannot run on an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    /// The setting, and its values.
    pub form: String,
    /// The fault of the form.
    pub reason: String,
}

/// Result of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The forms to run.
    pub variants: Variants,
    /// The forms that were left out.
    pub excluded: Vec<Excluded>,
}

/// Checks the results of these forms on the adapter, in the kernels of the named shaders. Returns the faults, and an
/// empty list if the results are right.
pub type Prove<'a> = &'a mut dyn FnMut(Variants, &[&str]) -> Result<Vec<String>>;

/// A candidate replaces the best candidate so far only if it takes less than this part of the best time.
const CLEARLY: f64 = 0.95;
/// Turns of each candidate. The fastest turn is used, because other programs can only add time.
const TURNS: usize = 3;
/// Minimum time of a turn.
const TURN: Duration = Duration::from_millis(50);
/// Time that a driver may take to compile the kernels of a candidate that are new to the driver.
const COMPILATION: Duration = Duration::from_secs(30);
/// Largest estimate of registers. GPUs have 255 registers or fewer, and kernels with larger estimates spill.
const MOST_REGISTERS: u32 = 200;

/// One setting to choose.
struct Axis {
    name: &'static str,
    /// Whether a launch depends on the setting.
    concerns: fn(&Launch) -> bool,
    /// The shaders whose results are compared before a candidate runs.
    shaders: &'static [&'static str],
    set: fn(&mut Variants, [u32; 2]),
    /// Candidates for software adapters.
    software: &'static [[u32; 2]],
    /// Candidates for GPUs.
    hardware: &'static [[u32; 2]],
}

fn is_pointwise(d: &Launch) -> bool {
    d.shader == "pointwise" && d.entry != "backward_weight"
}

fn is_pointwise_weight(d: &Launch) -> bool {
    d.shader == "pointwise" && d.entry == "backward_weight"
}

/// The settings in the order of the trial. `reads` is first, because it decides what a load costs.
const AXES: &[Axis] = &[
    Axis {
        name: "reads",
        concerns: |_| true,
        // These kernels read through textures and have no other forms.
        shaders: &["apply", "batch_norm"],
        set: |v, [textures, _]| v.textures = textures,
        software: &[[0, 0], [1, 0]],
        // Copies into textures never pay off if loads from buffers are coalesced.
        hardware: &[[0, 0]],
    },
    Axis {
        name: "batch norm's backward",
        concerns: |_| true,
        shaders: &["batch_norm"],
        set: |v, [stored, _]| v.tuning.stored_dy = stored,
        software: &[[0, 0], [1, 0]],
        hardware: &[[1, 0], [0, 0]],
    },
    Axis {
        name: "loads at once",
        concerns: |d| is_pointwise(d) || (d.shader == "batch_norm" && d.entry != "backward_apply"),
        shaders: &["pointwise", "batch_norm"],
        set: |v, [unroll, _]| v.tuning.unroll = unroll,
        software: &[[1, 0], [2, 0]],
        hardware: &[[4, 0], [2, 0], [1, 0]],
    },
    Axis {
        name: "pointwise tile",
        concerns: is_pointwise,
        shaders: &["pointwise"],
        set: |v, [channels, quads]| {
            (v.tuning.pointwise_channels, v.tuning.pointwise_quads) = (channels, quads)
        },
        software: &[[16, 2], [16, 4], [8, 2], [32, 2], [16, 1]],
        hardware: &[[8, 1], [16, 1], [4, 1], [8, 2], [16, 2], [4, 2]],
    },
    Axis {
        name: "weight-gradient tile",
        concerns: is_pointwise_weight,
        shaders: &["pointwise"],
        set: |v, [tile, _]| v.tuning.weight_tile = tile,
        software: &[[8, 0], [4, 0], [16, 0]],
        hardware: &[[8, 0], [4, 0]],
    },
    Axis {
        name: "depthwise tile",
        concerns: |d| d.shader == "depthwise",
        shaders: &["depthwise"],
        set: |v, [rows, quads]| (v.tuning.depthwise_rows, v.tuning.depthwise_quads) = (rows, quads),
        software: &[[4, 2], [4, 1], [2, 1]],
        hardware: &[[4, 1], [2, 1], [1, 1], [4, 2]],
    },
    Axis {
        name: "pool tile",
        concerns: |d| d.shader == "pool",
        shaders: &["pool"],
        set: |v, [rows, _]| v.tuning.pool_rows = rows,
        software: &[[4, 0], [2, 0], [1, 0]],
        hardware: &[[2, 0], [1, 0], [4, 0]],
    },
    Axis {
        name: "linear layer",
        concerns: |d| d.shader == "linear" && d.entry.starts_with("forward"),
        shaders: &["linear"],
        set: |v, [by_example, _]| v.tuning.linear_by_example = by_example,
        software: &[[0, 0], [1, 0]],
        hardware: &[[1, 0], [0, 0]],
    },
];

impl Axis {
    /// The candidates on a class of adapter, with the other settings as in `best`. `best` is the first candidate.
    fn candidates(&self, class: Class, best: Variants) -> Vec<Variants> {
        let list = if class == Class::Software { self.software } else { self.hardware };
        let mut out = vec![best];
        for values in list {
            let mut variants = best;
            (self.set)(&mut variants, *values);
            let fits = class == Class::Software || variants.tuning.registers() <= MOST_REGISTERS;
            if fits && !out.contains(&variants) {
                out.push(variants);
            }
        }
        out
    }

    /// Returns the candidates that give right results. The first of `candidates` is known to be right. Wrong candidates
    /// are added to `excluded`.
    fn right(
        &self,
        candidates: Vec<Variants>,
        prove: Prove<'_>,
        excluded: &mut Vec<Excluded>,
    ) -> Result<Vec<Variants>> {
        let start = candidates[0];
        let mut out = vec![start];
        for &variants in &candidates[1..] {
            match prove(variants, self.shaders)?.first() {
                None => out.push(variants),
                Some(first) => excluded.push(self.exclude(variants, start, first.clone())),
            }
        }
        Ok(out)
    }

    fn exclude(&self, variants: Variants, start: Variants, reason: String) -> Excluded {
        Excluded { form: format!("{}: {}", self.name, describe(variants, start)), reason }
    }
}

impl std::fmt::Display for Excluded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.form, self.reason)
    }
}

impl Variants {
    /// The fixed choice for an adapter, which runs without a trial.
    pub fn fixed(gpu: &Gpu) -> Self {
        Self::of_class(gpu.info().class())
    }

    /// The fixed choice for a class of adapters.
    pub fn of_class(class: Class) -> Self {
        match class {
            Class::Software => Self { tuning: Tuning::SOFTWARE, textures: 1 },
            Class::Integrated => Self { tuning: Tuning::INTEGRATED, textures: 0 },
            Class::Discrete => Self { tuning: Tuning::DISCRETE, textures: 0 },
        }
    }

    /// Whether every kernel has the form that is asked for.
    pub fn is_known(&self) -> bool {
        self.tuning.is_known() && self.textures <= 1
    }

    /// Every form that a trial on a class of adapters considers, with the shaders whose results are compared.
    pub fn candidates(class: Class) -> Vec<(Self, &'static [&'static str])> {
        let fixed = Self::of_class(class);
        let of = |axis: &'static Axis| axis.candidates(class, fixed).into_iter().map(|v| (v, axis.shaders));
        AXES.iter().flat_map(of).collect()
    }

    /// `wanted` with wrong settings replaced. A setting is wrong if its kernels give wrong results on this adapter;
    /// its replacement is the first form that gives right results.
    ///
    /// # Errors
    /// [`Error::Device`] if no form is right; the errors of `prove`.
    pub fn right(wanted: Self, class: Class, prove: Prove<'_>) -> Result<Tuned> {
        let (mut variants, mut excluded) = (wanted, Vec::new());
        let mut shaders: Vec<&str> = Vec::new();
        for shader in AXES.iter().flat_map(|axis| axis.shaders) {
            if !shaders.contains(shader) {
                shaders.push(shader);
            }
        }
        for &shader in &shaders {
            let Some(reason) = prove(variants, &[shader])?.into_iter().next() else { continue };
            // Any of the settings that the shader depends on may be the wrong one.
            let axes = AXES.iter().filter(|axis| axis.shaders.contains(&shader));
            let others = axes.flat_map(|axis| {
                axis.candidates(class, variants).split_off(1).into_iter().map(move |other| (axis, other))
            });
            let mut right = None;
            for (axis, other) in others {
                if prove(other, &[shader])?.is_empty() {
                    right = Some((axis, other));
                    break;
                }
            }
            let Some((axis, other)) = right else {
                return Err(Error::device(
                    format!(
                        "no form of the kernels in {shader} gives right results on this adapter: {reason}"
                    ),
                    "a newer driver or another --device, and `parsec selftest` for a report",
                ));
            };
            excluded.push(axis.exclude(variants, other, reason));
            variants = other;
        }
        // A setting that was changed for one shader may also belong to another shader that was right before.
        if variants != wanted
            && let Some(reason) = prove(variants, &shaders)?.first()
        {
            return Err(Error::device(
                format!("no forms of all kernels give right results on this adapter: {reason}"),
                "a newer driver or another --device, and `parsec selftest` for a report",
            ));
        }
        Ok(Tuned { variants, excluded })
    }
}

impl Network {
    /// Runs the kernels in these forms from now on. The results of two forms agree to rounding, not to the bit.
    pub fn use_variants(&mut self, variants: Variants) {
        self.set_tuning(variants.tuning);
        self.gpu().read_through_textures(variants.textures == 1);
    }

    /// The forms in use.
    pub fn variants(&mut self) -> Variants {
        Variants { tuning: self.tuning(), textures: u32::from(self.gpu().reads_through_textures()) }
    }

    /// Times the candidates that `prove` finds right, on the passes of `child` (in training mode, on the batch of
    /// its split), and leaves the fastest in use. The trial starts from the fixed choice. `tell` gets a line for
    /// each form that is timed or left out.
    ///
    /// Every candidate is compiled, which takes a minute or more on a software adapter.
    pub fn tune(&mut self, child: Child<'_>, prove: Prove<'_>, tell: &mut dyn FnMut(&str)) -> Result<Tuned> {
        let class = self.gpu().info().class();
        let Tuned { variants: mut best, mut excluded } =
            Variants::right(Variants::fixed(self.gpu()), class, prove)?;
        let mut told = 0;
        for axis in AXES {
            let start = best;
            let right = axis.right(axis.candidates(class, best), prove, &mut excluded)?;
            let timed = self.trial(axis, child, &right, &mut excluded)?;
            excluded[told..].iter().for_each(|e| tell(&format!("trial: left out {e}")));
            told = excluded.len();
            let mut fastest: Option<f64> = None;
            for (variants, secs) in timed {
                tell(&format!("trial: {} {} {:.2} ms", axis.name, describe(variants, start), 1e3 * secs));
                if fastest.is_none_or(|f| secs < CLEARLY * f) {
                    (fastest, best) = (Some(secs), variants);
                }
            }
        }
        self.use_variants(best);
        Ok(Tuned { variants: best, excluded })
    }

    /// Seconds that the launches that depend on the setting take in each form. The list is empty if the child has no
    /// such launches. Forms that take too long to compile are added to `excluded`.
    fn trial(
        &mut self,
        axis: &Axis,
        child: Child<'_>,
        forms: &[Variants],
        excluded: &mut Vec<Excluded>,
    ) -> Result<Vec<(Variants, f64)>> {
        // Forms that read in the same way take turns. A change of the way to read needs new textures and bindings.
        let (in_use, mut out) = (forms[0], Vec::new());
        for forms in forms.chunk_by(|a, b| a.textures == b.textures) {
            let mut compiled = Vec::new();
            for &variants in forms {
                self.use_variants(variants);
                let started = Instant::now();
                let launches = self.plan_of(child)?.launches;
                let in_time = if variants == in_use {
                    self.gpu().compile(&launches).map(|()| true)?
                } else {
                    self.gpu().compile_within(&launches, COMPILATION)?
                };
                if in_time {
                    // The whole child runs once, so that the kernels read finite numbers and the memory is as large
                    // as it gets.
                    self.run(child)?;
                    self.gpu().wait()?;
                }
                // The form in use is kept for comparison, however long it takes.
                if variants != in_use && (!in_time || started.elapsed() > COMPILATION) {
                    let reason = format!("more than {} s to compile and to run once", COMPILATION.as_secs());
                    excluded.push(axis.exclude(variants, in_use, reason));
                    continue;
                }
                compiled.push(variants);
            }
            let mut lists: Vec<(Variants, Recorded)> = Vec::new();
            for variants in compiled {
                self.use_variants(variants);
                let concerned: Vec<Launch> =
                    self.plan_of(child)?.launches.into_iter().filter(axis.concerns).collect();
                if !concerned.is_empty() {
                    lists.push((variants, self.gpu().prepare(&concerned)?));
                }
            }
            let single: Vec<[&Recorded; 1]> = lists.iter().map(|(_, list)| [list]).collect();
            let mut groups = Vec::new();
            for list in &single {
                groups.push(self.gpu().warm_up(list, TURN)?);
            }
            let mut secs = vec![f64::INFINITY; groups.len()];
            for _ in 0..TURNS {
                for (group, secs) in groups.iter().zip(&mut secs) {
                    *secs = secs.min(self.gpu().time(group)?);
                }
            }
            out.extend(lists.iter().zip(secs).map(|((variants, _), secs)| (*variants, secs)));
        }
        Ok(out)
    }
}

/// The settings in which `v` differs from the form in use, or "as it is" if there is no difference.
fn describe(v: Variants, start: Variants) -> String {
    let json = |v: Variants| serde_json::to_value(v).unwrap_or_default();
    let (is, was) = (json(v), json(start));
    let pairs = is.as_object().into_iter().flatten();
    let changed: Vec<String> = pairs
        .filter(|(k, value)| was.get(k) != Some(value))
        .map(|(k, value)| format!("{k}={value}"))
        .collect();
    if changed.is_empty() { "as it is".into() } else { changed.join(" ") }
}
