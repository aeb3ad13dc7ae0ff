//! The chain space: counters, names, π, text, refused settings, the output of `show`.

use parsec_nas::cli::show::{ShowArgs, describe};
use parsec_nas::config::{self, Config, TrainConfig};
use parsec_nas::report::{architecture_dot, architecture_svg, mixed_svg, png, prior_svg};
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::genotype::named;
use parsec_nas::space::{
    Alpha, Chain, MixedAlpha, NetworkKind, NetworkSpec, Paths, Prior, Space, Tally, read_architecture,
    space_of,
};
use proptest::prelude::*;
use resvg::usvg;
use serde_json::Value;
use toml::Table;

use super::{all_choices, any_chain, choices, network};

/// The benchmark's networks.
fn published(kind: NetworkKind) -> NetworkSpec {
    network(kind, Chain::default(), 32, [3, 32, 32], 10)
}

/// Three layers in two stages on one-channel images of 9x9 pixels.
fn small(kind: NetworkKind) -> NetworkSpec {
    let chain = Chain::over(&[1, 2], &choices("identity,mb1_k3,mb3_k5"), Some(6));
    network(kind, chain, 2, [1, 9, 9], 3)
}

fn sample(space: &dyn Space, index: u64) -> Alpha {
    Prior::uniform(space).sample(&mut stream(7, Purpose::Test, 0, index))
}

// Counters and names

/// Entries of NAS-Bench-Macro: architecture, parameters, multiply-adds.
#[test]
fn counters_are_the_published_ones() {
    let spec = published(NetworkKind::Final);
    for (text, parameters, macs) in [
        ("00000000", 387_882, 7_713_280),
        ("22222222", 2_932_586, 105_660_928),
        ("02012100", 890_666, 47_327_744),
        ("12012021", 2_014_602, 67_092_992),
        ("01201201", 1_283_434, 46_109_184),
    ] {
        let alpha = spec.space.parse(text).unwrap();
        let net = spec.net(Paths::Child(&alpha));
        assert_eq!((net.parameter_count(false), net.macs()), (parameters, macs), "{text}");
        // The kind of the network does not change the number of multiply-adds.
        assert_eq!(published(NetworkKind::Search).macs(&alpha), macs, "{text}");
    }
}

#[test]
fn the_largest_chain_has_the_most_multiply_adds_of_all() {
    let spec = published(NetworkKind::Search);
    assert_eq!(spec.space.print(&spec.most_macs()), "22222222");
    // The result is compared with all architectures. Two choices cost the same, and the first of them is taken.
    let chain = Chain::over(&[1, 2], &choices("mb1_k3,identity,mb3_k5,mb3_k3"), Some(6));
    let spec = network(NetworkKind::Final, chain, 2, [1, 9, 9], 3);
    let all = (0..64u16).map(|i| Alpha(vec![i / 16, i / 4 % 4, i % 4]));
    let largest = spec.most_macs();
    assert_eq!(all.map(|alpha| spec.macs(&alpha)).max(), Some(spec.macs(&largest)));
    assert_eq!(spec.space.print(&largest), "222");
    let one = Chain::over(&[2], &choices("identity"), Some(6));
    let only = network(NetworkKind::Final, one, 2, [1, 9, 9], 3).most_macs();
    assert_eq!(only, Alpha(vec![0, 0]));
}

#[test]
fn a_small_chain_by_hand() {
    let spec = small(NetworkKind::Final);
    let alpha = spec.space.parse("201").unwrap();
    let net = spec.net(Paths::Child(&alpha));
    // Sides: 9 behind the stem, 5 behind layer 0, 3 behind layer 1. Channels: 2, 4 and 8 there, and 6 in the middle of
    // layer 0.
    let (stem, expand, depthwise, project) = (9 * 2, 2 * 6, 25 * 6, 6 * 4);
    let (shortcut, narrow, mix, head, classifier) = (4 * 8, 9 * 8, 8 * 8, 8 * 6, 6 * 3);
    let (large, middle, little) = (stem + expand, depthwise + project, shortcut + narrow + mix + head);
    assert_eq!(net.macs(), 81 * large + 25 * middle + 9 * little + classifier);
    // Batch norms have two parameters per channel.
    let norms = 2 * (2 + (6 + 6 + 4) + 8 + (8 + 8) + 6);
    assert_eq!(net.parameter_count(false), large + middle + little + classifier + 3 + norms);
    assert_eq!(net.parameter_count(true), 0);

    // The parent has all choices. Of its batch norms only the batch norm of the stem has parameters.
    let first = 2 * 4 + (9 * 2 + 2 * 4) + (2 * 6 + 25 * 6 + 6 * 4);
    let second = 4 * 8 + (9 * 4 + 4 * 8) + (4 * 12 + 25 * 12 + 12 * 8);
    let third = (9 * 8 + 8 * 8) + (8 * 24 + 25 * 24 + 24 * 8);
    let parent = small(NetworkKind::Search).net(Paths::All);
    assert_eq!(parent.parameter_count(false), stem + 4 + first + second + third + head + classifier + 3);
}

/// Names of all weights, without their last part.
fn weights(spec: &NetworkSpec, paths: Paths<'_>) -> Vec<String> {
    let names = spec.net(paths).params().into_iter().map(|p| p.name);
    names.filter_map(|name| Some(name.strip_suffix(".weight")?.to_owned())).collect()
}

#[test]
fn names_are_the_benchmark_s_and_have_the_choice_in_a_search() {
    let (last, search) = (small(NetworkKind::Final), small(NetworkKind::Search));
    let alpha = last.space.parse("201").unwrap();
    let expected = "stem.0 stem.1 features.0.conv.0 features.0.conv.1 features.0.conv.3 features.0.conv.4 \
                    features.0.conv.6 features.0.conv.7 features.1.downsample.0 features.1.downsample.1 \
                    features.2.conv.0 features.2.conv.1 features.2.conv.3 features.2.conv.4 out.0 out.1 classifier";
    assert_eq!(weights(&last, Paths::Child(&alpha)).join(" "), expected);
    let expected = "stem.0 stem.1 features.0.2.conv.0 features.0.2.conv.3 features.0.2.conv.6 \
                    features.1.0.downsample.0 features.2.1.conv.0 features.2.1.conv.3 out.0 classifier";
    assert_eq!(weights(&search, Paths::Child(&alpha)).join(" "), expected);
    let parent = weights(&search, Paths::All);
    let of_layer = |i: usize| parent.iter().filter(|n| n.starts_with(&format!("features.{i}."))).count();
    assert_eq!([0, 1, 2].map(of_layer), [6, 6, 5], "an identity that keeps its shape has none");
    for index in 0..20 {
        let child = weights(&search, Paths::Child(&sample(&*search.space, index)));
        let places = child.iter().map(|name| parent.iter().position(|p| p == name).unwrap());
        assert!(places.collect::<Vec<_>>().is_sorted_by(|a, b| a < b), "{child:?}");
    }
}

// π and the parts of an architecture

#[test]
fn pi_has_a_table_per_layer() {
    let chain = Chain::default();
    let tables = chain.prior_tables();
    assert_eq!(tables.len(), 8);
    assert!(tables.iter().enumerate().all(|(i, t)| t.name == i.to_string() && t.shape == [3]));
    assert_eq!((chain.mixed_tables(), chain.mixed_slots()), (tables, chain.slots()));
    assert_eq!((chain.alpha_shape(), chain.groups()), (vec![8], &["layers"][..]));
    assert_eq!((chain.slot_name(7), chain.choice_name(7, 2)), ("layer 7".into(), "mb6_k5".into()));
    let prior = Prior::uniform(&chain);
    assert_eq!((prior.len(), prior.entropy().len()), (24, 1));
    assert!((prior.entropy()[0] - 8.0 * 3f64.ln()).abs() < 1e-12);
    // In each layer the choice with the largest factor is taken, and among equal choices the first one.
    let mut alpha = MixedAlpha::uniform(&chain);
    for (layer, choice, logit) in [(1, 1, 0.5), (1, 2, 0.25), (4, 2, 1e-9), (7, 1, -0.1)] {
        alpha.logits[3 * layer + choice] = logit;
    }
    assert_eq!(alpha.decode(&chain), Alpha(vec![0, 1, 0, 0, 2, 0, 0, 0]));
}

#[test]
fn an_architecture_is_tallied_and_has_one_form() {
    let space = published(NetworkKind::Search).space;
    for (text, skips) in [("00000000", 5), ("02012100", 2), ("22222222", 0), ("01011011", 0)] {
        let alpha = space.parse(text).unwrap();
        // An identity in the first layer of a stage is no skip, because it is a convolution.
        assert_eq!(space.tally(&alpha, 0), Tally { skips, pools: 0, of: 8 }, "{text}");
        assert_eq!(space.tallies(&alpha, |t| t.skips)["layers"], skips);
        assert_eq!(space.canonical(&alpha), alpha);
        assert!(space.contains(&alpha));
    }
    assert!(!space.contains(&Alpha(vec![0, 0, 0, 3, 0, 0, 0, 0])) && !space.contains(&Alpha(vec![0; 7])));
    let largest = |names| Chain::over(&[1, 1], &choices(names), None).largest();
    assert_eq!(largest("identity,mb3_k3,mb6_k5"), [Alpha(vec![2; 2])]);
    assert_eq!(largest("mb3_k7,mb6_k3,identity"), [Alpha(vec![1; 2])]);
}

// Text

#[test]
fn text_has_digits_or_names() {
    let chain = Chain::default();
    let alpha = Alpha(vec![0, 2, 0, 1, 2, 1, 0, 0]);
    assert_eq!(chain.print(&alpha), "02012100");
    let names = "identity,mb6_k5,identity,mb3_k3,mb6_k5,mb3_k3,identity,identity";
    for text in ["02012100", " 02012100\n", names, &format!("\t{}\n", names.replace(',', " , "))] {
        assert_eq!(chain.parse(text).unwrap(), alpha, "{text}");
        assert_eq!(read_architecture(&chain, text).unwrap(), alpha, "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("a.txt");
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    assert_eq!(read_architecture(&chain, &file("02012100\n")).unwrap(), alpha);
    let error = read_architecture(&chain, &file("0201\n")).unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("a.txt"), "{error}");
    // Ten choices have one digit each. With eleven choices names are written, but digits are read too.
    let of = |n: usize| Chain::over(&[2], &all_choices()[..n], None);
    assert_eq!(of(10).print(&Alpha(vec![9, 0])), "90");
    assert_eq!(of(11).print(&Alpha(vec![9, 0])), "mb3_k7,identity");
    assert_eq!(of(11).parse("90").unwrap(), Alpha(vec![9, 0]));
}

#[test]
fn bad_texts_say_where_and_what() {
    let chain = Chain::default();
    let (choice, digits) = ("a choice: identity, mb3_k3, mb6_k5", "digits from 0 to 2");
    for (text, place, expected, found) in [
        ("", (1, 1), choice, "the end of the text"),
        ("0201210", (1, 1), "8 layers", "7 layers"),
        ("020121000", (1, 1), "8 layers", "9 layers"),
        (" 02013100", (1, 6), digits, "\"3100\""),
        ("\n9", (2, 1), digits, "\"9\""),
        ("identity,mb3_k4", (1, 10), choice, "\"mb3_k4\""),
        ("identity, mb1_k3", (1, 11), choice, "\"mb1_k3\""),
        ("identity,,mb3_k3", (1, 10), choice, "\",\""),
        ("identity,é", (1, 10), choice, "\"é\""),
        ("0201é100", (1, 1), choice, "\"0201é100\""),
        ("DARTS_V2", (1, 1), choice, "\"DARTS_V2\""),
    ] {
        let error = chain.parse(text).unwrap_err();
        assert_eq!((error.line, error.column), place, "{text}: {error}");
        assert!(error.expected.contains(expected) && error.found == found, "{text}: {error}");
        assert!(error.to_string().contains(&format!("line {}, column {}", place.0, place.1)), "{error}");
        assert_eq!(read_architecture(&chain, text).unwrap_err().exit_code(), 2, "{text}");
    }
    assert!(chain.parse("012").unwrap_err().hint.contains("--stages"));
}

#[test]
fn a_text_tells_its_space() {
    let v2 = named("DARTS_V2").unwrap().to_string();
    for (text, name) in [
        ("02012100", "macro"),
        (" 012\n", "macro"),
        ("mb3_k3 , identity", "macro"),
        ("identity", "macro"),
        ("DARTS_V2", "darts"),
        (&v2, "darts"),
        ("", "darts"),
        ("0201x", "darts"),
        // A misspelt choice is still recognised as a chain.
        ("mb3_k4", "macro"),
    ] {
        assert_eq!(space_of(text), name, "{text:?}");
    }
    let published = published(NetworkKind::Final).space;
    let space = |table: &str, text| config::space::space_of(&table.parse().unwrap(), text).unwrap();
    assert!(*space("", Some("02012100")) == *published);
    assert!(*space("space = 'macro'", None) == *published);
    assert!(*space("space = 'macro'\nhead = 8", None) != *published);
    assert_eq!(space("", Some("DARTS_V2")).name(), "darts");
    // A given space overrides the space to which the text belongs.
    assert_eq!(space("space = 'darts'", Some("02012100")).name(), "darts");
}

proptest! {
    #[test]
    fn any_architecture_survives_its_text(chain in any_chain(25), seed in any::<u64>()) {
        let alpha = Prior::uniform(&chain).sample(&mut stream(seed, Purpose::Test, 0, 0));
        let text = chain.print(&alpha);
        prop_assert_eq!(&chain.parse(&text).unwrap(), &alpha);
        prop_assert_eq!(text.bytes().all(|b| b.is_ascii_digit()), chain.choices().len() <= 10);
        prop_assert_eq!(space_of(&text), "macro");
        let names = alpha.0.iter().enumerate().map(|(slot, c)| chain.choice_name(slot, usize::from(*c)));
        prop_assert_eq!(&chain.parse(&names.collect::<Vec<_>>().join(", ")).unwrap(), &alpha);
    }

    #[test]
    fn the_parser_never_panics(chain in any_chain(12), text in "[0-3mbk_,é \n]{0,30}|(identity|mb3_k5|,| )*|\\PC*") {
        if let Err(error) = chain.parse(&text) {
            prop_assert!(text.is_char_boundary(error.offset));
            prop_assert!(!error.expected.is_empty() && !error.found.is_empty());
        }
        let _ = space_of(&text);
    }
}

// Refused settings

#[test]
fn settings_are_those_of_the_space() {
    let resolve = |text: &str| Config::resolve(None, &text.parse::<Table>().unwrap());
    let usual = resolve("space = 'macro'").unwrap();
    assert_eq!(*usual.space().unwrap(), *published(NetworkKind::Search).space);
    let other = resolve("space = 'macro'\nstages = '1,2'\nchoices = 'mb1_k3, identity'\nhead = 8").unwrap();
    let settings =
        [("stages", "1,2"), ("choices", "mb1_k3,identity"), ("head", "8")].map(|(k, v)| (k, v.to_owned()));
    assert_eq!(other.space().unwrap().settings(), settings.to_vec());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, other.to_toml().unwrap()).unwrap();
    assert_eq!(Config::read_resolved(&path).unwrap(), other);

    for (text, parts) in [
        ("stages = '2,0,3'", ["--stages", "integers from 1 to 64"]),
        ("stages = []", ["`stages`", "1 to 8 stages"]),
        ("stages = [40, 40]", ["`stages`", "64 layers in all"]),
        ("stages = [1, 1, 1, 1, 1, 1, 1, 1, 1]", ["`stages`", "1 to 8 stages"]),
        ("choices = 'identity,mb9_k3'", ["mb9_k3", "an expansion E of 1 to 8"]),
        ("choices = 'mb3_k4'", ["mb3_k4", "a kernel K of 3, 5 or 7"]),
        ("choices = 'mb3_k3,identity,mb3_k3'", ["`choices`", "mb3_k3 twice"]),
        ("choices = 'identity,,mb3_k3'", ["--choices", "words separated by commas"]),
        ("choices = []", ["`choices`", "at least one choice"]),
        ("head = 0", ["--head", "from 1 to 16384"]),
        ("layers = 3", ["`layers`", "--space darts"]),
        ("primitives = 'skip_connect'", ["`primitives`", "--space darts"]),
    ] {
        let error = resolve(&format!("space = 'macro'\n{text}")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{text}: {error}");
    }
    for (text, part) in [
        ("stages = [1]", "--space macro"),
        ("choices = 'identity'", "--space macro"),
        ("head = 8", "--space macro"),
        ("space = 'chain'", "darts or macro"),
    ] {
        let error = resolve(text).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn a_training_of_a_chain_has_neither_drop_path_nor_auxiliary_head() {
    let resolve = |more: &str| {
        let text = format!("data = 'folder:x'\ngenotype = '01'\nspace = 'macro'\nstages = [1, 1]\n{more}");
        TrainConfig::resolve(None, None, &text.parse::<Table>().unwrap())
    };
    let config = resolve("").unwrap();
    assert_eq!((config.regularisation.auxiliary, config.regularisation.drop_path), (0.0, 0.0));
    for text in ["layers = 3", "stem = 'imagenet'", "auxiliary = 0.4", "drop_path = 0.2"] {
        let error = resolve(text).unwrap_err();
        assert!(error.to_string().contains("nothing with the space macro"), "{text}: {error}");
    }
}

#[test]
fn impossible_networks_are_refused() {
    let base = || published(NetworkKind::Search);
    let of = |stages: usize, head| {
        let chain = Chain::over(&vec![1; stages], &choices("identity"), head);
        network(NetworkKind::Search, chain, 1024, [3, 32, 32], 10)
    };
    for spec in [base(), NetworkSpec { height: 8, width: 13, ..base() }, of(4, Some(1280))] {
        spec.check().unwrap();
    }
    for (spec, part) in [
        (NetworkSpec { height: 7, ..base() }, "image height: expected 8 to 512"),
        (NetworkSpec { width: 7, ..base() }, "image width: expected 8 to 512"),
        (NetworkSpec { channels: 1, ..base() }, "2 to 1024"),
        (NetworkSpec { n_classes: 1, ..base() }, "classes"),
        (of(5, Some(1280)), "channels of the last stage"),
        (of(1, Some(70_000)), "`head`"),
    ] {
        let error = spec.check().unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(part), "{error}");
    }
}

// The output of `show`

fn parse(svg: &str) -> usvg::Tree {
    usvg::Tree::from_str(svg, &png::options()).expect("valid SVG")
}

#[test]
fn drawings_are_valid_and_complete() {
    let chain = Chain::default();
    let alpha = chain.parse("02012100").unwrap();
    let svg = architecture_svg(&chain, &alpha);
    parse(&svg);
    let count = |text: &str| svg.matches(&format!(">{text}<")).count();
    assert_eq!(["identity", "mb3_k3", "mb6_k5"].map(count), [4, 2, 2]);
    let stages = ["2 x channels, 1/2 side", "4 x channels, 1/4 side", "8 x channels, 1/8 side"];
    assert_eq!(stages.map(count), [1; 3]);
    assert_eq!(["stem", "stage 1", "stage 2", "stage 3", "head"].map(count), [1; 5]);
    let dot = architecture_dot(&chain, &alpha);
    assert_eq!((dot.matches("->").count(), dot.matches("stride 2").count()), (9, 3));
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());

    let mut prior = Prior::uniform(&chain);
    prior.logits[5][1] = 4.0;
    let p = prior.probabilities()[5][1];
    for svg in [prior_svg(&chain, &prior), mixed_svg(&chain, &prior.probabilities().concat())] {
        parse(&svg);
        assert!(svg.matches("<rect").count() >= 24);
        assert_eq!(svg.matches(&format!(">{:.0}</text>", 100.0 * p)).count(), 1);
    }
}

#[test]
fn show_counts_a_chain_and_its_prior() {
    let args = ShowArgs { target: "02012100".into(), json: true, ..ShowArgs::default() };
    let shown: Value = serde_json::from_str(&describe(&args, None).unwrap()).unwrap();
    let counts = ["parameters", "macs", "auxiliary_parameters"].map(|key| shown[key].as_u64().unwrap());
    assert_eq!(counts, [890_666, 47_327_744, 0]);
    let text = describe(&ShowArgs { json: false, ..args.clone() }, None).unwrap();
    for part in ["02012100\n", "stages of 2,3,3 layers, 32 channels", "890,666", "2 identity of 8"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let space = published(NetworkKind::Search).space;
    let prior = Prior::uniform(&*space);
    let sampled = ShowArgs { json: false, samples: Some(2), ..args.clone() };
    let text = describe(&sampled, Some(&(space, prior))).unwrap();
    for part in ["layers, entropy 8.79 of 8.79 nats", "  layer 7  ", "sample 2, log p = -8.79"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let auxiliary = ShowArgs { auxiliary: true, ..args };
    assert_eq!(describe(&auxiliary, None).unwrap_err().exit_code(), 2);
}
