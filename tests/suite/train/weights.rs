//! Files of weights: tensors that fit are read, and errors name tensors that do not fit.

use std::path::Path;

use parsec_nas::files::tensors::{Tensor, Tensors};
use parsec_nas::graph::Layout;
use parsec_nas::space::Primitive;
use parsec_nas::space::{NetworkKind, StemKind};
use parsec_nas::train::weights::{Prefixes, Weights};

use super::genotype;
use crate::nets::Cells;

fn layout(auxiliary: bool) -> Layout {
    let spec = Cells {
        kind: NetworkKind::Final,
        stem: StemKind::Cifar,
        in_channels: 1,
        height: 16,
        width: 16,
        n_classes: 10,
        layers: 3,
        channels: 4,
        auxiliary,
    };
    Layout::new(spec.params(Some(&genotype()), &Primitive::ALL)).unwrap()
}

fn some(layout: &Layout) -> Weights {
    let mut weights = Weights { batches_tracked: 41, ..Weights::initial(layout, 7) };
    // Padding between tensors stays 0.
    for (_, entry) in layout.running() {
        let values: Vec<f32> = (0..entry.spec.len()).map(|i| 0.25 + i as f32).collect();
        entry.pack(&values, &mut weights.state);
    }
    weights
}

fn load(tensors: &Tensors, layout: &Layout, evaluated: bool) -> parsec_nas::Result<Weights> {
    Weights::from_tensors(tensors, Path::new("w.safetensors"), layout, evaluated)
}

#[test]
fn a_state_dictionary_and_a_checkpoint_round_trip() {
    let layout = layout(true);
    let weights = some(&layout);
    for prefixes in [Prefixes::PLAIN, Prefixes::CHECKPOINT] {
        let mut tensors = weights.to_tensors(&layout, prefixes);
        if prefixes == Prefixes::CHECKPOINT {
            assert!(tensors.contains_key("state.stem.1.running_var"));
            tensors.insert("momentum.stem.0.weight".into(), Tensor::f32(&[1], vec![0.0]));
        }
        assert_eq!(Prefixes::of(&tensors), prefixes);
        assert_eq!(load(&tensors, &layout, true).unwrap(), weights);
    }
    let plain = weights.to_tensors(&layout, Prefixes::PLAIN);
    assert_eq!(plain["stem.1.num_batches_tracked"], Tensor::i64(&[], vec![41]));
    assert_eq!(plain["stem.0.weight"].shape, [12, 1, 3, 3]);
}

#[test]
fn statistics_may_be_missing_where_a_training_starts() {
    let layout = layout(false);
    let mut tensors = some(&layout).to_tensors(&layout, Prefixes::PLAIN);
    tensors.retain(|name, _| !name.contains("running") && !name.contains("tracked"));
    let weights = load(&tensors, &layout, false).unwrap();
    assert_eq!(weights.v, some(&layout).v);
    assert_eq!(weights.state, Weights::initial(&layout, 0).state);
    let error = load(&tensors, &layout, true).unwrap_err().to_string();
    assert!(error.contains("stem.1.running_mean"), "{error}");
    // It is an error if only some of the running statistics are there.
    tensors.insert("cells.0.preprocess0.op.2.running_var".into(), Tensor::f32(&[4], vec![1.0; 4]));
    assert!(load(&tensors, &layout, false).is_err());
}

#[test]
fn what_does_not_fit_is_named() {
    let layout = layout(false);
    let good = some(&layout).to_tensors(&layout, Prefixes::PLAIN);
    let broken = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        let error = load(&tensors, &layout, true).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        error.to_string()
    };
    let missing = broken(&|t| drop(t.remove("cells.1._ops.3.op.5.weight")));
    assert!(missing.contains("cells.1._ops.3.op.5.weight") && missing.contains("no such name"), "{missing}");
    let shape = broken(&|t| drop(t.insert("classifier.bias".into(), Tensor::f32(&[7], vec![0.0; 7]))));
    assert!(shape.contains("classifier.bias") && shape.contains("[10]") && shape.contains("[7]"), "{shape}");
    let other = broken(&|t| drop(t.insert("cells.9.x".into(), Tensor::f32(&[1], vec![0.0]))));
    assert!(other.contains("cells.9.x") && other.contains("w.safetensors"), "{other}");
    let kind = broken(&|t| drop(t.insert("classifier.bias".into(), Tensor::i64(&[10], vec![0; 10]))));
    assert!(kind.contains("classifier.bias") && kind.contains("F32"), "{kind}");
}

#[test]
fn an_auxiliary_head_is_ignored_by_a_network_without() {
    let (with, without) = (layout(true), layout(false));
    let tensors = some(&with).to_tensors(&with, Prefixes::PLAIN);
    assert!(tensors.contains_key("auxiliary_head.classifier.bias"));
    load(&tensors, &without, true).unwrap();
    let error = load(&some(&without).to_tensors(&without, Prefixes::PLAIN), &with, false).unwrap_err();
    assert!(error.to_string().contains("auxiliary_head."), "{error}");
}
