//! Rank correlations against numbers by hand and by SciPy; `parsec rank` as a process.

use std::path::Path;

use parsec_nas::cli::table::Table;
use parsec_nas::config::{Config, TrainConfig};
use parsec_nas::report::rank::{kendall, ranks, spearman, spearman_interval};
use parsec_nas::run::{Manifest, RunDir};
use parsec_nas::space::Chain;
use serde_json::{Value, json};

use super::compare::{parsec, place};

fn close(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!((found - expected).abs() < 1e-13, "{found} is not {expected}");
}

/// Checks both correlations and the interval.
fn check(x: &[f64], y: &[f64], [rho, tau, low, high]: [f64; 4]) {
    let found = spearman(x, y);
    close(found, rho);
    close(kendall(x, y), tau);
    let interval = spearman_interval(found.unwrap(), x.len()).unwrap();
    close(Some(interval[0]), low);
    close(Some(interval[1]), high);
}

#[test]
fn equal_values_share_the_mean_of_their_ranks() {
    assert_eq!(ranks(&[3.1, 1.2, 5.5, 2.2, 9.7, 2.2, 7.1]), [4.0, 1.0, 5.0, 2.5, 7.0, 2.5, 6.0]);
    assert_eq!(ranks(&[2.0; 4]), [2.5; 4]);
    assert_eq!(ranks(&[]), [0.0; 0]);
}

#[test]
fn correlations_of_few_pairs_are_those_by_hand() {
    let up = [1.0, 2.0, 3.0, 4.0];
    // Spearman: 1 − 6 Σd²/(n(n² − 1)) with Σd² = 2. Kendall: five pairs are in order, and one is not.
    close(spearman(&up, &[1.0, 2.0, 4.0, 3.0]), 0.8);
    close(kendall(&up, &[1.0, 2.0, 4.0, 3.0]), 4.0 / 6.0);
    close(spearman(&up, &[10.0, 20.0, 30.0, 31.0]), 1.0);
    close(kendall(&up, &[-1.0, -2.0, -3.0, -9.0]), -1.0);
    assert_eq!(spearman_interval(1.0, 4), Some([1.0, 1.0]));
    // Three pairs give no interval, and equal values give no correlation.
    assert_eq!(spearman_interval(0.5, 3), None);
    assert_eq!((spearman(&up, &[7.0; 4]), kendall(&[7.0; 4], &up)), (None, None));
}

/// The expected numbers are from `spearmanr` and `kendalltau` of `scipy.stats` 1.x. The interval is computed by its
/// formula in NumPy.
#[test]
fn correlations_with_ties_are_those_of_scipy() {
    let x = [3.1, 1.2, 5.5, 2.2, 9.7, 2.2, 7.1, 0.4, 5.5, 6.3];
    let y = [2.0, 1.0, 4.0, 4.0, 8.5, 3.0, 7.0, 0.5, 9.0, 4.0];
    let expected = [0.8210032962032697, 0.7059312080025175, 0.2943356256592296, 0.9651728393749163];
    check(&x, &y, expected);
    let a: Vec<f64> = (0..60).map(|i| f64::from(i * 37 % 101) / 7.0).collect();
    let b = (0..60).map(|i| f64::from((i * 53 + i * i * 5) % 89 / 4) + 0.3 * f64::from(i * 37 % 101 / 5));
    let b: Vec<f64> = b.collect();
    let expected = [0.25788793664813964, 0.18490252622137027, -4.003831712265856e-05, 0.4836433137061282];
    check(&a, &b, expected);
}

const SEARCH: &str = "search --space macro --stages 1,2 --choices identity,mb1_k3 --head 8 --data folder:images --size 8 \
                      --channels 4 --batch 4 --search-batch 4 --threads 1 --crop-pad 0 --samples 2 --steps 2 --run r --json -q";

fn ranked(folder: &Path, args: &str) -> Value {
    let (code, out, err) = parsec(folder, args);
    assert_eq!(code, 0, "{args}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args}: {e}: {out}"))
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn shared_weights_are_ranked_against_a_table() {
    if !super::gpu::has_gpu() {
        return;
    }
    let place = place("");
    let folder = place.path();
    let found = ranked(folder, SEARCH);
    // The table is not sorted, and has architectures of other spaces.
    let texts = ["110", "000", "012", "101", "011", "DARTS_V2", "001", "111", "010", "100"];
    let held: Vec<&str> = texts.into_iter().filter(|t| t.len() == 3 && *t != "012").collect();
    let accuracy = |i: usize| json!({"of": {"600": 90.0 + (i * 7 % 5) as f64}, "params": i});
    // The text is made by hand, since a map would be sorted.
    let object: Vec<String> =
        texts.iter().enumerate().map(|(i, t)| format!("{t:?}: {}", accuracy(i))).collect();
    std::fs::write(folder.join("o.json"), format!("{{{}}}", object.join(", "))).unwrap();
    let list: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(i, t)| json!({"genotype": t, "test_accuracy": accuracy(i)["of"], "mean_acc": "none"}))
        .collect();
    std::fs::write(folder.join("l.json"), json!(list).to_string()).unwrap();

    let (code, out, err) = parsec(folder, "rank r --table o.json --key of.600 --json -q");
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("2 of 10 architectures") && err.contains("`012`") && err.contains("0 to 1"),
        "{err}"
    );
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&all["n"], &all["genotypes"], &all["images"]), (&json!(8), &json!(held), &json!(8)));
    let scores = numbers(&all["scores"]);
    let values: Vec<f64> = texts
        .iter()
        .enumerate()
        .filter(|(_, t)| held.contains(t))
        .map(|(i, _)| 90.0 + (i * 7 % 5) as f64)
        .collect();
    close(spearman(&scores, &values), all["spearman"].as_f64().unwrap());
    close(kendall(&scores, &values), all["kendall"].as_f64().unwrap());
    let low = spearman_interval(all["spearman"].as_f64().unwrap(), 8).unwrap()[0];
    assert_eq!(all["low"].as_f64(), Some(low));
    // The search evaluated its result in the same way.
    let at = held.iter().position(|t| *t == found["genotype"].as_str().unwrap()).unwrap();
    assert_eq!(Some(scores[at]), found["mean_log_likelihood"].as_f64());

    // The other form of the table has the same numbers, which are found without a key. The drawn architectures are in
    // the order of the table, with their scores.
    let some = ranked(folder, "rank r --table l.json --count 5 --seed 3 --json -q");
    assert_eq!(some["key"], "test_accuracy.600");
    let at = |text: &Value| held.iter().position(|t| text == t).unwrap();
    let drawn: Vec<usize> = some["genotypes"].as_array().unwrap().iter().map(at).collect();
    assert!(drawn.len() == 5 && drawn.is_sorted(), "{drawn:?}");
    let of = |all: &[f64]| drawn.iter().map(|i| all[*i]).collect::<Vec<_>>();
    assert_eq!(numbers(&some["scores"]), of(&scores));
    close(spearman(&of(&scores), &of(&values)), some["spearman"].as_f64().unwrap());

    let (code, out, err) = parsec(folder, "rank r --table o.json --key of.600 --count 5 --seed 3 --images 6");
    assert_eq!(code, 0, "{err}");
    let parts =
        ["5 architectures", "6 held-out images", "Spearman", "Kendall", "the interval", "2 of 10", "`012`"];
    for part in parts {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    assert!(err.contains("after step 2 of 2") && err.contains("batch 5/5"), "{err}");
    let (code, _, err) = parsec(folder, "rank r --table o.json --key of.600 --images 9 -q");
    assert!(code == 2 && err.contains("at most the 8 held-out images"), "{err}");
}

#[test]
fn what_cannot_be_ranked_is_refused_before_data_are_read() {
    let place = place("");
    let folder = place.path();
    let flags = toml::toml! { space = "macro" stages = [1, 2] choices = ["identity", "mb1_k3"] data = "idx:nowhere" steps = 3 };
    let config = Config::resolve(None, &flags).unwrap();
    let run = RunDir::create(&folder.join("r"), &config, &Manifest::new(&config).unwrap()).unwrap();
    drop(run);
    let flags = toml::toml! { genotype = "DARTS_V2" };
    let config = TrainConfig::resolve(None, None, &flags).unwrap();
    RunDir::create(&folder.join("t"), &config, &Manifest::new(&config).unwrap()).unwrap();
    let entries = r#"{"000": {"accuracy": 1, "of": {"x": 2}, "many": [1]}, "001": {"accuracy": 2}, "010": {"accuracy": null}}"#;
    std::fs::write(folder.join("few.json"), entries.replace("null", "3")).unwrap();
    std::fs::write(folder.join("null.json"), entries).unwrap();
    std::fs::write(folder.join("other.json"), r#"[{"genotype": "DARTS_V2", "accuracy": 1}]"#).unwrap();
    std::fs::write(folder.join("no.json"), "{\n\"000\": }").unwrap();
    std::fs::write(folder.join("form.json"), r#"[{"genotype": "000", "accuracy": 1}, {"accuracy": 1}]"#)
        .unwrap();
    std::fs::write(folder.join("number.json"), r#"{"000": 0.9}"#).unwrap();
    std::fs::write(folder.join("empty.json"), "[]").unwrap();
    std::fs::write(folder.join("text.json"), r#"{"000": {"accuracy": "high"}}"#).unwrap();
    for (args, code, parts) in [
        ("r --table few.json", 2, ["few.json", "at least 4 architectures"]),
        ("r --table few.json --key acuracy", 2, ["accuracy, of.x", "--key accuracy"]),
        ("r --table few.json --key many", 2, ["accuracy, of.x", "[1]"]),
        ("r --table few.json --key of.x", 1, ["`of.x` for `001`", "found nothing"]),
        ("r --table null.json", 1, ["`accuracy` for `010`", "found null"]),
        ("r --table text.json", 1, ["numbers with `000`", "high"]),
        ("r --table other.json", 1, ["space macro (stages 1,2; choices identity,mb1_k3", "DARTS_V2"]),
        ("r --table no.json", 1, ["no.json", "line 2"]),
        ("r --table form.json", 1, ["`genotype` as entry 2", "{\"accuracy\":1}"]),
        ("r --table number.json", 1, ["numbers for `000`", "0.9"]),
        ("r --table empty.json", 1, ["at least one architecture", "none"]),
        ("r --table r/config.toml", 1, ["config.toml", "JSON"]),
        ("r --table nowhere.json", 1, ["nowhere.json", "check the path"]),
        ("t --table few.json", 1, ["a search", "kind train"]),
        ("r --table few.json --seed 3", 2, ["--count", "required"]),
    ] {
        let (found, out, err) = parsec(folder, &format!("rank {args}"));
        assert_eq!((found, out.as_str()), (code, ""), "{args}: {err}");
        for part in parts {
            assert!(err.contains(part), "{args}: {part:?} is not in {err}");
        }
    }
}

#[test]
fn a_table_has_one_of_the_usual_numbers_and_members_with_dots() {
    let chain = Chain::default();
    let held = |text: &str, key: Option<&str>| {
        Table::parse(text.as_bytes(), Path::new("table.json")).unwrap().held(&chain, key, "--key").unwrap()
    };
    let text = r#"{"22222222": {"accuracy": 1, "mean_acc": 2, "a.b": {"c": 3}}, "00000000": {"mean_acc": 5, "a": {"b.c": 4}}}"#;
    let of = |key| held(text, key).entries.iter().map(|e| (e.text.clone(), e.value)).collect::<Vec<_>>();
    // The entries are in the order of the file.
    assert_eq!(of(None), [("22222222".to_owned(), 2.0), ("00000000".to_owned(), 5.0)]);
    assert_eq!(of(Some("a.b.c")), [("22222222".to_owned(), 3.0), ("00000000".to_owned(), 4.0)]);
    assert_eq!(held(text, None).left_out, None);
}
