//! The space, the prior over it, genotype text, and the counters.

use std::collections::BTreeSet;

use parsec_nas::Error;
use parsec_nas::config::Config;
use parsec_nas::network::ParamRole;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::genotype::named;
use parsec_nas::space::{
    Alpha, CellKind, Darts, Genotype, N_EDGES, N_NODES, NetworkKind, Pair, Primitive, Prior, Space, StemKind,
    edge, read_genotype,
};
use proptest::prelude::*;
use toml::Table;

use super::nets::{self, Cells, Of};

fn cifar(kind: NetworkKind, layers: usize, channels: usize) -> Cells {
    Cells {
        kind,
        stem: StemKind::Cifar,
        in_channels: 3,
        height: 32,
        width: 32,
        n_classes: 10,
        layers,
        channels,
        auxiliary: false,
    }
}

fn imagenet() -> Cells {
    let spec = cifar(NetworkKind::Final, 14, 48);
    Cells { stem: StemKind::ImageNet, height: 224, width: 224, n_classes: 1000, ..spec }
}

/// A prior over `space` with logits that differ everywhere.
fn uneven_prior(space: &dyn Space) -> Prior {
    let mut prior = Prior::uniform(space);
    for (i, logit) in prior.logits.iter_mut().flatten().enumerate() {
        *logit = (i as f64 * 0.7).sin() * 1.5;
    }
    prior
}

fn sample(prior: &Prior, index: u64) -> Alpha {
    prior.sample(&mut stream(7, Purpose::Test, 0, index))
}

// Counters

#[test]
fn counters_reproduce_published_networks() {
    let parent = cifar(NetworkKind::Search, 8, 16);
    assert_eq!(parent.net(Of::Mixed(&Primitive::ALL)).parameter_count(false), 1_930_618);
    assert_eq!(parent.net(Of::Mixed(&Primitive::ALL[1..])).parameter_count(false), 1_930_618);
    let with_head = Cells { auxiliary: true, ..cifar(NetworkKind::Final, 20, 36) };
    let v2 = named("DARTS_V2").unwrap();
    let count = |spec: &Cells, name: &str| spec.child_parameter_count(&named(name).unwrap());
    let of_head = |spec: &Cells| spec.net(Of::Child(&v2)).parameter_count(true);
    assert_eq!(count(&with_head, "DARTS_V2"), 3_349_342);
    assert_eq!(of_head(&with_head), 3_825_768 - 3_349_342);
    assert_eq!(of_head(&cifar(NetworkKind::Final, 20, 36)), 0);
    assert_eq!(count(&with_head, "DARTS_V1"), 3_169_414);
    assert_eq!(count(&with_head, "PC_DARTS_cifar"), 3_634_678);
    assert_eq!(count(&imagenet(), "DARTS_V2"), 4_718_752);
}

/// The multiply-adds of one cell of the smallest network, by hand.
#[test]
fn macs_of_one_cell_by_hand() {
    let spec =
        Cells { height: 4, width: 4, in_channels: 1, n_classes: 2, ..cifar(NetworkKind::Search, 1, 2) };
    let pair = |primitive, input| Pair { input, primitive };
    let skip = pair(Primitive::SkipConnect, 2);
    let pool = pair(Primitive::MaxPool3x3, 0);
    let sep = pair(Primitive::SepConv3x3, 0);
    let reduce = [
        [sep, sep],
        [pair(Primitive::SkipConnect, 0), pool],
        [pair(Primitive::DilConv5x5, 2), skip],
        [skip, skip],
    ];
    let genotype = Genotype { normal: reduce, reduce };
    // With L = 1 the only cell is a reduction. It has 4 channels on maps of 2x2.
    let stem = 9 * 6 * 16;
    let preprocess = 2 * 6 * 4 * 16;
    let sep = 2 * (9 * 4 + 4 * 4) * 4;
    let factorized = 2 * 4 * 2 * 4;
    let dil = (25 * 4 + 4 * 4) * 4;
    let classifier = 16 * 2;
    assert_eq!(spec.macs(&genotype), stem + preprocess + 2 * sep + factorized + dil + classifier);
    // In the weights of a child a pair that was drawn twice is counted once.
    let weights = 9 * 6 + 12 + 2 * 6 * 4 + 2 * (9 * 4 + 16) + 4 * 4 + (25 * 4 + 16) + (16 * 2 + 2);
    assert_eq!(spec.child_parameter_count(&genotype), weights);
}

/// Channels and sides of the outputs of all cells.
fn outputs(spec: &Cells) -> Vec<[usize; 3]> {
    let net = spec.net(Of::Child(&named("DARTS_V2").unwrap()));
    let name = |index: usize| format!("cells.{index}");
    let output = |index| {
        net.layers.iter().rfind(|l| l.name.split('.').take(2).collect::<Vec<_>>().join(".") == name(index))
    };
    (0..spec.layers).map(|i| output(i).map(|l| [l.shape.c, l.shape.h, l.shape.w]).unwrap()).collect()
}

#[test]
fn cells_have_the_reference_sizes() {
    let reductions = |layers| {
        let space = cifar(NetworkKind::Search, layers, 4).space(&Primitive::ALL);
        (0..layers).filter(|index| space.is_reduction(*index)).collect::<Vec<_>>()
    };
    assert_eq!(reductions(8), [2, 5]);
    assert_eq!(reductions(1), [0]);
    assert_eq!(reductions(2), [0, 1]);
    assert_eq!(reductions(3), [1, 2]);
    let small = outputs(&cifar(NetworkKind::Search, 8, 16));
    assert_eq!(small[1], [64, 32, 32]);
    assert_eq!(small[2..5], [[128, 16, 16]; 3]);
    assert_eq!(small[7], [256, 8, 8]);
    // The stem of ImageNet leaves a quarter and an eighth of the size.
    let large = imagenet();
    assert_eq!(outputs(&large)[0], [192, 28, 28]);
    let preprocessed = |name: &str| {
        let net = large.net(Of::Child(&named("DARTS_V2").unwrap()));
        net.params().iter().find(|p| p.name == name).unwrap().shape.clone()
    };
    assert_eq!(preprocessed("cells.0.preprocess0.conv_1.weight"), [24, 48, 1, 1]);
    assert_eq!(preprocessed("cells.0.preprocess1.op.1.weight"), [48, 48, 1, 1]);
}

#[test]
fn parameter_names_are_the_reference_s() {
    let parent = cifar(NetworkKind::Search, 3, 4);
    let params = parent.params(None, &Primitive::ALL);
    let shape = |name: &str| params.iter().find(|p| p.name == name).map(|p| p.shape.clone());
    assert_eq!(params[0].name, "stem.0.weight");
    assert_eq!(shape("stem.0.weight").unwrap(), [12, 3, 3, 3]);
    assert_eq!(shape("stem.1.bias").unwrap(), [12]);
    assert_eq!(shape("cells.0.preprocess0.op.1.weight").unwrap(), [4, 12, 1, 1]);
    assert_eq!(shape("cells.2.preprocess0.conv_2.weight").unwrap(), [8, 16, 1, 1]);
    assert_eq!(shape("cells.1._ops.13._ops.5.op.5.weight").unwrap(), [8, 1, 5, 5]);
    // The edge from input 1 to node 3 has stride 2. The edge from node 2 has stride 1, so its identity has no
    // parameters.
    assert_eq!(shape("cells.1._ops.3._ops.3.conv_1.weight").unwrap(), [4, 8, 1, 1]);
    assert_eq!(shape("cells.1._ops.4._ops.3.conv_1.weight"), None);
    assert_eq!(shape("cells.0._ops.0._ops.6.op.3.weight"), None, "no affine in the cells of a parent");
    assert_eq!(params.last().unwrap().name, "classifier.bias");
    assert_eq!(params.last().unwrap().role, ParamRole::Bias { fan_in: 64 });
    let names: BTreeSet<_> = params.iter().map(|p| &p.name).collect();
    assert_eq!(names.len(), params.len());

    let v2 = named("DARTS_V2").unwrap();
    let network = Cells { auxiliary: true, ..cifar(NetworkKind::Final, 3, 4) };
    let names: Vec<_> = network.params(Some(&v2), &[]).into_iter().map(|p| p.name).collect();
    let head = ["stem.0.weight", "stem.1.weight", "stem.1.bias", "stem.1.running_mean", "stem.1.running_var"];
    assert_eq!(names[..5], head);
    assert_eq!(names[5], "stem.1.num_batches_tracked");
    for name in [
        "cells.0._ops.7.op.3.running_var",
        "cells.1._ops.2.op.1.weight",
        "cells.2.preprocess0.bn.weight",
        "auxiliary_head.features.6.bias",
        "auxiliary_head.classifier.weight",
    ] {
        assert_eq!(names.iter().any(|n| n == name), name != "cells.1._ops.2.op.1.weight", "{name}");
    }
    let aux = names.iter().position(|n| n.starts_with("auxiliary_head")).unwrap();
    assert!(names[aux - 1].starts_with("cells.2") && names[names.len() - 2] == "classifier.weight");
    let names: Vec<_> = imagenet().params(Some(&v2), &[]).into_iter().map(|p| p.name).collect();
    assert!(names.contains(&"stem0.4.running_mean".into()) && names.contains(&"stem1.1.weight".into()));
}

#[test]
fn a_child_uses_names_of_the_parent_once_and_in_order() {
    let spec = cifar(NetworkKind::Search, 5, 4);
    let space = Darts::default().stacked(5, StemKind::Cifar);
    let parent: Vec<_> = spec.params(None, space.primitives()).into_iter().map(|p| p.name).collect();
    for index in 0..50 {
        let alpha = space.canonical(&sample(&uneven_prior(&space), index));
        let genotype = space.genotype(&alpha);
        let used = spec.used_params(&genotype);
        let positions: Vec<_> = used
            .iter()
            .map(|name| parent.iter().position(|p| p == name).expect("a name of the parent"))
            .collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "the pairs of a node in one order");
        for cell in 0..5 {
            let kind = if space.is_reduction(cell) { CellKind::Reduce } else { CellKind::Normal };
            for (node, slots) in genotype.cell(kind).iter().enumerate() {
                for pair in slots {
                    let of_edge = format!("cells.{cell}._ops.{}._ops", edge(node, pair.input));
                    let prefix = format!("{of_edge}.{}.", pair.primitive.index());
                    let owned = used.iter().filter(|n| n.starts_with(&prefix)).count();
                    let expected = match pair.primitive {
                        Primitive::SepConv3x3 | Primitive::SepConv5x5 => 4,
                        Primitive::DilConv3x3 | Primitive::DilConv5x5 => 2,
                        Primitive::SkipConnect if kind == CellKind::Reduce && pair.input < 2 => 2,
                        _ => 0,
                    };
                    assert_eq!(owned, expected, "{prefix}");
                }
            }
        }
    }
}

#[test]
fn impossible_networks_are_refused() {
    let base = || cifar(NetworkKind::Search, 8, 16);
    assert!(base().check().is_ok());
    assert!(Cells { height: 28, width: 28, ..base() }.check().is_ok());
    assert!(imagenet().check().is_ok());
    let bad = [
        (Cells { channels: 15, ..base() }, "14 or 16"),
        (Cells { channels: 0, ..base() }, "2 to 1024"),
        (Cells { layers: 0, ..base() }, "1 to 256"),
        (Cells { n_classes: 1, ..base() }, "2 to"),
        (Cells { height: 30, ..base() }, "32x32"),
        (Cells { width: 33, ..base() }, "36"),
        (Cells { height: 2, width: 2, ..base() }, "4x4"),
        (Cells { auxiliary: true, ..base() }, "final"),
        (Cells { height: 200, ..imagenet() }, "224x224"),
    ];
    for (spec, hint) in bad {
        let error = spec.check().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(hint), "{error}");
    }
    // With one reduction the sides need to be halved only once.
    assert!(Cells { height: 6, width: 6, ..cifar(NetworkKind::Search, 1, 4) }.check().is_ok());
}

// The space and its prior

#[test]
fn the_space_has_the_published_size() {
    for (space, pairs, logits, nats) in
        [(Darts::default(), [14, 21, 28, 35], 392, 50.3), (Darts::all(), [16, 24, 32, 40], 448, 52.4)]
    {
        assert_eq!([0, 1, 2, 3].map(|node| space.n_pairs(node)), pairs);
        let prior = Prior::uniform(&space);
        assert_eq!(prior.len(), logits);
        assert!((prior.entropy().iter().sum::<f64>() - nats).abs() < 0.05);
        for node in 0..N_NODES {
            for index in 0..space.n_pairs(node) {
                assert_eq!(space.index_of(node, space.pair(node, index)), Some(index));
            }
        }
    }
    let edges: Vec<_> = (0..N_NODES).flat_map(|node| (0..node + 2).map(move |i| edge(node, i))).collect();
    assert_eq!(edges, (0..N_EDGES).collect::<Vec<_>>());
}

#[test]
fn lists_of_primitives_are_checked() {
    let space = Darts::over(&[Primitive::DilConv5x5, Primitive::SkipConnect]);
    assert_eq!(space.pair(1, 4), Pair { input: 2, primitive: Primitive::DilConv5x5 });
    for (list, hint) in [
        ("sep_conv_3x3,sepconv_5x5", "sep_conv_5x5"),
        ("skip_connect,skip_connect", "twice"),
        ("", "found \"\""),
        ("\u{1f600}", "max_pool_3x3"),
    ] {
        let flags = Table::from_iter([("primitives".to_owned(), list.into())]);
        let error = Config::resolve(None, &flags).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(hint), "{error}");
    }
    let v2 = named("DARTS_V2").unwrap();
    let error = space.alpha(&v2).unwrap_err().to_string();
    assert!(error.contains("('sep_conv_3x3', 0) at node 2 of the normal cell"), "{error}");
}

#[test]
fn samples_have_the_prior_s_frequencies() {
    let space = Darts::over(&[Primitive::SkipConnect, Primitive::MaxPool3x3, Primitive::SepConv3x3]);
    let prior = uneven_prior(&space);
    let n_samples = 20_000;
    let mut counts = Prior::uniform(&space).logits;
    for index in 0..n_samples {
        let alpha = sample(&prior, index);
        for (slot, choice) in alpha.0.iter().enumerate() {
            counts[slot][usize::from(*choice)] += 1.0;
        }
    }
    let (counts, p) = (counts.concat(), prior.probabilities().concat());
    for (count, p) in counts.iter().zip(&p) {
        let sd = (p * (1.0 - p) / n_samples as f64).sqrt();
        // One of 168 frequencies is beyond five standard deviations in one of ten thousand runs.
        assert!((count / n_samples as f64 - p).abs() < 5.0 * sd, "{count} of {n_samples}, expected {p}");
    }
    assert_eq!(sample(&prior, 3), sample(&prior, 3));
    assert_ne!(sample(&prior, 3), sample(&prior, 4));
}

#[test]
fn log_prob_and_its_gradient_agree() {
    let space = Darts::default();
    let prior = uneven_prior(&space);
    let alpha = sample(&prior, 1);
    let grad = prior.grad_log_prob(&alpha);
    let h = 1e-5;
    for (slot, grad) in grad.iter().enumerate() {
        for (i, g) in grad.iter().enumerate() {
            let at = |shift: f64| {
                let mut moved = prior.clone();
                moved.logits[slot][i] += shift;
                moved.log_prob(&alpha)
            };
            assert!((g - (at(h) - at(-h)) / (2.0 * h)).abs() < 1e-8);
        }
        assert!(grad.iter().sum::<f64>().abs() < 1e-12);
    }
}

/// With one primitive a slot has so few pairs that all children of one node can be enumerated.
#[test]
fn probabilities_add_up_by_enumeration() {
    let space = Darts::over(&[Primitive::SkipConnect]);
    let prior = uneven_prior(&space);
    let mode = prior.mode();
    let (mut total, mut mean_log, mut mean_grad, mut best) = (0.0, 0.0, vec![0.0; 10], f64::NEG_INFINITY);
    // Only the two slots of node 5 of the normal cell vary. The other slots add the same number to every log p.
    let p = prior.probabilities();
    let rest = prior.log_prob(&mode) - [6, 7].map(|s| p[s][usize::from(mode.0[s])].ln()).iter().sum::<f64>();
    for a in 0..5 {
        for b in 0..5 {
            let mut alpha = mode.clone();
            alpha.0[6..8].copy_from_slice(&[a, b]);
            let log_p = prior.log_prob(&alpha) - rest;
            total += log_p.exp();
            mean_log += log_p.exp() * log_p;
            best = best.max(log_p);
            for (mean, g) in mean_grad.iter_mut().zip(prior.grad_log_prob(&alpha)[6..8].concat()) {
                *mean += log_p.exp() * g;
            }
        }
    }
    assert!((total - 1.0).abs() < 1e-12);
    assert!((best - (prior.log_prob(&mode) - rest)).abs() < 1e-12, "the mode is the most probable child");
    // The score function has mean zero.
    assert!(mean_grad.iter().all(|g| g.abs() < 1e-12));
    let others = |prior: &Prior| {
        let mut flat = prior.clone();
        flat.logits[6..8].fill(vec![0.0; 5]);
        prior.entropy()[0] - (flat.entropy()[0] - 2.0 * 5f64.ln())
    };
    assert!((others(&prior) + mean_log).abs() < 1e-12);
}

#[test]
fn extreme_logits_stay_finite() {
    let space = Darts::default();
    let mut prior = Prior::uniform(&space);
    assert_eq!(prior.mode(), Alpha(vec![0; 16]), "ties go to the lowest index");
    for logits in &mut prior.logits {
        for (i, logit) in logits.iter_mut().enumerate() {
            *logit = if i % 5 == 0 { 1e300 } else { -1e300 };
        }
    }
    assert!(prior.entropy().iter().all(|e| e.is_finite() && *e > 0.0));
    assert!(prior.probabilities().iter().flatten().all(|p| (0.0..=1.0).contains(p)));
    assert!(prior.log_prob(&sample(&prior, 0)).is_finite());
    let soft = uneven_prior(&space).softened(4.0);
    assert!(soft.entropy()[0] > uneven_prior(&space).entropy()[0]);
    assert_eq!(soft.mode(), uneven_prior(&space).mode());
}

// Genotype text

#[test]
fn genotype_text_is_the_one_users_exchange() {
    let v2 = named("DARTS_V2").unwrap();
    let text = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])";
    assert_eq!(v2.to_string(), text);
    assert_eq!((v2.n_skips(CellKind::Normal), v2.n_pools(CellKind::Reduce)), (2, 5));
    let other = text
        .replace("[2, 3, 4, 5]", "range( 2,6 )")
        .replace('\'', "\"")
        .replace(", (", " ,\r\n\t(")
        .replace("0)", "0,)")
        .replace(")],", "),],")
        .replace("Genotype(", "\n DARTS_V2 = Genotype ( ")
        + "\n";
    assert_ne!(other, text);
    assert_eq!(Genotype::parse(&other).unwrap(), v2);
}

#[test]
fn bad_genotypes_say_where_and_what() {
    let good = named("DARTS_V1").unwrap().to_string();
    let column = |needle: &str| good.find(needle).unwrap() + 1;
    let cases = [
        ("", "", 1, "Genotype("),
        (&good, &good[..60], 61, ""),
        ("'skip_connect', 2", "'skip_conect', 2", column("'skip_connect', 2") + 1, "skip_connect"),
        ("('sep_conv_3x3', 1), ", "('sep_conv_3x3', 2), ", column("1)"), "input of node 2: 0 to 1"),
        ("('sep_conv_3x3', 1), ", "", column("[("), "eight pairs"),
        ("normal=[", "normal=[('skip_connect', 0), ", 0, "after eight pairs"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[3, 4, 5]", column("[2"), "not in the space"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=range(2, 5)", column("[2"), "not in the space"),
        (", reduce_concat=[2, 3, 4, 5]", "", column(", reduce_concat"), "reduce_concat"),
        ("reduce=", "reduced=", column("reduce="), "reduce="),
        ("('sep_conv_3x3', 1)", "('sep_conv_3x3' 1)", column("1)") - 1, "`,`"),
        ("'sep_conv_3x3', 1", "sep_conv_3x3, 1", column("'sep"), "quotes"),
        ("('sep_conv_3x3', 1)", "('sep_conv_3x3', -1)", column("1)"), "input of node 2"),
    ];
    for (from, to, column, expected) in cases {
        let text = if from.is_empty() { String::new() } else { good.replacen(from, to, 1) };
        let error = Genotype::parse(&text).unwrap_err();
        assert!(column == 0 || error.column == column, "{text}: {error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error =
        Genotype::parse(&good.replacen("], ", "],\n", 3).replacen("2, 3, 4, 5])", "2, é])", 1)).unwrap_err();
    assert_eq!((error.line, error.column), (4, 19), "{error}");
    assert!(Genotype::parse(&(good.clone() + " x")).unwrap_err().expected.contains("nothing"));
}

#[test]
fn a_genotype_argument_is_a_name_a_file_or_a_text() {
    let v1 = named("DARTS_V1").unwrap();
    assert_eq!(read_genotype("darts_v1").unwrap(), v1);
    assert_eq!(read_genotype(&v1.to_string()).unwrap(), v1);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    };
    assert_eq!(read_genotype(&file("good.txt", format!("{v1}\n").as_bytes())).unwrap(), v1);
    let bad = read_genotype(&file("bad.txt", b"Genotype(\n  normal=7)")).unwrap_err();
    assert!(matches!(bad, Error::File { offset: Some(19), .. }), "{bad}");
    assert!(bad.to_string().contains("bad.txt") && bad.to_string().contains("line 2, column 10"));
    let binary = read_genotype(&file("binary.txt", b"Genotype(\xff\xfe")).unwrap_err();
    assert!(matches!(binary, Error::File { offset: Some(9), .. }), "{binary}");
    assert_eq!(read_genotype(&file("empty.txt", b"")).unwrap_err().exit_code(), 1);
    for (arg, code) in
        [("Genotype(normal=[", 2), ("no genotype", 2), ("", 2), ("DARTS_V9", 2), ("missing.txt", 1)]
    {
        assert_eq!(read_genotype(arg).unwrap_err().exit_code(), code, "{arg}");
    }
    assert_eq!(read_genotype(&folder.path().to_string_lossy()).unwrap_err().exit_code(), 1);
}

proptest! {
    #[test]
    fn any_child_survives_its_text(seed in any::<u64>(), with_none in any::<bool>()) {
        let space = Darts::over(&Primitive::ALL[usize::from(!with_none)..]);
        let alpha = Prior::uniform(&space).sample(&mut stream(seed, Purpose::Test, 0, 0));
        let genotype = space.genotype(&alpha);
        prop_assert_eq!(&Genotype::parse(&genotype.to_string()).unwrap(), &genotype);
        prop_assert_eq!(space.alpha(&genotype).unwrap(), alpha);
    }

    #[test]
    fn the_parser_never_panics(text in "\\PC*") {
        let _ = Genotype::parse(&text);
        let _ = Primitive::nearest(&text);
    }

    /// Texts that are close to valid ones reach every branch of the parser.
    #[test]
    fn damaged_genotypes_never_panic(at in 0usize..420, len in 0usize..30, put in "[\\[\\]()'\", é0-9a-z=\n]{0,6}") {
        let good = named("DARTS_V2").unwrap().to_string();
        let start = at.min(good.len());
        let end = (start + len).min(good.len());
        let text = format!("{}{put}{}", &good[..start], &good[end..]);
        if let Err(error) = Genotype::parse(&text) {
            prop_assert!(text.is_char_boundary(error.offset));
            prop_assert!(!error.expected.is_empty() && !error.found.is_empty());
        }
    }
}

/// In each slot no other choice has more multiply-adds, and among equal choices the first one is taken.
#[test]
fn the_largest_cells_have_the_most_multiply_adds() {
    let primitives =
        [Primitive::SkipConnect, Primitive::SepConv3x3, Primitive::DilConv5x5, Primitive::SepConv5x5];
    let cells = Cells { layers: 4, channels: 4, ..nets::small(NetworkKind::Final, 4, 8) };
    let spec = cells.over(&primitives);
    let largest = spec.most_macs();
    let most = spec.macs(&largest);
    for (i, slot) in spec.space.slots().iter().enumerate() {
        let macs = (0..slot.n_choices as u16).map(|choice| {
            let mut alpha = largest.clone();
            alpha.0[i] = choice;
            spec.macs(&alpha)
        });
        let macs: Vec<u64> = macs.collect();
        assert_eq!(macs.iter().position(|m| *m == *macs.iter().max().unwrap()), Some(largest.0[i].into()));
        assert_eq!(macs.iter().max(), Some(&most), "slot {i}");
    }
    // All operations are the most expensive primitive, and no random architecture has more multiply-adds.
    let genotype = Darts::over(&primitives).genotype(&largest);
    let all = [genotype.normal, genotype.reduce];
    assert!(all.iter().flatten().flatten().all(|pair| pair.primitive == Primitive::SepConv5x5), "{genotype}");
    let mut rng = stream(3, Purpose::Test, 0, 0);
    let prior = Prior::uniform(&*spec.space);
    assert!((0..50).all(|_| spec.macs(&prior.sample(&mut rng)) <= most));
}
