//! A primitive that a user of the library adds as one row. Everything else follows from the row.

use std::path::Path;
use std::sync::Arc;

use crate::with;
use parsec_nas::data::{Normalisation, eval_batches};
use parsec_nas::export::onnx::proto::Model;
use parsec_nas::export::{About, Trained, onnx, python};
use parsec_nas::graph::Lowering;
use parsec_nas::reference::network::{self, Batch, evaluate};
use parsec_nas::search::{self, Search};
use parsec_nas::space::primitive::{Row, twice};
use parsec_nas::space::{Alpha, Darts, NetworkKind, NetworkSpec, Paths, Primitive, Space, StemKind};
use parsec_nas::train::weights::Prefixes;
use parsec_nas::train::{self, Training};

use super::replay::{close, numbers, open};

/// The row.
static SEP_CONV_7X7: Row = Row { index: 8, name: "sep_conv_7x7", steps: &twice(7), halving: &twice(7) };

const OWN: Primitive = Primitive::Other(&SEP_CONV_7X7);

fn space() -> Darts {
    Darts::over(&[Primitive::MaxPool3x3, OWN, Primitive::SkipConnect]).stacked(3, StemKind::Cifar)
}

/// The architecture with this primitive in every slot.
fn alpha(space: &Darts) -> Alpha {
    let text =
        "Genotype(normal=[SLOTS], normal_concat=[2, 3, 4, 5], reduce=[SLOTS], reduce_concat=[2, 3, 4, 5])";
    let inputs = [0, 1, 0, 1, 1, 0, 0, 2];
    let slots: Vec<String> = inputs.iter().map(|input| format!("('sep_conv_7x7', {input})")).collect();
    let text = text.replace("SLOTS", &slots.join(", "));
    let alpha = space.parse(&text).unwrap();
    assert_eq!(space.print(&alpha), text);
    alpha
}

fn batches(normalisation: &Normalisation) -> Vec<Batch> {
    let data = super::search::dataset();
    let in_f64 = |batch: parsec_nas::data::Batch| {
        let images: Vec<f64> = batch.images.iter().map(|x| f64::from(*x)).collect();
        let labels: Vec<usize> = batch.labels.iter().map(|l| *l as usize).collect();
        Batch::from_nchw([batch.n, batch.channels, batch.height, batch.width], &images, &labels)
    };
    eval_batches(&data.test, normalisation, 8).unwrap().map(Result::unwrap).map(in_f64).collect()
}

#[test]
fn it_is_text_counts_and_names() {
    let space = space();
    let alpha = alpha(&space);
    assert!(space.choice_name(0, 1).contains("sep_conv_7x7"));
    let of = |kind| NetworkSpec {
        space: Arc::new(self::space()),
        kind,
        in_channels: 1,
        height: 28,
        width: 28,
        n_classes: 10,
        channels: 4,
    };
    let params = of(NetworkKind::Search).parent_params();
    let one = params.iter().find(|p| p.name == "cells.0._ops.0._ops.8.op.1.weight").unwrap();
    assert_eq!(one.shape, [4, 1, 7, 7]);
    // The primitive has two depthwise and two pointwise convolutions, with a batch norm behind each pair.
    let net = of(NetworkKind::Final).net(Paths::Child(&alpha));
    let own: usize = net
        .params()
        .iter()
        .filter(|p| p.name.starts_with("cells.0._ops.3.") && p.role.is_trained())
        .map(|p| p.shape.iter().product::<usize>())
        .sum();
    assert_eq!(own, 2 * (4 * 49 + 4 * 4 + 2 * 4));
}

#[test]
fn it_is_searched_and_its_likelihood_is_the_reference_s() {
    let Some(gpu) = open() else { return };
    let config = with(super::search::config(), |c| c.length.steps = 2);
    let data = super::search::dataset();
    let normalisation = Normalisation::of(&data.train);
    let settings = search::Settings {
        config,
        space: Arc::new(space()),
        normalisation: normalisation.clone(),
        lowering: Lowering::default(),
    };
    let mut search = Search::new(settings, data, gpu).unwrap();
    for _ in 0..2 {
        search.step().unwrap();
    }
    assert!(search.genotype().starts_with("Genotype(normal="));
    let alpha = alpha(&space());
    let found = search.evaluate(&alpha).unwrap();
    let state = search.snapshot().unwrap();
    let weights = state.iter().filter_map(|(name, tensor)| {
        let short = name.strip_prefix("v.")?;
        Some((short.to_owned(), (tensor.shape.clone(), numbers(&state, name))))
    });
    let weights = weights.collect();
    let net = search.spec().net(Paths::Child(&alpha));
    let sum: f64 = batches(&normalisation)
        .iter()
        .map(|batch| {
            let outcome = evaluate(&net, &weights, batch, network::Mode::Train, false).unwrap();
            outcome.log_likelihood.iter().sum::<f64>()
        })
        .sum();
    close("mean log-likelihood", &[found.mean_log_likelihood], &[sum / 20.0], 1e-5);
}

#[test]
fn it_is_trained_and_exported() {
    let Some(gpu) = open() else { return };
    let space = space();
    let alpha = alpha(&space);
    let config = super::train::config(&[("steps", 3.into())]);
    let data = super::search::dataset();
    let normalisation = Normalisation::of(&data.train);
    let settings = train::Settings { config, space: Arc::new(space), alpha: alpha.clone(), normalisation };
    let normalisation = settings.normalisation.clone();
    let mut training = Training::new(settings, data, gpu).unwrap();
    for _ in 0..3 {
        training.step().unwrap();
    }
    let found = training.evaluate().unwrap();
    let weights = training.weights().unwrap();
    let tensors = weights.to_tensors(training.network().layout(), Prefixes::PLAIN);
    let floats = tensors.keys().filter(|name| !name.ends_with("num_batches_tracked"));
    let in_f64 =
        floats.map(|name| (name.clone(), (tensors[name].shape.clone(), numbers(&tensors, name)))).collect();
    let net = training.spec().net(Paths::Child(&alpha));
    let likelihood = |batch: &Batch| -> f64 {
        evaluate(&net, &in_f64, batch, network::Mode::Eval, false).unwrap().log_likelihood.iter().sum()
    };
    let sum: f64 = batches(&normalisation).iter().map(likelihood).sum();
    close("mean log-likelihood", &[found.mean_log_likelihood], &[sum / 20.0], 1e-5);

    let about = About::default();
    let exported =
        Trained::new(alpha, training.spec().clone(), tensors, about, Path::new("w.safetensors")).unwrap();
    assert!(exported.metadata()["genotype"].contains("sep_conv_7x7"));
    let text = python::to_text(&exported).unwrap();
    assert_eq!(text.matches(", 7, ").count(), 2 * 8 * 3, "{text}");
    let model: Model = onnx::model(&exported, onnx::Options { fold: false }).unwrap();
    let kernels = |node: &parsec_nas::export::onnx::proto::Node| {
        node.attribute.iter().any(|a| a.name == "kernel_shape" && a.ints == [7, 7])
    };
    assert_eq!(model.graph.unwrap().node.iter().filter(|node| kernels(node)).count(), 2 * 8 * 3);
}
