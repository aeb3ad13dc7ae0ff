//! Plans of chains: a few plans as text; limits, memory, order and work of random plans.

use parsec_nas::graph::{Extent, Layout, Lowering, Memory, Mode, Plan, Request, Trunk};
use parsec_nas::network::Net;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::{Alpha, Chain, NetworkKind, NetworkSpec, Paths, Prior, Space};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{all_choices, any_chain, choices, network};
use crate::graph::{access, convolution_flops, golden::text, limits, memory};

/// A request, without the network and the layout that follow from it.
#[derive(Clone, Debug)]
struct Drawn {
    spec: NetworkSpec,
    /// `None` for all choices at once.
    alpha: Option<Alpha>,
    batch: u32,
    mode: Mode,
    extent: Extent,
    lowering: Lowering,
}

impl Drawn {
    fn net(&self) -> Net {
        self.spec.net(self.alpha.as_ref().map_or(Paths::All, Paths::Child))
    }

    fn layout(&self) -> Layout {
        let params = match &self.alpha {
            Some(alpha) => self.spec.params(alpha),
            None => self.spec.parent_params(),
        };
        Layout::new(params).unwrap()
    }

    fn request<'a>(&self, net: &'a Net, layout: &'a Layout) -> Request<'a> {
        Request {
            net,
            layout,
            batch: self.batch,
            mode: self.mode,
            extent: self.extent,
            input: 0,
            drop_path: false,
            lowering: self.lowering,
        }
    }

    fn plan(&self) -> Plan {
        Plan::new(self.request(&self.net(), &self.layout())).unwrap()
    }

    /// Checks that a second plan is equal, that the plan keeps the limits, that it reads only bytes that were written,
    /// and that it has the work of the network.
    fn check(&self) {
        let (net, layout) = (self.net(), self.layout());
        let request = self.request(&net, &layout);
        let plan = Plan::new(request).unwrap();
        assert_eq!(plan, self.plan());
        plan.launches.iter().for_each(limits::check);
        memory::check(&plan, &layout);
        assert_eq!(access::check(&plan, &request), Ok(()));
        let Some(alpha) = &self.alpha else { return };
        for fuse in [true, false] {
            let (lowering, mode) = (Lowering { fuse, ..self.lowering }, Mode::Likelihood);
            let forward = Plan::new(Request { mode, extent: Extent::Whole, lowering, ..request }).unwrap();
            assert_eq!(convolution_flops(&forward), 2 * u64::from(self.batch) * self.spec.macs(alpha));
        }
    }
}

/// Three layers on images of 8x8 pixels. One layer has a shortcut.
fn small(kind: NetworkKind, alpha: Option<Alpha>, mode: Mode, extent: Extent) -> Drawn {
    let chain = Chain::over(&[1, 2], &choices("identity,mb1_k3,mb3_k5"), Some(12));
    let spec = network(kind, chain, 4, [3, 8, 8], 5);
    Drawn { spec, alpha, batch: 2, mode, extent, lowering: Lowering::default() }
}

#[test]
fn plans_are_as_they_were() {
    use NetworkKind::{Final, Search};
    // A block, an identity of stride 2, a block that keeps its shape.
    let alpha = Some(Alpha(vec![2, 0, 1]));
    for (name, drawn) in [
        ("search-train-fused", small(Search, alpha.clone(), Mode::Train, Extent::Whole)),
        ("branch-train", small(Search, alpha.clone(), Mode::Train, Extent::Branch)),
        ("final-train", small(Final, alpha, Mode::Train, Extent::Whole)),
        ("mixed-factors", small(Search, None, Mode::Factors, Extent::Whole)),
    ] {
        crate::golden::check(&format!("plan-chain-{name}.txt"), &text(&drawn.plan()));
    }
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let extents = (1..=3usize, 1..=3usize, prop::array::uniform2(8..=19usize), 2..=12usize);
    let request = (1..=5u32, any::<[Index; 3]>(), any::<[bool; 2]>(), any::<u64>());
    (any_chain(4), extents, request).prop_map(
        |(chain, extents, (batch, [what, mode, extent], bits, seed))| {
            let (half, in_channels, [height, width], n_classes) = extents;
            let alpha = Prior::uniform(&chain).sample(&mut stream(seed, Purpose::Test, 43, 0));
            let kinds =
                [(NetworkKind::Search, false), (NetworkKind::Search, true), (NetworkKind::Final, false)];
            let (kind, mixed) = *what.get(&kinds);
            let modes = match (kind, mixed) {
                (NetworkKind::Final, _) => [Mode::Likelihood, Mode::Evaluate, Mode::Train],
                (_, true) => [Mode::Likelihood, Mode::Factors, Mode::Train],
                (_, false) => [Mode::Likelihood, Mode::Train, Mode::Train],
            };
            let [fuse, low] = bits;
            let memory = if low { Memory::Low } else { Memory::Normal };
            let lowering = Lowering { fuse, memory, ..Lowering::default() };
            let spec = network(kind, chain, 2 * half, [in_channels, height, width], n_classes);
            let has_trunk = !mixed && Trunk::of(&spec.net(Paths::Child(&alpha)), batch, &lowering).is_some();
            let extent = *extent.get(&[Extent::Whole, Extent::Trunk, Extent::Branch]);
            Drawn {
                spec,
                alpha: (!mixed).then_some(alpha),
                batch,
                mode: *mode.get(&modes),
                extent: if has_trunk { extent } else { Extent::Whole },
                lowering,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_plan_of_any_chain_is_a_good_one(drawn in drawn()) {
        drawn.check();
    }
}

/// One sum has more paths than one launch takes.
#[test]
fn all_choices_at_once_have_good_plans() {
    let spec = network(NetworkKind::Search, Chain::over(&[2], &all_choices(), Some(12)), 4, [1, 9, 11], 3);
    for mode in [Mode::Train, Mode::Factors] {
        let (alpha, batch, extent, lowering) = (None, 2, Extent::Whole, Lowering::default());
        Drawn { spec: spec.clone(), alpha, batch, mode, extent, lowering }.check();
    }
}

/// The memory of the largest child is enough for every other child: for random children, and for children that differ
/// in one layer.
#[test]
fn no_child_needs_more_memory_than_the_largest() {
    for names in ["identity,mb3_k3,mb6_k5", "mb3_k7,mb6_k3,identity"] {
        let chain = Chain::over(&[2, 3, 3], &choices(names), None);
        let spec = network(NetworkKind::Search, chain.clone(), 16, [3, 32, 32], 10);
        let all_largest = chain.largest();
        assert_eq!(all_largest.len(), 1);
        let largest = &all_largest[0];
        let prior = Prior::uniform(&chain);
        let mut others: Vec<Alpha> =
            (0..20).map(|i| prior.sample(&mut stream(3, Purpose::Test, 44, i))).collect();
        for (layer, choice) in (0..8).flat_map(|layer| [0, 1, 2].map(|choice| (layer, choice))) {
            let mut alpha = largest.clone();
            alpha.0[layer] = choice;
            others.push(alpha);
        }
        for extent in [Extent::Whole, Extent::Branch] {
            let bytes = |alpha: &Alpha| {
                let (alpha, lowering) = (Some(alpha.clone()), Lowering::default());
                let drawn =
                    Drawn { spec: spec.clone(), alpha, batch: 64, mode: Mode::Train, extent, lowering };
                drawn.plan().arena_bytes()
            };
            let (most, found) = (bytes(largest), others.iter().map(bytes).collect::<Vec<u64>>());
            for (alpha, bytes) in others.iter().zip(&found) {
                assert!(*bytes <= most, "{}: {bytes} of {most} bytes, {extent:?}", chain.print(alpha));
            }
            assert!(found.iter().any(|bytes| *bytes < most));
        }
    }
}

/// The blocks of the published network and of wider networks are so wide that their weights are bound in parts.
#[test]
fn wide_blocks_are_planned() {
    let wide = [
        ("mb3_k3,mb6_k5", 32, vec![1, 1, 1]),
        ("mb8_k7", 64, vec![1, 1]),
        ("mb3_k3", 92, vec![1, 1, 1]),
        ("mb4_k3", 128, vec![1, 1, 1]),
    ];
    for (names, channels, stages) in wide {
        let chain = Chain::over(&stages, &choices(names), None);
        let alpha = chain.largest().remove(0);
        for kind in [NetworkKind::Search, NetworkKind::Final] {
            let spec = network(kind, chain.clone(), channels, [3, 16, 16], 10);
            spec.check().unwrap();
            let net = spec.net(Paths::Child(&alpha));
            let layout = Layout::new(net.params()).unwrap();
            for fuse in [true, false] {
                let lowering = Lowering { fuse, ..Lowering::default() };
                let plan = Plan::new(Request {
                    net: &net,
                    layout: &layout,
                    batch: 2,
                    mode: Mode::Train,
                    extent: Extent::Whole,
                    input: 0,
                    drop_path: false,
                    lowering,
                });
                plan.unwrap().launches.iter().for_each(super::super::graph::limits::check);
            }
        }
    }
    // Weights are refused if their rows begin at offsets that cannot be bound.
    let odd = Chain::over(&[1, 1, 1], &choices("mb3_k3"), None);
    let error = network(NetworkKind::Search, odd, 87, [3, 16, 16], 10).check().unwrap_err().to_string();
    assert!(error.contains("multiple of 16"), "{error}");
}
