//! Tensors that are computed again in the backward pass: the same bits in less memory.

use std::sync::OnceLock;

use parsec_nas::graph::{Layout, Lowering, Memory, Mode};
use parsec_nas::space::{CellArch, Genotype, Pair, Primitive, read_genotype};
use parsec_nas::space::{NetworkKind, StemKind};

use super::poison::{bits, loaded};
use super::{Owned, random_requests};
use crate::nets::Cells;

fn with_memory(owned: &Owned, memory: Memory) -> Owned {
    Owned { lowering: Lowering { memory, ..owned.lowering }, ..owned.clone() }
}

#[test]
fn low_memory_gives_the_same_bits() {
    let cases = random_requests(200).filter(|o| o.spec.layers <= 3 && o.mode == Mode::Train);
    for owned in cases.skip(4).take(5) {
        let [low, normal] = [Memory::Low, Memory::Normal].map(|memory| with_memory(&owned, memory));
        assert!(low.plan().launches.len() > normal.plan().launches.len(), "{owned:?}");
        let Some(mut network) = loaded(&low) else { return };
        let found = bits(&mut network, &low, f32::NAN.to_bits());
        let mut network = loaded(&normal).unwrap();
        assert_eq!(found, bits(&mut network, &normal, f32::NAN.to_bits()), "{owned:?}");
    }
}

/// Low memory changes only the backward pass. A plan without a backward pass is the same.
#[test]
fn nothing_is_computed_again_without_a_backward_pass() {
    for owned in random_requests(40) {
        let forward = owned.with(Mode::Likelihood, owned.lowering.fuse);
        assert_eq!(with_memory(&forward, Memory::Low).plan(), with_memory(&forward, Memory::Normal).plan());
    }
}

/// The network of the DARTS search, with its batch.
fn reference(genotype: Genotype, memory: Memory) -> Owned {
    let spec = Cells {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: 3,
        height: 32,
        width: 32,
        n_classes: 10,
        layers: 8,
        channels: 16,
        auxiliary: false,
    };
    let layout = Layout::new(spec.child_params(&genotype)).unwrap();
    let lowering = Lowering { memory, ..Lowering::default() };
    Owned {
        spec,
        genotype,
        layout,
        batch: 64,
        mode: Mode::Train,
        drop_path: false,
        lowering,
        net: OnceLock::new(),
    }
}

/// The children that keep the most tensors. All operations are separable convolutions, either all at one level or one
/// node per level.
fn largest() -> [Genotype; 2] {
    [0, 1].map(|step| {
        let cell: CellArch = std::array::from_fn(|node| {
            [0, 1].map(|slot| Pair { input: step * node + slot, primitive: Primitive::SepConv5x5 })
        });
        Genotype { normal: cell, reduce: cell }
    })
}

#[test]
fn the_reference_s_children_fit_in_what_is_promised() {
    let mib = |genotype, memory| reference(genotype, memory).plan().arena_bytes() >> 20;
    let darts = || read_genotype("DARTS_V2").unwrap();
    assert!(mib(darts(), Memory::Normal) < 450, "{}", mib(darts(), Memory::Normal));
    assert!(mib(darts(), Memory::Low) < 225, "{}", mib(darts(), Memory::Low));
    for genotype in largest() {
        assert!(mib(genotype.clone(), Memory::Normal) < 700);
        assert!(mib(genotype.clone(), Memory::Low) < 300, "{}", mib(genotype, Memory::Low));
    }
}
