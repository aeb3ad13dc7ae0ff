//! Whole networks in f64: finite differences, parameter counts, hand-made cases.

use std::collections::BTreeMap;

use parsec_nas::network::Net;
use parsec_nas::reference::T4;
use parsec_nas::reference::network::{Batch, Mode, Tensors, evaluate, parameter_shapes, running_shapes};
use parsec_nas::space::{CellArch, Genotype, Pair, Primitive};
use parsec_nas::space::{NetworkKind as Kind, StemKind as Stem};

use super::super::nets;
use super::{close, noise};

use crate::nets::Cells;
use Primitive::{
    AvgPool3x3 as Avg, DilConv3x3 as Dil3, DilConv5x5 as Dil5, MaxPool3x3 as Max, None as Zero,
    SepConv3x3 as Sep3, SepConv5x5 as Sep5, SkipConnect as Skip,
};

fn cell(pairs: [(Primitive, usize); 8]) -> CellArch {
    let pair = |(primitive, input)| Pair { input, primitive };
    std::array::from_fn(|node| [pair(pairs[2 * node]), pair(pairs[2 * node + 1])])
}

/// Every primitive, most of them at both strides of a reduction cell, and a pair drawn twice.
pub fn everything() -> Genotype {
    Genotype {
        normal: cell([(Sep3, 0), (Max, 1), (Avg, 0), (Skip, 2), (Dil5, 1), (Dil5, 1), (Sep5, 4), (Dil3, 0)]),
        reduce: cell([(Sep5, 0), (Max, 1), (Skip, 1), (Dil3, 2), (Avg, 1), (Zero, 0), (Sep3, 1), (Skip, 3)]),
    }
}

/// The remaining cases of a reduction cell, and a node of zeros.
pub fn the_rest() -> Genotype {
    Genotype {
        normal: cell([(Zero, 0), (Zero, 1), (Max, 2), (Skip, 0), (Avg, 3), (Skip, 1), (Sep3, 2), (Dil3, 4)]),
        reduce: cell([(Dil5, 0), (Dil3, 1), (Skip, 0), (Skip, 0), (Max, 2), (Avg, 3), (Sep3, 0), (Sep5, 2)]),
    }
}

fn darts_v2() -> Genotype {
    Genotype {
        normal: cell([
            (Sep3, 0),
            (Sep3, 1),
            (Sep3, 0),
            (Sep3, 1),
            (Sep3, 1),
            (Skip, 0),
            (Skip, 0),
            (Dil3, 2),
        ]),
        reduce: cell([(Max, 0), (Max, 1), (Skip, 2), (Max, 1), (Max, 0), (Skip, 2), (Skip, 2), (Max, 1)]),
    }
}

/// A network for images of this side.
pub fn spec(kind: Kind, stem: Stem, layers: usize, channels: usize, side: usize) -> Cells {
    Cells { stem, layers, ..nets::small(kind, channels, side) }
}

/// Weights with the range of PyTorch's defaults. The factors of batch norms are around 1, and running variances are
/// positive.
pub fn weights(shapes: &BTreeMap<String, Vec<usize>>, key: u64) -> Tensors {
    let tensor = |(i, (name, shape)): (usize, (&String, &Vec<usize>))| {
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let mut data = noise(1000 * key + i as u64, shape.iter().product());
        let is_norm_factor = shape.len() == 1 && (name.ends_with(".weight") || name.ends_with("running_var"));
        for v in &mut data {
            *v = if is_norm_factor { 1.0 + 0.5 * *v } else { *v / fan_in.sqrt() };
        }
        (name.clone(), (shape.clone(), data))
    };
    shapes.iter().enumerate().map(tensor).collect()
}

pub fn batch(key: u64, n: usize, side: usize) -> Batch {
    let labels: Vec<usize> = (0..n).map(|i| (2 * i + 1) % 4).collect();
    Batch::from_nchw([n, 3, side, side], &noise(key, n * 3 * side * side), &labels)
}

/// Checks the gradient by central differences of the loss: in two elements of every parameter whose name begins with
/// `prefix`, and along one direction in all parameters.
///
/// The step is so small that hardly any ReLU or maximum chooses another branch. If one does, the check fails.
fn check_network(spec: &Cells, genotype: &Genotype, batch: &Batch, mode: Mode, prefix: &str) {
    let side = batch.images.h;
    let net = &nets::child(&Cells { height: side, width: side, ..spec.clone() }, genotype);
    let mut v = weights(&parameter_shapes(net), 1);
    v.extend(weights(&running_shapes(net), 2));
    let outcome = evaluate(net, &v, batch, mode, true).unwrap();
    let loss = |v: &Tensors| evaluate(net, v, batch, mode, false).unwrap().loss;
    let step = 2e-7;
    let check = |what: &str, gradient: f64, above: &Tensors, below: &Tensors| {
        let numeric = (loss(above) - loss(below)) / (2.0 * step);
        let error = (numeric - gradient).abs();
        assert!(error <= 1e-6 * (1.0 + numeric.abs()), "{what}: {gradient} against {numeric}");
    };
    let (mut above, mut below, mut along) = (v.clone(), v.clone(), 0.0);
    for (i, (name, (_, g))) in outcome.grads.iter().enumerate() {
        for e in [0, g.len() / 2].into_iter().filter(|_| name.starts_with(prefix)) {
            let (mut above, mut below) = (v.clone(), v.clone());
            above.get_mut(name).unwrap().1[e] += step;
            below.get_mut(name).unwrap().1[e] -= step;
            check(&format!("{name}[{e}]"), g[e], &above, &below);
        }
        let direction = noise(5000 + i as u64, g.len());
        for (e, d) in direction.iter().enumerate() {
            let d = d / (g.len() as f64).sqrt();
            above.get_mut(name).unwrap().1[e] += step * d;
            below.get_mut(name).unwrap().1[e] -= step * d;
            along += g[e] * d;
        }
    }
    check("all together", along, &above, &below);
}

#[test]
fn search_child_gradients() {
    let net = spec(Kind::Search, Stem::Cifar, 3, 4, 8);
    check_network(&net, &everything(), &batch(1, 3, 8), Mode::Train, "");
    check_network(&net, &the_rest(), &batch(2, 2, 12), Mode::Train, "");
    let weighted = Batch { weights: vec![0.25, 1.0, 3.5], ..batch(1, 3, 8) };
    check_network(&net, &everything(), &weighted, Mode::Train, "classifier");
}

#[test]
fn final_network_gradients_with_drop_path() {
    let net = spec(Kind::Final, Stem::Cifar, 3, 4, 8);
    let mut batch = batch(3, 3, 8);
    for cell in 0..3 {
        for op in 0..8 {
            let factors = noise(100 + 8 * cell as u64 + op as u64, 3);
            batch
                .drop_path
                .insert(8 * cell + op, factors.iter().map(|f| if *f < 0.0 { 0.0 } else { 1.25 }).collect());
        }
    }
    check_network(&net, &everything(), &batch, Mode::Train, "");
    check_network(&net, &the_rest(), &batch, Mode::Eval, "");
}

#[test]
fn final_network_gradients_with_auxiliary_heads() {
    // The head reads maps of a quarter of the image's side, and of a 32nd for ImageNet. The sides are 4 (adaptive
    // pool), 8 (5x5, stride 3) and 7 (5x5, stride 2).
    let cifar = Cells { auxiliary: true, ..spec(Kind::Final, Stem::Cifar, 3, 2, 32) };
    check_network(&cifar, &the_rest(), &batch(4, 3, 16), Mode::Train, "auxiliary_head");
    check_network(&cifar, &darts_v2(), &batch(5, 3, 32), Mode::Train, "auxiliary_head.features.3");
    let weighted = Batch { weights: vec![0.25, 1.0, 3.5], ..batch(4, 3, 16) };
    check_network(&cifar, &the_rest(), &weighted, Mode::Train, "auxiliary_head.classifier");
    let imagenet = Cells { auxiliary: true, ..spec(Kind::Final, Stem::ImageNet, 3, 2, 32) };
    check_network(&imagenet, &the_rest(), &batch(6, 3, 224), Mode::Train, "stem");
}

/// Drop-path multiplies a term by a factor per example, but never an identity.
#[test]
fn drop_path_leaves_the_identity_alone() {
    let net = nets::child(&spec(Kind::Final, Stem::Cifar, 3, 2, 8), &everything());
    let v = weights(&parameter_shapes(&net), 1);
    let loss = |batch: &Batch| evaluate(&net, &v, batch, Mode::Train, false).unwrap().loss;
    let plain = batch(1, 3, 8);
    let mut dropped = plain.clone();
    // Op 3 of cell 0 is skip_connect at stride 1, and op 0 is a separable convolution.
    dropped.drop_path.insert(3, vec![0.0; 3]);
    assert_eq!(loss(&plain), loss(&dropped));
    dropped.drop_path.insert(0, vec![0.0; 3]);
    assert_ne!(loss(&plain), loss(&dropped));
}

fn count(shapes: &BTreeMap<String, Vec<usize>>, auxiliary: bool) -> usize {
    let of = |(name, shape): (&String, &Vec<usize>)| {
        if name.starts_with("auxiliary_head") == auxiliary { shape.iter().product() } else { 0 }
    };
    shapes.iter().map(of).sum()
}

#[test]
fn parameter_counts_are_the_published_ones() {
    let cifar = Cells { n_classes: 10, auxiliary: true, ..spec(Kind::Final, Stem::Cifar, 20, 36, 32) };
    let shapes = parameter_shapes(&nets::child(&cifar, &darts_v2()));
    assert_eq!(count(&shapes, false), 3_349_342);
    assert_eq!(count(&shapes, true), 3_825_768 - 3_349_342);
    let imagenet = Cells { n_classes: 1000, ..spec(Kind::Final, Stem::ImageNet, 14, 48, 224) };
    assert_eq!(count(&parameter_shapes(&nets::child(&imagenet, &darts_v2())), false), 4_718_752);

    // The search parent has the parameters of all children. The children here have every pair in each node in turn.
    let parent = Cells { n_classes: 10, ..spec(Kind::Search, Stem::Cifar, 8, 16, 32) };
    let mut shapes = BTreeMap::new();
    for i in 0..40 {
        let arch: CellArch = std::array::from_fn(|node| {
            let input = (i / 8).min(node + 1);
            [Pair { input, primitive: Primitive::ALL[i % 8] }; 2]
        });
        let genotype = Genotype { normal: arch, reduce: arch };
        shapes.extend(parameter_shapes(&nets::child(&parent, &genotype)));
    }
    assert_eq!(count(&shapes, false), 1_930_618);
}

#[test]
fn running_statistics_after_a_step() {
    let net = nets::child(&spec(Kind::Final, Stem::Cifar, 3, 2, 8), &the_rest());
    let mut v = weights(&parameter_shapes(&net), 1);
    v.extend(weights(&running_shapes(&net), 2));
    v.insert("stem.1.num_batches_tracked".into(), (vec![], vec![6.0]));
    let batch = batch(1, 3, 8);
    let after = evaluate(&net, &v, &batch, Mode::Train, false).unwrap().running;
    assert_eq!(after.len(), running_shapes(&net).len() + 1);
    assert_eq!(after["stem.1.num_batches_tracked"].1, [7.0]);
    // The statistics of the first channel of the first batch norm, which reads a convolution of the images, are
    // computed by hand.
    let (mut sum, mut squares, w) = (0.0, 0.0, &v["stem.0.weight"].1);
    for n in 0..3 {
        for i in 0..8i32 {
            for j in 0..8i32 {
                let mut y = 0.0;
                for (tap, w) in w[..27].iter().enumerate() {
                    let (c, row, col) = (tap / 9, i + (tap / 3 % 3) as i32 - 1, j + (tap % 3) as i32 - 1);
                    if (0..8).contains(&row) && (0..8).contains(&col) {
                        y += w * batch.images.at(c, n, row as usize, col as usize);
                    }
                }
                sum += y;
                squares += y * y;
            }
        }
    }
    let (mean, m) = (sum / 192.0, 192.0);
    let unbiased = (squares - m * mean * mean) / (m - 1.0);
    close(&after["stem.1.running_mean"].1[..1], &[0.9 * v["stem.1.running_mean"].1[0] + 0.1 * mean], 1e-12);
    close(&after["stem.1.running_var"].1[..1], &[0.9 * v["stem.1.running_var"].1[0] + 0.1 * unbiased], 1e-12);
    assert!(evaluate(&net, &v, &batch, Mode::Eval, false).unwrap().running.is_empty());
}

/// If the weights of the classifier are zero, the logits are the bias, whatever the images are.
#[test]
fn logits_follow_the_classifier() {
    let net = nets::child(&spec(Kind::Search, Stem::Cifar, 3, 2, 8), &everything());
    let mut v = weights(&parameter_shapes(&net), 1);
    v.get_mut("classifier.weight").unwrap().1.fill(0.0);
    v.get_mut("classifier.bias").unwrap().1.copy_from_slice(&[0.0, 3f64.ln(), 0.0, 0.0]);
    let outcome = evaluate(&net, &v, &batch(1, 2, 8), Mode::Train, true).unwrap();
    close(&outcome.logits, &[0.0, 3f64.ln(), 0.0, 0.0, 0.0, 3f64.ln(), 0.0, 0.0], 1e-15);
    close(&outcome.log_likelihood, &[0.5f64.ln(), (1.0f64 / 6.0).ln()], 1e-15);
    close(&outcome.grads["classifier.bias"].1, &[1.0 / 6.0, 0.0, 1.0 / 6.0, 1.0 / 6.0 - 0.5], 1e-15);
    assert!(outcome.grads["stem.0.weight"].1.iter().all(|g| *g == 0.0));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let net = nets::child(&spec(Kind::Final, Stem::Cifar, 3, 2, 8), &everything());
    let good = weights(&parameter_shapes(&net), 1);
    let error = |net: &Net, v: &Tensors, batch: &Batch, mode| {
        evaluate(net, v, batch, mode, false).unwrap_err().to_string()
    };
    let b = batch(1, 3, 8);
    let mut v = good.clone();
    v.remove("cells.1.preprocess1.op.1.weight");
    assert!(error(&net, &v, &b, Mode::Train).contains("cells.1.preprocess1.op.1.weight"));
    v.insert("cells.1.preprocess1.op.1.weight".into(), (vec![2], vec![0.0; 2]));
    assert!(error(&net, &v, &b, Mode::Train).contains("found [2]"));
    assert!(error(&net, &good, &b, Mode::Eval).contains("running_mean"));
    assert!(
        error(&net, &good, &Batch { labels: vec![0, 4, 0], ..b.clone() }, Mode::Train).contains("below 4")
    );
    assert!(error(&net, &good, &batch(1, 3, 10), Mode::Train).contains("[10][10]"));
    let one = Batch { images: T4::zeros(1, 3, 8, 8), ..b.clone() };
    assert!(error(&net, &good, &one, Mode::Train).contains("the batch"));
}
