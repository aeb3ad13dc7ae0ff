//! Launches stay inside WebGPU's default limits and far from lavapipe's silent cap on loops.

use std::collections::BTreeMap;

use std::sync::OnceLock;

use parsec_nas::graph::{Layout, Lowering, Mode, Plan};
use parsec_nas::kernel::specialise::specialise;
use parsec_nas::kernel::{Buf, Kind, Launch, SOURCES, kernel};
use parsec_nas::ops::optimizer;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::{Genotype, Pair, Primitive};
use parsec_nas::space::{NetworkKind, StemKind};

use super::{Owned, random_genotype};
use crate::nets::Cells;

/// lavapipe of Mesa 22 silently stops all loops of a workgroup after this total number of iterations.
const CAP: u64 = 65_535;

pub fn check(d: &Launch) {
    let what = format!("{}.{}", d.shader, d.entry);
    assert!(d.grid.iter().all(|n| (1..=65_535).contains(n)), "{what}: {:?}", d.grid);
    assert!(d.bindings.len() <= 8, "{what}: {} storage buffers", d.bindings.len());
    let words = d.params.pack(kernel(d.shader).unwrap()).unwrap();
    assert!(words.len() * 4 <= 65_536, "{what}: uniforms");
    let entry = parsec_nas::kernel::kernel(d.shader).unwrap().entry(d.entry).unwrap();
    for (name, range) in &d.bindings {
        let binding = entry.bindings.iter().find(|b| b.name == *name).unwrap();
        if binding.kind == Kind::Uniform {
            assert!(range.len_bytes <= 65_536, "{what}: {name} is a uniform of {}", range.len_bytes);
        }
        assert!(range.offset_bytes.is_multiple_of(256), "{what}: {name} starts at {}", range.offset_bytes);
        assert!(
            range.len_bytes > 0 && range.len_bytes.is_multiple_of(16),
            "{what}: {name} has {}",
            range.len_bytes
        );
        assert!(range.len_bytes <= 128 << 20, "{what}: {name} has {}", range.len_bytes);
        assert!(!matches!(range.buf, Buf::Tensor(_)), "{what}: {name} is not placed");
    }
    let n = iterations(d);
    assert!(n <= CAP, "{what}: {n} iterations");
}

/// An upper bound on the iterations of all loops of one invocation. Only loops that are not written out are counted.
fn iterations(d: &Launch) -> u64 {
    let p = |name: &str| u64::from(d.params.get(name).unwrap()[0]);
    let map = |name: &str, member: usize| u64::from(d.params.get(name).unwrap()[member]);
    let (rows, columns, image) = (1, 2, 6);
    let set = |name: &str, default: u32| {
        u64::from(d.overrides.iter().find(|(n, _)| *n == name).map_or(default, |(_, value)| *value))
    };
    let lanes = 64;
    match (d.shader, d.entry) {
        ("batch_norm", "statistics" | "backward_sums") => p("rounds") + lanes,
        ("batch_norm", "finalize" | "backward_finalize") => p("chunks"),
        ("conv", "forward") => p("ci"),
        ("conv", "backward_data") => set("K", 3) + set("K", 3) * set("K", 3) * (1 + p("co")),
        ("conv", "backward_weight") => p("rounds") + lanes + 3,
        // A window of 7x7 has 49 taps, which are added up in two parts.
        ("depthwise", "backward_weight") => p("rounds") + lanes * if set("K", 3) == 7 { 2 } else { 1 },
        ("pointwise", "forward") => p("ci4"),
        ("pointwise", "backward_data") => p("co"),
        ("pointwise", "backward_weight") => p("rounds") + lanes,
        // The loop runs over the tasks of one source. The table has sixteen entries.
        ("depthwise" | "pool" | "subsample", entry) if entry.starts_with("backward") => 16,
        ("mix", "forward") => p("terms"),
        ("mix", "backward_factors") => p("rounds") + lanes,
        ("global_pool", "forward") => map("x", image),
        ("linear", "forward") => p("c"),
        ("linear", "forward_by_example") => p("c").div_ceil(lanes) + lanes,
        ("linear", "backward_data") => p("k"),
        ("linear", "backward_weight") => p("n"),
        ("cross_entropy", "forward") => 2 * p("k"),
        ("cross_entropy", "backward") => 3 * p("k"),
        ("reduce", "accumulate") => {
            let tasks = d.params.get("tasks").unwrap().chunks(8);
            tasks.map(|task| u64::from(task[2])).max().unwrap_or(0)
        }
        ("window_pool", "forward") => {
            let side = |size: u64, outputs: u64| {
                if set("WINDOW", 5) > 0 { set("WINDOW", 5) } else { size.div_ceil(outputs) + 1 }
            };
            let high = side(map("x", rows), map("y", rows));
            let wide = side(map("x", columns), map("y", columns));
            map("y", columns).min(4) * high * (1 + wide)
        }
        ("window_pool", "backward") => map("y", rows) * (1 + map("y", columns)),
        ("sgd", "norm_chunks") => p("rounds") + lanes,
        ("sgd", "clip") => p("chunks"),
        ("batch_norm", "backward_apply")
        | ("apply" | "node" | "sgd" | "pack", _)
        | ("mix", "pass_back")
        | (_, "forward" | "from_running" | "backward") => 0,
        other => panic!("how long does {other:?} loop?"),
    }
}

fn extreme(change: impl FnOnce(&mut Cells), batch: u32, genotype: Genotype) -> Owned {
    let mut spec = Cells {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: 1,
        height: 4,
        width: 4,
        n_classes: 2,
        layers: 3,
        channels: 2,
        auxiliary: false,
    };
    change(&mut spec);
    spec.check().unwrap();
    // The layout has only the parameters that the child uses. The whole parent need not fit.
    let layout = Layout::new(spec.child_params(&genotype)).unwrap();
    Owned {
        spec,
        genotype,
        layout,
        batch,
        mode: Mode::Train,
        drop_path: false,
        lowering: Lowering::default(),
        net: OnceLock::new(),
    }
}

/// One extent at a time has its largest accepted value, and the others are small. All accepted extents can be computed.
#[test]
fn the_largest_accepted_extents_stay_far_from_the_cap_of_loops() {
    let flat = |primitive| {
        let cell = std::array::from_fn(|_| [0, 1].map(|input| Pair { input, primitive }));
        Genotype { normal: cell, reduce: cell }
    };
    let sides = |side: usize, layers: usize| {
        move |s: &mut Cells| (s.height, s.width, s.layers) = (side, side, layers)
    };
    let largest = |accepts: &dyn Fn(usize) -> bool, step: usize| {
        let most = (1..=200_000 / step).map(|i| i * step).take_while(|n| accepts(*n)).last();
        most.unwrap()
    };
    let spec = extreme(|_| (), 1, flat(Primitive::MaxPool3x3)).spec;
    let side = largest(&|n| Cells { height: n, width: n, ..spec.clone() }.check().is_ok(), 4);
    let classes = largest(&|n| n < 2 || Cells { n_classes: n, ..spec.clone() }.check().is_ok(), 1);
    // A child with more channels is refused when it is planned, because its tensors are larger than a page.
    let wide =
        |channels| extreme(|s| (s.channels, s.in_channels) = (channels, 16), 1, flat(Primitive::SepConv3x3));
    let channels = largest(&|n| n <= 16 && Plan::new(wide(64 * n).request()).is_ok(), 1) * 64;
    assert!(channels >= 64, "{channels}");
    let batch = largest(&|n| in_range("batch", n as i64), 1);
    let size = largest(&|n| in_range("size", n as i64), 4);
    assert!(size <= side, "images of a folder may be {size} pixels, networks take {side}");
    let auxiliary = |layers: usize| {
        move |s: &mut Cells| {
            (s.kind, s.auxiliary, s.height, s.width, s.layers) =
                (NetworkKind::Final, true, side, side, layers)
        }
    };

    let skips = || flat(Primitive::SkipConnect);
    let mut rng = stream(1, Purpose::Test, 42, 0);
    let mut cases = vec![
        extreme(sides(side, 1), 1, skips()),
        extreme(sides(side, 3), 1, skips()),
        extreme(|s| s.n_classes = classes, 3, skips()),
        extreme(|_| (), batch as u32, skips()),
        wide(channels),
        extreme(|s| s.layers = 256, 1, random_genotype(&mut rng, &Primitive::ALL)),
    ];
    cases.extend([1, 2, 3].map(|layers| extreme(auxiliary(layers), 1, skips())));
    for owned in cases {
        owned.plan().launches.iter().for_each(check);
    }
}

/// Whether the configuration takes `key = value`.
fn in_range(key: &str, value: i64) -> bool {
    parsec_nas::config::keys::check(
        <parsec_nas::config::Config as parsec_nas::config::Resolved>::CONCERNS,
        key,
        &toml::Value::Integer(value),
        key,
    )
    .is_ok()
}

#[test]
fn the_update_of_v_stays_inside_the_limits() {
    for (elements, piece) in
        [(64, 128 << 20), (1_930_624, 128 << 20), (64 << 20, 128 << 20), (1 << 20, 1 << 20)]
    {
        let launches = optimizer::update(elements, piece);
        launches.iter().for_each(check);
        let stepped: u32 = launches
            .iter()
            .filter(|d| d.entry == "step")
            .map(|d| 4 * d.params.get("quads").unwrap()[0])
            .sum();
        assert_eq!(stepped, elements, "every number is updated");
        // The pieces' partial sums do not overlap, and the clip adds up all of them.
        let mut end = 0;
        for d in launches.iter().filter(|d| d.entry == "norm_chunks") {
            let partial = d.bindings.iter().find(|(name, _)| *name == "partial").unwrap().1;
            assert!(partial.offset_bytes >= end && partial.len_bytes >= u64::from(d.grid[0]) * 4);
            end = partial.offset_bytes + u64::from(d.grid[0]) * 4;
        }
        let clip = launches.iter().find(|d| d.entry == "clip").unwrap();
        assert!(
            u64::from(clip.params.get("chunks").unwrap()[0]) * 4 >= end
                && u64::from(clip.params.get("chunks").unwrap()[0]) * 4 <= optimizer::NORMS_BYTES
        );
    }
}

/// The function `iterations` counts every loop that specialisation leaves in a shader.
#[test]
fn no_loop_is_forgotten() {
    // (shader, loops that are left in all of its entry points with the default overrides)
    let known = BTreeMap::from([
        ("apply", 0),
        ("batch_norm", 6),
        ("conv", 7),
        ("cross_entropy", 5),
        ("depthwise", 3),
        ("fill", 0),
        ("global_pool", 1),
        ("lane", 0),
        ("linear", 5),
        ("mix", 3),
        ("node", 0),
        ("pack", 0),
        ("pointwise", 4),
        ("pool", 1),
        ("probe", 1),
        ("reduce", 1),
        ("sgd", 3),
        ("subsample", 1),
        ("window_pool", 10),
    ]);
    let mut found = BTreeMap::new();
    for source in SOURCES {
        let kernel = parsec_nas::kernel::kernel(source.name).unwrap();
        let mut loops = 0;
        for entry in &kernel.entries {
            let text = specialise(&kernel.text, &entry.name, &[]).unwrap();
            loops += text.matches("for (var").count();
        }
        found.insert(source.name, loops);
    }
    assert_eq!(found, known);
}
