//! An adapter → what it can do at most, and what a child and a step of Algorithm 1 take on it.

pub mod child;
pub mod probes;
pub mod step;
mod table;
mod tune;

use std::sync::Arc;

use serde::Serialize;

use crate::gpu::{AdapterInfo, Excluded, Variants};
use crate::graph::Memory;
use crate::space::Space;

pub use child::{ChildTime, KernelTime};
pub use probes::Probes;
pub use step::StepTime;
pub use tune::tune;

/// The extents of what is measured.
#[derive(Clone, Debug, Serialize)]
pub struct Shape {
    /// What children are built of.
    #[serde(skip)]
    pub space: Arc<dyn Space>,
    /// Cells, or layers of a chain.
    pub layers: usize,
    /// Channels of the first cells.
    pub channels: usize,
    /// Examples.
    pub batch: usize,
    /// Height and width of the images.
    pub size: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Classes.
    pub classes: usize,
    /// Key of every random number.
    pub seed: u64,
    /// What the forward pass keeps for the backward pass.
    pub memory: Memory,
}

/// Repeated timings in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub ms: f64,
    /// The fastest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Spread {
    /// Of at least one timing in seconds.
    pub fn of(mut secs: Vec<f64>) -> Self {
        secs.sort_by(f64::total_cmp);
        let at = |i: usize| secs.get(i).map_or(f64::NAN, |s| 1e3 * s);
        Self { ms: at(secs.len() / 2), min_ms: at(0), max_ms: at(secs.len().saturating_sub(1)) }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The adapter.
    pub adapter: AdapterInfo,
    /// The kernels' forms.
    pub variants: Variants,
    /// Forms that a trial or the comparison with the reference left out, and why.
    pub excluded: Vec<Excluded>,
    /// Whose clock gave the kernels' times: `timestamps` of the adapter, or `wall` where it has none.
    pub timing: &'static str,
    /// The extents.
    pub shape: Shape,
    /// What the adapter can do.
    pub probes: Probes,
    /// The child's kernels, the longest first.
    pub kernels: Vec<KernelTime>,
    /// A child.
    pub child: ChildTime,
    /// A step, unless left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepTime>,
    /// A step when π has sharpened to a third of the uniform's entropy, with K in proportion to it (`--samples auto`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharpened: Option<StepTime>,
}
