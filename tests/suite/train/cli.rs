//! `parsec train`, `resume`, `eval` and `predict` as processes, on a folder of small images.

use parsec_nas::config::keys::keys;
use parsec_nas::config::{Resolved, TrainConfig};
use std::path::Path;
use std::process::Command;

use image::{GrayImage, Luma, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

const SIDE: u32 = 8;

/// Exit code, standard output, standard error.
fn parsec(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    let out = command.args(args).current_dir(folder).env_remove("PARSEC_DEVICE").output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let (code, out, err) = parsec(folder, args);
    assert_eq!(code, 0, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// A red or blue image with some noise.
fn colour(class: usize, seed: u32) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let noise = ((x * 31 + y * 17 + seed * 7) % 40) as u8;
        let mut pixel = [noise, 30 + noise, noise];
        pixel[2 * class] = 180 + noise;
        image::Rgb(pixel)
    })
}

fn photos(folder: &Path, names: [&str; 2]) {
    for (class, name) in names.iter().enumerate() {
        let dir = folder.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        for i in 0..30 {
            colour(class, i).save(dir.join(format!("{i:02}.png"))).unwrap();
        }
    }
}

fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("seconds")));
    lines
}

#[test]
fn a_training_from_its_start_to_predictions() {
    if !super::super::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    photos(&folder.join("photos"), ["blue", "red"].map(|n| n));
    let train = [
        "train",
        "--genotype",
        super::GENOTYPE,
        "--data",
        "folder:photos",
        "--size",
        "8",
        "--preset",
        "small",
        "--channels",
        "4",
        "--batch",
        "8",
        "--epochs",
        "3",
        "--drop-path",
        "0.2",
        "--checkpoint-every",
        "4",
        "--keep-checkpoints",
        "9",
        "--run",
        "run",
        "--json",
        "-q",
    ];
    let result = json(folder, &train);
    let run = folder.join("run");
    // 48 of the 60 images are training images, so that an epoch has six steps.
    assert_eq!((&result["steps"], &result["n"]), (&18.into(), &12.into()));
    for key in
        ["genotype", "accuracy", "parameters", "macs", "seconds", "adapter", "arena_bytes", "best_accuracy"]
    {
        assert!(!result[key].is_null(), "{key}");
    }
    assert_eq!(
        result,
        serde_json::from_slice::<Value>(&std::fs::read(run.join("result.json")).unwrap()).unwrap()
    );
    let unbroken = lines(&run);
    let evaluated: Vec<u64> = unbroken
        .iter()
        .filter(|line| line.get("held_out_accuracy").is_some())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(evaluated, [4, 6, 8, 12, 16, 18], "every epoch, every checkpoint");
    let last = std::fs::read(run.join("checkpoints/step-00000018/state.safetensors")).unwrap();

    // The folder is now as if the training had been killed after the checkpoint of step 8.
    std::fs::remove_file(run.join("result.json")).unwrap();
    for step in ["12", "16", "18"] {
        std::fs::remove_dir_all(run.join(format!("checkpoints/step-000000{step}"))).unwrap();
    }
    let (code, _, err) = parsec(folder, &["resume", "run"]);
    assert!(code == 0 && err.contains("going on after step 8"), "{err}");
    assert_eq!(lines(&run), unbroken);
    assert_eq!(std::fs::read(run.join("checkpoints/step-00000018/state.safetensors")).unwrap(), last);
    let again = json(folder, &["resume", "run", "--json"]);
    assert_eq!(again["accuracy"], result["accuracy"]);

    // `eval` evaluates the best checkpoint, with the accuracy that is in the metrics.
    let eval = json(folder, &["eval", "run", "--json", "--svg", "c.svg", "--png", "c.png"]);
    assert_eq!(eval["accuracy"], result["best_accuracy"]);
    assert_eq!(eval["step"], result["best_step"]);
    assert_eq!(eval["per_class"][0]["name"], "blue");
    let matrix = eval["confusion"].as_array().unwrap();
    assert_eq!(matrix[0][0].as_u64().unwrap() + matrix[0][1].as_u64().unwrap(), 6);
    assert!(std::fs::read_to_string(folder.join("c.svg")).unwrap().contains("blue"));
    assert!(std::fs::read(folder.join("c.png")).unwrap().starts_with(b"\x89PNG"));

    // The file of the last checkpoint is evaluated as a network that was trained elsewhere.
    let weights = "run/checkpoints/step-00000018/state.safetensors";
    let data = ["--data", "folder:photos", "--size", "8", "--layers", "3"];
    let elsewhere = |channels: &str, data: [&str; 6]| {
        let head = ["eval", "--genotype", "run", "--weights", weights, "--channels", channels, "--json"];
        parsec(folder, &[&head[..], &data].concat())
    };
    let (code, out, err) = elsewhere("4", data);
    assert_eq!(code, 0, "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["accuracy"], result["accuracy"]);
    // The exported file, which has the best checkpoint, is evaluated in the same way.
    let export = ["export", "run", "--safetensors", "e.safetensors"];
    assert_eq!(parsec(folder, &export).0, 0);
    let head = ["eval", "--genotype", "run", "--weights", "e.safetensors", "--channels", "4", "--json"];
    let imported = json(folder, &[&head[..], &data].concat());
    assert_eq!(imported["accuracy"], result["best_accuracy"]);
    assert_eq!(imported["confusion"], eval["confusion"]);
    let (code, _, err) = elsewhere("6", data);
    assert!(code == 1 && err.contains("stem.0.weight") && err.contains("[18, 3, 3, 3]"), "{err}");

    // `predict` also accepts an image of another size and a grey image.
    colour(1, 77).save(folder.join("red.png")).unwrap();
    image::imageops::resize(&colour(0, 78), 31, 20, image::imageops::FilterType::Triangle)
        .save(folder.join("blue.jpg"))
        .unwrap();
    GrayImage::from_pixel(5, 5, Luma([90])).save(folder.join("grey.png")).unwrap();
    let found = json(folder, &["predict", "run", "red.png", "blue.jpg", "grey.png", "--json"]);
    let first = |i: usize| found[i]["classes"][0]["name"].as_str().unwrap().to_owned();
    if result["best_accuracy"] == 1.0 {
        // colour(0) is red, in the folder `blue`.
        assert_eq!((first(0), first(1)), ("red".into(), "blue".into()));
    }
    for image in found.as_array().unwrap() {
        let sum: f64 =
            image["classes"].as_array().unwrap().iter().map(|c| c["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }
    std::fs::write(folder.join("names.txt"), "first\nsecond\n").unwrap();
    let (code, out, _) =
        parsec(folder, &["predict", "run", "red.png", "--labels", "names.txt", "--top", "1"]);
    assert!(code == 0 && out.starts_with("red.png: ") && out.contains('%') && !out.contains(','), "{out}");
    assert!(out.contains("first") || out.contains("second"), "{out}");

    // Errors name the wrong file or value.
    std::fs::write(folder.join("no.png"), "no image").unwrap();
    std::fs::write(folder.join("short.txt"), "first\n").unwrap();
    photos(&folder.join("others"), ["cat", "dog"]);
    for (args, code, parts) in [
        (&["predict", "run", "no.png"][..], 1, &["no.png", "png, jpeg"][..]),
        (&["predict", "run", "missing.png"], 1, &["missing.png"]),
        (&["predict", "run", "red.png", "--labels", "short.txt"], 1, &["short.txt", "2 lines"]),
        (&["predict", "photos", "red.png"], 1, &["a run folder"]),
        (&["eval", "run", "--data", "embedded"], 2, &["--data embedded", "3x8x8", "1x28x28"]),
        (&["eval", "run", "--data", "folder:others"], 2, &["`blue`", "`cat`"]),
        (&["eval", "run", "--weights", "no.png"], 1, &["no.png", "safetensors"]),
        (&["eval", "run", "--svg", "none/c.svg"], 1, &["c.svg"]),
        (&["eval"], 2, &["RUN"]),
        (&["train", "--genotype", "photos"], 1, &["genotype.txt"]),
        (&["train", "--genotype", "DARTS_V2", "--weights", "no.png"], 1, &["no.png"]),
        (&["train", "--genotype", "DARTS_V2", "--run", "run"], 2, &["--run run", "parsec resume run"]),
        (&["train"], 2, &["--genotype"]),
        (&["train", "--genotype", "DARTS_V2", "--cut-out", "3"], 2, &["--cutout"]),
    ] {
        let (found, _, err) = parsec(folder, args);
        assert_eq!(found, code, "{args:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{args:?}: {part} is not in: {err}");
        }
    }

    // The weights of the run start another training of the same network.
    let from = [
        "train",
        "--genotype",
        "run",
        "--data",
        "folder:photos",
        "--size",
        "8",
        "--preset",
        "small",
        "--channels",
        "4",
        "--batch",
        "8",
        "--steps",
        "1",
        "--lr",
        "1e-9",
        "--lr-min",
        "0",
        "--weights",
        weights,
        "--run",
        "on",
        "--json",
        "-q",
    ];
    assert_eq!(json(folder, &from)["accuracy"], result["accuracy"]);
    // Of a run as weights, the best checkpoint is taken.
    let from = from
        .map(|word| if word == weights { "run" } else { word })
        .map(|word| if word == "on" { "on2" } else { word });
    assert_eq!(json(folder, &from)["accuracy"], result["best_accuracy"]);
}

#[test]
fn help_lists_every_flag_of_a_training() {
    let temporary = TempDir::new().unwrap();
    let (code, out, _) = parsec(temporary.path(), &["train", "--help"]);
    assert_eq!(code, 0);
    for key in keys(TrainConfig::CONCERNS) {
        let flag = format!("--{}", key.name.replace('_', "-"));
        assert!(out.contains(&flag), "{flag} is not in\n{out}");
    }
    let (_, out, _) = parsec(temporary.path(), &["--help"]);
    assert!(["train", "eval", "predict"].iter().all(|command| out.contains(command)));
}
