//! Plans of random networks: memory, launches, counts; the layout of parameters; a poisoned arena.

use std::sync::{Arc, OnceLock};

use super::nets;
use crate::nets::Cells;
use parsec_nas::graph::{Extent, Layout, Lowering, Memory, Mode, Plan, Request};
use parsec_nas::network::Net;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::{Genotype, Pair, Primitive};
use parsec_nas::space::{NetworkKind, StemKind};
use rand::{Rng, RngExt};

pub mod access;
mod big;
pub mod golden;
mod layout;
pub mod limits;
pub mod memory;
mod mixed;
mod poison;
mod properties;
mod recompute;

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub struct Owned {
    spec: Cells,
    genotype: Genotype,
    layout: Layout,
    batch: u32,
    mode: Mode,
    drop_path: bool,
    lowering: Lowering,
    /// Made at the first use.
    net: OnceLock<Arc<Net>>,
}

impl Owned {
    fn net(&self) -> &Arc<Net> {
        self.net.get_or_init(|| nets::child(&self.spec, &self.genotype))
    }

    fn request(&self) -> Request<'_> {
        Request {
            net: self.net(),
            layout: &self.layout,
            batch: self.batch,
            mode: self.mode,
            extent: Extent::Whole,
            input: 0,
            drop_path: self.drop_path,
            lowering: self.lowering,
        }
    }

    fn plan(&self) -> Plan {
        Plan::new(self.request()).unwrap()
    }

    fn with(&self, mode: Mode, fuse: bool) -> Self {
        Self { mode, lowering: Lowering { fuse, ..self.lowering }, ..self.clone() }
    }
}

pub fn random_genotype(rng: &mut impl Rng, primitives: &[Primitive]) -> Genotype {
    let mut cell = || {
        std::array::from_fn(|node| {
            std::array::from_fn(|_| Pair {
                input: rng.random_range(0..node + 2),
                primitive: primitives[rng.random_range(0..primitives.len())],
            })
        })
    };
    Genotype { normal: cell(), reduce: cell() }
}

pub fn layout_of(spec: &Cells, genotype: &Genotype) -> Layout {
    Layout::new(spec.params(Some(genotype), &Primitive::ALL)).unwrap()
}

/// Requests for networks of both kinds and stems, with 1 to 8 cells, in all modes, fused and unfused. The requests are
/// always the same.
pub fn random_requests(n: u64) -> impl Iterator<Item = Owned> {
    (0..n).map(|i| {
        let mut rng = stream(1, Purpose::Test, 40, i);
        let is_final = i % 2 == 1;
        let layers = rng.random_range(1..=8);
        let mut spec = Cells {
            kind: if is_final { NetworkKind::Final } else { NetworkKind::Search },
            stem: if is_final && rng.random() { StemKind::ImageNet } else { StemKind::Cifar },
            in_channels: rng.random_range(1..=3),
            height: 0,
            width: 0,
            n_classes: rng.random_range(2..=40),
            layers,
            channels: 2 * rng.random_range(1..=6),
            auxiliary: is_final && rng.random(),
        };
        let unit = spec.size_unit();
        (spec.height, spec.width) = (unit * rng.random_range(1..=6), unit * rng.random_range(1..=6));
        spec.check().unwrap();
        let genotype = random_genotype(&mut rng, &Primitive::ALL);
        let mode = match (rng.random_range(0..4), spec.kind) {
            (0, _) => Mode::Likelihood,
            (1, NetworkKind::Final) => Mode::Evaluate,
            _ => Mode::Train,
        };
        Owned {
            layout: layout_of(&spec, &genotype),
            batch: rng.random_range(1..=9),
            drop_path: is_final && mode == Mode::Train && rng.random(),
            lowering: Lowering {
                fuse: rng.random(),
                memory: if i % 5 == 4 { Memory::Low } else { Memory::Normal },
                ..Lowering::default()
            },
            spec,
            genotype,
            mode,
            net: OnceLock::new(),
        }
    })
}

/// Flops of the launches of convolutions and linear layers.
pub fn convolution_flops(plan: &Plan) -> u64 {
    let counted =
        |d: &&parsec_nas::kernel::Launch| ["conv", "depthwise", "pointwise", "linear"].contains(&d.shader);
    plan.launches.iter().filter(counted).map(|d| d.flops).sum()
}

/// Fusion moves work between launches. The work of the convolutions stays the same, and is the work of the network.
#[test]
fn work_is_that_of_the_network_fused_or_not() {
    for owned in random_requests(60) {
        let [fused, plain] = [true, false].map(|fuse| owned.with(owned.mode, fuse).plan());
        assert_eq!(convolution_flops(&fused), convolution_flops(&plain), "{owned:?}");
        assert!(fused.launches.len() <= plain.launches.len());
        // In a forward pass alone, the tensors of a level side by side may take more memory than one operation after
        // another.
        assert!(owned.mode != Mode::Train || fused.arena_bytes() <= plain.arena_bytes());
        assert!(fused.bytes < plain.bytes);

        // `macs` counts both terms of a node. A child of a search computes a pair that was drawn twice only once.
        let twice = |slots: &[Pair; 2]| slots[0] == slots[1];
        let g = &owned.genotype;
        let drawn_twice =
            owned.spec.kind == NetworkKind::Search && g.normal.iter().chain(&g.reduce).any(twice);
        let forward = convolution_flops(&owned.with(Mode::Likelihood, owned.lowering.fuse).plan());
        let counted = 2 * u64::from(owned.batch) * owned.spec.macs(g);
        assert!(
            if drawn_twice { forward <= counted } else { forward == counted },
            "{forward} {counted} {owned:?}"
        );
    }
}

/// The plans for the two input slots differ only in the names of their input buffers.
#[test]
fn splits_share_everything_but_their_inputs() {
    for owned in random_requests(10) {
        let [a, b] = [0, 1].map(|input| Plan::new(Request { input, ..owned.request() }).unwrap());
        assert_eq!(a.regions, b.regions);
        assert_eq!((a.flops, a.bytes, a.launches.len()), (b.flops, b.bytes, b.launches.len()));
        assert_ne!(a, b);
    }
}
