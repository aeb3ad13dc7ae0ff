//! Flags, a TOML file and the presets of a training, and all errors of a configuration.

use std::path::PathBuf;

use parsec_nas::config::keys::keys;
use parsec_nas::config::{Resolved, Schedule, Stem, TrainConfig, read_resolved, to_toml};
use parsec_nas::data::Size;
use tempfile::TempDir;
use toml::{Table, Value};

fn flags(pairs: &[(&str, Value)]) -> Table {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("train.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn error_of(text: &str) -> String {
    let folder = TempDir::new().unwrap();
    let text = format!("genotype = \"DARTS_V2\"\n{text}");
    let error = TrainConfig::resolve(None, Some(&file(&folder, &text)), &Table::new()).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_data_choose_the_preset_unless_it_is_named() {
    let with = |preset, data: &str| {
        TrainConfig::resolve(preset, None, &flags(&[("genotype", "DARTS_V2".into()), ("data", data.into())]))
    };
    let small = with(None, "embedded").unwrap();
    assert_eq!((small.network.layers, small.network.channels, small.regularisation.auxiliary), (3, 8, 0.0));
    let cifar = with(None, "cifar10:x").unwrap();
    assert_eq!((cifar.network.layers, cifar.network.channels, cifar.length.epochs), (20, 36, Some(600)));
    assert_eq!(
        (
            cifar.regularisation.auxiliary,
            cifar.regularisation.drop_path,
            cifar.regularisation.cutout,
            cifar.sgd.lr
        ),
        (0.4, 0.2, 16, 0.025)
    );
    assert_eq!((cifar.regularisation.schedule, cifar.architecture.stem), (Schedule::Cosine, Stem::Cifar));
    let imagenet = with(Some("imagenet"), "folder:x").unwrap();
    assert_eq!(
        (imagenet.network.layers, imagenet.network.channels, imagenet.images.size),
        (14, 48, Some(Size::square(224)))
    );
    assert_eq!(
        (imagenet.regularisation.schedule, imagenet.architecture.stem),
        (Schedule::Exponential, Stem::Imagenet)
    );
    assert_eq!((imagenet.regularisation.label_smoothing, imagenet.sgd.weight_decay), (0.1, 3e-5));
    assert_eq!(with(Some("small"), "cifar10:x").unwrap().network.layers, 3);
    let error = with(Some("tiny"), "embedded").unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("small, cifar, imagenet"), "{error}");
}

#[test]
fn a_training_needs_an_architecture() {
    let error = TrainConfig::resolve(None, None, &Table::new()).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("--genotype"), "{error}");
}

#[test]
fn wrong_keys_and_values_are_named_with_their_line() {
    let message = error_of("label_smooth = 0.1\n");
    for part in ["train.toml, line 2", "`label_smooth`", "`label_smoothing`"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    for (text, part) in [
        ("samples = 4", "setting"),
        ("channels = 7", "even"),
        ("layers = 0", "1 to 256"),
        ("schedule = \"linear\"", "cosine or exponential"),
        ("stem = \"vgg\"", "cifar or imagenet"),
        ("label_smoothing = 1.0", "0.99"),
        ("drop_path = 1.0", "0.9"),
        ("auxiliary = true", "a number"),
        ("auxiliary = -0.4", "0 to 10"),
        ("jitter = 1.5", "0 to 1"),
        ("hue = 0.6", "0 to 0.5"),
        ("cutout = -1", "0 to 512"),
        ("lr_decay = 1.1", "at most 1"),
        ("lr = 0.01\nlr_min = 0.02", "at most `lr`"),
        ("steps = 5\nepochs = 1", "either"),
        ("resized_crop = 1", "true or false"),
        ("data = \"mnist\"", "embedded"),
        ("mean = [0.5]", "the same number"),
    ] {
        let message = error_of(text);
        assert!(message.contains(part), "{text}: {part:?} is not in: {message}");
    }
    let error = TrainConfig::resolve(None, None, &flags(&[("drop_path", 2.0.into())])).unwrap_err();
    assert!(error.to_string().starts_with("--drop-path: expected"), "{error}");
}

#[test]
fn the_resolved_form_names_every_key_and_round_trips() {
    let folder = TempDir::new().unwrap();
    let given = flags(&[
        ("genotype", super::GENOTYPE.into()),
        ("run", "r".into()),
        ("device", 0.into()),
        ("weights", "w".into()),
        ("size", 32.into()),
        ("mean", 0.1.into()),
        ("std", (1.0 / 3.0).into()),
    ]);
    let mut config = TrainConfig::resolve(None, None, &given).unwrap();
    config.resolve_steps(7);
    assert_eq!(config.length.steps, 7 * config.length.epochs.unwrap());
    let text = to_toml(&config).unwrap();
    let path = file(&folder, &text);
    let again: TrainConfig = read_resolved(&path).unwrap();
    assert_eq!(again, config);
    assert_eq!(to_toml(&again).unwrap(), text);
    let table: Table = text.parse().unwrap();
    let named: Vec<&str> = table.keys().map(String::as_str).collect();
    // The settings that only a chain has are tested with chains.
    let of_chains = ["stages", "choices", "head"];
    let mut listed: Vec<&str> =
        keys(TrainConfig::CONCERNS).map(|k| k.name).filter(|name| !of_chains.contains(name)).collect();
    listed.sort_unstable();
    assert_eq!(named, listed);
    assert_eq!(TrainConfig::KIND, "train");
}
