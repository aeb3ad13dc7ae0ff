//! A step of Algorithm 1 at the start of a search: uniform prior, fresh weights, real images.

use std::sync::Arc;

use serde::Serialize;

use super::{Shape, Spread};
use crate::config::{Config, Samples};
use crate::data::{Dataset, Images, LoadOptions, Normalisation, load};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Variants};
use crate::graph::Lowering;
use crate::rng::{Purpose, stream};
use crate::search::{Phases, Search, Settings};
use crate::space::{Prior, Space};
use rand::RngExt;

/// A whole step.
#[derive(Clone, Debug, Serialize)]
pub struct StepTime {
    /// Children drawn, K.
    pub samples: usize,
    /// Median seconds.
    pub seconds: f64,
    /// Fastest and slowest.
    pub range_seconds: [f64; 2],
    /// Seconds by phase of the fastest repetition.
    pub phases: Phases,
    /// Children with a backward pass.
    pub backward_children: usize,
    /// Entropy of the prior in nats.
    pub entropy: f64,
    /// Distinct networks among the children.
    pub distinct_children: usize,
    /// Effective sample size of the weights.
    pub ess: f64,
    /// Activation memory: that of the largest child.
    pub arena_bytes: u64,
    /// The children's architectures.
    pub genotypes: Vec<String>,
}

/// The prior of a step that is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Uniform, as at the start of a search.
    Uniform,
    /// Sharper: this part of the uniform prior's entropy.
    Entropy(f64),
}

/// Repeats the same first step: the same children on the same batches from the same state.
pub fn measure(
    mut gpu: Gpu,
    dataset: Dataset,
    shape: &Shape,
    samples: Samples,
    start: Start,
    variants: Variants,
    repeats: usize,
) -> Result<StepTime> {
    let mut config = Config::preset()?;
    (config.layers, config.channels, config.batch) = (shape.layers, shape.channels, shape.batch);
    (config.samples, config.seed, config.eval_every) = (samples, shape.seed, 0);
    // What any data but the embedded start from.
    config.drop_mass = 1e-3;
    let normalisation = Normalisation::of(&dataset.train);
    let lowering = Lowering { tuning: variants.tuning, memory: shape.memory, ..Lowering::default() };
    gpu.read_through_textures(variants.textures == 1);
    let mut search = Search::new(Settings { config, normalisation, lowering }, Arc::new(dataset), gpu)?;
    if let Start::Entropy(part) = start {
        let prior = sharpened(search.space(), shape.seed, part);
        search.set_prior(prior);
    }
    let start = search.snapshot()?;
    let genotypes: Vec<String> = search.draw().iter().map(ToString::to_string).collect();
    // The first is not counted: drivers compile at the first launch.
    let mut records = vec![];
    for i in 0..=repeats.max(1) {
        search.restore(0, &start)?;
        let record = search.step()?;
        if i > 0 {
            records.push(record);
        }
    }
    records.sort_by(|a, b| a.seconds.total().total_cmp(&b.seconds.total()));
    let time = Spread::of(records.iter().map(|r| r.seconds.total()).collect());
    let record = &records[0];
    Ok(StepTime {
        samples: record.samples,
        seconds: time.ms / 1e3,
        range_seconds: [time.min_ms / 1e3, time.max_ms / 1e3],
        phases: record.seconds,
        backward_children: record.samples - record.skipped,
        distinct_children: record.samples - record.shared,
        entropy: record.entropy.normal + record.entropy.reduce,
        ess: record.ess,
        arena_bytes: record.arena_bytes,
        genotypes,
    })
}

/// A prior with `part` of the entropy of the uniform one: normal logits, scaled.
fn sharpened(space: &Space, seed: u64, part: f64) -> Prior {
    let entropy = |prior: &Prior| prior.entropy().iter().sum::<f64>();
    let uniform = Prior::uniform(space);
    let wanted = part * entropy(&uniform);
    let mut rng = stream(seed, Purpose::Init, 1, u64::MAX);
    let mut noise = uniform;
    let mut normal = || -> f64 { (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0 };
    noise.logits.iter_mut().flatten().flatten().for_each(|logit| *logit = normal());
    // The entropy grows with the temperature.
    let (mut sharp, mut soft) = (1e-3f64, 1e3f64);
    for _ in 0..60 {
        let middle = (sharp * soft).sqrt();
        if entropy(&noise.softened(middle)) < wanted { sharp = middle } else { soft = middle }
    }
    noise.softened(soft)
}

/// The embedded images in the middle of `size` x `size` black pixels, repeated over the channels.
pub fn images(shape: &Shape) -> Result<Dataset> {
    let mut dataset = load("embedded", &LoadOptions::default())?;
    for part in [&mut dataset.train, &mut dataset.test] {
        *part = padded(part, shape)?;
    }
    Ok(dataset)
}

fn padded(images: &Images, shape: &Shape) -> Result<Images> {
    let (size, h, w) = (shape.size, images.height, images.width);
    if size < h || size < w {
        let expected = format!("at least {} pixels, the size of the embedded images", h.max(w));
        return Err(Error::usage("--size", expected, size.to_string(), "a larger size"));
    }
    let (top, left) = ((size - h) / 2, (size - w) / 2);
    let mut pixels = vec![0u8; images.n * shape.in_channels * size * size];
    for (i, plane) in pixels.chunks_exact_mut(size * size).enumerate() {
        let image = &images.image(i / shape.in_channels)[..h * w];
        for (y, row) in image.chunks_exact(w).enumerate() {
            let at = (top + y) * size + left;
            plane[at..at + w].copy_from_slice(row);
        }
    }
    let labels = images.labels.clone();
    Ok(Images { n: images.n, channels: shape.in_channels, height: size, width: size, pixels, labels })
}
