//! A search step in f64 against its formulas, written out again, and against finite differences of log p(α|π).

use parsec_nas::network::Net;
use parsec_nas::reference::adam::Adam;
use parsec_nas::reference::network::{Batch, Mode, Tensors, evaluate, parameter_shapes};
use parsec_nas::reference::search_step::{
    PriorShaped, Settings, State, importance_weights, prior_gradient, search_step,
};
use parsec_nas::reference::sgd::Sgd;
use parsec_nas::space::NetworkKind;
use parsec_nas::space::{Genotype, Primitive};

use super::super::nets;
use super::networks::{batch, everything, the_rest, weights};
use super::{close, noise};

const PRIMITIVES: [Primitive; 8] = Primitive::ALL;

/// Slots in the order of kind of cell, node, slot.
fn prior(key: u64) -> PriorShaped {
    let slot = |s: usize| noise(9000 + key * 100 + s as u64, (s / 2 % 4 + 2) * PRIMITIVES.len());
    (0..16).map(slot).collect()
}

/// The number of the pair of a child in each slot.
fn pairs(child: &Genotype) -> Vec<usize> {
    let cells = [&child.normal, &child.reduce];
    let pairs = cells.into_iter().flat_map(|cell| cell.as_flattened());
    pairs.map(|pair| pair.input * PRIMITIVES.len() + pair.primitive.index()).collect()
}

fn children<const N: usize>(genotypes: [Genotype; N]) -> Vec<(Vec<usize>, Net)> {
    let spec = nets::small(NetworkKind::Search, 2, 8);
    genotypes.iter().map(|g| (pairs(g), Net::clone(&nets::child(&spec, g)))).collect()
}

/// `log p(α|π)`, written independently of the gradient: the sum of the log-probabilities of the slots.
fn log_prior(pi: &PriorShaped, child: &[usize]) -> f64 {
    let slot = |(logits, pair): (&Vec<f64>, &usize)| {
        logits[*pair] - logits.iter().map(|l| l.exp()).sum::<f64>().ln()
    };
    pi.iter().zip(child).map(slot).sum()
}

#[test]
fn prior_gradient_is_that_of_log_p() {
    let (pi, children, scales) = (prior(1), [pairs(&everything()), pairs(&the_rest())], [0.7, -0.2]);
    let gradient = prior_gradient(&pi, &children, &scales).unwrap();
    let value =
        |pi: &PriorShaped| scales[0] * log_prior(pi, &children[0]) + scales[1] * log_prior(pi, &children[1]);
    for slot in 0..16 {
        for pair in 0..pi[slot].len() {
            let (mut above, mut below) = (pi.clone(), pi.clone());
            above[slot][pair] += 1e-5;
            below[slot][pair] -= 1e-5;
            let numeric = (value(&above) - value(&below)) / 2e-5;
            close(&[gradient[slot][pair]], &[numeric], 1e-8);
        }
    }
    let mut wrong = children.clone();
    wrong[0][3] = 24;
    let error = prior_gradient(&pi, &wrong, &scales).unwrap_err();
    assert!(error.to_string().contains("slot 3 of a child"), "{error}");
}

#[test]
fn importance_weights_by_hand() {
    let ll = [-1000.0, -1000.0 + 3f64.ln(), -1e6];
    close(&importance_weights(&ll, 1.0), &[0.25, 0.75, 0.0], 1e-12);
    close(&importance_weights(&ll, 2.0), &[0.1, 0.9, 0.0], 1e-12);
    close(&importance_weights(&ll, 0.0), &[1.0 / 3.0; 3], 1e-12);
}

fn state_and_settings() -> (State, Settings) {
    let both = children([everything(), the_rest()]);
    let shapes = both.iter().flat_map(|(_, net)| parameter_shapes(net)).collect();
    let state = State {
        v: weights(&shapes, 1),
        momentum: weights(&shapes, 2),
        pi: prior(1),
        adam_m: prior(2).iter().map(|s| s.iter().map(|m| 0.1 * m).collect()).collect(),
        adam_v: prior(3).iter().map(|s| s.iter().map(|v| 0.1 * v * v).collect()).collect(),
        step: 4,
    };
    let settings = Settings {
        sgd: Sgd { lr: 0.025, momentum: 0.9, weight_decay: 3e-4 },
        max_norm: 5.0,
        adam: Adam { lr: 0.03, betas: (0.5, 0.999), eps: 1e-8 },
        beta: 1.0,
        baseline_mean: false,
        micro_batch: None,
    };
    (state, settings)
}

/// Some elements of the step, computed again from finite differences of the weighted objective.
#[test]
fn search_step_follows_its_formulas() {
    let (state, mut settings) = state_and_settings();
    settings.max_norm = 0.5;
    settings.baseline_mean = true;
    settings.beta = 0.3;
    let children = children([everything(), the_rest(), everything()]);
    let (search, train) = (batch(1, 3, 8), batch(2, 4, 8));
    let (after, record) = search_step(&children, &state, &search, &train, &settings).unwrap();

    let log_lik = |k: usize, v: &Tensors, batch: &Batch| -> f64 {
        evaluate(&children[k].1, v, batch, Mode::Train, false).unwrap().log_likelihood.iter().sum()
    };
    let ll = [0, 1, 2].map(|k| log_lik(k, &state.v, &search));
    close(&record.log_likelihood, &ll, 1e-14);
    let exps = ll.map(|l| (0.3 * l).exp());
    let weights = exps.map(|e| e / exps.iter().sum::<f64>());
    close(&record.weights, &weights, 1e-12);

    // The gradient of v is the gradient of the weighted mean cross-entropy on the train batch.
    assert!(record.norm > 0.5, "the gradient is clipped: {}", record.norm);
    close(&[record.clip_factor], &[0.5 / (record.norm + 1e-6)], 1e-14);
    let objective = |v: &Tensors| -> f64 { (0..3).map(|k| -weights[k] * log_lik(k, v, &train) / 4.0).sum() };
    for (name, (_, v)) in &state.v {
        let (mut above, mut below) = (state.v.clone(), state.v.clone());
        above.get_mut(name).unwrap().1[0] += 1e-6;
        below.get_mut(name).unwrap().1[0] -= 1e-6;
        let gradient = (objective(&above) - objective(&below)) / 2e-6;
        let buf = 0.9 * state.momentum[name].1[0] + record.clip_factor * gradient + 3e-4 * v[0];
        close(&[after.momentum[name].1[0], after.v[name].1[0]], &[buf, v[0] - 0.025 * buf], 1e-6);
    }

    // One slot of π by hand: slot 0 of node 2 of the normal cell. Two children have sep_conv_3x3 on input 0 there, and
    // one has none on input 0.
    let exps: Vec<f64> = state.pi[0].iter().map(|l| l.exp()).collect();
    let p: Vec<f64> = exps.iter().map(|e| e / exps.iter().sum::<f64>()).collect();
    for (pair, p) in p.iter().enumerate() {
        let mut g = 0.0;
        for (child, weight) in [4, 0, 4].into_iter().zip(weights) {
            g += (weight - 1.0 / 3.0) * (f64::from(pair == child) - p);
        }
        let m = 0.5 * state.adam_m[0][pair] + 0.5 * g;
        let v = 0.999 * state.adam_v[0][pair] + 0.001 * g * g;
        let step = 0.03 * (m / (1.0 - 0.5f64.powi(5))) / ((v / (1.0 - 0.999f64.powi(5))).sqrt() + 1e-8);
        let found = [after.adam_m[0][pair], after.adam_v[0][pair], after.pi[0][pair]];
        close(&found, &[m, v, state.pi[0][pair] + step], 1e-12);
    }
    assert_eq!(after.step, 5);
}

/// The same child twice gives the step of this child alone, with weights of a half. The weights of a path that no child
/// has only decay.
#[test]
fn duplicates_and_unused_paths() {
    let (state, settings) = state_and_settings();
    let (search, train) = (batch(1, 3, 8), batch(2, 4, 8));
    let step = |children: &[_]| search_step(children, &state, &search, &train, &settings).unwrap();
    let (one, _) = step(&children([everything()]));
    let (two, record) = step(&children([everything(), everything()]));
    close(&record.weights, &[0.5, 0.5], 1e-15);
    for (name, (_, v)) in &one.v {
        close(&two.v[name].1, v, 1e-14);
    }
    // Only the other genotype has primitive 7 (dil_conv_5x5) on edge 0 of reduction cell 1.
    let name = "cells.1._ops.0._ops.7.op.1.weight";
    let (v, buf) = (state.v[name].1[0], state.momentum[name].1[0]);
    let buf = 0.9 * buf + 3e-4 * v;
    close(&[one.momentum[name].1[0], one.v[name].1[0]], &[buf, v - 0.025 * buf], 1e-15);
}

/// Each micro-batch is like a batch of its own. Likelihoods are added, and gradients of means are averaged.
#[test]
fn a_batch_in_parts() {
    let (state, mut settings) = state_and_settings();
    let (search, train) = (batch(1, 4, 8), batch(2, 6, 8));
    let children = children([everything()]);
    let (whole, _) = search_step(&children, &state, &search, &train, &settings).unwrap();
    settings.micro_batch = Some(2);
    settings.max_norm = 1e9;
    let (after, record) = search_step(&children, &state, &search, &train, &settings).unwrap();

    // The micro-batches, cut from the images in the order [N][C][H][W].
    let cut = |all: &Batch| -> Vec<Batch> {
        let (images, len) = (all.images.to_nchw(), all.images.c * all.images.h * all.images.w);
        let shape = [2, all.images.c, all.images.h, all.images.w];
        let parts = images.chunks(2 * len).zip(all.labels.chunks(2));
        parts.map(|(images, labels)| Batch::from_nchw(shape, images, labels)).collect()
    };
    let run = |part: &Batch| evaluate(&children[0].1, &state.v, part, Mode::Train, true).unwrap();
    let outcomes: Vec<_> = cut(&search).iter().map(run).collect();
    assert_eq!(outcomes.len(), 2);
    let sum: f64 = outcomes.iter().flat_map(|o| &o.log_likelihood).sum();
    close(&record.log_likelihood, &[sum], 1e-14);
    let outcomes: Vec<_> = cut(&train).iter().map(run).collect();
    assert_eq!(outcomes.len(), 3);
    for (name, (_, v)) in &state.v {
        let g = |i: usize| -> f64 {
            outcomes.iter().map(|o| o.grads.get(name).map_or(0.0, |(_, g)| g[i])).sum::<f64>() / 3.0
        };
        let buf: Vec<f64> =
            (0..v.len()).map(|i| 0.9 * state.momentum[name].1[i] + g(i) + 3e-4 * v[i]).collect();
        close(&after.momentum[name].1, &buf, 1e-12);
    }
    assert_ne!(whole.v, after.v);

    settings.micro_batch = Some(4);
    let error = search_step(&children, &state, &search, &train, &settings).unwrap_err();
    assert!(error.to_string().contains("divisor of the batch (6)"), "{error}");
}
