//! Flags, a TOML file and the presets → a resolved configuration, and all errors of a configuration.

use std::path::{Path, PathBuf};

use parsec_nas::Error;
use parsec_nas::config::Resolved;
use parsec_nas::config::keys::keys;
use parsec_nas::config::{
    Baseline, Choose, Config, Draws, Every, Samples, Temper, TrainConfig, TrainWeights, to_table,
};
use parsec_nas::error::nearest;
use parsec_nas::space::Primitive;
use proptest::prelude::*;
use tempfile::TempDir;
use toml::{Table, Value};

fn flags(pairs: &[(&str, Value)]) -> Table {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("search.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// The message of the usage error for the TOML `text`.
fn error_of(text: &str) -> String {
    let folder = TempDir::new().unwrap();
    let error = Config::resolve(Some(&file(&folder, text)), &Table::new()).unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

fn flag_error(key: &str, value: impl Into<Value>) -> String {
    let error = Config::resolve(None, &flags(&[(key, value.into())])).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn without_arguments_the_embedded_preset() {
    let config = Config::preset().unwrap();
    assert_eq!(config.images.data, "embedded");
    assert!(config.length.steps > 0 && config.length.epochs.is_none());
    assert_eq!(config.algorithm.primitives.len(), 7);
    assert!(!config.algorithm.primitives.contains(&Primitive::None));
    assert_eq!((config.prior.temper, config.prior.baseline), (Temper::None, Baseline::Mean));
    assert_eq!((config.algorithm.warmup, config.algorithm.train_weights), (0.5, TrainWeights::Uniform));
}

/// `--paper` has the settings of the paper, which version 0.1 used.
#[test]
fn with_paper_the_source_s_algorithm() {
    let config = Config::paper().unwrap();
    assert_eq!((config.sgd.lr, config.prior.prior_lr), (0.1, 0.25));
    assert_eq!((config.prior.temper, config.prior.baseline), (Temper::None, Baseline::None));
    assert_eq!(
        (config.algorithm.warmup, config.algorithm.explore, config.algorithm.draws),
        (0.0, 0.0, Draws::Independent)
    );
    assert_eq!(
        (config.algorithm.train_weights, config.algorithm.search_batch),
        (TrainWeights::Importance, None)
    );
    assert_eq!((config.search_batch(), config.warm_up_steps(7)), (16, Some(0)));
    let mut config = config;
    config.resolve_for(500, 500, 32);
    assert_eq!((config.search_batch(), config.prior.prior_lr), (16, 0.25), "nothing follows from anything");

    let user =
        |key: &str, value: Value| Config::resolve(None, &flags(&[("paper", true.into()), (key, value)]));
    assert_eq!(user("prior_lr", 0.5.into()).unwrap().prior.prior_lr, 0.5, "rates are the user's");
    assert_eq!(user("warmup", 0.0.into()).unwrap().algorithm.warmup, 0.0);
    for (key, value) in [
        ("warmup", Value::from(0.3)),
        ("train_weights", "uniform".into()),
        ("search_batch", 64.into()),
        ("draws", "stratified".into()),
        ("explore", 0.1.into()),
        ("baseline", "mean".into()),
    ] {
        let error = user(key, value.clone()).unwrap_err();
        let text = error.to_string();
        assert!(error.exit_code() == 2 && text.contains(key) && text.contains("paper"), "{text}");
    }
    // `darts` draws nothing, so its settings are those of its own source.
    let darts = Config::resolve(None, &flags(&[("method", "darts".into())])).unwrap();
    assert_eq!((darts.algorithm.warmup, darts.prior.prior_lr, darts.algorithm.paper), (0.0, 0.25, false));
}

/// Rates that the user does not give follow from the length, which is in a file, in a flag or in epochs.
#[test]
fn rates_follow_from_the_length() {
    let config = |list: &[(&str, Value)]| Config::resolve(None, &flags(list)).unwrap();
    // The rate of π is 0.35 over the root of the number of steps after the warm-up.
    let short = config(&[("steps", 450.into())]);
    assert_eq!((short.sgd.lr, short.prior.prior_lr), (0.1, 0.023));
    let long = config(&[("steps", 20_000.into())]);
    assert_eq!((long.sgd.lr, long.prior.prior_lr), (0.025, 0.0035));
    let own = config(&[("steps", 20_000.into()), ("lr", 0.07.into()), ("warmup", 0.0.into())]);
    assert_eq!((own.sgd.lr, own.prior.prior_lr), (0.07, 0.0025));

    let mut epochs = config(&[("data", "cifar10:x".into()), ("epochs", 10.into()), ("prior_lr", 0.3.into())]);
    assert_eq!(epochs.length.steps, 0);
    epochs.resolve_for(800 * 64, 25_000, 32);
    assert_eq!((epochs.length.steps, epochs.sgd.lr, epochs.prior.prior_lr), (8000, 0.04, 0.3));
    assert_eq!(epochs.search_batch(), 256);

    // A rate that a program sets before the length is known is kept.
    let mut set = config(&[("data", "cifar10:x".into()), ("epochs", 10.into())]);
    set.sgd.lr = 0.5;
    set.resolve_for(800 * 64, 25_000, 32);
    assert_eq!(set.sgd.lr, 0.5);
}

#[test]
fn the_search_batch_fits_its_split_and_the_parts() {
    let resolved = |list: &[(&str, Value)], n_search| {
        let mut config = Config::resolve(None, &flags(list)).unwrap();
        config.resolve_for(10_000, n_search, 32);
        config.search_batch()
    };
    assert_eq!(resolved(&[], 5000), 64, "four batches");
    assert_eq!(resolved(&[("batch", 64.into())], 5000), 256);
    assert_eq!(resolved(&[], 50), 50, "no more than there are");
    assert_eq!(resolved(&[("batch", 300.into())], 5000), 300);
    assert_eq!(resolved(&[("batch", 60.into()), ("micro_batch", 30.into())], 5000), 240, "whole parts");
    assert_eq!(resolved(&[("search_batch", 32.into())], 5000), 32);
    let list = [("batch", 60.into()), ("micro_batch", 30.into()), ("search_batch", 64.into())];
    let text = Config::resolve(None, &flags(&list)).unwrap_err().to_string();
    assert!(text.contains("search_batch") && text.contains("--search-batch 90"), "{text}");
}

#[test]
fn a_warm_up_is_said_once_and_is_not_everything() {
    let resolve = |list: &[(&str, Value)]| Config::resolve(None, &flags(list));
    let config = resolve(&[("steps", 100.into()), ("warmup", 0.25.into())]).unwrap();
    assert_eq!(config.warm_up_steps(7), Some(25));
    let shortest = resolve(&[("steps", 1.into())]).unwrap();
    assert_eq!(shortest.warm_up_steps(7), Some(0), "the prior has a step");
    let config = resolve(&[("steps", 100.into()), ("warmup_epochs", 2.into())]).unwrap();
    assert_eq!((config.warm_up_steps(7), config.algorithm.warmup), (Some(14), 0.0));
    let text = resolve(&[("warmup", 0.25.into()), ("warmup_epochs", 2.into())]).unwrap_err().to_string();
    assert!(text.contains("warmup_epochs") && text.contains("0.25"), "{text}");
    for (key, value) in [("warmup", 1.0), ("warmup", -0.1), ("explore", 1.0)] {
        let text = resolve(&[(key, value.into())]).unwrap_err().to_string();
        assert!(text.contains(key) && text.contains("0 to 0.99"), "{text}");
    }
    // A rate that follows from the length is at least `lr_min`.
    let mut long = resolve(&[("epochs", 50.into()), ("lr_min", 0.05.into())]).unwrap();
    long.resolve_for(50_000, 50_000, 32);
    assert_eq!(long.sgd.lr, 0.05);
    // With the baseline `mean` a single child would never move π.
    let text = resolve(&[("samples", 1.into())]).unwrap_err().to_string();
    assert!(text.contains("samples") && text.contains("--baseline none"), "{text}");
    assert!(resolve(&[("samples", 1.into()), ("paper", true.into())]).is_ok());
    // A resolved configuration with one child is still accepted, so that older runs continue.
    let folder = TempDir::new().unwrap();
    let two = resolve(&[("samples", 2.into())]).unwrap().to_toml().unwrap();
    let one = Config::read_resolved(&file(&folder, &two.replace("samples = 2", "samples = 1"))).unwrap();
    assert_eq!(one.algorithm.samples, Samples::Fixed(1));
}

#[test]
fn other_data_take_the_settings_of_the_reference() {
    let mut config = Config::resolve(None, &flags(&[("data", "cifar10:some/where".into())])).unwrap();
    assert_eq!((config.network.layers, config.network.channels, config.length.batch), (8, 16, 64));
    assert_eq!((config.algorithm.samples, config.execution.micro_batch), (Samples::Fixed(16), None));
    assert_eq!((config.prior.prior_lr, config.length.epochs, config.length.steps), (3e-4, Some(50), 0));
    config.resolve_for(390 * 64 + 3, 25_000, 32);
    assert_eq!(config.length.steps, 19_500);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_preset() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "lr = 0.5\nsamples = 3 # three\nepochs = 7\n");
    let config = Config::resolve(Some(&path), &flags(&[("samples", 4.into())])).unwrap();
    assert_eq!((config.sgd.lr, config.algorithm.samples), (0.5, Samples::Fixed(4)));
    assert_eq!(
        (config.length.steps, config.length.epochs),
        (0, Some(7)),
        "the file's epochs replace the preset's steps"
    );
    let config = Config::resolve(Some(&path), &flags(&[("steps", 9.into())])).unwrap();
    assert_eq!(
        (config.length.steps, config.length.epochs),
        (9, None),
        "the flag's steps replace the file's epochs"
    );
}

#[test]
fn the_resolved_form_names_every_key_and_round_trips() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.toml");
    let mut config = Config::resolve(
        None,
        &flags(&[
            ("data", "folder:some where/é".into()),
            ("lr", 0.1.into()),
            ("lr_min", 1e-17.into()),
            ("temper", "ess:3.25".into()),
            ("baseline", "mean".into()),
            ("primitives", "skip_connect, none".into()),
            ("mean", "0.1,0.2,0.30000000000000004".into()),
            ("std", vec![0.1, 0.2, 1.0 / 3.0].into()),
            ("seed", i64::MAX.into()),
        ]),
    )
    .unwrap();
    config.resolve_for(11 * 64, 1000, 32);
    let text = config.to_toml().unwrap();
    for key in keys(Config::CONCERNS) {
        assert!(text.contains(key.name), "{} is not in\n{text}", key.name);
    }
    std::fs::write(&path, &text).unwrap();
    let again = Config::read_resolved(&path).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.length.steps, 550);
    assert_eq!(again.to_toml().unwrap(), text);
    assert_eq!(again.algorithm.primitives, [Primitive::SkipConnect, Primitive::None]);

    // An error about two keys that do not fit together names the file too.
    std::fs::write(&path, text.replace("\nlr_min = ", "\nlr_min = 5")).unwrap();
    let error = Config::read_resolved(&path).unwrap_err().to_string();
    assert!(error.contains("config.toml: `lr_min`"), "{error}");
}

/// K is a number or a rule. Each form is read from text and from a file, and is written as it was given.
#[test]
fn samples_are_an_integer_or_a_share_of_the_entropy() {
    let folder = TempDir::new().unwrap();
    for (toml, flag, expected) in [
        ("samples = 7", "7", Samples::Fixed(7)),
        ("samples = \"7\"", "7", Samples::Fixed(7)),
        ("samples = \"auto:0.3\"", "auto:0.3", Samples::Auto(0.3)),
        ("samples = \"auto:2\"", "auto:2", Samples::Auto(2.0)),
    ] {
        let of_file = Config::resolve(Some(&file(&folder, toml)), &Table::new()).unwrap();
        let of_flag = Config::resolve(None, &flags(&[("samples", flag.into())])).unwrap();
        assert_eq!((of_file.algorithm.samples, of_flag.algorithm.samples), (expected, expected));
        let text = of_file.to_toml().unwrap();
        let written =
            if flag == "7" { "\nsamples = 7\n".to_owned() } else { format!("\nsamples = \"{flag}\"\n") };
        assert!(text.contains(&written), "{written} is not in\n{text}");
        assert_eq!(Config::read_resolved(&file(&folder, &text)).unwrap(), of_file);
    }
}

#[test]
fn k_follows_the_entropy_within_its_bounds() {
    let k = |lambda, entropy| Samples::Auto(lambda).count(entropy);
    assert_eq!(k(0.32, 50.3), 16, "seven primitives, uniform");
    assert_eq!((k(0.32, 50.3 / 3.0), k(0.32, 14.0), k(0.32, 14.1)), (5, 4, 5), "rounded");
    assert_eq!((k(0.32, 0.0), k(0.32, 4.6), k(1e-3, 50.0)), (2, 2, 2));
    assert_eq!((k(1.0, 63.6), k(1000.0, 50.0), k(1.0, f64::INFINITY)), (64, 64, 64));
    assert_eq!((Samples::Fixed(1).count(50.0), Samples::Fixed(4096).count(0.0)), (1, 4096));
}

proptest! {
    #[test]
    fn numbers_round_trip_exactly(lr in 1e-12f64..100.0, decay in 0.0f64..1.0, seed in 0i64..i64::MAX, beta in 0.0f64..10.0) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("config.toml");
        let given = flags(&[
            ("lr", lr.into()), ("lr_min", 0.into()), ("weight_decay", decay.into()),
            ("seed", seed.into()), ("temper", beta.to_string().into()),
        ]);
        let config = Config::resolve(None, &given).unwrap();
        std::fs::write(&path, config.to_toml().unwrap()).unwrap();
        prop_assert_eq!(Config::read_resolved(&path).unwrap(), config);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_= 0-9.\"\\[\\],\n#-]{0,80}") {
        let folder = TempDir::new().unwrap();
        if let Err(e) = Config::resolve(Some(&file(&folder, &text)), &Table::new()) {
            prop_assert_eq!(e.exit_code(), 2);
        }
    }
}

#[test]
fn every_key_of_the_list_is_a_key_of_the_configuration() {
    let config = Config::resolve(
        None,
        &flags(&[
            ("run", "r".into()),
            ("device", 0.into()),
            ("prior_from", "p".into()),
            ("prior_temperature", 2.into()),
            ("weights_from", "w".into()),
            ("micro_batch", 4.into()),
            ("search_batch", 64.into()),
            ("max_skips", 2.into()),
            ("space", "macro".into()),
            ("stages", "2,1".into()),
            ("choices", "identity,mb3_k3".into()),
            ("head", 64.into()),
            ("size", 32.into()),
            ("tune", true.into()),
            ("mean", 0.5.into()),
            ("std", 1.into()),
        ]),
    );
    let table = config.unwrap().to_table().unwrap();
    let listed: std::collections::BTreeSet<&str> = keys(Config::CONCERNS).map(|k| k.name).collect();
    let mut named: std::collections::BTreeSet<&str> = table.keys().map(String::as_str).collect();
    // The resolved form of a chain leaves out the settings that only cells have.
    named.extend(["epochs", "layers", "primitives"]);
    assert_eq!(listed, named);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let message = error_of("seed = 1\nsample = 8\n");
    assert!(message.contains("search.toml, line 2") && message.contains("`sample`"), "{message}");
    assert!(message.contains("`samples`"), "{message}");
    assert!(error_of("[search]\nlr = 1\n").contains("line 1"));
    assert!(error_of("zzzzzzzzzzzz = 1").contains("one of data, size"));
    assert_eq!(nearest("prior-lr", ["lr", "prior_lr"].into_iter()), Some("prior_lr"));
    assert_eq!(nearest("xyz", ["momentum"].into_iter()), None);
}

#[test]
fn a_value_out_of_range_names_key_line_range_and_what_was_found() {
    let message = error_of("# a comment\n\nlr = -0.5\n");
    for part in ["line 3", "`lr`", "above 0", "-0.5"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    for (text, part) in [
        ("samples = 0", "1 to 4096"),
        ("channels = 15", "even"),
        ("batch = 2.5", "integer"),
        ("layers = \"8\"", "integer"),
        ("flip = 1", "true or false"),
        ("lr = nan", "above 0"),
        ("momentum = 1.0", "0.9999"),
        ("data = \"cifar10\"", "cifar10:DIR"),
        ("data = \"mnist:x\"", "idx:DIR"),
        ("temper = \"ess:0.5\"", "at least 1"),
        ("temper = \"hot\"", "exponent"),
        ("baseline = \"median\"", "none or mean"),
        ("primitives = [\"sep_conv_7x7\"]", "sep_conv_5x5"),
        ("primitives = []", "at least one"),
        ("primitives = [\"none\"]", "computes something"),
        ("primitives = \"skip_connect,skip_connect\"", "twice"),
        ("mean = [0.5]", "the same number"),
        ("std = [0.0]", "one number"),
        ("steps = 5\nepochs = 1", "either"),
        ("lr = 0.01\nlr_min = 0.02", "at most `lr`"),
        ("samples = 4\ntemper = \"ess:5\"", "at most `samples` (4)"),
        ("samples = \"auto:0.3\"\ntemper = \"ess:33\"", "at most `samples` (32)"),
        ("samples = 4.0", "1 to 4096, or auto:LAMBDA"),
        ("samples = \"auto:\"", "auto:LAMBDA"),
        ("samples = \"auto\"", "auto:LAMBDA"),
        ("samples = \"auto:0\"", "above 0"),
        ("samples = \"auto:-0.3\"", "above 0"),
        ("samples = \"auto:nan\"", "above 0"),
        ("samples = \"auto:inf\"", "at most 1000"),
        ("samples = true", "an integer"),
        ("micro_batch = 0", "1 to 32768"),
        ("batch = 32\nmicro_batch = 12", "a divisor of `batch` (32)"),
        ("batch = 32\nmicro_batch = 12", "--micro-batch 8"),
        ("batch = 32\nmicro_batch = 64", "--micro-batch 32"),
    ] {
        let message = error_of(text);
        assert!(message.contains(part), "{text}: {part:?} is not in: {message}");
    }
}

#[test]
fn a_flag_is_named_as_it_is_written() {
    let message = flag_error("prior_lr", 0.0);
    assert!(message.starts_with("--prior-lr: expected"), "{message}");
    assert!(flag_error("channels", 7).contains("--channels"));
    let both = Config::resolve(None, &flags(&[("steps", 1.into()), ("epochs", 1.into())])).unwrap_err();
    assert!(both.to_string().contains("--epochs"));
}

#[test]
fn text_that_is_no_toml_names_the_line() {
    assert!(error_of("seed = 1\nlr = = 2\n").contains("line 2"));
    assert!(error_of("seed = 1\nseed = 2\n").contains("line 2"));
}

#[test]
fn a_missing_file_is_no_usage_error() {
    let error = Config::resolve(Some(Path::new("no/such.toml")), &Table::new()).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("no/such.toml"));
}

#[test]
fn the_reference_form_drops_no_child() {
    let config = Config::resolve(None, &flags(&[("reference", true.into())])).unwrap();
    assert_eq!(config.algorithm.drop_mass, 0.0);
}

#[test]
fn a_resolved_file_without_a_key_is_refused() {
    let folder = TempDir::new().unwrap();
    let text = Config::preset().unwrap().to_toml().unwrap();
    let path = file(&folder, &text.replace("momentum = 0.9\n", ""));
    assert!(Config::read_resolved(&path).unwrap_err().to_string().contains("momentum"));
}

/// `docs/settings.md` is made from the declarations of the settings. `UPDATE_EXPECT=1` writes the page again.
#[test]
fn the_reference_of_settings_is_that_of_their_declarations() {
    let cells = |table: Table| move |key: &str| table.get(key).map(Value::to_string);
    let search =
        |data: &str| Config::resolve(None, &flags(&[("data", data.into())])).unwrap().to_table().unwrap();
    let train = |preset: &str| {
        let given = flags(&[("genotype", "DARTS_V2".into()), ("data", "cifar10:DIR".into())]);
        to_table(&TrainConfig::resolve(Some(preset), None, &given).unwrap()).unwrap()
    };
    let defaults = [
        ("search", cells(search("embedded"))),
        ("search of other data", cells(search("cifar10:DIR"))),
        ("train small", cells(train("small"))),
        ("train cifar", cells(train("cifar"))),
        ("train imagenet", cells(train("imagenet"))),
    ];
    let mut text = String::from(
        "# Settings\n\nAs a flag `--name-with-dashes`, in a TOML file `name_with_underscores = value`; flags override the file. The \
         values are those of a search of the embedded images, one of other data, and trainings with the presets small, cifar and \
         imagenet, where nobody says anything; *follows*: from the length of the run and the images ([method.md](method.md)).\n",
    );
    let mut told = std::collections::BTreeSet::new();
    for concern in Config::CONCERNS.iter().chain(TrainConfig::CONCERNS) {
        if !told.insert(concern.title) {
            continue;
        }
        text += &format!("\n## {}\n\n", concern.title.trim());
        for key in concern.keys {
            let (of_search, of_train) = [Config::CONCERNS, TrainConfig::CONCERNS]
                .map(|all| keys(all).any(|k| k.name == key.name))
                .into();
            let commands = match (of_search, of_train) {
                (true, true) => "",
                (true, false) => " Of `search`.",
                _ => " Of `train`.",
            };
            let values = defaults
                .iter()
                .filter(|(command, _)| if command.starts_with("search") { of_search } else { of_train });
            let follows = |command: &str| {
                command.starts_with("search")
                    && ["lr", "prior_lr", "search_batch", "crop_pad"].contains(&key.name)
            };
            let values: Vec<String> = values
                .map(|(command, of)| match of(key.name) {
                    _ if follows(command) => "*follows*".to_owned(),
                    Some(value) => format!("`{value}`"),
                    None => "-".to_owned(),
                })
                .collect();
            let values = match &values[..] {
                [first, others @ ..] if others.iter().all(|other| other == first) => first.clone(),
                _ => values.join(", "),
            };
            let values =
                if ["data", "genotype", "run", "device"].contains(&key.name) { "-".into() } else { values };
            let help = if key.name == "data" { parsec_nas::data::HELP } else { key.help.trim() };
            text += &format!(
                "- **`{}`** ({}): {help}.{commands} Without it: {values}.\n",
                key.name,
                key.kind.expected()
            );
        }
    }
    expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md")].assert_eq(&text);
}

/// A preset holds what differs from the declared defaults. A default that stood in both could become two values.
#[test]
fn presets_hold_only_what_differs_from_the_defaults() {
    let assets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let presets = ["default", "paper", "train-small", "train-cifar", "train-imagenet"];
    let mut n = 0;
    for name in presets {
        let text = std::fs::read_to_string(assets.join(format!("{name}.toml"))).unwrap();
        for (key, value) in text.parse::<Table>().unwrap() {
            let mut declared = keys(Config::CONCERNS).chain(keys(TrainConfig::CONCERNS));
            let default = declared.find(|k| k.name == key).unwrap().default;
            let default: Option<toml::Value> = default.map(|text| text.parse().unwrap());
            assert!(default.as_ref() != Some(&value), "{name}.toml: {key} = {value} is the default");
            n += 1;
        }
    }
    assert!(n > 40, "{n}");
}

/// Intervals have words. 0 has the meaning that it had before these words existed.
#[test]
fn zero_is_read_as_before_there_were_words() {
    let zero = flags(&[("eval_every", 0.into()), ("checkpoint_every", 0.into())]);
    let search = Config::resolve(None, &zero).unwrap();
    assert_eq!((search.session.eval_every, search.session.checkpoint_every), (Every::End, Every::End));
    assert_eq!(search.remarks.0.len(), 2, "{:?}", search.remarks);
    let mut of_training = zero.clone();
    of_training.insert("genotype".into(), "DARTS_V2".into());
    let training = TrainConfig::resolve(None, None, &of_training).unwrap();
    assert_eq!(
        (training.session.eval_every, training.session.checkpoint_every),
        (Every::Epoch, Every::Epoch)
    );
    assert!(training.remarks.0[0].contains("epoch"), "{:?}", training.remarks);
    let words = flags(&[("eval_every", "epoch".into()), ("checkpoint_every", "7".into())]);
    let search = Config::resolve(None, &words).unwrap();
    assert_eq!((search.session.eval_every, search.session.checkpoint_every), (Every::Epoch, Every::Steps(7)));
    assert!(search.remarks.0.is_empty());
    let never = Config::resolve(None, &flags(&[("eval_every", "never".into())])).unwrap_err().to_string();
    assert!(never.contains("end, epoch, or a number of steps"), "{never}");
}

/// The configuration of a run can be the file of another search. Keys that do not belong into a file are errors.
#[test]
fn a_resolved_configuration_starts_another_search() {
    let folder = TempDir::new().unwrap();
    let mut first = Config::resolve(None, &flags(&[("epochs", 3.into())])).unwrap();
    first.resolve_for(160, 160, 28);
    let path = file(&folder, &first.to_toml().unwrap());
    let again = Config::resolve(Some(&path), &Table::new()).unwrap();
    assert_eq!(
        (again.length.epochs, again.length.steps),
        (Some(3), 0),
        "the length follows from the new data"
    );
    let shorter = Config::resolve(Some(&path), &flags(&[("steps", 7.into())])).unwrap();
    assert_eq!((shorter.length.epochs, shorter.length.steps), (None, 7));
    let both = error_of("steps = 3\nepochs = 3\n");
    assert!(both.contains("both"), "{both}");
    let section = error_of("steps = 3\n[search]\nlr = 1\n");
    assert!(section.contains("line 2") && section.contains("section [search]"), "{section}");
}

#[test]
fn the_choice_at_the_end_is_that_of_the_method() {
    let resolve = |list: &[(&str, Value)]| Config::resolve(None, &flags(list));
    let choose = |list: &[(&str, Value)]| resolve(list).unwrap().outcome.choose;
    assert_eq!(choose(&[]), Choose::Evidence);
    assert_eq!(choose(&[("paper", true.into())]), Choose::Mode);
    for method in ["darts", "random", "random_search"] {
        assert_eq!(choose(&[("method", method.into())]), Choose::Mode);
        let text =
            resolve(&[("method", method.into()), ("choose", "evidence".into())]).unwrap_err().to_string();
        assert!(text.contains("choose") && text.contains(method), "{text}");
    }
    for (key, value) in [("choose", Value::from("evidence")), ("warmup_epochs", 1.into())] {
        let text = resolve(&[("paper", true.into()), (key, value)]).unwrap_err().to_string();
        assert!(text.contains(key) && text.contains("paper"), "{text}");
    }
}
