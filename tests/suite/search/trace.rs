//! The trace of a step: every name, every shape, and the step recomputed by the oracle from the file alone.

use std::collections::BTreeSet;
use std::path::Path;

use crate::with;
use parsec_nas::config::{Baseline, ClassWeights, Config, Samples, Temper};
use parsec_nas::files::tensors::{self, Metadata, Tensor, Tensors};
use parsec_nas::network::Net;
use parsec_nas::reference::adam::Adam;
use parsec_nas::reference::network::{self, Batch};
use parsec_nas::reference::search_step::{PriorShaped, Settings, State, search_step};
use parsec_nas::reference::sgd::Sgd;
use parsec_nas::space::{Darts, Genotype, Primitive};
use parsec_nas::space::{NetworkKind, StemKind};

use super::super::nets;
use super::super::replay::{close, numbers};
use super::{config, minus, search};
use crate::nets::Cells;

const PRIMITIVES: [Primitive; 7] = [
    Primitive::MaxPool3x3,
    Primitive::AvgPool3x3,
    Primitive::SkipConnect,
    Primitive::SepConv3x3,
    Primitive::SepConv5x5,
    Primitive::DilConv3x3,
    Primitive::DilConv5x5,
];

fn spec() -> Cells {
    Cells {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: 1,
        height: 28,
        width: 28,
        n_classes: 10,
        layers: 3,
        channels: 4,
        auxiliary: false,
    }
}

fn parent() -> Vec<(String, Vec<usize>)> {
    spec().params(None, &PRIMITIVES).into_iter().map(|p| (p.name, p.shape)).collect()
}

/// All tensors of a trace that docs/formats.md lists, with their shapes for K = 3, batches of 8 and 7 primitives.
fn promised() -> BTreeSet<(String, &'static str, Vec<usize>)> {
    let mut names = BTreeSet::new();
    for split in ["search", "train"] {
        names.insert((format!("{split}.images"), "F32", vec![8, 1, 28, 28]));
        names.insert((format!("{split}.labels"), "I64", vec![8]));
    }
    names.insert(("alpha".into(), "I64", vec![3, 2, 4, 2]));
    names.insert(("log_likelihood".into(), "F64", vec![3]));
    names.insert(("weights".into(), "F64", vec![3]));
    for kind in ["normal", "reduce"] {
        for node in 0..4 {
            let shape = vec![2, 7 * (node + 2)];
            for when in ["before", "after"] {
                names.insert((format!("pi.{kind}.{node}.{when}"), "F64", shape.clone()));
            }
            for moment in ["m", "v"] {
                names.insert((format!("adam.{moment}.{kind}.{node}.before"), "F64", shape.clone()));
            }
        }
    }
    for (name, shape) in parent() {
        for part in ["v", "momentum"] {
            for when in ["before", "after"] {
                names.insert((format!("{part}.{when}.{name}"), "F32", shape.clone()));
            }
        }
    }
    names
}

/// Slots in the order of kind of cell, node, slot.
fn prior_shaped(trace: &Tensors, prefix: &str, when: &str) -> PriorShaped {
    let mut slots = Vec::new();
    for kind in ["normal", "reduce"] {
        for node in 0..4 {
            let both = numbers(trace, &format!("{prefix}.{kind}.{node}.{when}"));
            slots.extend(both.chunks(both.len() / 2).map(<[f64]>::to_vec));
        }
    }
    slots
}

fn flat(values: &PriorShaped) -> Vec<f64> {
    values.concat()
}

fn named(trace: &Tensors, prefix: &str) -> network::Tensors {
    let tensor = |(name, tensor): (&String, &Tensor)| {
        let short = name.strip_prefix(prefix)?;
        Some((short.to_owned(), (tensor.shape.clone(), numbers(trace, name))))
    };
    trace.iter().filter_map(tensor).collect()
}

fn batch(trace: &Tensors, split: &str) -> Batch {
    let labels: Vec<usize> = numbers(trace, &format!("{split}.labels")).iter().map(|l| *l as usize).collect();
    let batch = Batch::from_nchw([8, 1, 28, 28], &numbers(trace, &format!("{split}.images")), &labels);
    if !trace.contains_key("class_weights") {
        return batch;
    }
    let of_classes = numbers(trace, "class_weights");
    Batch { weights: batch.labels.iter().map(|label| of_classes[*label]).collect(), ..batch }
}

fn children(trace: &Tensors, space: &Darts) -> Vec<(Vec<usize>, Net)> {
    let pairs = numbers(trace, "alpha");
    let child = |indices: &[f64]| {
        let cell = |kind: usize| {
            [0, 1, 2, 3]
                .map(|node| [0, 1].map(|slot| space.pair(node, indices[8 * kind + 2 * node + slot] as usize)))
        };
        let genotype = Genotype { normal: cell(0), reduce: cell(1) };
        let choices = indices.iter().map(|i| *i as usize).collect();
        (choices, Net::clone(&nets::child(&spec(), &genotype)))
    };
    pairs.chunks_exact(16).map(child).collect()
}

/// Recomputes the step from the trace, and compares with the tolerances that the documents promise.
fn recompute(trace: &Tensors, metadata: &Metadata, space: &Darts) {
    let number = |key: &str| -> f64 { metadata[key].parse().unwrap() };
    let primitives: Vec<&str> = metadata["primitives"].split(',').collect();
    assert_eq!(primitives, PRIMITIVES.map(Primitive::name));
    let step = number("step") as u64;
    let state = State {
        v: named(trace, "v.before."),
        momentum: named(trace, "momentum.before."),
        pi: prior_shaped(trace, "pi", "before"),
        adam_m: prior_shaped(trace, "adam.m", "before"),
        adam_v: prior_shaped(trace, "adam.v", "before"),
        step: step - 1,
    };
    let settings = Settings {
        sgd: Sgd { lr: number("lr"), momentum: number("momentum"), weight_decay: number("weight_decay") },
        max_norm: 5.0,
        adam: Adam { lr: number("pi_lr"), betas: (0.5, 0.999), eps: 1e-8 },
        beta: number("beta"),
        baseline_mean: metadata["baseline"] == "mean",
        micro_batch: metadata.get("micro_batch").map(|m| m.parse().unwrap()),
    };
    let (search, train) = (batch(trace, "search"), batch(trace, "train"));
    let (after, record) = search_step(&children(trace, space), &state, &search, &train, &settings).unwrap();

    close("log-likelihoods", &numbers(trace, "log_likelihood"), &record.log_likelihood, 1e-5);
    let weights = numbers(trace, "weights");
    close("weights", &weights, &record.weights, 1e-3);
    // The weights follow exactly from the log-likelihoods of the trace.
    let exps: Vec<f64> =
        numbers(trace, "log_likelihood").iter().map(|l| (settings.beta * (l + 20.0)).exp()).collect();
    let softmax: Vec<f64> = exps.iter().map(|e| e / exps.iter().sum::<f64>()).collect();
    close("softmax", &weights, &softmax, 1e-10);
    close("clip factor", &[number("clip_factor")], &[record.clip_factor], 1e-3);
    for (part, wanted) in [("v", &after.v), ("momentum", &after.momentum)] {
        let [old, new] = ["before", "after"].map(|when| {
            let tensors = named(trace, &format!("{part}.{when}."));
            tensors.into_values().flat_map(|(_, data)| data).collect::<Vec<_>>()
        });
        let wanted: Vec<f64> = wanted.values().flat_map(|(_, data)| data.clone()).collect();
        close(&format!("the step of {part}"), &minus(&new, &old), &minus(&wanted, &old), 1e-2);
    }
    let old = flat(&state.pi);
    let moved = minus(&flat(&prior_shaped(trace, "pi", "after")), &old);
    close("the step of π", &moved, &minus(&flat(&after.pi), &old), 1e-3);
}

fn traced(change: impl FnOnce(Config) -> Config, check: impl Fn(&Tensors, &Metadata, &Darts)) {
    let folder = tempfile::tempdir().unwrap();
    let base = with(config(), |c| {
        c.algorithm.primitives = PRIMITIVES.to_vec();
        c.execution.trace_steps = 2;
        c.session.run = Some(folder.path().into());
    });
    let Some(mut search) = search(change(base)) else { return };
    let records: Vec<_> = (0..3).map(|_| search.step().unwrap()).collect();
    let file = |step: usize| folder.path().join(format!("trace/step-{step:05}.safetensors"));
    assert!(!file(3).exists(), "two steps were asked for");
    for (step, record) in records[..2].iter().enumerate() {
        let (trace, metadata) = tensors::read(Path::new(&file(step + 1))).unwrap();
        assert_eq!(numbers(&trace, "log_likelihood"), record.log_likelihood);
        assert_eq!(numbers(&trace, "weights"), record.weights);
        assert_eq!(metadata["step"], (step + 1).to_string());
        assert_eq!(metadata["clip_factor"].parse::<f64>().unwrap(), record.clip_factor);
        assert_eq!(metadata["lr"].parse::<f64>().unwrap(), record.lr);
        check(&trace, &metadata, &super::cells(&search));
    }
    // A step begins with the state at the end of the step before.
    let (first, _) = tensors::read(&file(1)).unwrap();
    let (second, _) = tensors::read(&file(2)).unwrap();
    assert_eq!(named(&first, "v.after."), named(&second, "v.before."));
    assert_eq!(named(&first, "momentum.after."), named(&second, "momentum.before."));
    assert_eq!(prior_shaped(&first, "pi", "after"), prior_shaped(&second, "pi", "before"));
    assert_ne!(numbers(&first, "search.images"), numbers(&second, "search.images"));
}

#[test]
fn a_trace_has_every_name_and_is_algorithm_1() {
    traced(
        |base| with(base, |c| c.algorithm.reference = true),
        |trace, metadata, space| {
            let found =
                trace.iter().map(|(name, t)| (name.clone(), t.data.dtype(), t.shape.clone())).collect();
            let promised = promised();
            let missing: Vec<_> = promised.difference(&found).collect();
            let more: Vec<_> = found.difference(&promised).collect();
            assert!(missing.is_empty() && more.is_empty(), "missing: {missing:?}, more: {more:?}");
            let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
            let promised = [
                "baseline",
                "beta",
                "clip_factor",
                "explore",
                "lr",
                "momentum",
                "pi_lr",
                "primitives",
                "step",
                "train_weights",
                "weight_decay",
            ];
            assert_eq!(keys, promised);
            recompute(trace, metadata, space);
        },
    );
}

/// With unfused kernels, a baseline and tempered weights the trace has these settings, and its step still follows the
/// formulas.
#[test]
fn a_trace_of_every_option_is_its_formula() {
    traced(
        |base| {
            with(base, |c| {
                c.session.reference_kernels = true;
                c.prior.baseline = Baseline::Mean;
                c.prior.temper = Temper::Beta(2.5);
                c.images.flip = true;
            })
        },
        |trace, metadata, space| {
            assert_eq!(metadata["baseline"], "mean");
            assert_eq!(metadata["beta"], "2.5");
            recompute(trace, metadata, space);
        },
    );
}

/// With weights of the classes, likelihoods, importance weights and gradients are weighted by class, also in parts of the
/// batch.
#[test]
fn a_trace_with_class_weights_is_its_formula() {
    let weights: Vec<f64> = (0..10).map(|c| 0.25 + 0.35 * f64::from(c)).collect();
    traced(
        |base| {
            with(base, |c| {
                c.images.class_weights = ClassWeights::List(weights.clone());
                c.execution.micro_batch = Some(4);
                c.algorithm.drop_mass = 0.0;
            })
        },
        |trace, metadata, space| {
            assert_eq!(numbers(trace, "class_weights"), weights);
            recompute(trace, metadata, space);
        },
    );
}

/// The trace of a search with micro-batches, K from the entropy of π and a target sample size has all of these
/// settings.
#[test]
fn a_trace_in_parts_with_adaptive_k_is_its_formula() {
    traced(
        |base| {
            with(base, |c| {
                c.execution.micro_batch = Some(4);
                c.algorithm.samples = Samples::Auto(0.1);
                c.prior.temper = Temper::Ess(2.0);
                c.prior.baseline = Baseline::Mean;
                c.algorithm.drop_mass = 0.0;
                // π moves so far that K changes at once.
                c.prior.prior_lr = 4.0;
            })
        },
        |trace, metadata, space| {
            assert_eq!(metadata["micro_batch"], "4");
            let k = numbers(trace, "weights").len();
            let first = metadata["step"] == "1";
            assert!(if first { k == 5 } else { k < 5 }, "K = {k} of step {}", metadata["step"]);
            recompute(trace, metadata, space);
        },
    );
}
