//! One step of Algorithm 1 in f64, literally: no child is left out, and no children are merged.
//!
//! On the search batch: `ℓ_k = Σ_n w_n log p(y_n|x_n, v, α_k)` with the weights of the examples (usually 1), `ω̃ = softmax(β·ℓ)`. On the train batch, with the same
//! children: `v` is updated by SGD with `Σ_k ω̃_k g_k`, and π by Adam with `Σ_k (ω̃_k − b) ∇_π log p(α_k|π)`.

use std::collections::BTreeMap;

use super::adam::{self, Adam};
use super::network::{self, Batch, Mode, Tensors};
use super::sgd::{self, Sgd};
use super::{T4, clip};
use crate::network::Net;
use crate::{Error, Result};

/// Numbers in the shape of π: for each slot, one number per choice.
pub type PriorShaped = Vec<Vec<f64>>;

/// The state that a step changes.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Parameters of the search parent. All of them decay.
    pub v: Tensors,
    /// Momentum of the parameters, under the same names. A missing momentum is zero.
    pub momentum: Tensors,
    /// Logits of π.
    pub pi: PriorShaped,
    /// Adam's first moment.
    pub adam_m: PriorShaped,
    /// Adam's second moment.
    pub adam_v: PriorShaped,
    /// Number of steps done.
    pub step: u64,
}

/// Settings of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Settings of the update of `v`.
    pub sgd: Sgd,
    /// Largest norm of the gradient of the mean cross-entropy.
    pub max_norm: f64,
    /// Settings of the update of π.
    pub adam: Adam,
    /// Exponent of the weights; 1 is the paper's algorithm.
    pub beta: f64,
    /// Whether 1/K is subtracted from each weight in the gradient of π.
    pub baseline_mean: bool,
    /// Number of examples of a micro-batch, or `None` for the whole batch. Batch norm takes its statistics over a
    /// micro-batch. The number must divide the batch.
    pub micro_batch: Option<usize>,
}

/// Intermediate results of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// `[K]`, in nats, each summed over the search batch with the weights of the examples.
    pub log_likelihood: Vec<f64>,
    /// `[K]`, the importance weights ω̃.
    pub weights: Vec<f64>,
    /// Norm of the gradient before clipping.
    pub norm: f64,
    /// The clip factor that was applied.
    pub clip_factor: f64,
}

/// `softmax(β·ℓ)`, computed by log-sum-exp.
pub fn importance_weights(log_likelihood: &[f64], beta: f64) -> Vec<f64> {
    let max = log_likelihood.iter().map(|l| beta * l).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = log_likelihood.iter().map(|l| (beta * l - max).exp()).sum();
    log_likelihood.iter().map(|l| (beta * l - max).exp() / sum).collect()
}

/// `Σ_k scale_k ∇_π log p(α_k|π)`. For each slot the gradient of `log p` is `onehot(α_k) − softmax(logits)`.
///
/// # Errors
/// A child with a choice that π does not have.
pub fn prior_gradient(pi: &[Vec<f64>], alphas: &[Vec<usize>], scales: &[f64]) -> Result<PriorShaped> {
    let mut gradient = Vec::new();
    for (slot, logits) in pi.iter().enumerate() {
        let probabilities = importance_weights(logits, 1.0);
        let mut g = vec![0.0; logits.len()];
        for (alpha, scale) in alphas.iter().zip(scales) {
            let Some(&chosen) = alpha.get(slot).filter(|chosen| **chosen < g.len()) else {
                let expected = format!("one of the {} choices of its slot", g.len());
                return Err(Error::usage(
                    format!("slot {slot} of a child"),
                    expected,
                    format!("{alpha:?}"),
                    "",
                ));
            };
            for (choice, p) in probabilities.iter().enumerate() {
                let onehot = if choice == chosen { 1.0 } else { 0.0 };
                g[choice] += scale * (onehot - p);
            }
        }
        gradient.push(g);
    }
    Ok(gradient)
}

/// Splits `batch` into micro-batches of `n` examples, one after another.
fn parts(batch: &Batch, n: Option<usize>) -> Result<Vec<Batch>> {
    let all = &batch.images;
    let n = n.unwrap_or(all.n);
    if n == 0 || !all.n.is_multiple_of(n) {
        let expected = format!("a divisor of the batch ({})", all.n);
        return Err(Error::usage("micro_batch", expected, n.to_string(), ""));
    }
    let part = |first: usize| {
        let mut images = T4::zeros(all.c, n, all.h, all.w);
        let image_len = all.h * all.w;
        for c in 0..all.c {
            let from = (c * all.n + first) * image_len;
            images.data[c * n * image_len..][..n * image_len]
                .copy_from_slice(&all.data[from..][..n * image_len]);
        }
        let masks = batch.drop_path.iter().map(|(at, mask)| (*at, mask[first..][..n].to_vec()));
        Batch {
            images,
            labels: batch.labels[first..][..n].to_vec(),
            weights: batch.weights[first..][..n].to_vec(),
            drop_path: masks.collect(),
        }
    };
    Ok((0..all.n).step_by(n).map(part).collect())
}

/// Does one step. Returns the state after the step, and intermediate results. `children` has the choices and the
/// network of each child.
///
/// # Errors
/// The errors of [`network::evaluate`] and [`prior_gradient`], and a `micro_batch` that does not divide the
/// batches.
pub fn search_step(
    children: &[(Vec<usize>, Net)],
    state: &State,
    search: &Batch,
    train: &Batch,
    settings: &Settings,
) -> Result<(State, Record)> {
    let (search, train) = (parts(search, settings.micro_batch)?, parts(train, settings.micro_batch)?);
    let mut log_likelihood = Vec::new();
    for (_, net) in children {
        let mut sum = 0.0;
        for part in &search {
            let outcome = network::evaluate(net, &state.v, part, Mode::Train, false)?;
            sum += outcome.log_likelihood.iter().zip(&part.weights).map(|(l, w)| w * l).sum::<f64>();
        }
        log_likelihood.push(sum);
    }
    let weights = importance_weights(&log_likelihood, settings.beta);

    let mut gradient: BTreeMap<&String, Vec<f64>> =
        state.v.iter().map(|(name, (_, v))| (name, vec![0.0; v.len()])).collect();
    for ((_, net), &weight) in children.iter().zip(&weights) {
        for part in &train {
            let outcome = network::evaluate(net, &state.v, part, Mode::Train, true)?;
            for (name, (_, g)) in &outcome.grads {
                if let Some(sum) = gradient.get_mut(name) {
                    // The mean over the batch is the mean of the means over the micro-batches.
                    clip::accumulate(sum, weight / train.len() as f64, g);
                }
            }
        }
    }
    let norm = clip::global_norm(gradient.values().map(Vec::as_slice));
    let clip_factor = clip::clip_factor(norm, settings.max_norm);

    let mut after = state.clone();
    after.step += 1;
    for (name, g) in gradient {
        if let Some((shape, v)) = after.v.get_mut(name) {
            let zeros = || (shape.clone(), vec![0.0; v.len()]);
            let (_, buf) = after.momentum.entry(name.clone()).or_insert_with(zeros);
            sgd::step(v, buf, &g, clip_factor, settings.sgd);
        }
    }

    let baseline = if settings.baseline_mean { 1.0 / children.len() as f64 } else { 0.0 };
    let scales: Vec<f64> = weights.iter().map(|w| w - baseline).collect();
    let alphas: Vec<Vec<usize>> = children.iter().map(|(alpha, _)| alpha.clone()).collect();
    let gradient = prior_gradient(&state.pi, &alphas, &scales)?;
    for (slot, g) in gradient.iter().enumerate() {
        let (pi, m, v) = (&mut after.pi[slot], &mut after.adam_m[slot], &mut after.adam_v[slot]);
        adam::ascend(pi, m, v, g, after.step, settings.adam);
    }
    Ok((after, Record { log_likelihood, weights, norm, clip_factor }))
}
