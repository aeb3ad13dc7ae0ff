//! A step of Algorithm 1 at the start of a search: uniform prior, fresh weights, real images.

use std::sync::Arc;

use serde::Serialize;

use super::{Shape, Spread};
use crate::config::{Config, Every, Samples};
use crate::data::{Dataset, Images, LoadOptions, Normalisation, Size, load};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Variants};
use crate::graph::Lowering;
use crate::rng::{Purpose, stream};
use crate::search::{Phases, Search, Settings};
use crate::space::{Prior, Space};
use rand::RngExt;

/// Times of whole steps, each with other children. Values without a spread belong to the step with the median time.
#[derive(Clone, Debug, Serialize)]
pub struct StepTime {
    /// Number K of drawn children.
    pub samples: usize,
    /// Median seconds.
    pub seconds: f64,
    /// Seconds of the fastest and of the slowest step.
    pub range_seconds: [f64; 2],
    /// Seconds by phase.
    pub phases: Phases,
    /// Fraction of the step that the host spends on planning and preparing new children, encoding, batches, and the
    /// update of π. The adapter may be working at the same time.
    pub host_share: f64,
    /// Children whose weights sum to at most this have no backward pass.
    pub drop_mass: f64,
    /// Number of children with a backward pass.
    pub backward_children: usize,
    /// Entropy of the prior in nats.
    pub entropy: f64,
    /// Number of distinct networks among the children.
    pub distinct_children: usize,
    /// Effective sample size of the weights.
    pub ess: f64,
    /// Activation memory in bytes, which is the memory of the largest child.
    pub arena_bytes: u64,
    /// The children's architectures.
    pub genotypes: Vec<String>,
}

/// The prior of a measured step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// The uniform prior, as at the start of a search.
    Uniform,
    /// A sharper prior, whose entropy is this fraction of the uniform prior's entropy.
    Entropy(f64),
}

/// Settings of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Number of children of a step.
    pub samples: Samples,
    /// The prior.
    pub start: Start,
    /// Children whose weights sum to at most this have no backward pass.
    pub drop_mass: f64,
    /// Number of measured steps.
    pub repeats: usize,
}

/// Times steps from the same state, each with new children and new batches, as in a search with a broad π. If a step
/// had the children of an earlier step, their plans would exist already, and the host would need nearly no time.
pub fn measure(
    mut gpu: Gpu,
    dataset: Dataset,
    shape: &Shape,
    variants: Variants,
    wanted: Wanted,
) -> Result<StepTime> {
    let Wanted { samples, start, drop_mass, repeats } = wanted;
    let mut config = Config::paper()?;
    (config.network.channels, config.length.batch) = (shape.channels, shape.batch);
    (config.algorithm.samples, config.session.seed, config.session.eval_every) =
        (samples, shape.seed, Every::End);
    config.algorithm.drop_mass = drop_mass;
    // No measured step is the last of the search, because the last step includes an evaluation.
    config.length.steps = 1_000_000;
    let normalisation = Normalisation::of(&dataset.train);
    let lowering = Lowering { tuning: variants.tuning, memory: shape.memory, ..Lowering::default() };
    gpu.read_through_textures(variants.textures == 1);
    let mut search = Search::new(
        Settings { config, space: Arc::clone(&shape.space), normalisation, lowering },
        Arc::new(dataset),
        gpu,
    )?;
    if let Start::Entropy(part) = start {
        let prior = sharpened(search.space(), shape.seed, part);
        search.set_prior(prior);
    }
    let start = search.snapshot()?;
    let mut steps = vec![];
    let warm_up = if search.network().gpu().info().is_software { WARM_UP } else { 4 * WARM_UP };
    for i in 0..warm_up + repeats.max(1) as u64 {
        search.restore(i, &start)?;
        let genotypes: Vec<String> = search.draw().iter().map(|alpha| shape.space.print(alpha)).collect();
        let record = search.step()?;
        if i >= warm_up {
            steps.push((record, genotypes));
        }
    }
    steps.sort_by(|a, b| a.0.seconds.total().total_cmp(&b.0.seconds.total()));
    let time = Spread::of(steps.iter().map(|s| s.0.seconds.total()).collect());
    let (record, genotypes) = steps.swap_remove(steps.len() / 2);
    let Phases { data, plan, host, .. } = record.seconds;
    Ok(StepTime {
        samples: record.samples,
        seconds: time.ms / 1e3,
        range_seconds: [time.min_ms / 1e3, time.max_ms / 1e3],
        phases: record.seconds,
        drop_mass,
        host_share: (data + plan + host) / record.seconds.total(),
        backward_children: record.samples - record.skipped,
        distinct_children: record.samples - record.shared,
        entropy: record.entropy.values().sum(),
        ess: record.ess,
        arena_bytes: record.arena_bytes,
        genotypes,
    })
}

/// Number of steps before the measured ones, on a software adapter. A GPU has four times as many, because its steps are
/// short. During these steps the driver compiles the kernels of their children, which are nearly all kernels that
/// exist.
const WARM_UP: u64 = 2;

/// A prior whose entropy is the fraction `part` of the uniform prior's entropy. Its logits are scaled normal numbers.
fn sharpened(space: &dyn Space, seed: u64, part: f64) -> Prior {
    let entropy = |prior: &Prior| prior.entropy().iter().sum::<f64>();
    let uniform = Prior::uniform(space);
    let wanted = part * entropy(&uniform);
    let mut rng = stream(seed, Purpose::Init, 1, u64::MAX);
    let mut noise = uniform;
    let mut normal = || -> f64 { (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0 };
    noise.logits.iter_mut().flatten().for_each(|logit| *logit = normal());
    // The entropy grows with the temperature.
    let (mut sharp, mut soft) = (1e-3f64, 1e3f64);
    for _ in 0..60 {
        let middle = (sharp * soft).sqrt();
        if entropy(&noise.softened(middle)) < wanted { sharp = middle } else { soft = middle }
    }
    noise.softened(soft)
}

/// The embedded images in the middle of black pixels of the wanted size, repeated over the channels.
pub fn images(shape: &Shape) -> Result<Dataset> {
    let mut dataset = load("embedded", &LoadOptions::default())?;
    for part in [&mut dataset.train, &mut dataset.test] {
        *part = padded(part, shape)?;
    }
    Ok(dataset)
}

fn padded(images: &Images, shape: &Shape) -> Result<Images> {
    let (size, h, w) = (shape.size, images.height, images.width);
    if size.height < h || size.width < w {
        let expected = format!("at least {}, the size of the embedded images", Size { height: h, width: w });
        return Err(Error::usage("--size", expected, size.to_string(), "a larger size"));
    }
    let (top, left) = ((size.height - h) / 2, (size.width - w) / 2);
    let mut pixels = vec![0u8; images.n * shape.in_channels * size.area()];
    for (i, plane) in pixels.chunks_exact_mut(size.area()).enumerate() {
        let image = &images.image(i / shape.in_channels)?[..h * w];
        for (y, row) in image.chunks_exact(w).enumerate() {
            let at = (top + y) * size.width + left;
            plane[at..at + w].copy_from_slice(row);
        }
    }
    let labels = images.labels.clone();
    let Size { height, width } = size;
    Ok(Images { n: images.n, channels: shape.in_channels, height, width, pixels: pixels.into(), labels })
}
