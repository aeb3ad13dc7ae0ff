//! A step of Algorithm 1 at the start of a search: uniform prior, fresh weights, real images.

use std::sync::Arc;

use serde::Serialize;

use super::{Shape, Spread};
use crate::config::{Config, Every, Samples};
use crate::data::{Dataset, Images, LoadOptions, Normalisation, load};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Variants};
use crate::graph::Lowering;
use crate::rng::{Purpose, stream};
use crate::search::{Phases, Search, Settings};
use crate::space::{Prior, Space};
use rand::RngExt;

/// Whole steps, each with other children; what is not a spread is that of the median one.
#[derive(Clone, Debug, Serialize)]
pub struct StepTime {
    /// Children drawn, K.
    pub samples: usize,
    /// Median seconds.
    pub seconds: f64,
    /// Fastest and slowest.
    pub range_seconds: [f64; 2],
    /// Seconds by phase.
    pub phases: Phases,
    /// The part of the step that the host spends on planning and preparing children it has not met, encoding, batches,
    /// and the update of π. The adapter may be at work meanwhile.
    pub host_share: f64,
    /// Children whose weights add up to less have no backward pass.
    pub drop_mass: f64,
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

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Children of a step.
    pub samples: Samples,
    /// The prior.
    pub start: Start,
    /// Children whose weights add up to less have no backward pass.
    pub drop_mass: f64,
    /// Steps that count.
    pub repeats: usize,
}

/// Times steps from the same state, with new children and new batches each: what a search does when π is broad. Equal
/// children again would find their plans, which takes the host nearly no time.
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
    // What any data but the embedded start from.
    config.algorithm.drop_mass = drop_mass;
    // None of them is the last, which is evaluated.
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

/// Steps that are not counted, four times as many on a GPU, where they are short: drivers compile the kernels of their
/// children, which are nearly all there are.
const WARM_UP: u64 = 2;

/// A prior with `part` of the entropy of the uniform one: normal logits, scaled.
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
