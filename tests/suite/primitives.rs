//! A new primitive cannot be forgotten. The compiler requires an entry for the primitive here, and the tests try
//! everything that reads a genotype.

use std::collections::BTreeMap;

use parsec_nas::cli::show::{ShowArgs, describe};
use parsec_nas::export::onnx::{self, Options, proto};
use parsec_nas::export::python;
use parsec_nas::graph::{Extent, Layout, Lowering, Mode, Plan, Request};
use parsec_nas::report::{cells_dot, cells_svg};
use parsec_nas::selftest::child::{everything, the_rest};
use parsec_nas::space::{Genotype, Pair, Primitive};
use parsec_nas::space::{NetworkKind, StemKind};

use super::export::trained;

/// The layers of a primitive, written independently of the sources. The match below has no `_` arm, so that the
/// compiler finds a missing primitive.
enum Nature {
    Nothing,
    Pool {
        operator: &'static str,
    },
    Identity,
    /// `n` times a depthwise convolution, a pointwise convolution and a batch norm.
    Separable {
        side: i64,
        dilation: i64,
        n: u64,
    },
}

fn nature(primitive: Primitive) -> Nature {
    match primitive {
        Primitive::None => Nature::Nothing,
        Primitive::MaxPool3x3 => Nature::Pool { operator: "MaxPool" },
        Primitive::AvgPool3x3 => Nature::Pool { operator: "AveragePool" },
        Primitive::SkipConnect => Nature::Identity,
        Primitive::SepConv3x3 => Nature::Separable { side: 3, dilation: 1, n: 2 },
        Primitive::SepConv5x5 => Nature::Separable { side: 5, dilation: 1, n: 2 },
        Primitive::DilConv3x3 => Nature::Separable { side: 3, dilation: 2, n: 1 },
        Primitive::DilConv5x5 => Nature::Separable { side: 5, dilation: 2, n: 1 },
        Primitive::Other(_) => Nature::Nothing,
    }
}

/// The list of variants. The compiler checks that the list is complete, so that no variant is missing in
/// `Primitive::ALL`.
macro_rules! variants {
    ($($name:ident),*) => {{
        // This match does not compile if a variant is missing in the list.
        let _ = |primitive| match primitive { $(Primitive::$name => (),)* Primitive::Other(_) => () };
        [$(Primitive::$name),*]
    }};
}

#[test]
fn all_are_all() {
    let variants =
        variants!(None, MaxPool3x3, AvgPool3x3, SkipConnect, SepConv3x3, SepConv5x5, DilConv3x3, DilConv5x5);
    assert_eq!(variants, Primitive::ALL);
    for (i, primitive) in Primitive::ALL.into_iter().enumerate() {
        assert_eq!((primitive.index(), Primitive::from_name(primitive.name())), (i, Some(primitive)));
        assert_eq!(primitive.is_pool(), matches!(nature(primitive), Nature::Pool { .. }));
    }
}

/// Every node applies the primitive to the second input of the cell and to another node. Both strides occur.
fn with(primitive: Primitive) -> Genotype {
    let cell = std::array::from_fn(|node| [1, node].map(|input| Pair { input, primitive }));
    Genotype { normal: cell, reduce: cell }
}

/// Channels of the three cells' nodes, and whether the cell is a reduction.
const CELLS: [(u64, bool); 3] = [(4, false), (8, true), (16, true)];
const SIDE: usize = 12;

/// Parameters and multiply-adds of the operations of [`with`], by the formulas of the layers.
fn counts(primitive: Primitive) -> (u64, u64) {
    let (mut parameters, mut macs, mut side) = (0, 0, SIDE as u64);
    for (c, reduction) in CELLS {
        side /= if reduction { 2 } else { 1 };
        for pair in with(primitive).normal.as_flattened() {
            let strided = reduction && pair.input < 2;
            let (weights, norms) = match nature(primitive) {
                Nature::Separable { side, n, .. } => (n * (c * (side * side) as u64 + c * c), n * 2 * c),
                // Each of two pointwise convolutions gives half of the channels.
                Nature::Identity if strided => (c * c, 2 * c),
                Nature::Nothing | Nature::Pool { .. } | Nature::Identity => (0, 0),
            };
            parameters += weights + norms;
            macs += weights * side * side;
        }
    }
    (parameters, macs)
}

#[test]
fn show_counts_every_primitive() {
    let shown = |primitive, json| {
        let args = ShowArgs {
            target: with(primitive).to_string(),
            json,
            layers: Some(CELLS.len()),
            channels: Some(CELLS[0].0 as usize),
            size: Some(parsec_nas::data::Size::square(SIDE)),
            network: Some(NetworkKind::Final),
            batch: Some(2),
            ..ShowArgs::default()
        };
        describe(&args, None).unwrap()
    };
    let numbers = |primitive| {
        let json: serde_json::Value = serde_json::from_str(&shown(primitive, true)).unwrap();
        ["parameters", "macs", "launches"].map(|key| json[key].as_u64().unwrap())
    };
    let none = numbers(Primitive::None);
    for primitive in Primitive::ALL {
        let (parameters, macs) = counts(primitive);
        let found = numbers(primitive);
        let name = primitive.name();
        assert_eq!([found[0] - none[0], found[1] - none[1]], [parameters, macs], "{name}");
        let text = shown(primitive, false);
        let (skips, pools) = match nature(primitive) {
            Nature::Identity => (8, 0),
            Nature::Pool { .. } => (0, 8),
            Nature::Nothing | Nature::Separable { .. } => (0, 0),
        };
        assert_eq!(text.matches(&format!("{skips} skip, {pools} pool of 8")).count(), 2, "{name}: {text}");
        assert_eq!(text.matches(&format!("('{name}', ")).count(), 16, "{name}: {text}");
    }
}

/// The plans of both kinds of networks have launches for every primitive, forward and backward.
#[test]
fn every_primitive_is_lowered() {
    let launches = |primitive, kind, shader: &str| -> usize {
        let genotype = with(primitive);
        let net = trained(&genotype, kind, StemKind::Cifar, false).net();
        let layout = Layout::new(net.params()).unwrap();
        let plan = Plan::new(Request {
            net: &net,
            layout: &layout,
            batch: 2,
            mode: Mode::Train,
            extent: Extent::Whole,
            input: 0,
            drop_path: false,
            lowering: Lowering::default(),
        });
        let plan = plan.unwrap();
        let entries = ["forward", "backward"].map(|direction| {
            let of = |d: &&parsec_nas::kernel::Launch| d.shader == shader && d.entry.starts_with(direction);
            plan.launches.iter().filter(of).count()
        });
        entries.into_iter().min().unwrap()
    };
    for kind in [NetworkKind::Search, NetworkKind::Final] {
        for primitive in Primitive::ALL {
            let (shader, least) = match nature(primitive) {
                Nature::Nothing => continue,
                Nature::Pool { .. } => ("pool", 3),
                // Only strided operations need this kernel: in two cells, and in the preprocessing of the last cell.
                Nature::Identity => ("subsample", 3),
                Nature::Separable { n, .. } => ("depthwise", 3 * n as usize),
            };
            let found = launches(primitive, kind, shader);
            assert!(found >= least, "{}: {found} launches of {shader}, {kind:?}", primitive.name());
        }
    }
}

/// The children of the self-test, which compares them with the oracle, use every primitive.
#[test]
fn the_selftest_runs_every_primitive_at_both_strides() {
    let genotypes = [everything(), the_rest()];
    for primitive in Primitive::ALL {
        let uses = |cell: fn(&Genotype) -> &parsec_nas::space::CellArch, most: usize| {
            genotypes
                .iter()
                .any(|g| cell(g).as_flattened().iter().any(|p| p.primitive == primitive && p.input <= most))
        };
        assert!(uses(|g| &g.normal, 4), "{} at stride 1", primitive.name());
        // `none` gives zeros at any stride, so stride 2 needs no case.
        assert!(primitive == Primitive::None || uses(|g| &g.reduce, 1), "{} at stride 2", primitive.name());
    }
}

#[test]
fn onnx_has_every_primitive() {
    let nodes = |primitive| -> Vec<proto::Node> {
        let network = trained(&with(primitive), NetworkKind::Final, StemKind::Cifar, false);
        onnx::model(&network, Options { fold: true }).unwrap().graph.unwrap().node
    };
    for primitive in Primitive::ALL {
        let nodes = nodes(primitive);
        let name = primitive.name();
        let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
        let of_operations = nodes.iter().filter(|n| n.name.contains("._ops."));
        of_operations.for_each(|n| *operators.entry(n.op_type.as_str()).or_default() += 1);
        let count = |operator: &str| operators.get(operator).copied().unwrap_or(0);
        let all = CELLS.len() * 8;
        let strided = 2 * with(primitive).reduce.as_flattened().iter().filter(|p| p.input < 2).count();
        match nature(primitive) {
            Nature::Nothing => {
                assert!(operators.is_empty(), "{operators:?}");
                // No logit depends on the layers before the zeros of the last cell, so these layers are left out.
                assert_eq!(nodes.iter().filter(|n| n.op_type == "ConstantOfShape").count(), 4);
            }
            Nature::Pool { operator } => {
                assert_eq!((count(operator), operators.len()), (all, 1), "{name}: {operators:?}");
            }
            Nature::Identity => assert_eq!((count("Slice"), count("Conv")), (strided, 2 * strided), "{name}"),
            Nature::Separable { side, dilation, n, .. } => {
                assert_eq!(count("Conv"), 2 * all * n as usize, "{name}: {operators:?}");
                let ints = |node: &proto::Node, name: &str| {
                    node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone()).unwrap()
                };
                let depthwise = nodes.iter().filter(|node| {
                    node.op_type == "Conv"
                        && node.name.contains("._ops.")
                        && ints(node, "kernel_shape")[0] > 1
                });
                let mut found = 0;
                for node in depthwise {
                    assert_eq!(ints(node, "kernel_shape"), [side; 2], "{name}");
                    assert_eq!(ints(node, "dilations"), [dilation; 2], "{name}");
                    assert_eq!(ints(node, "pads"), [dilation * (side / 2); 4], "{name}");
                    found += 1;
                }
                assert_eq!(found, all * n as usize, "{name}");
            }
        }
    }
}

/// The Python file has all layers of every primitive, in both kinds of cells.
#[test]
fn python_knows_every_primitive() {
    let text = |primitive| {
        let network = trained(&with(primitive), NetworkKind::Final, StemKind::Cifar, false);
        python::to_text(&network).unwrap()
    };
    // Two of the three cells are reductions. At least half of the operations of a cell read the inputs of the cell.
    let n_slots = 3 * 8;
    for primitive in Primitive::ALL {
        let (text, name) = (text(primitive), primitive.name());
        assert!(text.matches(&format!("('{name}', ")).count() == 16, "{name}");
        match nature(primitive) {
            Nature::Nothing => assert!(text.contains("(None, zeros("), "{name}"),
            Nature::Identity => assert!(text.contains("_ops.0\", FactorizedReduce("), "{name}: {text}"),
            Nature::Pool { operator } => {
                let module = if operator == "MaxPool" { "nn.MaxPool2d(3" } else { "nn.AvgPool2d(3" };
                for stride in [1, 2] {
                    assert!(text.contains(&format!("{module}, {stride}, 1")), "{name}: {text}");
                }
            }
            Nature::Separable { side, dilation, n, .. } => {
                let depthwise = text.lines().filter(|line| {
                    let dilated = line.contains(&format!("dilation={dilation}"));
                    line.contains("groups=")
                        && line.contains(&format!(", {side}, "))
                        && dilated == (dilation > 1)
                });
                assert_eq!(depthwise.count() as u64, n_slots * n, "{name}: {text}");
            }
        }
    }
}

#[test]
fn drawings_name_every_primitive() {
    for primitive in Primitive::ALL {
        let (genotype, name) = (with(primitive), primitive.name());
        assert_eq!(cells_svg(&genotype).matches(&format!(">{name}<")).count(), 16, "{name}");
        assert_eq!(cells_dot(&genotype).matches(&format!("[label=\"{name}\"]")).count(), 16, "{name}");
    }
}
