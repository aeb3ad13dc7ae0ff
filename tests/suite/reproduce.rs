//! Runs of the program with the same seed give the same bits in metrics (times aside) and checkpoints, however they are
//! run.
//!
//! Whole runs are compared here. Threads, snapshots and variants within a process are tested in `search`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::gpu::has_gpu;
use super::small;

const STEPS: usize = 4;
const RUN: &str = "--layers 3 --channels 2 --batch 4 --search-batch 8 --samples 2 --eval-every 3 --checkpoint-every 2 \
                   --crop-pad 2 --flip --tune=false --primitives max_pool_3x3,skip_connect,sep_conv_3x3";

fn parsec(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn search(run: &Path, more: &[&str]) -> Command {
    let mut command = parsec(&["search", "--run", &run.display().to_string()]);
    command.args(RUN.split_whitespace()).args(["--data", small::data()]).args(more);
    if !more.contains(&"--seed") {
        command.args(["--seed", "11", "--steps", "4"]);
    }
    command
}

/// Metrics without times, and all files of all checkpoints.
fn remains(run: &Path) -> (Vec<Value>, BTreeMap<String, Vec<u8>>) {
    let mut metrics = Vec::new();
    for line in std::fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("seconds").is_some());
        metrics.push(line);
    }
    let mut files = BTreeMap::new();
    for folder in std::fs::read_dir(run.join("checkpoints")).unwrap() {
        let folder = folder.unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(run).unwrap().display().to_string();
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
    (metrics, files)
}

/// Kills the search after a step, and then resumes it.
fn killed_and_resumed(run: &Path) {
    let mut child = search(run, &["-q"]).spawn().unwrap();
    let metrics = run.join("metrics.jsonl");
    let started = Instant::now();
    while std::fs::read(&metrics).map_or(0, |m| m.len()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(1200), "no step was done");
        assert!(child.try_wait().unwrap().is_none(), "the search ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!run.join("result.json").exists(), "the search was done before it could be killed");
    assert!(parsec(&["resume", "-q", &run.display().to_string()]).status().unwrap().success());
}

#[test]
fn the_same_seed_gives_the_same_bits_however_it_is_run() {
    if !has_gpu() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let run = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        assert!(search(&path, more).status().unwrap().success(), "{name}");
        remains(&path)
    };
    let first = run("first", &["--threads", "1", "-q"]);
    assert_eq!(first.0.len(), STEPS);
    assert!(first.1.len() >= 4, "{:?}", first.1.keys());
    let verbose = run("verbose", &["--threads", "4", "-v"]);
    let traced = run("traced", &["--trace-steps", "4"]);
    assert!(folder.path().join("traced/trace/step-00004.safetensors").exists());
    let path = folder.path().join("killed");
    killed_and_resumed(&path);
    for (name, other) in [("verbose", verbose), ("traced", traced), ("killed", remains(&path))] {
        assert_eq!(first.0, other.0, "metrics of {name}");
        assert!(first.1.keys().eq(other.1.keys()), "checkpoints of {name}: {:?}", other.1.keys());
        for (file, bytes) in &first.1 {
            assert!(*bytes == other.1[file], "{file} of {name} differs");
        }
    }
    // Another seed must give other numbers. Otherwise the comparisons would prove nothing.
    let other = run("other", &["--seed", "12", "--steps", "1", "-q"]);
    assert_ne!(first.0[0]["log_likelihood"], other.0[0]["log_likelihood"]);
}
