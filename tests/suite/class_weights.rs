//! Weights of the classes in the loss: the setting, the gradients of a training and of a search, and unbalanced data.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use parsec_nas::config::{ClassWeights, Config, Method, TrainConfig};
use parsec_nas::data::{Account, Augment, BatchSource, Dataset, Identity, Images, Normalisation, Split};
use parsec_nas::kernel::Buf;
use parsec_nas::reference::network::{self, Batch, evaluate};
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::Paths;
use parsec_nas::train::{Settings, Training};
use rand::Rng;
use serde_json::Value as Json;
use tempfile::TempDir;
use toml::{Table, Value};

use super::gpu::has_gpu;
use super::replay::{close, open};
use super::train::{batch_in_f64, in_f64};
use crate::with;

fn resolved(value: impl Into<Value>) -> Result<ClassWeights, String> {
    let flags = Table::from_iter([("class_weights".to_owned(), value.into())]);
    Config::resolve(None, &flags).map(|c| c.images.class_weights).map_err(|e| e.to_string())
}

#[test]
fn the_setting_is_a_word_or_a_list() {
    assert_eq!(Config::preset().unwrap().images.class_weights, ClassWeights::None);
    assert_eq!(Config::paper().unwrap().images.class_weights, ClassWeights::None);
    assert_eq!(resolved("balanced"), Ok(ClassWeights::Balanced));
    let list = ClassWeights::List(vec![1.0, 2.5, 0.25]);
    for value in [Value::from("1, 2.5,0.25"), vec![1.0, 2.5, 0.25].into()] {
        assert_eq!(resolved(value), Ok(list.clone()));
    }
    for wrong in ["", "equal", "1,,2", "1,0", "1,-2", "1,nan", "inf,1", "1,balanced"] {
        let message = resolved(wrong).unwrap_err();
        assert!(message.contains("none, balanced, or one number from 0.000001"), "{wrong}: {message}");
    }
    assert!(resolved(true).is_err());

    // In files and manifests the setting is a word or a list.
    for (weights, text) in [
        (ClassWeights::None, "class_weights = \"none\""),
        (ClassWeights::Balanced, "class_weights = \"balanced\""),
        (list, "class_weights = [1.0, 2.5, 0.25]"),
    ] {
        let config = with(Config::preset().unwrap(), |c| c.images.class_weights = weights);
        let toml = config.to_toml().unwrap();
        assert!(toml.lines().any(|line| line == text), "{toml}");
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, toml).unwrap();
        assert_eq!(Config::read_resolved(&path).unwrap(), config);
    }
    let paper =
        Table::from_iter([("paper".into(), true.into()), ("class_weights".into(), "balanced".into())]);
    let message = Config::resolve(None, &paper).unwrap_err().to_string();
    assert!(message.contains("`class_weights`") && message.contains("with `paper`"), "{message}");
}

/// A data set of grey images of noise around a value of the class. `n` has the numbers of training images by class.
fn dataset(n: &[usize], side: usize, spread: i32) -> Arc<Dataset> {
    let images = |n: &[usize], key: u64| {
        let labels: Vec<u16> = (0..n.len()).flat_map(|c| vec![c as u16; n[c]]).collect();
        let mut pixels = Vec::new();
        for (i, label) in labels.iter().enumerate() {
            let mut rng = stream(7, Purpose::Test, key, i as u64);
            let mut below = |n: i32| (rng.next_u32() % n as u32) as i32;
            // The classes overlap: the value of an image is spread around that of its class.
            let value = 100 + 20 * i32::from(*label) + below(2 * spread + 1) - spread;
            pixels.extend((0..side * side).map(|_| (value + below(41) - 20).clamp(0, 255) as u8));
        }
        Images { n: labels.len(), channels: 1, height: side, width: side, pixels: pixels.into(), labels }
    };
    let (train, test) = (images(n, 1), images(&vec![40; n.len()], 2));
    let identity = Identity {
        kind: "test".into(),
        n_train: train.n,
        n_test: test.n,
        n_report: 0,
        channels: 1,
        height: side,
        width: side,
        n_classes: n.len(),
        sha256: String::new(),
    };
    let names = ["cat", "dog", "owl"];
    Arc::new(Dataset {
        train,
        test,
        report: None,
        class_names: names[..n.len()].iter().map(ToString::to_string).collect(),
        identity,
        account: Account::default(),
    })
}

#[test]
fn weights_follow_from_the_training_images() {
    let data = dataset(&[50, 20, 5], 4, 0);
    assert_eq!(ClassWeights::None.of(&data).unwrap(), [1.0; 3]);
    assert_eq!(ClassWeights::None.line(&data).unwrap(), None);
    let balanced = ClassWeights::Balanced.of(&data).unwrap();
    // n / (K n_c). The mean over the images is 1.
    assert_eq!(balanced, [0.5, 1.25, 5.0]);
    let mean = data.train.labels.iter().map(|l| balanced[usize::from(*l)]).sum::<f64>() / 75.0;
    assert!((mean - 1.0).abs() < 1e-12);
    let line = ClassWeights::Balanced.line(&data).unwrap().unwrap();
    assert_eq!(line, "class weights: 0.5 (cat, 50 images) to 5 (owl, 5 images)");
    let list = ClassWeights::List(vec![2.0, 1.0 / 3.0, 1.0]);
    assert_eq!(
        list.line(&data).unwrap().unwrap(),
        "class weights: 0.333 (dog, 20 images) to 2 (cat, 50 images)"
    );

    let error = ClassWeights::List(vec![1.0, 2.0]).of(&data).unwrap_err();
    let message = error.to_string();
    assert!(error.exit_code() == 2 && message.contains("3 weights, for cat, dog, owl"), "{message}");
    assert!(message.contains("2 numbers"), "{message}");
    let message = ClassWeights::Balanced.of(&dataset(&[3, 0, 2], 4, 0)).unwrap_err().to_string();
    assert!(message.contains("none of `dog`"), "{message}");
}

fn training(data: &Arc<Dataset>, changes: &[(&str, Value)]) -> Option<Training> {
    let mut flags = Table::from_iter(
        [
            ("genotype", "DARTS_V2".into()),
            ("channels", 4.into()),
            ("layers", 3.into()),
            ("threads", 1.into()),
        ]
        .map(|(key, value): (&str, Value)| (key.to_owned(), value)),
    );
    flags.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let config = TrainConfig::resolve(None, None, &flags).unwrap();
    let space = config.space().unwrap();
    let alpha = parsec_nas::space::read_architecture(&*space, &config.architecture.genotype).unwrap();
    let settings = Settings { config, space, alpha, normalisation: Normalisation::of(&data.train) };
    Some(Training::new(settings, Arc::clone(data), open()?).unwrap())
}

/// The first gradient of a training with weights, an auxiliary head and one class that is rare: that of the oracle.
#[test]
fn the_gradient_of_a_training_is_the_reference_s() {
    let data = dataset(&[30, 8, 2], 16, 10);
    let changes = |weights: &str| {
        [
            ("class_weights", Value::from(weights)),
            ("batch", 20.into()),
            ("steps", 3.into()),
            ("auxiliary", 0.4.into()),
            ("grad_clip", 1e6.into()),
            ("crop_pad", 0.into()),
            ("flip", false.into()),
            ("seed", 5.into()),
        ]
    };
    for (name, of_classes) in [("balanced", [40.0 / 90.0, 40.0 / 24.0, 40.0 / 6.0]), ("2,2,2", [2.0; 3])] {
        let Some(mut training) = training(&data, &changes(name)) else { return };
        let (spec, alpha) = (training.spec().clone(), training.alpha().clone());
        let net = spec.net(Paths::Child(&alpha));
        let weights = training.weights().unwrap();
        let weights = in_f64(&mut training, &weights);
        let normalisation = Normalisation::of(&data.train);
        let all = (0..40).collect();
        let source =
            BatchSource::new(Arc::clone(&data), all, Split::Train, 20, 5, Augment::NONE, &normalisation);
        let batch = batch_in_f64(&source.unwrap().batch(0).unwrap());
        let of_examples: Vec<f64> = batch.labels.iter().map(|label| of_classes[*label]).collect();
        let batch = Batch { weights: of_examples.clone(), ..batch };
        let outcome = evaluate(&net, &weights, &batch, network::Mode::Train, true).unwrap();
        let sum: f64 = outcome.log_likelihood.iter().zip(&of_examples).map(|(l, w)| l * w).sum();

        let record = training.step().unwrap();
        close("loss", &[record.loss], &[-sum / 20.0], 1e-4);
        let norm = outcome.grads.values().flat_map(|(_, g)| g).map(|g| g * g).sum::<f64>().sqrt();
        close("norm of the gradient", &[record.grad_norm], &[norm], 1e-3);
        // The first momentum is the gradient, plus the decay.
        let decay = training.config().sgd.weight_decay;
        let momentum = training.network().read_all(Buf::Momentum).unwrap();
        for (name, (_, gradient)) in &outcome.grads {
            let entry = training.network().layout().get(name).unwrap().clone();
            let found: Vec<f64> = entry.unpack(&momentum).iter().map(|g| f64::from(*g)).collect();
            let wanted: Vec<f64> =
                gradient.iter().zip(&weights[name].1).map(|(g, v)| g + decay * v).collect();
            let error = super::replay::distance(&found, &wanted);
            assert!(error <= 1e-3 * super::replay::norm(&wanted) + 1e-5 * norm, "{name}: {error:.2e}");
        }
        // The evaluation is not weighted.
        let evaluation = training.evaluate().unwrap();
        assert!(evaluation.n == 120 && evaluation.mean_log_likelihood > -20.0);
    }
}

/// Weights of 1 have the bits of no weights. Weights of 4 multiply every gradient and likelihood by 4, exactly.
#[test]
fn a_search_weighs_likelihoods_and_gradients() {
    for method in [Method::Parsec, Method::Darts, Method::RandomSearch] {
        let mut found = Vec::new();
        for weight in [None, Some(1.0), Some(4.0)] {
            let config = with(super::search::config(), |c| {
                c.algorithm.method = method;
                c.algorithm.reference = true;
                c.algorithm.drop_mass = 0.0;
                c.images.class_weights =
                    weight.map_or(ClassWeights::None, |w| ClassWeights::List(vec![w; 10]));
            });
            let Some(mut search) = super::search::search(config) else { return };
            let record = super::search::run(&mut search, 1).remove(0);
            found.push((record, search.snapshot().unwrap()));
        }
        let [(none, before), (ones, same), (four, _)] = &found[..] else { panic!() };
        assert_eq!((none, before), (ones, same), "{method}");
        let times_four: Vec<f64> = none.log_likelihood.iter().map(|l| 4.0 * l).collect();
        assert_eq!(four.log_likelihood, times_four, "{method}");
        // If all children weigh the same, also with other likelihoods, v has the same gradient times four.
        if none.weights.iter().all(|w| *w == none.weights[0]) {
            let what = |r: &parsec_nas::search::StepRecord| [r.grad_norm, r.train_loss];
            // With `darts` the decay of α is not multiplied, so α differs a little before v moves.
            let tolerance = if method == Method::Darts { 1e-5 } else { 0.0 };
            close(&method.to_string(), &what(four), &what(none).map(|x| 4.0 * x), tolerance);
            assert_eq!(four.train_accuracy, none.train_accuracy, "{method}");
        }
    }
}

/// On data with 15 times as many images of one class, balanced weights raise the recall of the rare class on held-out
/// images of both in equal numbers, and the mean of both recalls.
#[test]
fn balanced_weights_raise_the_recall_of_a_rare_class() {
    let data = dataset(&[150, 10], 8, 14);
    let recalls = |weights: &str| {
        let changes = [
            ("class_weights", Value::from(weights)),
            ("batch", 16.into()),
            ("steps", 60.into()),
            ("lr", 0.02.into()),
            ("crop_pad", 0.into()),
            ("flip", false.into()),
        ];
        let mut training = training(&data, &changes)?;
        (0..60).for_each(|_| _ = training.step().unwrap());
        let tensors = {
            let weights = training.weights().unwrap();
            weights.to_tensors(training.network().layout(), parsec_nas::train::weights::Prefixes::PLAIN)
        };
        let (spec, alpha) = (training.spec().clone(), training.alpha().clone());
        let lowering = parsec_nas::graph::Lowering::default();
        let file = (&tensors, Path::new("w.safetensors"));
        let mut trained = parsec_nas::train::Trained::new(spec, alpha, file, open()?, lowering).unwrap();
        let normalisation = Normalisation::of(&data.train);
        let (_, detail) = trained.evaluate(&data.test, &normalisation, 16).unwrap();
        Some([0, 1].map(|c| detail.per_class()[c].1 as f64 / 40.0))
    };
    let (Some(plain), Some(balanced)) = (recalls("none"), recalls("balanced")) else { return };
    eprintln!("recalls without weights {plain:?}, with balanced weights {balanced:?}");
    assert!(balanced[1] > plain[1] + 0.1, "{plain:?} {balanced:?}");
    assert!(balanced[0] + balanced[1] > plain[0] + plain[1], "{plain:?} {balanced:?}");
}

/// Exit code and standard error.
fn parsec(folder: &Path, args: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    let out = command.args(args.split_whitespace()).current_dir(folder).output().unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn a_run_reports_its_weights_and_resumes_with_them() {
    if !has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    let args = format!(
        "--data {} --channels 4 --batch 8 --class-weights balanced --checkpoint-every 1 --keep-checkpoints 9",
        super::small::data()
    );
    for command in [
        "search --layers 3 --samples 2 --search-batch 8 --warmup 0",
        "train --genotype DARTS_V2 --layers 3 --preset small",
    ] {
        let name = command.split(' ').next().unwrap();
        let (code, err) = parsec(folder, &format!("{command} {args} --steps 4 --run {name}"));
        assert!(code == 0 && err.matches("class weights: ").count() == 1, "{err}");
        let run = folder.join(name);
        let manifest: Json =
            serde_json::from_slice(&std::fs::read(run.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["config"]["class_weights"], "balanced");
        let state = |step: usize| run.join(format!("checkpoints/step-{step:08}/state.safetensors"));
        let end = std::fs::read(state(4)).unwrap();
        std::fs::remove_file(run.join("result.json")).unwrap();
        (3..=4).for_each(|step| std::fs::remove_dir_all(state(step).parent().unwrap()).unwrap());
        let (code, err) = parsec(folder, &format!("resume {name}"));
        assert!(code == 0 && err.contains("class weights: "), "{err}");
        assert!(std::fs::read(state(4)).unwrap() == end, "{name}");
        let (code, err) = parsec(folder, &format!("{command} --class-weights 1,2 --steps 4 --run other"));
        assert!(code == 2 && err.contains("10 weights, for ") && err.contains("2 numbers"), "{err}");
        let (code, err) = parsec(folder, &format!("{command} --class-weights -1,2 --steps 4 --run other"));
        assert!(code == 2 && err.contains("--class-weights") && !folder.join("other").exists(), "{err}");
    }
}
