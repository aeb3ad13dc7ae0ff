//! K architectures → the distinct networks among them.

use crate::space::{Alpha, Genotype, Pair, Primitive, Space};

/// K children, and which of them are the same network.
pub(super) struct Children {
    pub alphas: Vec<Alpha>,
    /// The distinct networks, in order of first appearance.
    pub distinct: Vec<Genotype>,
    /// For each child its network.
    pub network_of: Vec<usize>,
}

impl Children {
    /// The networks of `alphas`; without `merge` each child has one of its own.
    pub fn new(space: &Space, alphas: Vec<Alpha>, merge: bool) -> Self {
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
        Self { alphas, distinct, network_of }
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
    let rank = |p: &Primitive| match p {
        Primitive::SepConv5x5 | Primitive::SepConv3x3 => 3,
        Primitive::DilConv5x5 | Primitive::DilConv3x3 => 2,
        Primitive::MaxPool3x3 => 1,
        Primitive::AvgPool3x3 | Primitive::SkipConnect | Primitive::None => 0,
    };
    let Some(&primitive) = space.primitives().iter().max_by_key(|p| rank(p)) else {
        return Vec::new();
    };
    let flat = std::array::from_fn(|_| [0, 1].map(|input| Pair { input, primitive }));
    let deep = std::array::from_fn(|node| [node, node + 1].map(|input| Pair { input, primitive }));
    vec![Genotype { normal: flat, reduce: flat }, Genotype { normal: deep, reduce: deep }]
}
