//! An adapter → the form of each kernel that is fastest there, by a short trial.
//!
//! The trial times the dispatches of one child that depend on a setting, one setting after the other, each
//! with the choices made before. A candidate must be clearly faster to replace what comes first in its list,
//! so that noise alone moves nothing.

use serde::{Deserialize, Serialize};

use super::device::Gpu;
use super::network::{Child, Network};
use crate::Result;
use crate::kernel::Dispatch;
use crate::ops::Tuning;

/// Which form of each kernel runs, and how activations are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variants {
    /// The kernels' forms.
    #[serde(flatten)]
    pub tuning: Tuning,
    /// 1 to read activations through textures, 0 to read them from buffers.
    pub textures: u32,
}

/// A candidate must take less than this part of the time of the best so far.
const CLEARLY: f64 = 0.95;
/// Timings of each candidate; the fastest counts, since other programs only ever add time.
const REPEATS: usize = 3;

/// One thing to choose: its name, which dispatches depend on it, and the candidates.
struct Axis {
    name: &'static str,
    concerns: fn(&Dispatch) -> bool,
    candidates: &'static [fn(&mut Variants)],
}

fn pointwise(d: &Dispatch) -> bool {
    d.shader == "pointwise" && d.entry != "backward_weight"
}

fn pointwise_weight(d: &Dispatch) -> bool {
    d.shader == "pointwise" && d.entry == "backward_weight"
}

fn channels_quads(v: &mut Variants, channels: u32, quads: u32) {
    (v.tuning.pointwise_channels, v.tuning.pointwise_quads) = (channels, quads);
}

fn rows_quads(v: &mut Variants, rows: u32, quads: u32) {
    (v.tuning.depthwise_rows, v.tuning.depthwise_quads) = (rows, quads);
}

/// In this order; `textures` first, since it decides what a load costs.
const AXES: &[Axis] = &[
    Axis { name: "reads", concerns: |_| true, candidates: &[|v| v.textures = 0, |v| v.textures = 1] },
    Axis {
        name: "batch norm's backward",
        concerns: |_| true,
        candidates: &[|v| v.tuning.stored_dy = 0, |v| v.tuning.stored_dy = 1],
    },
    Axis {
        name: "pointwise tile",
        concerns: pointwise,
        candidates: &[
            |v| channels_quads(v, 16, 2),
            |v| channels_quads(v, 16, 4),
            |v| channels_quads(v, 8, 2),
            |v| channels_quads(v, 32, 2),
        ],
    },
    Axis {
        name: "weight-gradient tile",
        concerns: pointwise_weight,
        candidates: &[
            |v| v.tuning.weight_tile = 8,
            |v| v.tuning.weight_tile = 4,
            |v| v.tuning.weight_tile = 16,
        ],
    },
    Axis {
        name: "depthwise tile",
        concerns: |d| d.shader == "depthwise",
        candidates: &[|v| rows_quads(v, 4, 2), |v| rows_quads(v, 4, 1), |v| rows_quads(v, 2, 1)],
    },
    Axis {
        name: "pool tile",
        concerns: |d| d.shader == "pool",
        candidates: &[|v| v.tuning.pool_rows = 4, |v| v.tuning.pool_rows = 2, |v| v.tuning.pool_rows = 1],
    },
];

impl Variants {
    /// The fixed choice for an adapter: what runs without a trial.
    pub fn fixed(gpu: &Gpu) -> Self {
        Self { tuning: Tuning::default(), textures: u32::from(gpu.info().is_software) }
    }

    /// Whether there is a form of every kernel for this.
    pub fn is_known(&self) -> bool {
        self.tuning.is_known() && self.textures <= 1
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

    /// Times the candidates on the passes of `child` (in training mode, on the batch of its split), leaves
    /// the fastest in use and returns them. Starts from the fixed choice. `tell` is told what is timed.
    ///
    /// Compiles every candidate: a minute or more on a software adapter.
    pub fn tune(&mut self, child: Child<'_>, tell: &mut dyn FnMut(&str)) -> Result<Variants> {
        let mut best = Variants::fixed(self.gpu());
        for axis in AXES {
            let start = best;
            let mut fastest: Option<f64> = None;
            // What is in use already comes first: the others must be clearly faster.
            let mut order: Vec<_> = axis
                .candidates
                .iter()
                .map(|set| {
                    let mut variants = start;
                    set(&mut variants);
                    variants
                })
                .collect();
            order.sort_by_key(|v| *v != start);
            for variants in order {
                self.use_variants(variants);
                let Some(secs) = self.trial(child, axis.concerns)? else { break };
                tell(&format!("trial: {} {} {:.1} ms", axis.name, describe(variants, start), 1e3 * secs));
                if fastest.is_none_or(|f| secs < CLEARLY * f) {
                    (fastest, best) = (Some(secs), variants);
                }
            }
        }
        self.use_variants(best);
        Ok(best)
    }

    /// Seconds that the dispatches of interest take; nothing where the child has none.
    fn trial(&mut self, child: Child<'_>, concerns: fn(&Dispatch) -> bool) -> Result<Option<f64>> {
        // The whole child once, so that the kernels find sound numbers.
        self.run(child)?;
        self.gpu().wait()?;
        let dispatches: Vec<Dispatch> =
            self.plan_of(child)?.dispatches.into_iter().filter(concerns).collect();
        if dispatches.is_empty() {
            return Ok(None);
        }
        let recorded = self.gpu().prepare(&dispatches)?;
        Ok(Some(self.gpu().times(&recorded, REPEATS)?[0]))
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
