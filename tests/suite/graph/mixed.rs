//! Plans of mixed networks: limits, memory, and results that depend only on the request.

use parsec_nas::gpu::{Child, Network};
use parsec_nas::graph::init::initial;
use parsec_nas::graph::{Extent, Layout, Lowering, Memory, Mode, Plan, Request};
use parsec_nas::kernel::Buf;
use parsec_nas::ops::Tuning;
use parsec_nas::space::{Darts, Primitive, read_genotype};
use parsec_nas::space::{NetworkKind, StemKind};

use super::super::nets;
use super::super::replay::{distance, norm, open};
use crate::nets::{Cells, Of};

fn spec(layers: usize, channels: usize, side: usize) -> Cells {
    Cells {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: 3,
        height: side,
        width: side,
        n_classes: 10,
        layers,
        channels,
        auxiliary: false,
    }
}

fn plan(spec: &Cells, paths: Of<'_>, batch: u32, mode: Mode, lowering: Lowering) -> Plan {
    let layout = Layout::new(spec.params(None, &Primitive::ALL)).unwrap();
    let (input, drop_path) = (0, false);
    Plan::new(Request {
        net: &spec.net(paths),
        layout: &layout,
        batch,
        mode,
        extent: Extent::Whole,
        input,
        drop_path,
        lowering,
    })
    .unwrap()
}

#[test]
fn launches_stay_inside_the_default_limits() {
    for (layers, channels, side, batch) in [(3, 2, 4, 1), (8, 16, 32, 64), (5, 6, 28, 7), (4, 64, 32, 16)] {
        let spec = spec(layers, channels, side);
        for mode in [Mode::Likelihood, Mode::Train, Mode::Factors] {
            for memory in [Memory::Normal, Memory::Low] {
                let lowering = Lowering { memory, ..Lowering::default() };
                let plan = plan(&spec, Of::Mixed(&Primitive::ALL), batch, mode, lowering);
                plan.launches.iter().for_each(super::limits::check);
            }
        }
    }
}

/// At the size of the DARTS search, all paths at once need several times the memory of any child.
#[test]
fn all_paths_need_several_times_the_memory_of_a_child() {
    let (spec, space) = (spec(8, 16, 32), Darts::default());
    let of = |paths| plan(&spec, paths, 64, Mode::Train, Lowering::default()).arena_bytes() as f64;
    let genotype = read_genotype("DARTS_V2").unwrap();
    let child = of(Of::Child(&genotype));
    let all = of(Of::Mixed(space.primitives()));
    assert!((5.0..40.0).contains(&(all / child)), "{all} and {child}");
    // The gradient of the factors alone needs no more memory.
    let factors = plan(&spec, Of::Mixed(space.primitives()), 64, Mode::Factors, Lowering::default());
    assert!(factors.arena_bytes() as f64 <= 1.05 * all);
}

/// Logits, the gradient of the weights and the gradient of the factors. All memory is filled with `word` before each
/// pass.
fn results(lowering: Lowering, word: u32) -> Option<[Vec<f32>; 3]> {
    let (spec, primitives, n) = (spec(3, 4, 8), &Primitive::ALL, 3);
    let net = nets::mixed(&spec, primitives);
    let layout = Layout::new(spec.params(None, primitives)).unwrap();
    let v = initial(&layout, 3);
    let mut network = Network::new(open()?, spec.image(), layout, lowering).unwrap();
    network.write_all(Buf::V, &v).unwrap();
    let images: Vec<f32> = (0..n * 3 * 64).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    network.upload(0, &images, &[1, 7, 4]).unwrap();
    let factors: Vec<f32> = (0..net.n_factors).map(|i| ((i * 29) % 31) as f32 / 120.0).collect();
    network.upload_factors(&factors, 0).unwrap();
    for mode in [Mode::Train, Mode::Factors] {
        network.reserve([&net], mode, n as u32, Extent::Whole).unwrap();
    }
    let reserved = network.arena_bytes();
    for mode in [Mode::Train, Mode::Factors] {
        let mixed = Child::new(&net, mode, 0);
        let plan = network.plan_of(mixed).unwrap();
        let pages = plan.regions.pages.iter().enumerate().map(|(i, bytes)| (Buf::Page(i as u16), *bytes));
        let all = pages.chain([(Buf::Coefs, plan.regions.coefs_bytes), (Buf::Packed, plan.packed_bytes)]);
        for (buf, bytes) in all {
            let words = vec![word; bytes as usize / 4];
            network.gpu().write(buf, 0, bytemuck::cast_slice(&words)).unwrap();
        }
        network.run(mixed).unwrap();
    }
    assert_eq!(network.arena_bytes(), reserved, "what is reserved is enough");
    let logits = network.logits(0, 0).unwrap();
    let (grad, of_factors) =
        (network.read_all(Buf::Grad).unwrap(), network.take_factor_gradient(factors.len()).unwrap());
    assert_eq!(network.take_factor_gradient(1).unwrap(), [0.0], "what was taken is gone");
    Some([logits, grad, of_factors])
}

#[test]
fn nothing_is_read_that_was_not_written_whatever_is_kept_and_however_it_is_split() {
    let usual = Lowering::default();
    let Some(expected) = results(usual, 0) else { return };
    let bits = |results: [Vec<f32>; 3]| results.map(|r| r.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
    let nan = f32::NAN.to_bits();
    assert_eq!(bits(results(usual, nan).unwrap()), bits(expected.clone()));
    let low = Lowering { memory: Memory::Low, ..usual };
    assert_eq!(bits(results(low, nan).unwrap()), bits(expected.clone()), "computed again, the same bits");
    // Two other lowerings: with pages that hold few blocks, and with batch norm's backward applied while loading.
    let small = Lowering { page_bytes: 16 << 10, ..usual };
    let loading = Lowering { tuning: Tuning { stored_dy: 0, ..usual.tuning }, ..usual };
    for (what, other) in [("small pages", small), ("while loading", loading)] {
        for (found, expected) in results(other, nan).unwrap().iter().zip(&expected) {
            let [found, expected] =
                [found, expected].map(|r| r.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
            assert!(norm(&expected) > 0.0 && distance(&found, &expected) <= 1e-4 * norm(&expected), "{what}");
        }
    }
}
