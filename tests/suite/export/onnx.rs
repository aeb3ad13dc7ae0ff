//! The ONNX file, decoded: order, names, constants, folding.

use std::collections::{BTreeMap, BTreeSet};

use parsec_nas::export::Trained;
use parsec_nas::export::onnx::proto::{self, Extent, Model};
use parsec_nas::export::onnx::{IR_VERSION, OPSET, Options, to_bytes};
use parsec_nas::space::{NetworkKind, StemKind};
use prost::Message;

use super::{small, trained, v2, with_none};

fn decoded(network: &Trained, fold: bool) -> Model {
    Model::decode(to_bytes(network, Options { fold }).unwrap().as_slice()).unwrap()
}

fn floats(model: &Model, name: &str) -> Vec<f32> {
    let graph = model.graph.as_ref().unwrap();
    let tensor = graph.initializer.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(tensor.data_type, proto::FLOAT);
    tensor.raw_data.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

fn operators(model: &Model) -> BTreeMap<&str, usize> {
    let mut out = BTreeMap::new();
    for node in &model.graph.as_ref().unwrap().node {
        *out.entry(node.op_type.as_str()).or_insert(0) += 1;
    }
    out
}

/// Checks that a node reads only values that were made before, that every value is read, and that the length of each
/// constant fits its extents.
pub fn check(model: &Model) {
    let graph = model.graph.as_ref().unwrap();
    let mut known: BTreeSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
    let mut unread = BTreeSet::new();
    for tensor in &graph.initializer {
        let width = if tensor.data_type == proto::FLOAT { 4 } else { 8 };
        assert_eq!(
            tensor.dims.iter().product::<i64>() * width,
            tensor.raw_data.len() as i64,
            "{}",
            tensor.name
        );
        assert!(known.insert(&tensor.name), "{} twice", tensor.name);
        unread.insert(tensor.name.as_str());
    }
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{} reads {input} too early", node.name);
            unread.remove(input.as_str());
        }
        for output in &node.output {
            assert!(known.insert(output), "{output} twice");
            unread.insert(output);
        }
        if node.op_type == "Conv" {
            let dims = |i: usize| graph.initializer.iter().find(|t| t.name == node.input[i]).map(|t| &t.dims);
            let weight = dims(1).unwrap();
            let ints = |name: &str| node.attribute.iter().find(|a| a.name == name).unwrap();
            assert_eq!(weight.len(), 4);
            assert_eq!(ints("kernel_shape").ints, weight[2..], "{}", node.name);
            let group = ints("group").i.unwrap();
            assert!(group == 1 || (group == weight[0] && weight[1] == 1), "{}", node.name);
            if node.input.len() == 3 {
                assert_eq!(dims(2).unwrap(), &weight[..1], "{}", node.name);
            }
        }
    }
    assert_eq!(unread.into_iter().collect::<Vec<_>>(), ["logits"]);
}

#[test]
fn graphs_are_in_order_and_hold_nothing_that_is_not_used() {
    for stem in [StemKind::Cifar, StemKind::ImageNet] {
        for genotype in [v2(), with_none()] {
            for fold in [true, false] {
                let model = decoded(&trained(&genotype, NetworkKind::Final, stem, true), fold);
                check(&model);
                let count = operators(&model);
                assert_eq!(count.contains_key("BatchNormalization"), !fold, "{count:?}");
                let graph = model.graph.as_ref().unwrap();
                assert!(!graph.initializer.iter().any(|t| t.name.starts_with("auxiliary_head")));
            }
        }
    }
}

#[test]
fn the_model_says_what_it_takes_and_gives() {
    let model = decoded(&small(), true);
    assert_eq!((model.ir_version, model.opset_import[0].version), (IR_VERSION, OPSET));
    let graph = model.graph.as_ref().unwrap();
    let shape = |value: &proto::ValueInfo| -> Vec<Extent> {
        let tensor = value.r#type.clone().unwrap().tensor_type.unwrap();
        assert_eq!(tensor.elem_type, proto::FLOAT);
        tensor.shape.unwrap().dim.into_iter().map(|d| d.value.unwrap()).collect()
    };
    let n = Extent::Param("N".into());
    assert_eq!(graph.input[0].name, "images");
    assert_eq!(shape(&graph.input[0]), [n.clone(), Extent::Value(3), Extent::Value(12), Extent::Value(12)]);
    assert_eq!(graph.output[0].name, "logits");
    assert_eq!(shape(&graph.output[0]), [n, Extent::Value(5)]);
    let entries: BTreeMap<&str, &str> =
        model.metadata_props.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
    assert_eq!(entries["std"], "[0.5,0.5,0.5]");
    let names: Vec<String> = serde_json::from_str(entries["class_names"]).unwrap();
    assert_eq!(names, small().about.class_names);
}

/// DARTS_V2 with 3 cells: one normal cell, and two reduction cells with skip connections.
#[test]
fn the_operators_are_those_of_the_genotype() {
    let model = decoded(&small(), false);
    let count = operators(&model);
    let of = |op: &str| count.get(op).copied().unwrap_or(0);
    // Each reduction cell has five max pools. The skip connections of the reduction cells have stride 1.
    assert_eq!(of("MaxPool"), 10);
    // Each cell has four nodes.
    assert_eq!(of("Add"), 12);
    assert_eq!((of("GlobalAveragePool"), of("Gemm"), of("AveragePool")), (1, 1, 0));
    // The stem; the preprocessings, where only cell 2 comes after a reduction; five separable convolutions and a
    // dilated one in the normal cell.
    assert_eq!(of("Conv"), 1 + (2 + 2 + 3) + (5 * 4 + 2));
    assert_eq!(of("Slice"), 1);
    // A node with `none` in both slots becomes zeros. In one slot `none` is left out of the sum.
    let network = trained(&with_none(), NetworkKind::Final, StemKind::Cifar, false);
    let model = decoded(&network, true);
    let count = operators(&model);
    assert_eq!((count["ConstantOfShape"], count["Add"]), (1, 12 - 1 - 2));
}

/// A folded convolution is `(w·g/√(var + eps)) * x + (b − mean·g/√(var + eps))`. Each half of a FactorizedReduce uses
/// its own channels of the batch norm.
#[test]
fn folding_moves_each_channel_by_its_own_norm() {
    let network = small();
    let model = decoded(&network, true);
    for (conv, norm, first) in [
        ("stem.0", "stem.1", 0),
        ("cells.0._ops.0.op.6", "cells.0._ops.0.op.7", 0),
        ("cells.2.preprocess0.conv_1", "cells.2.preprocess0.bn", 0),
        ("cells.2.preprocess0.conv_2", "cells.2.preprocess0.bn", 8),
    ] {
        let of = |name: String| network.f32s(&name).unwrap().1;
        let [g, b, mean, var] =
            ["weight", "bias", "running_mean", "running_var"].map(|p| of(format!("{norm}.{p}")));
        let (weight, folded) = (of(format!("{conv}.weight")), floats(&model, &format!("{conv}.weight")));
        let bias = floats(&model, &format!("{conv}.bias"));
        let per_channel = weight.len() / bias.len();
        for (i, bias) in bias.iter().enumerate() {
            let c = first + i;
            let a = g[c] / (var[c] + 1e-5).sqrt();
            assert!((bias - (b[c] - mean[c] * a)).abs() < 1e-6, "{conv} {c}");
            for k in i * per_channel..(i + 1) * per_channel {
                assert!((folded[k] - weight[k] * a).abs() < 1e-6, "{conv} {c}");
            }
        }
    }
    // The depthwise convolutions in between have no batch norm.
    assert_eq!(
        floats(&model, "cells.0._ops.0.op.5.weight"),
        network.f32s("cells.0._ops.0.op.5.weight").unwrap().1
    );
}

#[test]
fn a_search_parent_is_no_single_network() {
    let parent = trained(&v2(), NetworkKind::Search, StemKind::Cifar, false);
    let e = to_bytes(&parent, Options::default()).unwrap_err();
    assert_eq!(e.exit_code(), 2);
    assert!(e.to_string().contains("train its genotype"), "{e}");
}
