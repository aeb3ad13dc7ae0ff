//! An adapter → its highest rates, and the times of a child and of a step of Algorithm 1 on it.

pub mod child;
pub mod probes;
pub mod step;
mod table;
mod tune;

use std::sync::Arc;

use serde::Serialize;

use crate::data::Size;
use crate::gpu::{AdapterInfo, Excluded, Variants};
use crate::graph::Memory;
use crate::space::Space;

pub use child::{ChildTime, KernelTime};
pub use probes::Probes;
pub use step::StepTime;
pub use tune::tune;

/// The extents of the measured networks.
#[derive(Clone, Debug, Serialize)]
pub struct Shape {
    /// The space of the children.
    #[serde(skip)]
    pub space: Arc<dyn Space>,
    /// Number of cells, or of layers of a chain.
    pub layers: usize,
    /// Channels of the first cells.
    pub channels: usize,
    /// Number of examples.
    pub batch: usize,
    /// Height and width of the images.
    pub size: Size,
    /// Channels of the images.
    pub in_channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// Key of every random number.
    pub seed: u64,
    /// Which activations the forward pass keeps for the backward pass.
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
    /// The spread of at least one timing in seconds.
    pub fn of(mut secs: Vec<f64>) -> Self {
        secs.sort_by(f64::total_cmp);
        let at = |i: usize| secs.get(i).map_or(f64::NAN, |s| 1e3 * s);
        Self { ms: at(secs.len() / 2), min_ms: at(0), max_ms: at(secs.len().saturating_sub(1)) }
    }
}

/// All measurements of an adapter.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The adapter.
    pub adapter: AdapterInfo,
    /// The variants of the kernels.
    pub variants: Variants,
    /// Variants that a trial or the comparison with the oracle excluded, and the reasons.
    pub excluded: Vec<Excluded>,
    /// Clock of the kernels' times: `timestamps` of the adapter, or `wall` if the adapter has no time stamps.
    pub timing: &'static str,
    /// The extents of the measured networks.
    pub shape: Shape,
    /// The measured rates of the adapter.
    pub probes: Probes,
    /// The child's kernels, the longest first.
    pub kernels: Vec<KernelTime>,
    /// The times of a child.
    pub child: ChildTime,
    /// The times of a step, unless it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepTime>,
    /// The times of a step whose π has a third of the uniform's entropy, with K in proportion to the entropy
    /// (`--samples auto`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharpened: Option<StepTime>,
}
