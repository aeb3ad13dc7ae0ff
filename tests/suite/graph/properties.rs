//! Properties of the plan of any network, tried on random networks. A network without a property is made smaller.

use std::fmt;

use std::sync::Arc;

use parsec_nas::Error;
use parsec_nas::graph::memory::PAGE_BYTES;
use parsec_nas::graph::{Extent, Layout, Lowering, Memory, Mode, Plan, Request, Trunk};
use parsec_nas::network::Net;
use parsec_nas::ops::Tuning;
use parsec_nas::space::{CellArch, Genotype, Pair, Primitive};
use parsec_nas::space::{NetworkKind, StemKind};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::super::nets;
use super::{access, limits, memory};
use crate::nets::Cells;

/// Largest side of an image.
const MOST_PIXELS: usize = 33;

/// A request without its network and layout, which follow from the other values.
#[derive(Clone)]
struct Drawn {
    spec: Cells,
    genotype: Genotype,
    /// The primitives of a mixed network. `None` for a child of the genotype.
    mixed: Option<Vec<Primitive>>,
    batch: u32,
    mode: Mode,
    extent: Extent,
    drop_path: bool,
    lowering: Lowering,
}

/// The genotype is printed in its short form, because a page full of pairs would hide the rest.
impl fmt::Debug for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { spec, genotype, mixed, batch, mode, extent, drop_path, lowering } = self;
        match mixed {
            Some(primitives) => write!(f, "{primitives:?}")?,
            None => write!(f, "{genotype}")?,
        }
        write!(f, "\n{spec:?}\nbatch {batch}, {mode:?}, {extent:?}, drop-path: {drop_path}\n{lowering:?}")
    }
}

impl Drawn {
    fn layout(&self) -> Layout {
        let genotype = if self.mixed.is_some() { None } else { Some(&self.genotype) };
        Layout::new(self.spec.params(genotype, &Primitive::ALL)).unwrap()
    }

    fn net(&self) -> Arc<Net> {
        match &self.mixed {
            Some(primitives) => nets::mixed(&self.spec, primitives),
            None => nets::child(&self.spec, &self.genotype),
        }
    }

    fn request<'a>(&self, net: &'a Net, layout: &'a Layout) -> Request<'a> {
        Request {
            net,
            layout,
            batch: self.batch,
            mode: self.mode,
            extent: self.extent,
            input: 0,
            drop_path: self.drop_path,
            lowering: self.lowering,
        }
    }
}

fn cell() -> impl Strategy<Value = CellArch> {
    let node = |node: usize| {
        let pair = (0..node + 2, select(&Primitive::ALL[..]));
        prop::array::uniform2(pair.prop_map(|(input, primitive)| Pair { input, primitive }))
    };
    (node(0), node(1), node(2), node(3)).prop_map(|(a, b, c, d)| [a, b, c, d])
}

/// The constants of the classes, the ends of all ranges, and any values between.
fn tuning() -> impl Strategy<Value = Tuning> {
    let smallest = Tuning {
        depthwise_rows: 1,
        depthwise_quads: 1,
        pool_rows: 1,
        pointwise_channels: 4,
        pointwise_quads: 1,
        weight_tile: 4,
        stored_dy: 0,
        unroll: 1,
        linear_by_example: 0,
    };
    let largest = Tuning {
        depthwise_rows: 4,
        depthwise_quads: 2,
        pool_rows: 4,
        pointwise_channels: 64,
        pointwise_quads: 1,
        weight_tile: 16,
        stored_dy: 1,
        unroll: 4,
        linear_by_example: 1,
    };
    let any = (
        select(&[1, 2, 4][..]),
        1..=2u32,
        select(&[1, 2, 4][..]),
        select(&[4, 8, 16, 32, 64][..]),
        1..=4u32,
        select(&[4, 8, 16][..]),
        0..=1u32,
        select(&[1, 2, 4][..]),
        0..=1u32,
    );
    let any =
        any.prop_map(|(rows, quads, pool_rows, channels, most, tile, stored_dy, unroll, by_example)| {
            Tuning {
                depthwise_rows: rows,
                depthwise_quads: quads,
                pool_rows,
                pointwise_channels: channels,
                pointwise_quads: most.min(64 / channels),
                weight_tile: tile,
                stored_dy,
                unroll,
                linear_by_example: by_example,
            }
        });
    let fixed = select(vec![Tuning::SOFTWARE, Tuning::INTEGRATED, Tuning::DISCRETE, smallest, largest]);
    prop_oneof![2 => fixed, 1 => any].prop_filter("a form that there is", Tuning::is_known)
}

/// A network with a size that can be halved wherever the network halves maps.
fn spec(kind: NetworkKind) -> impl Strategy<Value = Cells> {
    let sides = any::<[Index; 2]>();
    let counts = (1..=3usize, 2..=40usize, 1..=6usize, 1..=8usize);
    (any::<bool>(), any::<bool>(), counts, sides).prop_map(move |(imagenet, auxiliary, counts, sides)| {
        let (in_channels, n_classes, layers, half) = counts;
        let square = |side| Cells {
            kind,
            stem: if imagenet && kind == NetworkKind::Final { StemKind::ImageNet } else { StemKind::Cifar },
            in_channels,
            height: side,
            width: side,
            n_classes,
            layers,
            channels: 2 * half,
            auxiliary: auxiliary && kind == NetworkKind::Final,
        };
        let fits: Vec<usize> = (1..=MOST_PIXELS).filter(|side| square(*side).check().is_ok()).collect();
        let [height, width] = sides.map(|side| *side.get(&fits));
        Cells { height, ..square(width) }
    })
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let kinds = [NetworkKind::Search, NetworkKind::Final].map(|kind| spec(kind).boxed());
    let mixed = prop_oneof![
        5 => Just(None),
        1 => subsequence(Primitive::ALL.to_vec(), 2..=Primitive::ALL.len()).prop_map(Some),
    ];
    let request = (1..=9u32, any::<Index>(), any::<Index>(), any::<bool>());
    let lowering = (any::<bool>(), any::<bool>(), tuning());
    let genotype = (cell(), cell()).prop_map(|(normal, reduce)| Genotype { normal, reduce });
    (prop::strategy::Union::new(kinds), genotype, mixed, request, lowering).prop_map(
        |(spec, genotype, mixed, (batch, mode, extent, drop_path), (plain, low, tuning))| {
            let is_final = spec.kind == NetworkKind::Final;
            let mixed = mixed.filter(|_| !is_final);
            let modes = match (is_final, mixed.is_some()) {
                (true, _) => [Mode::Likelihood, Mode::Evaluate, Mode::Train],
                (false, true) => [Mode::Likelihood, Mode::Factors, Mode::Train],
                (false, false) => [Mode::Likelihood, Mode::Train, Mode::Train],
            };
            let mode = *mode.get(&modes);
            let memory = if low { Memory::Low } else { Memory::Normal };
            let lowering = Lowering { fuse: !plain, memory, tuning, ..Lowering::default() };
            let has_trunk =
                mixed.is_none() && Trunk::of(&nets::child(&spec, &genotype), batch, &lowering).is_some();
            let extents = [Extent::Whole, Extent::Trunk, Extent::Branch];
            Drawn {
                extent: if has_trunk { *extent.get(&extents) } else { Extent::Whole },
                drop_path: drop_path && is_final && mode == Mode::Train,
                spec,
                genotype,
                mixed,
                batch,
                mode,
                lowering,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn equal_requests_give_equal_plans_within_the_limits(drawn in drawn()) {
        let (net, layout) = (drawn.net(), drawn.layout());
        let plan = Plan::new(drawn.request(&net, &layout)).unwrap();
        prop_assert_eq!(&plan, &Plan::new(drawn.clone().request(&drawn.net(), &drawn.layout())).unwrap());
        prop_assert_eq!(plan.flops, plan.launches.iter().map(|d| d.flops).sum::<u64>());
        prop_assert_eq!(plan.bytes, plan.launches.iter().map(|d| d.bytes).sum::<u64>());
        plan.launches.iter().for_each(limits::check);
    }

    #[test]
    fn tensors_live_apart_and_bindings_lie_inside_them(drawn in drawn()) {
        let (net, layout) = (drawn.net(), drawn.layout());
        memory::check(&Plan::new(drawn.request(&net, &layout)).unwrap(), &layout);
    }

    #[test]
    fn launches_read_what_was_written_and_nothing_that_they_write(drawn in drawn()) {
        let (net, layout) = (drawn.net(), drawn.layout());
        let request = drawn.request(&net, &layout);
        prop_assert_eq!(access::check(&Plan::new(request).unwrap(), &request), Ok(()));
    }

    /// The backward pass comes after the forward pass and does not change the forward pass.
    #[test]
    fn a_backward_pass_is_work_besides(drawn in drawn()) {
        let (net, layout) = (drawn.net(), drawn.layout());
        let plan = |mode| Plan::new(Request { mode, drop_path: false, ..drawn.request(&net, &layout) }).unwrap();
        let (forward, both) = (plan(Mode::Likelihood), plan(Mode::Train));
        prop_assert!(both.flops >= forward.flops && both.bytes > forward.bytes);
        prop_assert!(both.launches.len() > forward.launches.len());
        if drawn.mixed.is_some() {
            prop_assert!(plan(Mode::Factors).flops >= forward.flops);
        }
        // An auxiliary head runs in training only, so the forward passes would differ.
        if !drawn.spec.auxiliary {
            let kernels = |plan: &Plan| -> Vec<_> {
                let names = plan.launches.iter().map(|d| (d.shader, d.entry, d.overrides.clone(), d.grid));
                names.take(forward.launches.len()).collect()
            };
            prop_assert_eq!(kernels(&forward), kernels(&both));
        }
    }

}

proptest! {
    // Plans of many small tensors take longer to check.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For pages of any size there is either a good plan or an error about a tensor that does not fit.
    #[test]
    fn small_pages_give_good_plans_or_a_lack_of_memory(drawn in drawn(), quads in 16..4096u64) {
        let (net, layout) = (drawn.net(), drawn.layout());
        let lowering = Lowering { page_bytes: (256 * quads).min(PAGE_BYTES), ..drawn.lowering };
        let drawn = Drawn { extent: Extent::Whole, lowering, ..drawn.clone() };
        let request = drawn.request(&net, &layout);
        match Plan::new(request) {
            Err(Error::Memory { have_bytes, .. }) => prop_assert_eq!(have_bytes, lowering.page_bytes),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(plan) => {
                prop_assert!(plan.regions.pages.iter().all(|bytes| *bytes <= lowering.page_bytes));
                plan.launches.iter().for_each(limits::check);
                prop_assert_eq!(access::check(&plan, &request), Ok(()));
                memory::check(&plan, &layout);
            }
        }
    }
}
