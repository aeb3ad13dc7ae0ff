//! Networks whose tensors are larger than a page. They are planned at the size of ImageNet, and run with small pages.

use std::collections::BTreeSet;

use std::sync::OnceLock;

use parsec_nas::graph::memory::PAGE_BYTES;
use parsec_nas::graph::{Layout, Lowering, Memory, Mode, Plan};
use parsec_nas::kernel::Launch;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::selftest::child::{everything, the_rest};
use parsec_nas::space::{Genotype, Primitive, read_genotype};
use parsec_nas::space::{NetworkKind, StemKind};

use super::super::replay::close;
use super::poison::{bits, loaded};
use super::{Owned, limits, memory, random_genotype, random_requests};
use crate::nets::Cells;

fn genotypes() -> Vec<Genotype> {
    let mut list: Vec<Genotype> =
        ["DARTS_V2", "PC_DARTS_CIFAR"].map(|name| read_genotype(name).unwrap()).to_vec();
    list.extend([everything(), the_rest()]);
    list.extend((0..4).map(|i| random_genotype(&mut stream(1, Purpose::Test, 43, i), &Primitive::ALL)));
    list
}

fn final_network(stem: StemKind) -> Cells {
    let (size, n_classes, layers, channels) = match stem {
        StemKind::ImageNet => (224, 1000, 14, 48),
        StemKind::Cifar => (32, 10, 20, 36),
    };
    Cells {
        kind: NetworkKind::Final,
        stem,
        in_channels: 3,
        height: size,
        width: size,
        n_classes,
        layers,
        channels,
        auxiliary: true,
    }
}

fn owned(spec: &Cells, genotype: &Genotype, batch: u32) -> Owned {
    let layout = Layout::new(spec.params(Some(genotype), &Primitive::ALL)).unwrap();
    Owned {
        layout,
        spec: spec.clone(),
        genotype: genotype.clone(),
        batch,
        mode: Mode::Train,
        drop_path: spec.kind == NetworkKind::Final,
        lowering: Lowering::default(),
        net: OnceLock::new(),
    }
}

/// Plans the network in all modes, and checks that all launches keep to the default limits.
fn plans(owned: &Owned) {
    memory::check(&owned.plan(), &owned.layout);
    for mode in [Mode::Train, Mode::Likelihood, Mode::Evaluate] {
        let drop_path = owned.drop_path && mode == Mode::Train;
        let plan = Owned { mode, drop_path, ..owned.clone() }.plan();
        plan.launches.iter().for_each(limits::check);
    }
}

/// The first map of the stem has 147 MiB, and the operations of a level have as much.
#[test]
fn imagenet_plans_within_the_default_limits() {
    let spec = final_network(StemKind::ImageNet);
    for genotype in genotypes() {
        let owned = owned(&spec, &genotype, 128);
        plans(&owned);
        let low = Lowering { memory: Memory::Low, ..owned.lowering };
        let low = Owned { lowering: low, ..owned.clone() };
        memory::check(&low.plan(), &low.layout);
        assert!(low.plan().arena_bytes() * 3 < owned.plan().arena_bytes() * 2);
    }
}

#[test]
fn the_final_network_of_cifar_plans_within_the_default_limits() {
    for genotype in genotypes() {
        plans(&owned(&final_network(StemKind::Cifar), &genotype, 96));
    }
}

/// Stem and cell outputs are larger than a page.
#[test]
fn a_search_at_224_pixels_plans_within_the_default_limits() {
    let spec = Cells {
        kind: NetworkKind::Search,
        layers: 8,
        channels: 16,
        auxiliary: false,
        height: 224,
        width: 224,
        ..final_network(StemKind::Cifar)
    };
    for genotype in genotypes() {
        let mut owned = owned(&spec, &genotype, 16);
        owned.mode = Mode::Train;
        memory::check(&owned.plan(), &owned.layout);
        owned.plan().launches.iter().for_each(limits::check);
    }
}

/// The weights of a parent of 48 channels and 20 cells are larger than a binding.
#[test]
fn large_parents_are_bound_by_ranges() {
    let spec = Cells {
        kind: NetworkKind::Search,
        layers: 20,
        channels: 48,
        auxiliary: false,
        ..final_network(StemKind::Cifar)
    };
    for genotype in genotypes() {
        let owned = owned(&spec, &genotype, 4);
        assert!(u64::from(owned.layout.v_len) * 4 > PAGE_BYTES);
        owned.plan().launches.iter().for_each(limits::check);
    }
}

/// The smallest page, in multiples of 256 bytes, for which there is a plan.
fn smallest_page(owned: &Owned) -> u64 {
    let fits = |page: u64| Plan::new(with_page(owned, 256 * page).request()).is_ok();
    let (mut none, mut some) = (0, PAGE_BYTES / 256);
    while some - none > 1 {
        let middle = (none + some) / 2;
        *(if fits(middle) { &mut some } else { &mut none }) = middle;
    }
    256 * some
}

fn with_page(owned: &Owned, page_bytes: u64) -> Owned {
    Owned { lowering: Lowering { page_bytes, ..owned.lowering }, ..owned.clone() }
}

/// The kernels that are launched more often with small pages, and the kernels that add to their outputs.
fn split(small: &Plan, whole: &Plan) -> BTreeSet<String> {
    let count = |plan: &Plan, of: &Launch| {
        plan.launches.iter().filter(|d| (d.shader, d.entry) == (of.shader, of.entry)).count()
    };
    let more = small.launches.iter().filter(|d| count(small, d) > count(whole, d));
    let adds = small.launches.iter().filter(|d| d.overrides.contains(&("ADD", 1)));
    let name = |d: &Launch| format!("{}.{}", d.shader, d.entry);
    more.map(name).chain(adds.map(|d| format!("{} adds", name(d)))).collect()
}

#[test]
fn small_pages_make_good_plans() {
    let mut n_split = 0;
    for owned in random_requests(80) {
        let small = with_page(&owned, smallest_page(&owned));
        memory::check(&small.plan(), &small.layout);
        let (plan, whole) = (small.plan(), owned.plan());
        assert!(plan.regions.pages.iter().all(|bytes| *bytes <= small.lowering.page_bytes));
        assert!(plan.launches.len() >= whole.launches.len());
        let flops = super::convolution_flops;
        assert_eq!(flops(&plan), flops(&whole));
        n_split += usize::from(plan.launches.len() > whole.launches.len());
    }
    assert!(n_split > 40, "{n_split} of 80 networks were split");
}

/// Logits and gradients are equal to those of a plan with whole tensors, except for the order of some sums.
#[test]
fn small_pages_change_nothing_but_rounding() {
    let spec = |kind, stem, side, layers, channels| Cells {
        kind,
        stem,
        height: side,
        width: side,
        n_classes: 5,
        layers,
        channels,
        auxiliary: false,
        ..final_network(stem)
    };
    let cases = [
        (spec(NetworkKind::Search, StemKind::Cifar, 8, 3, 8), everything(), true),
        (spec(NetworkKind::Search, StemKind::Cifar, 8, 3, 8), read_genotype("DARTS_V2").unwrap(), true),
        (spec(NetworkKind::Search, StemKind::Cifar, 8, 3, 6), the_rest(), true),
        (spec(NetworkKind::Final, StemKind::Cifar, 8, 3, 12), the_rest(), false),
        (spec(NetworkKind::Final, StemKind::ImageNet, 64, 1, 40), everything(), true),
    ];
    let mut all = BTreeSet::new();
    for (spec, genotype, fuse) in cases {
        let mut whole = owned(&spec, &genotype, 6);
        whole.lowering.fuse = fuse;
        let small = with_page(&whole, smallest_page(&whole));
        all.extend(split(&small.plan(), &whole.plan()));
        let mut found = Vec::new();
        for owned in [&small, &whole] {
            let Some(mut network) = loaded(owned) else { return };
            found.push(bits(&mut network, owned, f32::NAN.to_bits()));
        }
        let numbers = |words: &[u32]| words.iter().map(|w| f64::from(f32::from_bits(*w))).collect::<Vec<_>>();
        for (i, what) in ["logits", "log-likelihoods", "gradient", "running statistics"].iter().enumerate() {
            let [small, whole] = [0, 1].map(|k| numbers(&found[k][i]));
            close(&format!("{what}, {:?}", spec.stem), &small, &whole, 1e-5);
        }
    }
    for kernel in [
        "conv.forward adds",
        "pointwise.forward adds",
        "conv.backward_data",
        "depthwise.forward",
        "pool.forward",
        "subsample.backward",
        "batch_norm.statistics",
        "global_pool.forward",
    ] {
        assert!(all.contains(kernel), "{kernel} is not among {all:?}");
    }
}
