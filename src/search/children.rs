//! K architectures → the distinct networks among them.

use std::sync::Arc;

use crate::graph::spec::NetworkSpec;
use crate::network::Net;
use crate::space::{Alpha, Genotype, Pair, Paths, Primitive, Space};

/// K children, and which of them are the same network.
pub(super) struct Children {
    pub alphas: Vec<Alpha>,
    /// The distinct networks, in order of first appearance.
    pub distinct: Vec<Genotype>,
    /// Their layers.
    pub nets: Vec<Arc<Net>>,
    /// For each child its network.
    pub network_of: Vec<usize>,
}

impl Children {
    /// The networks of `alphas`; without `merge` each child has one of its own.
    pub fn new(space: &Space, spec: &NetworkSpec, alphas: Vec<Alpha>, merge: bool) -> Self {
        let mut distinct: Vec<Genotype> = Vec::new();
        let mut network_of = Vec::new();
        for alpha in &alphas {
            let genotype = canonical(space.genotype(alpha));
            let there = if merge { distinct.iter().position(|g| *g == genotype) } else { None };
            network_of.push(there.unwrap_or(distinct.len()));
            if there.is_none() {
                distinct.push(genotype);
            }
        }
        let nets = distinct.iter().map(|genotype| Arc::new(spec.net(Paths::Child(genotype)))).collect();
        Self { alphas, distinct, nets, network_of }
    }
}

/// The same network with the two terms of each node in a fixed order: a + b = b + a to the bit, and both
/// orders use the same weights.
fn canonical(mut genotype: Genotype) -> Genotype {
    for slots in genotype.normal.iter_mut().chain(&mut genotype.reduce) {
        slots.sort();
    }
    genotype
}

/// Children that need as much memory as any: the costliest primitive everywhere, in flat and deep cells.
pub(super) fn largest(space: &Space) -> Vec<Genotype> {
    // Each convolution keeps a tensor, and a max pool the taps of its maxima.
    let rank = |p: &Primitive| (p.row().steps.len(), *p == Primitive::MaxPool3x3);
    let Some(&primitive) = space.primitives().iter().max_by_key(|p| rank(p)) else {
        return Vec::new();
    };
    let flat = std::array::from_fn(|_| [0, 1].map(|input| Pair { input, primitive }));
    let deep = std::array::from_fn(|node| [node, node + 1].map(|input| Pair { input, primitive }));
    vec![Genotype { normal: flat, reduce: flat }, Genotype { normal: deep, reduce: deep }]
}
