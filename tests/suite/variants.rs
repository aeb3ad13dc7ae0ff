//! The kernel variants of a run are those of the trial kept on disk, or else the fixed ones. A resumed run takes them
//! from its manifest.

mod wrong;

use std::path::Path;
use std::process::Command;

use parsec_nas::gpu::{self, Class, Variants};
use parsec_nas::ops::Tuning;
use parsec_nas::run::RunDir;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::gpu::has_gpu;
use super::small;

fn parsec(cache: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    let out = command.args(args).env("PARSEC_CACHE", cache).env_remove("PARSEC_DEVICE").output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A cache folder with a choice for the default adapter that differs from the fixed one.
fn cache() -> TempDir {
    let folder = TempDir::new().unwrap();
    let adapter = gpu::choose(None).unwrap();
    let mut variants = Variants::of_class(adapter.class());
    variants.tuning.pointwise_quads = 1;
    // With this form the sums of weight gradients have other chunks, and other bits.
    variants.tuning.depthwise_rows = 1;
    let key = parsec_nas::runner::variants::key(&adapter);
    let text = json!({ key: variants }).to_string();
    std::fs::write(folder.path().join("variants.json"), text).unwrap();
    folder
}

/// Settings with few kernels, because compiling takes most of the time.
const TINY: &[&str] = &[
    "--layers",
    "3",
    "--channels",
    "2",
    "--batch",
    "4",
    "--samples",
    "2",
    "--eval-every",
    "0",
    "--primitives",
    "skip_connect,sep_conv_3x3",
    "--search-batch",
    "4",
];

fn search(cache: &Path, run: &Path, more: &[&str]) -> RunDir {
    let run_text = run.display().to_string();
    let mut args = vec!["search", "-q", "--run", &run_text, "--steps", "2", "--checkpoint-every", "1"];
    args.extend(TINY);
    args.extend(["--data", small::data()]);
    args.extend(more);
    parsec(cache, &args);
    RunDir::open(run).unwrap()
}

#[test]
fn a_run_takes_the_choice_kept_on_disk_and_a_resumed_one_that_of_its_manifest() {
    if !has_gpu() {
        return;
    }
    let (kept, none, folder) = (cache(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = folder.path().join("kept");
    let run = search(kept.path(), &path, &[]);
    assert_eq!(run.manifest().unwrap().variants["pointwise_quads"], "1");

    // The run is cut back to its first step, and resumed with an empty cache folder. It has the same bits.
    let last = path.join("checkpoints/step-00000002");
    let state = std::fs::read(last.join("state.safetensors")).unwrap();
    std::fs::remove_dir_all(&last).unwrap();
    std::fs::remove_file(path.join("result.json")).unwrap();
    parsec(none.path(), &["resume", "-q", &path.display().to_string()]);
    assert!(std::fs::read(last.join("state.safetensors")).unwrap() == state);

    for (cache, more) in [(kept.path(), &["--tune=false"][..]), (none.path(), &[])] {
        let path = folder.path().join(format!("fixed-{}", more.len()));
        let run = search(cache, &path, more);
        assert_eq!(run.manifest().unwrap().variants["pointwise_quads"], "4");
        // Other variants must round differently. Otherwise this test would prove nothing.
        let other = std::fs::read(path.join("checkpoints/step-00000002/state.safetensors")).unwrap();
        assert!(other != state);
    }
}

/// A choice without a kernel is ignored. Such numbers would divide by 0, or take all memory.
#[test]
fn a_choice_that_there_is_not_is_none() {
    if !has_gpu() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let kept = cache();
    let file = kept.path().join("variants.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for (i, (name, value)) in
        [("pointwise_quads", "3000000000"), ("weight_tile", "0"), ("depthwise_rows", "0"), ("textures", "2")]
            .into_iter()
            .enumerate()
    {
        let mut choices: Value = serde_json::from_str(&text).unwrap();
        let choice = choices.as_object_mut().unwrap().values_mut().next().unwrap();
        choice[name] = value.parse::<u64>().unwrap().into();
        std::fs::write(&file, choices.to_string()).unwrap();
        let run = search(kept.path(), &folder.path().join(i.to_string()), &[]);
        assert_eq!(run.manifest().unwrap().variants["pointwise_channels"], "16");
        assert_eq!(run.manifest().unwrap().variants["pointwise_quads"], "4", "{name}: the fixed choice");
    }
}

/// A file that is no JSON and a choice without a kernel are ignored, with one warning.
#[test]
fn a_choice_that_is_ignored_is_said() {
    if !has_gpu() {
        return;
    }
    let (kept, folder) = (cache(), TempDir::new().unwrap());
    let file = kept.path().join("variants.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let unknown = text.replace("\"weight_tile\":8", "\"weight_tile\":5");
    assert!(unknown != text);
    for (i, (content, said)) in
        [("no JSON", "variants.json: ignored"), (&*unknown, "there are no such kernels")]
            .into_iter()
            .enumerate()
    {
        std::fs::write(&file, content).unwrap();
        let run = folder.path().join(i.to_string()).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
        command
            .args(["search", "-q", "--run", &run, "--steps", "1"])
            .args(TINY)
            .args(["--data", small::data()])
            .env("PARSEC_CACHE", kept.path());
        let out = command.output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success() && stderr.matches(said).count() == 1, "{stderr}");
    }
}

#[test]
fn bench_says_what_it_measured() {
    if !has_gpu() {
        return;
    }
    let cache = TempDir::new().unwrap();
    let mut args = vec!["bench", "--json", "-q", "--size", "28", "--repeats", "1", "--genotype", "DARTS_V1"];
    args.extend(&TINY[..8]);
    let report: Value = serde_json::from_str(&parsec(cache.path(), &args)).unwrap();
    for probe in ["arithmetic_gflops", "copy_gbps", "load_gquads_per_s", "launch_us", "submit_us"] {
        assert!(report["probes"][probe].as_f64().unwrap() > 0.0, "{probe}");
    }
    let child = &report["child"];
    for key in ["forward_ms", "train_ms", "launches", "flops", "bytes", "bound_ms", "arena_bytes"] {
        assert!(child[key].as_f64().unwrap() > 0.0, "{key}");
    }
    let kernels = report["kernels"].as_array().unwrap();
    let launches: u64 = kernels.iter().map(|k| k["launches"].as_u64().unwrap()).sum();
    assert_eq!(launches, child["launches"].as_u64().unwrap());
    let step = &report["step"];
    assert_eq!(step["samples"], 2);
    assert_eq!(step["genotypes"].as_array().unwrap().len(), 2);
    assert!(step["backward_children"].as_u64().unwrap() >= 1 && step["seconds"].as_f64().unwrap() > 0.0);
    assert!(report["adapter"]["name"].is_string());
}

/// The number of registers that an invocation needs on a GPU. GPUs have at most 255, and far fewer invocations run at
/// the same time if each needs more than 128.
#[test]
fn the_fixed_choices_for_gpus_need_few_registers() {
    for class in [Class::Integrated, Class::Discrete] {
        let Tuning { pointwise_channels: tc, pointwise_quads: tq, .. } = Variants::of_class(class).tuning;
        let tuning = Variants::of_class(class).tuning;
        assert!(4 * tc * tq + 16 * tq * tuning.unroll + Tuning::ADDRESSES <= 128, "{class:?}");
        assert!(tuning.registers() <= 128, "{class:?}: {}", tuning.registers());
    }
    // The form for software adapters would spill on every GPU.
    assert!(Tuning::SOFTWARE.registers() > 255);
    let candidates = Variants::candidates(Class::Discrete);
    assert!(candidates.iter().all(|(v, _)| v.is_known() && v.textures == 0 && v.tuning.registers() <= 200));
    let tile = |v: &Variants| (v.tuning.pointwise_channels, v.tuning.pointwise_quads);
    for wanted in [(8, 1), (16, 1), (4, 1)] {
        assert!(candidates.iter().any(|(v, _)| tile(v) == wanted), "{wanted:?} is no candidate");
    }
}

/// On an adapter of a GPU class the kernels are compared with the oracle once, before the first run. Wrong forms are in
/// the manifest. A damaged file is ignored with a warning.
#[test]
fn the_first_run_on_a_gpu_compares_its_kernels_and_remembers() {
    if !has_gpu() {
        return;
    }
    let (cache, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let search = |name: &str| {
        let path = folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
        command.args(["search", "--steps", "1", "--run", &path.display().to_string()]).args(TINY);
        command.args(["--data", small::data()]);
        let out = command.env("PARSEC_CACHE", cache.path()).env("PARSEC_CLASS", "discrete").output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{stderr}");
        (RunDir::open(&path).unwrap().manifest().unwrap(), stderr)
    };
    let comparing = "comparing the kernels with their reference";
    let (manifest, said) = search("first");
    assert!(said.contains(comparing), "{said}");
    assert_eq!((manifest.variants["pointwise_channels"].as_str(), manifest.excluded.len()), ("8", 0));
    assert_eq!(manifest.variants["textures"], "0");
    let (_, said) = search("second");
    assert!(!said.contains(comparing), "{said}");

    // The file is now as if a form had been found wrong.
    let file = cache.path().join("proofs.json");
    let mut proofs: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let found = &mut proofs.as_object_mut().unwrap().values_mut().next().unwrap()[0]["found"];
    found["variants"]["pointwise_channels"] = 16.into();
    found["excluded"] = json!([{ "form": "pointwise tile: pointwise_channels=8", "reason": "made up" }]);
    std::fs::write(&file, proofs.to_string()).unwrap();
    let (manifest, _) = search("third");
    assert_eq!(manifest.variants["pointwise_channels"], "16");
    assert_eq!(manifest.excluded, ["pointwise tile: pointwise_channels=8 (made up)"]);

    std::fs::write(&file, "no JSON").unwrap();
    let (manifest, said) = search("fourth");
    assert_eq!(said.matches("proofs.json: ignored").count(), 1, "{said}");
    assert!(said.contains(comparing) && manifest.excluded.is_empty());
}

/// The kernels that a driver compiled are kept by adapter and driver. They are ignored if anything about them is wrong.
#[test]
fn compiled_kernels_are_kept_by_adapter_and_checked() {
    if !has_gpu() {
        return;
    }
    let cache = TempDir::new().unwrap();
    let folder = TempDir::new().unwrap();
    let run = |name: &str| {
        search(cache.path(), &folder.path().join(name), &[]);
        std::fs::read(folder.path().join(name).join("checkpoints/step-00000002/state.safetensors")).unwrap()
    };
    let first = run("first");
    let kept: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().path()).collect();
    let Some(file) = kept.iter().find(|p| p.extension().is_some_and(|e| e == "bin")) else {
        eprintln!("this driver gives no compiled kernels away");
        return;
    };
    // Whatever the file contains, a run starts and has its bits.
    let whole = std::fs::read(file).unwrap();
    let end = whole.iter().position(|b| *b == b'\n').unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (name, damaged) in [
        ("same", whole.clone()),
        ("flipped", flipped),
        ("cut", whole[..whole.len() - 3].to_vec()),
        ("headless", whole[end + 1..].to_vec()),
        ("empty", vec![]),
    ] {
        std::fs::write(file, damaged).unwrap();
        assert!(run(name) == first, "{name}");
    }
}
