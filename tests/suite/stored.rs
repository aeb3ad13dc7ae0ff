//! The runs in `tests/fixtures/runs-0.1.0`, which version 0.1.0 wrote, can still be resumed, shown and exported.
//!
//! Each run was stopped after three of six steps. The fixtures also have the results of version 0.1.0 for the other
//! three steps, on the adapter that the manifest names. On this adapter the bits must be the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use parsec_nas::gpu;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::gpu::has_gpu;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs-0.1.0")
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn parsec(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_parsec")).args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The lines of a file of metrics, without times.
fn metrics(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The metrics of 0.1.0 have neither the children of a step nor the mark of a warm-up.
    let not_compared = ["seconds", "alpha", "warm_up"];
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        not_compared.iter().for_each(|key| drop(line.remove(*key)));
    }
    lines
}

/// Resumes a copy of the stored run. Returns the folder that holds the copy.
fn resumed(kind: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    copy(&fixtures().join(kind), &run);
    let manifest: Value = serde_json::from_slice(&std::fs::read(run.join("manifest.json")).unwrap()).unwrap();
    assert_eq!((&manifest["version"], &manifest["kind"]), (&"0.1.0".into(), &kind.into()));
    parsec(&["resume", "-q", &run.display().to_string()]);

    let (got, want) =
        (metrics(&run.join("metrics.jsonl")), metrics(&fixtures().join(format!("{kind}.metrics.jsonl"))));
    assert_eq!(got.len(), 6);
    // The lines of the first three steps are unchanged.
    assert_eq!(got[..3], want[..3]);
    let info = gpu::choose(None).unwrap();
    let here = (info.name, format!("{} {}", info.driver, info.driver_info));
    let there = (manifest["adapter"].as_str().unwrap(), manifest["driver"].as_str().unwrap());
    if (here.0.as_str(), here.1.as_str()) == there {
        assert_eq!(got, want, "{kind}: metrics");
        let state = std::fs::read(run.join("checkpoints/step-00000006/state.safetensors")).unwrap();
        let hash: String = Sha256::digest(&state).iter().map(|byte| format!("{byte:02x}")).collect();
        let want = std::fs::read_to_string(fixtures().join(format!("{kind}.state.sha256"))).unwrap();
        assert_eq!(hash, want.trim(), "{kind}: the state after the last step");
    } else {
        eprintln!("bits not compared: they are those of {} ({})", there.0, there.1);
    }
    folder
}

const WEIGHTS: (&str, &str) = ("--safetensors", "w.safetensors");

/// Exports the run in these formats, and checks that no file is nearly empty.
fn exported(run: &str, folder: &TempDir, formats: &[(&str, &str)]) {
    for (flag, name) in formats {
        let path = folder.path().join(name);
        parsec(&["export", run, flag, &path.display().to_string()]);
        assert!(std::fs::metadata(path).unwrap().len() > 1000, "{name}");
    }
}

#[test]
fn a_search_of_0_1_0_goes_on_shows_and_exports() {
    if !has_gpu() {
        return;
    }
    let folder = resumed("search");
    let run = folder.path().join("run").display().to_string();
    let want: Value =
        serde_json::from_slice(&std::fs::read(fixtures().join("search.result.json")).unwrap()).unwrap();
    let genotype = want["genotype"].as_str().unwrap();
    assert!(parsec(&["show", &run]).contains(genotype));
    exported(&run, &folder, &[WEIGHTS]);
}

#[test]
fn a_training_of_0_1_0_goes_on_is_evaluated_and_exports() {
    if !has_gpu() {
        return;
    }
    let folder = resumed("train");
    let run = folder.path().join("run").display().to_string();
    let found: Value = serde_json::from_str(&parsec(&["eval", &run, "--json", "-q"])).unwrap();
    assert_eq!(found["n"], 1000);
    assert!(!parsec(&["show", &run]).is_empty());
    exported(&run, &folder, &[WEIGHTS, ("--onnx", "n.onnx"), ("--python", "n.py")]);
}
