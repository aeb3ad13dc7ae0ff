//! The program on chains: a search, its training, the commands on its training; a comparison; a benchmark.

use std::path::Path;

use parsec_nas::export::onnx::proto::Model;
use parsec_nas::files::tensors;
use parsec_nas::report::png;
use prost::Message;
use resvg::usvg;
use serde_json::{Value, json};

use crate::compare::{parsec, place};
use crate::gpu::has_gpu;

const CHAIN: &str = "--space macro --stages 1,1 --choices identity,mb1_k3,mb3_k5 --head 8";
const DATA: &str = "--data folder:images --size 8 --channels 4 --batch 4 --threads 1 --crop-pad 0";

fn run(folder: &Path, args: &str) -> String {
    let (code, out, err) = parsec(folder, args);
    assert_eq!(code, 0, "{args}: {err}");
    out
}

fn run_json(folder: &Path, args: &str) -> Value {
    let out = run(folder, args);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args}: {e}: {out}"))
}

/// Fails if the file does not hold an SVG drawing.
fn is_svg(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    usvg::Tree::from_str(&text, &png::options()).expect("valid SVG");
}

#[test]
fn a_chain_from_its_search_to_predictions() {
    if !has_gpu() {
        return;
    }
    let place = place("");
    let folder = place.path();
    let search =
        format!("search {CHAIN} {DATA} --samples 2 --steps 4 --checkpoint-every 2 --run r --json -q");
    let found = run_json(folder, &search);
    let genotype = found["genotype"].as_str().unwrap();
    assert!(genotype.len() == 2 && genotype.bytes().all(|b| (b'0'..=b'2').contains(&b)), "{genotype}");
    let uniform = 2.0 * 3f64.ln();
    assert!((found["entropy_uniform"].as_f64().unwrap() - uniform).abs() < 1e-12);
    assert!(found["entropy"]["layers"].as_f64().unwrap() < uniform);
    for name in ["cells.svg", "prior.svg", "metrics.svg"] {
        is_svg(&folder.join("r").join(name));
    }

    // The folder is now as if the search had been killed before its last checkpoint.
    let last = folder.join("r/checkpoints/step-00000004");
    let expected = std::fs::read(last.join("state.safetensors")).unwrap();
    std::fs::remove_file(folder.join("r/result.json")).unwrap();
    std::fs::remove_dir_all(&last).unwrap();
    let (code, _, err) = parsec(folder, "resume r");
    assert!(code == 0 && err.contains("going on after step 2"), "{err}");
    assert_eq!(std::fs::read(last.join("state.safetensors")).unwrap(), expected);

    let shown = run_json(folder, "show r --samples 2 --svg r.svg --png r.png --dot r.dot --json");
    assert_eq!((&shown["genotype"], &shown["stages"]), (&found["genotype"], &json!([1, 1])));
    assert_eq!(shown["choices"], json!(["identity", "mb1_k3", "mb3_k5"]));
    assert_eq!(shown["probabilities"].as_array().unwrap().len(), 2);
    is_svg(&folder.join("r.svg"));
    assert!(std::fs::read(folder.join("r.png")).unwrap().starts_with(b"\x89PNG"));
    let text = run(folder, "show r");
    let form = "final, stages of 1,1 layers, 4 channels, 2 classes, images 3x8x8";
    assert!(text.starts_with(genotype) && text.contains(form), "{text}");

    // The training takes the chain's settings from the run.
    let train =
        format!("train --preset small --genotype r {DATA} --steps 4 --checkpoint-every 2 --run t --json -q");
    let trained = run_json(folder, &train);
    for key in ["genotype", "parameters", "macs"] {
        assert_eq!(trained[key], shown[key], "{key}");
    }
    assert_eq!(trained["auxiliary_parameters"], 0);
    let eval = run_json(folder, "eval t --svg c.svg --json");
    for (key, of_training) in [("accuracy", "best_accuracy"), ("step", "best_step"), ("macs", "macs")] {
        assert_eq!(eval[key], trained[of_training], "{key}");
    }
    is_svg(&folder.join("c.svg"));

    let all = "--safetensors e.safetensors --onnx e.onnx --python e.py --genotype e.txt";
    run(folder, &format!("export t {all}"));
    assert_eq!(std::fs::read_to_string(folder.join("e.txt")).unwrap(), format!("{genotype}\n"));
    let (weights, metadata) = tensors::read(&folder.join("e.safetensors")).unwrap();
    assert_eq!(weights["out.0.weight"].shape, [8, 16, 1, 1]);
    for (key, value) in [("space", "macro"), ("stages", "1,1"), ("head", "8"), ("genotype", genotype)] {
        assert_eq!(metadata[key], value);
    }
    let python = std::fs::read_to_string(folder.join("e.py")).unwrap();
    assert!(python.contains(&format!("\"{genotype}\"")) && !python.contains('@'), "{python}");
    let onnx = std::fs::read(folder.join("e.onnx")).unwrap();
    crate::export::onnx::check(&Model::decode(onnx.as_slice()).unwrap());
    // The exported files give the same network, when they are read as a network that was trained elsewhere.
    let weights = "--weights e.safetensors --data folder:images --size 8 --channels 4";
    let imported = run_json(folder, &format!("eval --genotype e.txt {CHAIN} {weights} --json"));
    assert_eq!((&imported["accuracy"], &imported["confusion"]), (&eval["accuracy"], &eval["confusion"]));
    run(folder, "export r --safetensors s.safetensors");
    let (shared, _) = tensors::read(&folder.join("s.safetensors")).unwrap();
    assert!(
        shared.contains_key("features.1.2.conv.6.weight")
            && shared.contains_key("features.0.1.conv.3.weight")
    );

    let predicted = run_json(folder, "predict t images/red/00.png --json");
    let classes = predicted[0]["classes"].as_array().unwrap();
    let sum: f64 = classes.iter().map(|c| c["probability"].as_f64().unwrap()).sum();
    assert!(classes.len() == 2 && (sum - 1.0).abs() < 1e-9, "{predicted}");
}

const COMPARISON: &str = r#"
methods = ["parsec", "random"]
seeds = [1]
data = "folder:images"

[search]
space = "macro"
stages = [1, 1]
choices = ["identity", "mb1_k3", "mb3_k5"]
head = 8
size = 8
channels = 4
batch = 4
samples = 2
steps = 3
threads = 1
crop_pad = 0

[train]
space = "macro"
stages = [1, 1]
choices = ["identity", "mb1_k3", "mb3_k5"]
head = 8
size = 8
channels = 4
batch = 4
steps = 2
threads = 1
crop_pad = 0
cutout = 0
"#;

#[test]
fn a_comparison_on_chains_and_the_same_command_again() {
    if !has_gpu() {
        return;
    }
    let place = place(COMPARISON);
    let compared = run_json(place.path(), "compare c.toml --run all --json -q");
    let runs = compared["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        let genotype = run["genotype"].as_str().unwrap();
        assert!(genotype.len() == 2 && run["parameters"].as_u64() > Some(0), "{run}");
    }
    assert_eq!(run_json(place.path(), "compare c.toml --run all --json -q"), compared);
}

#[test]
fn bench_measures_a_chain() {
    if !has_gpu() {
        return;
    }
    let place = place("");
    let sizes = "--channels 2 --batch 4 --size 28 --samples 2 --repeats 1";
    let report = run_json(place.path(), &format!("bench {CHAIN} --genotype 21 {sizes} --json -q"));
    assert_eq!(report["child"]["genotype"], "21");
    assert!(report["child"]["train_ms"].as_f64().unwrap() > 0.0);
    let drawn = report["step"]["genotypes"].as_array().unwrap();
    assert!(drawn.len() == 2 && drawn.iter().all(|g| g.as_str().unwrap().len() == 2), "{drawn:?}");
}

#[test]
fn what_a_chain_has_not_is_refused_before_anything_runs() {
    let place = place("");
    for (args, part) in [
        ("search --space macro --layers 3", "--space darts"),
        ("search --stages 1,1", "--space macro"),
        ("train --genotype 012 --stages 1,1", "expected 2 layers"),
        ("train --genotype 01 --stages 1,1 --drop-path 0.2", "`drop_path`"),
        ("show 0201", "--stages"),
        ("bench --genotype 3 --stages 1 --no-step", "digits from 0 to 2"),
    ] {
        let (code, out, err) = parsec(place.path(), args);
        assert_eq!((code, out.as_str()), (2, ""), "{args}: {err}");
        assert!(err.contains(part), "{args}: {part:?} is not in: {err}");
    }
}
