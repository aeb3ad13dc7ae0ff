//! A network and labelled images → accuracy and likelihood, with running statistics.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::training::HELD_OUT;
use crate::data::{Batch, Images, Normalisation, eval_batches};
use crate::error::Result;
use crate::gpu::{Child, Network};
use crate::graph::Mode;
use crate::network::Net;

/// Accuracy and likelihood of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of images.
    pub n: usize,
    /// Number of images classified correctly.
    pub n_correct: usize,
    /// Mean log-likelihood per image, nats.
    pub mean_log_likelihood: f64,
}

impl Evaluation {
    /// Fraction of the images classified correctly.
    pub fn accuracy(&self) -> f64 {
        self.n_correct as f64 / self.n.max(1) as f64
    }
}

/// Function that receives a batch with its logits \[N\]\[classes\].
pub(super) type See<'a> = &'a mut dyn FnMut(&Batch, &[f32]);

/// Evaluates on `images` in file order, in batches of `batch`. The remainder is joined to the last batch. `see`, if
/// given, receives every batch with its logits \[N\]\[classes\].
pub(super) fn evaluate(
    network: &mut Network,
    net: &Arc<Net>,
    images: &Images,
    normalisation: &Normalisation,
    batch: usize,
    mut see: Option<See<'_>>,
) -> Result<Evaluation> {
    let mut total = Evaluation { n: 0, n_correct: 0, mean_log_likelihood: 0.0 };
    for batch in eval_batches(images, normalisation, batch.min(images.n))? {
        let batch = batch?;
        network.upload(HELD_OUT, &batch.images, &batch.labels)?;
        network.run(Child::new(net, Mode::Evaluate, HELD_OUT))?;
        let result = network.last_result(HELD_OUT)?;
        total.n += batch.n;
        total.n_correct += result.n_correct;
        total.mean_log_likelihood += result.sum();
        if let Some(see) = see.as_mut() {
            see(&batch, &network.logits(0, HELD_OUT)?);
        }
    }
    total.mean_log_likelihood /= total.n.max(1) as f64;
    Ok(total)
}

/// Counts of classes and predicted classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail {
    /// Number of classes K.
    pub n_classes: usize,
    /// Number of images whose class is among the five with the largest logits.
    pub n_top5: usize,
    /// (class, predicted class) → number of images. Pairs without images are absent.
    pub confusion: BTreeMap<(u32, u32), u64>,
}

impl Detail {
    /// Counts of zero for `n_classes` classes.
    pub fn new(n_classes: usize) -> Self {
        Self { n_classes, ..Self::default() }
    }

    /// Adds a batch: labels \[N\], logits \[N\]\[K\]. Among equal logits the first one is treated as the largest.
    pub fn add(&mut self, labels: &[u32], logits: &[f32]) {
        for (&label, logits) in labels.iter().zip(logits.chunks_exact(self.n_classes)) {
            let own = logits[label as usize];
            let before = |(k, z): (usize, &f32)| *z > own || (*z == own && k < label as usize);
            let rank = logits.iter().enumerate().filter(|e| before(*e)).count();
            self.n_top5 += usize::from(rank < 5);
            *self.confusion.entry((label, order(logits, 1)[0] as u32)).or_default() += 1;
        }
    }

    /// For every class the number of its images and the number of those classified correctly.
    pub fn per_class(&self) -> Vec<(u64, u64)> {
        let mut classes = vec![(0, 0); self.n_classes];
        for (&(class, taken_for), &n) in &self.confusion {
            classes[class as usize].0 += n;
            classes[class as usize].1 += if class == taken_for { n } else { 0 };
        }
        classes
    }

    /// Number of images by \[class\]\[predicted class\].
    pub fn matrix(&self) -> Vec<Vec<u64>> {
        let mut rows = vec![vec![0; self.n_classes]; self.n_classes];
        for (&(class, taken_for), &n) in &self.confusion {
            rows[class as usize][taken_for as usize] = n;
        }
        rows
    }
}

/// The `top` classes with the largest logits, the largest first. Among equal logits the class with the smaller index
/// comes first.
pub fn order(logits: &[f32], top: usize) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    classes.truncate(top);
    classes
}

/// The probability of each class: the softmax of `logits`.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|z| f64::from(z - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}
