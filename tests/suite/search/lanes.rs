//! Gradients in lanes are added as a fixed tree, wherever a lane is computed.

use crate::with;
use parsec_nas::config::Samples;
use parsec_nas::data::{Augment, BatchSource, Normalisation, Split};
use parsec_nas::gpu::Child;
use parsec_nas::graph::Mode;
use parsec_nas::kernel::{Buf, Range};
use parsec_nas::ops::lane;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::replay::close;
use super::{all, config, dataset, minus, run, search};

/// The sum of `n` lanes as text, in the order in which the launches add the lanes.
fn tree(n: usize) -> String {
    let gradient = Range { buf: Buf::Grad, offset_bytes: 0, len_bytes: 256 };
    let (mut waiting, mut grad) = (BTreeMap::new(), String::new());
    for at in 0..n {
        assert!(grad.is_empty(), "lane {at} begins at zero");
        grad = at.to_string();
        for d in lane::close(at, at + 1 == n, gradient, 0, 1 << 27) {
            let (_, Range { buf, .. }) = d.bindings[1];
            match d.entry {
                "put" => assert_eq!(waiting.insert(buf, std::mem::take(&mut grad)), None),
                _ => grad = format!("({}+{grad})", waiting.remove(&buf).unwrap()),
            }
        }
    }
    assert!(waiting.is_empty(), "{waiting:?}");
    grad
}

#[test]
fn lanes_are_added_by_a_fixed_tree() {
    assert_eq!(tree(1), "0");
    assert_eq!(tree(2), "(0+1)");
    assert_eq!(tree(3), "((0+1)+2)");
    assert_eq!(tree(7), "(((0+1)+(2+3))+((4+5)+6))");
    assert_eq!(tree(8), "(((0+1)+(2+3))+((4+5)+(6+7)))");
    assert_eq!(tree(9), "((((0+1)+(2+3))+((4+5)+(6+7)))+8)");
    // There is one addition less than lanes, and each lane but the last is put aside.
    let gradient = Range { buf: Buf::Grad, offset_bytes: 0, len_bytes: 1 << 20 };
    let n: usize = (0..8).map(|at| lane::close(at, at == 7, gradient, 0, 1 << 27).len()).sum();
    assert_eq!(n, 7 + 7);
}

/// Lanes that are computed one by one and added on the host give the same bits.
#[test]
fn a_lane_may_be_computed_anywhere() {
    let several = with(config(), |c| {
        c.algorithm.reference = true;
        c.algorithm.samples = Samples::Fixed(6);
        c.execution.lanes = 4;
    });
    let Some(mut search) = search(several) else { return };
    let data = dataset();
    let source = BatchSource::new(
        Arc::clone(&data),
        (0..48).collect(),
        Split::Train,
        8,
        0,
        Augment::NONE,
        &Normalisation::of(&data.train),
    );
    let batch = source.unwrap().batch(0).unwrap();
    let alphas = search.draw();
    let weights = [0.3, 0.05, 0.2, 0.1, 0.25, 0.1];
    search.evaluator().accumulate(&alphas, &weights, &batch).unwrap();
    let found = search.network().read_all(Buf::Grad).unwrap();
    let n = found.len();

    let mut lanes: Vec<Vec<f32>> = Vec::new();
    for lane in 0..4 {
        search.network().write_all(Buf::Grad, &vec![0.0; n]).unwrap();
        for k in (lane..6).step_by(4) {
            let net = search.evaluator().net(&alphas[k]);
            search.network().set_child_weight(weights[k]).unwrap();
            search.network().run(Child::new(&net, Mode::Train, 1)).unwrap();
        }
        lanes.push(search.network().read_all(Buf::Grad).unwrap());
    }
    let sum = |i: usize| (lanes[0][i] + lanes[1][i]) + (lanes[2][i] + lanes[3][i]);
    assert!((0..n).all(|i| sum(i).to_bits() == found[i].to_bits()));
    // The order of a single lane would give another rounding.
    let one = |i: usize| (0..4).map(|lane| lanes[lane][i]).fold(0.0, |a, b| a + b);
    assert!((0..n).any(|i| one(i).to_bits() != found[i].to_bits()));
}

/// The number of lanes changes only the rounding, also with a common trunk and with micro-batches.
#[test]
fn the_number_of_lanes_changes_nothing_but_rounding() {
    for micro_batch in [None, Some(4)] {
        let with = |lanes| {
            let config = with(config(), |c| {
                c.algorithm.samples = Samples::Fixed(5);
                c.algorithm.drop_mass = 0.0;
                c.execution.lanes = lanes;
                c.execution.micro_batch = micro_batch;
            });
            let mut search = search(config)?;
            let start = all(&search.snapshot().unwrap(), "v.");
            let record = run(&mut search, 1).remove(0);
            Some((record.log_likelihood, minus(&all(&search.snapshot().unwrap(), "v."), &start)))
        };
        let Some((likelihoods, one)) = with(1) else { return };
        for lanes in [2, 8] {
            let (same, several) = with(lanes).unwrap();
            assert_eq!(likelihoods, same);
            assert_ne!(one, several, "another order of additions");
            close("the step of v", &several, &one, 1e-5);
        }
        // With at least as many lanes as children each child has its own lane.
        assert_eq!(with(8).unwrap().1, with(64).unwrap().1);
    }
}
