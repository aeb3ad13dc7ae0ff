//! `parsec consensus` as a process: the prior that it makes, the commands that accept the result, and the runs that it
//! refuses.

use std::path::Path;

use parsec_nas::config::Config;
use parsec_nas::files::tensors::Tensors;
use parsec_nas::run::{self, Manifest, RunDir};
use parsec_nas::search::{prior_tensors, take_prior};
use parsec_nas::space::Prior;
use serde_json::{Value, json};
use toml::Table;

use super::compare::{parsec, place};

const CHAIN: &str = "--space macro --stages 1,2 --choices identity,mb1_k3,mb3_k3 --head 8";
const DATA: &str =
    "--data folder:images --size 8 --channels 4 --batch 4 --threads 1 --crop-pad 0 --steps 1 -q";

/// The configuration of a search of chains, with the settings of `other` changed.
fn config(other: Table) -> Config {
    let mut flags = toml::toml! {
        space = "macro"
        stages = [1, 2]
        choices = ["identity", "mb1_k3", "mb3_k3"]
        head = 8
        steps = 3
    };
    flags.extend(other);
    Config::resolve(None, &flags).unwrap()
}

/// Writes a finished search whose prior has these logits, one slot after the other.
fn search(folder: &Path, name: &str, config: &Config, logits: &[f64]) -> Prior {
    let space = config.space().unwrap();
    let prior = Prior::uniform(&*space);
    let mut next = logits.iter().copied().cycle();
    let per_slot = prior.logits.iter().map(|slot| next.by_ref().take(slot.len()).collect()).collect();
    let prior = prior.with(per_slot);
    let run = RunDir::create(&folder.join(name), config, &Manifest::new(config).unwrap()).unwrap();
    run.checkpoints().save(3, None, &prior_tensors(&prior, &*space)).unwrap();
    run.write_result(&json!({})).unwrap();
    prior
}

fn json(folder: &Path, args: &str) -> Value {
    let (code, out, err) = parsec(folder, args);
    assert_eq!((code, err.as_str()), (0, ""), "{args}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args}: {e}: {out}"))
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|l| l.exp()).sum();
    logits.iter().map(|l| l - sum.ln()).collect()
}

/// Three searches whose modes are 020, 011 and 211.
fn three(folder: &Path) -> Vec<Prior> {
    let logits = [
        [2.0, 0.0, 0.5, 0.1, 0.2, 0.9, 1.5, 0.3, 0.0],
        [3.0, 0.0, 2.9, -1.0, 4.0, 0.0, 0.0, 0.1, -2.0],
        [0.0, 0.0, 1.0, 0.0, 2.5, 2.4, 0.0, 700.0, 0.0],
    ];
    ["a", "b", "c"]
        .iter()
        .zip(logits)
        .map(|(name, l)| search(folder, name, &config(Table::new()), &l))
        .collect()
}

#[test]
fn the_consensus_is_the_mean_of_the_log_probabilities() {
    let place = place("");
    let folder = place.path();
    let priors = three(folder);
    let (_, out, _) = parsec(folder, "consensus a b c --run all --json");
    let result: Value = serde_json::from_str(&out).unwrap();
    let space = config(Table::new()).space().unwrap();
    let read = |path: &Path| {
        let (state, warnings): (Tensors, _) = run::read_prior(path).unwrap();
        assert!(warnings.is_empty() && state.len() == 3);
        take_prior(&state, path, &*space).unwrap()
    };
    let pooled = read(&folder.join("all"));
    for (slot, logits) in pooled.logits.iter().enumerate() {
        let of: Vec<Vec<f64>> = priors.iter().map(|p| log_softmax(&p.logits[slot])).collect();
        for (choice, logit) in logits.iter().enumerate() {
            let mean = of.iter().map(|log_p| log_p[choice]).sum::<f64>() / 3.0;
            assert!((logit - mean).abs() < 1e-12 * mean.abs().max(1.0), "{logit} is not {mean}");
        }
    }
    assert_eq!(result["genotype"], space.print(&pooled.mode()));
    assert_eq!(result["genotype"], "011");
    // The consensus is 011. The mode 020 agrees in one of three layers, 011 in three, 211 in two.
    assert!((result["agreement"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-15, "{result}");
    assert_eq!(result["entropy"]["layers"].as_f64(), Some(pooled.entropy()[0]));
    for ((member, name), text) in
        result["runs"].as_array().unwrap().iter().zip(["a", "b", "c"]).zip(["020", "011", "211"])
    {
        assert_eq!((&member["run"], &member["genotype"]), (&json!(name), &json!(text)));
        let log_prob = pooled.log_prob(&space.parse(text).unwrap());
        assert_eq!(member["log_prob"].as_f64(), Some(log_prob));
    }
    let run = RunDir::open(&folder.join("all")).unwrap();
    assert_eq!(run.result().unwrap(), result);
    assert_eq!(
        (run.manifest().unwrap().kind.as_str(), run.config().unwrap().session.run),
        ("consensus", Some("all".into()))
    );
    for name in ["genotype.txt", "cells.svg", "cells.png", "prior.svg"] {
        assert!(run.file(name).is_file(), "{name}");
    }

    // The order of the runs changes only the rounding, and an existing folder is refused and stays unchanged.
    assert_eq!(json(folder, "consensus c b a --run other --json -q")["genotype"], "011");
    let (code, _, err) = parsec(folder, "consensus a b --run all");
    assert!(code == 2 && err.contains("--run all"), "{err}");
    let (code, out, _) = parsec(folder, "consensus a b");
    assert!(
        code == 0
            && out.contains("the 2 runs")
            && out.contains("next: parsec train --genotype runs/consensus-0001"),
        "{out}"
    );
}

#[test]
fn a_consensus_is_shown_trained_and_searched_on_but_has_no_weights() {
    let place = place("");
    let folder = place.path();
    three(folder);
    json(folder, "consensus a b c --run all --json -q");
    let shown = json(folder, "show all --samples 1 --json");
    assert_eq!(
        (&shown["genotype"], &shown["choices"]),
        (&json!("011"), &json!(["identity", "mb1_k3", "mb3_k3"]))
    );
    assert_eq!(shown["probabilities"].as_array().unwrap().len(), 3);
    assert_eq!(json(folder, "resume all --json")["genotype"], "011");
    let (code, out, _) = parsec(folder, "resume all");
    assert!(code == 0 && out.contains("all is finished"), "{out}");
    json(folder, "export all --genotype g.txt --json");
    assert_eq!(std::fs::read_to_string(folder.join("g.txt")).unwrap(), "011\n");

    std::fs::write(folder.join("t.json"), "{}").unwrap();
    let weights =
        ["rank all --table t.json", "export all --onnx x.onnx", "export all --safetensors x.safetensors"];
    for args in weights {
        let (code, _, err) = parsec(folder, args);
        assert!(
            code == 1 && err.contains("a consensus, which has a prior only") && err.contains("a, b, c"),
            "{err}"
        );
    }
    let (code, _, err) = parsec(folder, "eval all");
    assert!(code == 1 && err.contains("train --genotype all"), "{err}");
    // The folder is now as if the command had been killed before its last file.
    let result = std::fs::read(folder.join("all/result.json")).unwrap();
    std::fs::remove_file(folder.join("all/result.json")).unwrap();
    let (code, _, err) = parsec(folder, "resume all");
    assert!(code == 1 && err.contains("remove the folder"), "{err}");
    std::fs::write(folder.join("all/result.json"), result).unwrap();

    if !super::gpu::has_gpu() {
        return;
    }
    let train = format!("train --preset small --genotype all {DATA} --run t --json");
    assert_eq!(json(folder, &train)["genotype"], "011");
    json(folder, &format!("search {CHAIN} {DATA} --prior-from all --samples 2 --run s --json"));
    let pi = |run: &str, step: u64| {
        let path = RunDir::open(&folder.join(run)).unwrap().checkpoints().path_of(step);
        let state = run::checkpoint::read(&path).unwrap().state;
        state.into_iter().filter(|(name, _)| name.starts_with("pi.")).collect::<Tensors>()
    };
    assert_eq!(pi("s", 0), pi("all", 0));
    let (code, _, err) = parsec(folder, &format!("search {CHAIN} {DATA} --weights-from all --run w"));
    assert!(code == 1 && err.contains("a consensus, which has a prior only"), "{err}");
}

/// If all searches choose by their children, the consensus chooses by the children of all searches. Its prior is still
/// the mean.
#[test]
fn the_children_of_all_searches_choose() {
    let place = place("");
    let folder = place.path();
    let priors = three(folder);
    let metrics = |name: &str, best: u16| {
        let step = |step: u64| {
            let alphas = [[best, 1, 0], [0, step as u16 % 3, 1], [1, 0, step as u16 % 3], [2, 2, 2]];
            let worth = |a: &[u16; 3]| {
                2.0 * f64::from(u8::from(a[0] == best)) + f64::from(a[1]) - 0.5 * f64::from(a[2])
            };
            let scores: Vec<f64> = alphas.iter().map(|a| 16.0 * worth(a)).collect();
            json!({"step": step, "warm_up": false, "alpha": alphas, "log_likelihood": scores}).to_string()
                + "\n"
        };
        std::fs::write(folder.join(name).join("metrics.jsonl"), (1..40).map(step).collect::<String>())
            .unwrap();
    };
    // The search `c` has no children in its metrics, so that the mode of the pooled prior is taken.
    metrics("a", 2);
    metrics("b", 2);
    let (code, out, err) = parsec(folder, "consensus a b c --run mode --json");
    assert!(code == 0 && err.contains("c has no children in its metrics"), "{err}");
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&result["genotype"], &result["mode"]), (&json!("011"), &json!("011")));
    assert_eq!(result["chosen_by"], "mode");
    // In two of three searches the choice 2 is the best of the first layer.
    metrics("c", 0);
    let result = json(folder, "consensus a b c --run all --json");
    assert_eq!((&result["genotype"], &result["mode"]), (&json!("220"), &json!("011")));
    assert_eq!(result["chosen_by"], "evidence");
    let written = std::fs::read_to_string(folder.join("all/genotype.txt")).unwrap();
    assert_eq!(written.trim(), "220");
    assert_eq!(priors.len(), 3);

    let by_mode = config(toml::toml! { choose = "mode" });
    search(folder, "d", &by_mode, &[0.0, 1.0, 0.0]);
    metrics("d", 2);
    let (_, out, err) = parsec(folder, "consensus a d --run two --json");
    assert!(err.contains("d does not choose by its children"), "{err}");
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(result["genotype"], result["mode"]);
}

#[test]
fn runs_that_have_no_prior_in_common_are_refused() {
    let place = place("");
    let folder = place.path();
    let logits = [0.5, 0.0, 1.0];
    search(folder, "a", &config(Table::new()), &logits);
    search(folder, "b", &config(Table::new()), &logits);
    search(folder, "longer", &config(toml::toml! { stages = [2, 2] }), &logits);
    search(folder, "choices", &config(toml::toml! { choices = ["identity", "mb3_k3", "mb1_k3"] }), &logits);
    search(folder, "cells", &Config::preset().unwrap(), &logits);
    search(folder, "paths", &config(toml::toml! { method = "darts" }), &logits);
    search(folder, "best", &config(toml::toml! { method = "random_search" }), &logits);
    search(folder, "nan", &config(Table::new()), &[f64::NAN]);
    let running = config(Table::new());
    RunDir::create(&folder.join("begun"), &running, &Manifest::new(&running).unwrap()).unwrap();
    let (code, _, err) = parsec(folder, "consensus a b --run one");
    assert_eq!(code, 0, "{err}");
    // π of cells does not depend on the number of cells.
    search(folder, "deeper", &Config::resolve(None, &toml::toml! { layers = 5 }).unwrap(), &logits);
    let (code, _, err) = parsec(folder, "consensus cells deeper --run depths");
    assert_eq!(code, 0, "{err}");
    for (args, code, parts) in [
        ("a", 2, ["two or more", "found 1"]),
        ("a b a/.", 2, ["different runs", "a/. twice"]),
        ("a longer", 2, ["a has stages 1,2", "longer with 2,2"]),
        ("a b choices", 2, ["identity,mb1_k3,mb3_k3", "choices with identity,mb3_k3,mb1_k3"]),
        ("cells a", 2, ["cells has space darts", "a with macro"]),
        ("a paths", 2, ["paths", "`method` darts"]),
        ("a best", 2, ["best", "`method` random_search"]),
        ("a one", 1, ["one", "a consensus"]),
        ("a nan", 1, ["finite logits", "NaN"]),
        ("a begun", 1, ["begun", "no checkpoint"]),
        ("a nowhere", 1, ["nowhere", "nothing there"]),
    ] {
        let (found, out, err) = parsec(folder, &format!("consensus {args} --run no"));
        assert_eq!((found, out.as_str()), (code, ""), "{args}: {err}");
        for part in parts {
            assert!(err.contains(part), "{args}: {part:?} is not in {err}");
        }
        assert!(!folder.join("no").exists(), "{args}");
    }
}

/// A search with `method = "random"` ends with a draw, not with the mode. The consensus lists this draw as the result
/// of the run.
#[test]
fn runs_that_are_not_over_and_other_data_are_told() {
    let place = place("");
    let folder = place.path();
    let random = config(toml::toml! { method = "random" seed = 4 });
    search(folder, "a", &random, &[0.0]);
    search(folder, "b", &config(Table::new()), &[0.0, 1.0, 0.0]);
    std::fs::remove_file(folder.join("a/result.json")).unwrap();
    let manifest = RunDir::open(&folder.join("b")).unwrap().manifest().unwrap();
    let manifest = Manifest { data: json!({"kind": "other"}), ..manifest };
    std::fs::write(folder.join("b/manifest.json"), manifest.to_bytes().unwrap()).unwrap();
    let (code, out, err) = parsec(folder, "consensus a b --run c --json");
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("a is not finished") && err.contains("different data"), "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let space = random.space().unwrap();
    let drawn = parsec_nas::search::random_architecture(&Prior::uniform(&*space), 4);
    assert_eq!(found["runs"][0]["genotype"], space.print(&drawn));
    assert!(RunDir::open(&folder.join("c")).unwrap().manifest().unwrap().data.is_null());
    assert_eq!(json(folder, "show c --json")["genotype"], "111");
}
