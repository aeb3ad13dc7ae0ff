//! An adapter → the form of each kernel that runs there: fixed by the adapter's class, or found by a short trial.
//!
//! The trial goes through the settings one after the other, each with the choices made before. A form takes part only if
//! its results are right on this adapter, and if the driver compiles it in reasonable time. What it times is the
//! dispatches of one child that depend on the setting, the forms in turn, so that rising clocks and other programs meet
//! all of them alike. A form must be clearly faster to replace the one in use: noise alone moves nothing.

use std::time::Duration;

use crate::host::Instant;

use serde::{Deserialize, Serialize};

use super::adapter::Class;
use super::executor::Gpu;
use super::network::{Child, Network};
use super::record::Recorded;
use crate::kernel::Dispatch;
use crate::ops::Tuning;
use crate::{Error, Result};

/// Which form of each kernel runs, and how activations are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variants {
    /// The kernels' forms.
    #[serde(flatten)]
    pub tuning: Tuning,
    /// 1 to read activations through textures, 0 to read them from buffers.
    #[serde(default)]
    pub textures: u32,
}

/// A form that must not or cannot run on an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    /// The setting and its values.
    pub form: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The outcome of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The forms to run.
    pub variants: Variants,
    /// Those that were left out.
    pub excluded: Vec<Excluded>,
}

/// Says what is wrong with the results of these forms on the adapter, in the kernels of the shaders that are named;
/// nothing where they are right.
pub type Prove<'a> = &'a mut dyn FnMut(Variants, &[&str]) -> Result<Vec<String>>;

/// A candidate must take less than this part of the time of the best so far.
const CLEARLY: f64 = 0.95;
/// Turns that each candidate gets; its fastest counts, since other programs only ever add time.
const TURNS: usize = 3;
/// What a turn takes, at least.
const TURN: Duration = Duration::from_millis(50);
/// A driver may take so long for the kernels of a candidate that are new to it.
const COMPILATION: Duration = Duration::from_secs(30);
/// Registers of which GPUs have 255 or fewer: estimates above this spill.
const MOST_REGISTERS: u32 = 200;

/// One thing to choose.
struct Axis {
    name: &'static str,
    /// The dispatches that depend on it.
    concerns: fn(&Dispatch) -> bool,
    /// The shaders whose results are compared before a candidate runs.
    shaders: &'static [&'static str],
    set: fn(&mut Variants, [u32; 2]),
    /// Candidates for software adapters.
    software: &'static [[u32; 2]],
    /// Candidates for GPUs.
    hardware: &'static [[u32; 2]],
}

fn is_pointwise(d: &Dispatch) -> bool {
    d.shader == "pointwise" && d.entry != "backward_weight"
}

fn is_pointwise_weight(d: &Dispatch) -> bool {
    d.shader == "pointwise" && d.entry == "backward_weight"
}

/// In this order; `reads` first, since it decides what a load costs.
const AXES: &[Axis] = &[
    Axis {
        name: "reads",
        concerns: |_| true,
        // Kernels that read through textures and have no other forms.
        shaders: &["apply", "batch_norm"],
        set: |v, [textures, _]| v.textures = textures,
        software: &[[0, 0], [1, 0]],
        // Copies into textures never pay where loads from buffers are coalesced.
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
    /// The candidates on a class of adapter, with the other settings as in `best`, which comes first.
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

    /// The first of `candidates`, which is known to be right, and those of the others that are; the rest goes to
    /// `excluded`.
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
    /// The fixed choice for an adapter: what runs without a trial.
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

    /// Whether there is a form of every kernel for this.
    pub fn is_known(&self) -> bool {
        self.tuning.is_known() && self.textures <= 1
    }

    /// Every form that a trial on a class of adapters looks at, with the shaders whose results decide about it.
    pub fn candidates(class: Class) -> Vec<(Self, &'static [&'static str])> {
        let fixed = Self::of_class(class);
        let of = |axis: &'static Axis| axis.candidates(class, fixed).into_iter().map(|v| (v, axis.shaders));
        AXES.iter().flat_map(of).collect()
    }

    /// `wanted`, with the settings whose kernels are wrong on this adapter replaced by the first that is right.
    ///
    /// # Errors
    /// [`Error::Device`] where no form is right; those of `prove`.
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
            // Any of the settings that the shader depends on may be the one at fault.
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
        // A setting that was changed for one shader may be one of another that was right before.
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
    /// Runs the kernels in these forms from now on. Results agree to rounding, not to the bit.
    pub fn use_variants(&mut self, variants: Variants) {
        self.set_tuning(variants.tuning);
        self.gpu().read_through_textures(variants.textures == 1);
    }

    /// The forms in use.
    pub fn variants(&mut self) -> Variants {
        Variants { tuning: self.tuning(), textures: u32::from(self.gpu().reads_through_textures()) }
    }

    /// Times the candidates that `prove` finds right on the passes of `child` (in training mode, on the batch of its
    /// split), and leaves the fastest in use. Starts from the fixed choice. `tell` is told what is timed and what is left
    /// out.
    ///
    /// Compiles every candidate: a minute or more on a software adapter.
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

    /// Seconds that the dispatches of interest take in each form; nothing where the child has none. Forms that take too
    /// long to compile go to `excluded`.
    fn trial(
        &mut self,
        axis: &Axis,
        child: Child<'_>,
        forms: &[Variants],
        excluded: &mut Vec<Excluded>,
    ) -> Result<Vec<(Variants, f64)>> {
        // Forms that read in the same way take turns; a change of it makes textures and bindings anew.
        let (in_use, mut out) = (forms[0], Vec::new());
        for forms in forms.chunk_by(|a, b| a.textures == b.textures) {
            let mut compiled = Vec::new();
            for &variants in forms {
                self.use_variants(variants);
                let started = Instant::now();
                let dispatches = self.plan_of(child)?.dispatches;
                let in_time = if variants == in_use {
                    self.gpu().compile(&dispatches).map(|()| true)?
                } else {
                    self.gpu().compile_within(&dispatches, COMPILATION)?
                };
                if in_time {
                    // The whole child once, so that the kernels find sound numbers and the memory is as large as it gets.
                    self.run(child)?;
                    self.gpu().wait()?;
                }
                // The form in use is the one to compare with, however long it takes.
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
                let concerned: Vec<Dispatch> =
                    self.plan_of(child)?.dispatches.into_iter().filter(axis.concerns).collect();
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

/// The settings in which `v` differs from what was in use, or all of them where it does not.
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
