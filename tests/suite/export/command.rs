//! `parsec export` as a process.

use std::path::Path;
use std::process::Command;

use parsec_nas::config::Config;
use parsec_nas::export::Trained;
use parsec_nas::files::tensors;
use parsec_nas::run::{Manifest, RunDir};
use parsec_nas::space::{NetworkKind, StemKind};
use tempfile::TempDir;

use super::{small, trained, v2};

/// Exit code, standard output, standard error.
fn export(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    let out = command.arg("export").args(args).current_dir(folder).output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

const GIVEN: [&str; 8] =
    ["--weights", "w.safetensors", "--genotype-in", "DARTS_V2", "--layers", "3", "--channels", "4"];

fn folder_with(network: &Trained) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.safetensors");
    std::fs::write(&path, network.to_safetensors(&path).unwrap()).unwrap();
    folder
}

#[test]
fn files_are_written_and_not_replaced_unasked() {
    let folder = folder_with(&small());
    let path = folder.path();
    let outputs =
        ["--safetensors", "o.safetensors", "--onnx", "o.onnx", "--python", "o.py", "--genotype", "o.txt"];
    let args = [&GIVEN[..], &["--size", "12"], &outputs].concat();
    let (code, out, err) = export(path, &args);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.lines().count(), 4);
    let read = |name: &str| std::fs::read(path.join(name)).unwrap();
    assert_eq!(String::from_utf8(read("o.txt")).unwrap(), format!("{}\n", v2()));
    assert_eq!(tensors::read(&path.join("o.safetensors")).unwrap().0, small().tensors);
    let before = read("o.onnx");
    let (code, _, err) = export(path, &args);
    assert_eq!(code, 2);
    assert!(err.contains("--safetensors o.safetensors") && err.contains("--force"), "{err}");
    std::fs::write(path.join("o.onnx"), "something else").unwrap();
    let forced = [&args[..], &["--force", "--json"]].concat();
    let (code, out, err) = export(path, &forced);
    assert_eq!((code, err.as_str()), (0, ""));
    let written: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(written["onnx"], "o.onnx");
    assert_eq!(read("o.onnx"), before);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_written() {
    let folder = folder_with(&small());
    let path = folder.path();
    let with = |more: &[&'static str]| [&GIVEN[..], more].concat();
    for (args, code, parts) in [
        (vec![], 2, &["<RUN>"][..]),
        (with(&[]), 2, &["--safetensors, --onnx, --python and --genotype"]),
        (vec!["run", "--weights", "w.safetensors", "--onnx", "o"], 2, &["cannot be used"]),
        (vec!["--weights", "w.safetensors", "--onnx", "o"], 2, &["--genotype-in", "--layers"]),
        (vec!["run", "--onnx", "o", "--layers", "3"], 2, &["--weights"]),
        (vec!["run", "--onnx", "o"], 1, &["run: expected a run folder, found nothing there"]),
        (with(&["--onnx", "same", "--python", "same"]), 2, &["--python same", "the file of --onnx"]),
        (with(&["--onnx", "."]), 2, &["a folder"]),
        (with(&["--genotype", "g", "--onnx", "none/o.onnx"]), 1, &["cannot write", "o.onnx"]),
        (with(&["--onnx", "o", "--size", "13"]), 2, &["image size", "16x16"]),
        (with(&["--onnx", "o", "--mean", "0.5"]), 2, &["means: expected 3"]),
        (with(&["--onnx", "o", "--stem", "imagenet"]), 1, &["stem0.0.weight"]),
        (with(&["--onnx", "o", "--network", "search"]), 1, &["w.safetensors", "cells.0"]),
    ] {
        let (found, out, err) = export(path, &args);
        assert_eq!((found, out.as_str()), (code, ""), "{args:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{args:?}: {part:?} is not in: {err}");
        }
        let left: Vec<_> = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["w.safetensors"], "{args:?}");
    }
    // If the weights do not fit the genotype, the error names the first difference.
    let mut args = with(&["--onnx", "o"]);
    args[3] = "DARTS_V1";
    let (code, _, err) = export(path, &args);
    assert_eq!(code, 1);
    assert!(err.contains("cells.0._ops.2") && err.contains("genotype"), "{err}");
}

/// A run folder with two checkpoints of `network`. The first checkpoint has the better score.
fn run_of(network: &Trained, better: f32) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut config = Config::preset().unwrap();
    (config.network.layers, config.network.channels) = (3, network.spec.channels);
    let mut manifest = Manifest::new(&config).unwrap();
    manifest.data = serde_json::json!({
        "height": network.spec.height, "width": network.spec.width,
    });
    manifest.class_names.clone_from(&network.about.class_names);
    manifest.normalisation = serde_json::json!({"mean": network.about.mean, "std": network.about.std});
    let run = RunDir::create(&folder.path().join("run"), &config, &manifest).unwrap();
    run.write("genotype.txt", network.genotype().as_bytes()).unwrap();
    for (step, score, factor) in [(5, 0.75, better), (9, 0.5, 1.0)] {
        let mut state = tensors::Tensors::new();
        for (name, tensor) in &network.tensors {
            let is_state = ["running_mean", "running_var", "tracked"].iter().any(|end| name.ends_with(end));
            let mut tensor = tensor.clone();
            if let tensors::Data::F32(numbers) = &mut tensor.data {
                numbers.iter_mut().for_each(|x| *x *= factor);
            }
            if !is_state {
                state.insert(format!("momentum.{name}"), tensor.clone());
            }
            state.insert(format!("{}.{name}", if is_state { "state" } else { "v" }), tensor);
        }
        run.checkpoints().save(step, Some(score), &state).unwrap();
    }
    folder
}

#[test]
fn a_training_run_gives_its_best_checkpoint() {
    let network = small();
    let folder = run_of(&network, 0.5);
    let path = folder.path();
    let (code, _, err) = export(path, &["run", "--safetensors", "o.safetensors", "--onnx", "o.onnx"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (found, metadata) = tensors::read(&path.join("o.safetensors")).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), network.tensors.keys().collect::<Vec<_>>());
    let half: Vec<f32> = network.f32s("stem.0.weight").unwrap().1.iter().map(|x| x * 0.5).collect();
    assert_eq!(found["stem.0.weight"].data, tensors::Data::F32(half));
    assert_eq!(metadata["class_names"], serde_json::json!(network.about.class_names).to_string());
}

#[test]
fn a_search_run_gives_its_newest_shared_weights() {
    let parent = trained(&v2(), NetworkKind::Search, StemKind::Cifar, false);
    let folder = run_of(&parent, 0.5);
    let path = folder.path();
    let (code, _, err) = export(path, &["run", "--safetensors", "o.safetensors", "--genotype", "g.txt"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(tensors::read(&path.join("o.safetensors")).unwrap().0, parent.tensors);
    let (code, _, err) = export(path, &["run", "--onnx", "o.onnx"]);
    assert_eq!(code, 2);
    assert!(err.contains("shared weights") && err.contains("train its genotype"), "{err}");
}

#[test]
fn exported_shared_weights_start_a_search_as_their_run_does() {
    if !super::super::gpu::has_gpu() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let search = |args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
        let args = format!(
            "search --layers 3 --batch 4 --search-batch 4 --samples 2 --primitives skip_connect,sep_conv_3x3 --tune=false \
             --data {} {args}",
            super::super::small::data()
        );
        let out = command.args(args.split(' ')).current_dir(path).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(search("--channels 2 --steps 2 --run first").0, 0);
    assert_eq!(export(path, &["first", "--safetensors", "w.safetensors"]).0, 0);
    let shared = tensors::read(&path.join("w.safetensors")).unwrap().0;
    let after = |run: &str| {
        let from = if run == "file" { "w.safetensors" } else { "first" };
        let more = if run == "fresh" { String::new() } else { format!(" --weights-from {from}") };
        let (code, err) = search(&format!("--channels 2 --steps 1 --seed 5 --run {run}{more}"));
        assert_eq!(code, 0, "{err}");
        RunDir::open(&path.join(run)).unwrap().checkpoints().newest_good().unwrap().0.state
    };
    let (file, run, fresh) = (after("file"), after("run"), after("fresh"));
    assert_eq!(file, run);
    assert_ne!(file, fresh);
    assert!(shared.keys().all(|name| file.contains_key(&format!("v.{name}"))));
    let (code, err) = search("--channels 4 --steps 1 --run wider --weights-from w.safetensors");
    assert!(code == 1 && err.contains("w.safetensors") && err.contains("of shape"), "{err}");
    let (code, err) = search("--channels 2 --steps 1 --run torn --weights-from none.safetensors");
    assert!(code == 1 && err.contains("none.safetensors"), "{err}");
}
