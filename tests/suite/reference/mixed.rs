//! The mixed network in f64: finite differences, and equality with a child if only the paths of the child have weight.

use std::sync::Arc;

use parsec_nas::network::Net;
use parsec_nas::reference::network::{FACTORS, Mode, Tensors, evaluate, parameter_shapes};
use parsec_nas::space::NetworkKind;
use parsec_nas::space::{CellKind, Genotype, N_EDGES, Pair, Primitive, edge};

use super::super::nets;
use super::networks::{batch, weights};
use super::{close, noise};

fn mixed() -> Arc<Net> {
    nets::mixed(&nets::small(NetworkKind::Search, 2, 8), &Primitive::ALL)
}

/// Random weights, and factors between 0 and 0.25.
fn values(key: u64) -> Tensors {
    let mut v = weights(&parameter_shapes(&mixed()), key);
    for f in &mut v.get_mut(FACTORS).unwrap().1 {
        *f = 0.125 + 0.125 * *f;
    }
    v
}

#[test]
fn gradients_of_the_weights_and_of_the_factors() {
    let net = mixed();
    let (v, batch) = (values(1), batch(1, 2, 8));
    let run = |v: &Tensors, back| evaluate(&net, v, &batch, Mode::Train, back).unwrap();
    let outcome = run(&v, true);
    assert_eq!(outcome.grads.keys().collect::<Vec<_>>(), v.keys().collect::<Vec<_>>());
    let step = 2e-7;
    let difference = |along: &dyn Fn(&str, usize) -> f64| {
        let moved = |by: f64| {
            let mut v = v.clone();
            for (name, (_, values)) in &mut v {
                values.iter_mut().enumerate().for_each(|(i, x)| *x += by * along(name, i));
            }
            run(&v, false).loss
        };
        (moved(step) - moved(-step)) / (2.0 * step)
    };
    // `none` (index 0 of each edge) adds nothing, so its factor has no gradient.
    let of_factors = &outcome.grads[FACTORS].1;
    assert!(of_factors.iter().step_by(8).all(|g| *g == 0.0));
    for at in [1, 11, 58, 111, 115, 150, 223] {
        let numeric = difference(&|name, i| f64::from(u8::from(name == FACTORS && i == at)));
        close(&[of_factors[at]], &[numeric], 1e-6);
    }
    let direction: std::collections::BTreeMap<String, Vec<f64>> = (0..)
        .zip(&v)
        .map(|(i, (name, (_, x)))| (name.clone(), noise(9000 + i, x.len())))
        .map(|(name, d)| (name, d.iter().map(|x| x / (d.len() as f64).sqrt()).collect()))
        .collect();
    let gradients = outcome.grads.iter().flat_map(|(name, (_, g))| g.iter().zip(&direction[name]));
    let along: f64 = gradients.map(|(g, d)| g * d).sum();
    close(&[along], &[difference(&|name, i| direction[name][i])], 1e-6);
}

/// Factors of 1 on the paths of a child and 0 on all others give the child. Pairs drawn twice have a factor of 2.
#[test]
fn a_child_is_a_mixed_network_with_its_paths_alone() {
    let genotype: Genotype = super::networks::everything();
    let mut v = values(3);
    let factors = &mut v.get_mut(FACTORS).unwrap().1;
    factors.fill(0.0);
    for kind in CellKind::ALL {
        for (node, slots) in genotype.cell(kind).iter().enumerate() {
            for Pair { input, primitive } in slots {
                let at = (kind.index() * N_EDGES + edge(node, *input)) * 8 + primitive.index();
                factors[at] += 1.0;
            }
        }
    }
    let batch = batch(4, 3, 8);
    let child = nets::child(&nets::small(NetworkKind::Search, 2, 8), &genotype);
    let mixed = evaluate(&mixed(), &v, &batch, Mode::Train, true).unwrap();
    let child = evaluate(&child, &v, &batch, Mode::Train, true).unwrap();
    close(&mixed.logits, &child.logits, 1e-10);
    for (name, (_, g)) in &child.grads {
        close(&mixed.grads[name].1, g, 1e-10);
    }
}
