//! `parsec compare` as a process, on a folder of small images; its statistics on numbers made by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use image::RgbImage;
use parsec_nas::config::compare::Chooser;
use parsec_nas::config::{CompareConfig, Method};
use parsec_nas::report::comparison::{
    ByTable, Entry, RowByTable, Spread, comparison_rows, comparison_svg, comparison_text,
};
use parsec_nas::report::paired::{Measure, differences, student95};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const CONFIG: &str = r#"
methods = ["parsec", "random"]
seeds = [1]
data = "folder:images"

[search]
size = 8
layers = 3
channels = 2
batch = 4
samples = 2
steps = 12
primitives = ["max_pool_3x3", "skip_connect", "sep_conv_3x3"]
threads = 1
checkpoint_every = 1
eval_every = 0
warmup_epochs = 0
crop_pad = 0

[train]
size = 8
layers = 3
channels = 2
batch = 4
steps = 2
auxiliary = 0
drop_path = 0
cutout = 0
threads = 1
"#;

/// A folder with 40 images of 8x8 pixels in two classes, and with the file of a comparison.
pub fn place(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (class, name) in ["blue", "red"].iter().enumerate() {
        let dir = folder.path().join("images").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        for seed in 0..20 {
            let picture = RgbImage::from_fn(8, 8, |x, y| {
                let noise = ((x * 31 + y * 17 + seed * 7) % 40) as u8;
                let mut pixel = [noise, 30 + noise, noise];
                pixel[2 * class] = 180 + noise;
                image::Rgb(pixel)
            });
            picture.save(dir.join(format!("{seed:02}.png"))).unwrap();
        }
    }
    std::fs::write(folder.path().join("c.toml"), config).unwrap();
    folder
}

fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args.split(' ')).current_dir(folder).env_remove("PARSEC_DEVICE");
    command
}

/// Exit code, standard output, standard error.
pub fn parsec(folder: &Path, args: &str) -> (i32, String, String) {
    let out = command(folder, args).output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap_or(-1), utf8(out.stdout), utf8(out.stderr))
}

/// Adds the time at which each file of the runs under `folder` was last written.
fn written(folder: &Path, out: &mut BTreeMap<PathBuf, SystemTime>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            written(&path, out);
        } else if !path.file_name().unwrap().to_str().unwrap().starts_with("comparison") {
            out.insert(path.clone(), std::fs::metadata(path).unwrap().modified().unwrap());
        }
    }
}

#[test]
fn a_comparison_from_its_start_to_its_table() {
    if !super::gpu::has_gpu() {
        return;
    }
    let place = place(CONFIG);
    let folder = place.path();
    let compare = "compare c.toml --run all --json -q";

    // The comparison is killed in the middle of its first search.
    let mut child = command(folder, compare).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (started, metrics) = (Instant::now(), folder.join("all/parsec-1/search/metrics.jsonl"));
    while std::fs::metadata(&metrics).map_or(0, |m| m.len()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(300) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.join("all/parsec-1/search/result.json").exists());
    assert!(!folder.join("all/comparison.json").exists());

    let (code, out, err) = parsec(folder, compare);
    assert_eq!(code, 0, "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let file = std::fs::read(folder.join("all/comparison.json")).unwrap();
    assert_eq!(told, serde_json::from_slice::<Value>(&file).unwrap());
    assert_eq!((&told["test_images"], &told["data"]), (&8.into(), &"folder:images".into()));
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join("all").join(name)).unwrap()).unwrap()
    };
    for (i, method) in ["parsec", "random"].iter().enumerate() {
        let (run, row) = (&told["runs"][i], &told["methods"][i]);
        let trained = read(&format!("{method}-1/train/result.json"));
        for key in ["genotype", "accuracy", "parameters", "macs"] {
            assert_eq!(run[key], trained[key], "{method} {key}");
        }
        assert_eq!((&run["method"], &row["method"]), (&(*method).into(), &(*method).into()));
        assert_eq!((&row["n"], &row["accuracy"]["mean"]), (&1.into(), &run["accuracy"]));
        assert!(row["accuracy"]["sd"].is_null());
    }
    let searched = read("parsec-1/search/result.json");
    assert_eq!((&searched["genotype"], &searched["steps"]), (&told["runs"][0]["genotype"], &12.into()));
    assert!(told["runs"][0]["search_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(told["runs"][0]["arena_bytes"], searched["arena_bytes"]);
    // The method `random` needs no search: its architecture is the draw of a search with the same seed.
    assert!(!folder.join("all/random-1/search").exists());
    assert_eq!(told["runs"][1]["search_seconds"], 0.0);
    let text = std::fs::read_to_string(folder.join("all/comparison.txt")).unwrap();
    assert!(text.lines().count() == 5 && text.contains("test accuracy"), "{text}");
    assert!(
        text.contains("\nparsec - random: ") && text.contains("1 seed, which gives no interval"),
        "{text}"
    );
    let difference = &told["differences"][0];
    assert_eq!((&difference["n"], &difference["low"]), (&1.into(), &Value::Null));
    assert!(told["table"].is_null() && told["runs"][0].get("published").is_none());
    assert!(std::fs::read_to_string(folder.join("all/comparison.svg")).unwrap().contains("random"));
    let random = "search --method random --seed 1 --data folder:images --size 8 --layers 3 --channels 2 --batch 4 \
                  --samples 2 --steps 1 --eval-every 0 --run drawn --json -q \
                  --primitives max_pool_3x3,skip_connect,sep_conv_3x3";
    let (code, out, err) = parsec(folder, random);
    assert_eq!(code, 0, "{err}");
    let drawn: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(drawn["genotype"], told["runs"][1]["genotype"]);
    // The runs of a comparison are ordinary runs.
    let (code, out, err) = parsec(folder, "show all/parsec-1/search");
    assert!(code == 0 && out.contains("Genotype("), "{err}");

    // The same command again runs nothing and gives the same table.
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    written(&folder.join("all"), &mut before);
    assert_eq!(parsec(folder, compare).0, 0);
    written(&folder.join("all"), &mut after);
    assert_eq!(before, after);
    assert_eq!(file, std::fs::read(folder.join("all/comparison.json")).unwrap());

    // An unfinished training is continued, and the table is the same.
    let training = folder.join("all/random-1/train");
    std::fs::remove_file(training.join("result.json")).unwrap();
    std::fs::remove_dir_all(training.join("checkpoints/step-00000002")).unwrap();
    let (code, _, err) = parsec(folder, compare);
    assert_eq!(code, 0, "{err}");
    assert_eq!(file, std::fs::read(folder.join("all/comparison.json")).unwrap());

    // With one seed more and one method less only the new runs are started.
    let more =
        CONFIG.replace("\"parsec\", \"random\"", "\"random\"").replace("seeds = [1]", "seeds = [1, 2]");
    std::fs::write(folder.join("c.toml"), more).unwrap();
    let trained = || std::fs::metadata(training.join("result.json")).unwrap().modified().unwrap();
    let before = trained();
    let (code, out, err) = parsec(folder, compare);
    assert_eq!(code, 0, "{err}");
    assert_eq!(trained(), before);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["methods"].as_array().unwrap().len(), 1);
    assert_eq!((&told["methods"][0]["method"], &told["methods"][0]["n"]), (&"random".into(), &2.into()));
    assert_eq!(told["runs"][0]["genotype"], drawn["genotype"]);
    assert!(folder.join("all/parsec-1/search").exists() && folder.join("all/random-2/train").exists());

    // A folder with another configuration is refused.
    for (from, to, key) in [
        ("steps = 12", "steps = 4", "`search.steps`"),
        ("auxiliary = 0", "auxiliary = 0.4", "`train.auxiliary`"),
        ("warmup_epochs = 0", "weight_decay = 0.01", "`search.weight_decay`"),
        ("[train]", "[random]\nlr = 0.05\n[train]", "`random.lr`"),
    ] {
        std::fs::write(folder.join("c.toml"), CONFIG.replace(from, to)).unwrap();
        let (code, _, err) = parsec(folder, compare);
        assert!(code == 2 && err.contains(key) && err.contains("all"), "{to}: {err}");
    }
    // A folder that holds no comparison is refused.
    std::fs::write(folder.join("c.toml"), CONFIG).unwrap();
    let (code, _, err) = parsec(folder, "compare c.toml --run all/parsec-1/search");
    assert!(code == 2 && err.contains("a run"), "{err}");
    let (code, _, err) = parsec(folder, "compare c.toml --run images");
    assert!(code == 2 && err.contains("not empty"), "{err}");
}

#[test]
#[cfg(unix)]
fn told_to_stop_a_comparison_saves_its_run_and_goes_on() {
    if !super::gpu::has_gpu() {
        return;
    }
    // With this number of steps the search cannot end before the signal arrives.
    let config =
        CONFIG.replace("[\"parsec\", \"random\"]", "[\"darts\"]").replace("steps = 12", "steps = 40");
    let place = place(&config);
    let compare = "compare c.toml --run all";
    let child = command(place.path(), compare).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let search = place.path().join("all/darts-1/search");
    let started = Instant::now();
    while std::fs::metadata(search.join("metrics.jsonl")).map_or(0, |m| m.len()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(130), "{err}");
    assert!(err.contains("parsec compare c.toml --run all"), "{err}");
    let steps = || std::fs::read_to_string(search.join("metrics.jsonl")).unwrap().lines().count();
    let done = steps();
    assert!(search.join(format!("checkpoints/step-{done:08}")).is_dir() && done < 40);
    let (code, out, err) = parsec(place.path(), compare);
    assert!(code == 0 && err.contains(&format!("going on after step {done}")), "{err}");
    assert!(steps() == 40 && out.starts_with("method") && out.contains("\ndarts"), "{out}");
}

#[test]
fn mean_and_deviation_are_over_the_seeds_of_a_method() {
    assert_eq!(Spread::of(&[3.0]), Spread { mean: 3.0, sd: None });
    // Deviations -3, -1, 1, 3: squares 20, over n - 1 = 3.
    let spread = Spread::of(&[1.0, 3.0, 5.0, 7.0]);
    assert_eq!(spread.mean, 4.0);
    assert!((spread.sd.unwrap() - (20.0f64 / 3.0).sqrt()).abs() < 1e-15);
    assert_eq!(Spread::of(&[2.0, 2.0]), Spread { mean: 2.0, sd: Some(0.0) });

    let entry = |method: &str, seed, accuracy, parameters| Entry {
        method: method.into(),
        seed,
        accuracy: Some(accuracy),
        parameters,
        macs: 2_500_000,
        search_seconds: 12.5 * seed as f64,
        arena_bytes: 3 << 20,
        ..Entry::default()
    };
    let entries = [
        entry("random", 0, 0.5, 100),
        entry("parsec", 0, 0.75, 300),
        entry("random", 1, 0.75, 200),
        entry("random", 2, 1.0, 300),
    ];
    let rows = comparison_rows(&entries);
    assert_eq!(
        rows.iter().map(|r| (r.method.as_str(), r.n)).collect::<Vec<_>>(),
        [("random", 3), ("parsec", 1)]
    );
    assert_eq!(rows[0].accuracy.unwrap(), Spread { mean: 0.75, sd: Some(0.25) });
    assert_eq!(rows[0].parameters, Spread { mean: 200.0, sd: Some(100.0) });
    assert_eq!(rows[0].search_seconds, Spread { mean: 12.5, sd: Some(12.5) });
    let text = comparison_text(&entries);
    let line: Vec<&str> =
        text.lines().nth(1).unwrap().split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(
        line,
        ["random", "3", "75.00 ± 25.00", "200 ± 100", "2.500 ± 0.000", "12.5 ± 12.5", "3.00 ± 0.00"]
    );
    assert!(text.lines().nth(2).unwrap().contains("75.00  "), "no deviation of one: {text}");
    let svg = comparison_svg(&entries);
    assert_eq!(svg.matches("<circle").count(), 5 * entries.len());
    assert!(!svg.contains("NaN") && svg.contains("test accuracy"));
}

/// The 97.5 % quantiles of Student's t, against the tables of handbooks.
#[test]
fn the_quantiles_of_student_s_t() {
    for (df, expected) in [
        (1, 12.706_204_736_174_7),
        (2, 4.302_652_729_749_46),
        (3, 3.182_446_305_283_71),
        (4, 2.776_445_105_197_79),
        (5, 2.570_581_835_636_31),
        (10, 2.228_138_851_964_94),
        (29, 2.045_229_642_132_70),
        (30, 2.042_272_456_301_24),
        (120, 1.979_930_405_024_42),
        (100_000, 1.959_987_707_5),
    ] {
        let found = student95(df);
        assert!((found - expected).abs() < 2e-9, "{df}: {found} is not {expected}");
    }
    assert!((1..200).all(|df| student95(df) > student95(df + 1)));
}

#[test]
fn differences_are_over_the_seeds_that_two_methods_share() {
    let entry = |method: &str, seed, accuracy: f64, published: Option<f64>| Entry {
        method: method.into(),
        seed,
        accuracy: Some(accuracy),
        by_table: Some(ByTable { published, regret: published.map(|p| 95.0 - p) }),
        ..Entry::default()
    };
    let entries = [
        entry("parsec", 0, 0.50, Some(93.0)),
        entry("parsec", 1, 0.75, Some(94.0)),
        entry("parsec", 2, 0.625, None),
        entry("darts", 2, 0.25, Some(90.0)),
        entry("darts", 1, 0.25, Some(91.0)),
        entry("darts", 0, 0.25, None),
        entry("random", 1, 0.875, None),
    ];
    let found = differences(&entries);
    let what: Vec<_> = found.iter().map(|d| (d.method.as_str(), d.against.as_str(), d.of, d.n)).collect();
    let of =
        [("darts", Measure::Accuracy, 3), ("random", Measure::Accuracy, 1), ("darts", Measure::Published, 1)];
    assert_eq!(what, of.map(|(against, of, n)| ("parsec", against, of, n)));
    // Differences 0.25, 0.5, 0.375: mean 0.375, deviation 0.125; t of two degrees of freedom.
    let half = 4.302_652_729_749_46 * 0.125 / 3f64.sqrt();
    assert_eq!((found[0].mean, found[0].sd), (0.375, Some(0.125)));
    assert!((found[0].low.unwrap() - (0.375 - half)).abs() < 1e-12);
    assert!((found[0].high.unwrap() - (0.375 + half)).abs() < 1e-12);
    assert_eq!((found[1].mean, found[1].sd, found[1].low, found[1].high), (-0.125, None, None, None));
    assert_eq!(
        found.iter().map(|d| d.text("mean_acc")).collect::<Vec<_>>(),
        [
            "parsec - darts: +37.50 points (95 % interval +6.45 to +68.55, 3 seeds)",
            "parsec - random: -12.50 points (1 seed, which gives no interval)",
            "parsec - darts: +3.00 of `mean_acc` (1 seed, which gives no interval)",
        ]
    );
    assert!(differences(&entries[..3]).is_empty() && differences(&[]).is_empty());

    // The rows have means over the architectures that are in the table.
    let rows = comparison_rows(&entries);
    let spread = |mean, sd| Some(Spread { mean, sd });
    let half = 0.5f64.sqrt();
    let darts =
        RowByTable { published: spread(90.5, Some(half)), regret: spread(4.5, Some(half)), n_not_held: 1 };
    assert_eq!(rows[1].by_table, Some(darts));
    assert_eq!(rows[2].by_table, Some(RowByTable { published: None, regret: None, n_not_held: 1 }));
    let text = comparison_text(&entries);
    assert!(text.lines().next().unwrap().contains("test accuracy %  published     regret"), "{text}");
    assert!(text.contains("90.50 ± 0.71  4.50 ± 0.71") && text.contains("87.50            -  "), "{text}");
    let svg = comparison_svg(&entries);
    assert_eq!(svg.matches("<circle").count(), 5 * entries.len() + 2 * 4);
    assert!(!svg.contains("NaN"));
    // Without trainings there is no accuracy.
    let searched = entries.map(|entry| Entry { accuracy: None, ..entry });
    assert!(!comparison_text(&searched).contains("accuracy"));
    assert!(differences(&searched).iter().all(|d| d.of == Measure::Published));
}

const BY_TABLE: &str = r#"
methods = ["parsec", "random_search", "random", "largest"]
seeds = [1, 2]
data = "folder:images"
table = "t.json"
key = "acc.x"
train = false

[search]
space = "macro"
stages = [1, 2]
choices = ["identity", "mb1_k3"]
head = 8
size = 8
channels = 4
batch = 4
samples = 2
steps = 4
threads = 1
crop_pad = 0
checkpoint_every = 0
eval_every = 0

[random_search]
samples = 3
"#;

#[test]
fn a_comparison_by_a_table_of_published_numbers_alone() {
    if !super::gpu::has_gpu() {
        return;
    }
    let place = place(BY_TABLE);
    let folder = place.path();
    // The table has all architectures but the largest, and one architecture of another space.
    let texts = ["000", "001", "010", "011", "100", "101", "110", "012"];
    let number = |text: &str| 90.0 + f64::from(u32::from_str_radix(text, 8).unwrap() * 7 % 11) / 4.0;
    let table: Vec<Value> =
        texts.iter().map(|text| json!({"genotype": text, "acc": {"x": number(text)}})).collect();
    std::fs::write(folder.join("t.json"), json!(table).to_string()).unwrap();

    let (code, out, err) = parsec(folder, "compare c.toml --run all --json");
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("1 of 8 architectures of the table") && err.contains("`012`"), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let best = texts[..7].iter().map(|text| number(text)).fold(0.0, f64::max);
    let (table, runs) = (&told["table"], told["runs"].as_array().unwrap());
    assert_eq!((&table["key"], &table["n"], &table["best"]), (&"acc.x".into(), &7.into(), &best.into()));
    assert!(told.get("test_images").is_none() && runs.len() == 8);
    let mut missing = 0;
    for run in runs {
        let text = run["genotype"].as_str().unwrap();
        assert!(run.get("accuracy").is_none() && run["macs"].as_u64().unwrap() > 0);
        if text == "111" {
            missing += 1;
            assert_eq!((&run["published"], &run["regret"]), (&Value::Null, &Value::Null));
        } else {
            assert_eq!(run["published"], number(text), "{text}");
            assert_eq!(run["regret"], best - number(text), "{text}");
        }
        let place = folder.join(format!("all/{}-{}", run["method"].as_str().unwrap(), run["seed"]));
        let searched = ["parsec", "random_search"].contains(&run["method"].as_str().unwrap());
        assert_eq!((place.join("search").exists(), place.join("train").exists()), (searched, false));
    }
    assert_eq!((&runs[6]["genotype"], &runs[7]["genotype"]), (&"111".into(), &"111".into()));
    assert_eq!((&table["n_not_held"], &told["methods"][3]["n_not_held"]), (&missing.into(), &2.into()));
    assert!(told["methods"][3]["published"].is_null() && told["methods"][3].get("accuracy").is_none());
    let differences = told["differences"].as_array().unwrap();
    assert!(differences.iter().all(|d| d["of"] == "published" && d["against"] != "largest"));
    // The architecture of a random search is also in its run folder.
    let of_run = folder.join("all/random_search-2/search/genotype.txt");
    assert_eq!(std::fs::read_to_string(of_run).unwrap().trim(), runs[3]["genotype"]);
    let text = std::fs::read_to_string(folder.join("all/comparison.txt")).unwrap();
    for part in ["published", "regret", "`acc.x` of t.json, 7 architectures of the space", "runs"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("accuracy"), "{text}");

    // The same command again runs nothing, and the same command with another number of the table runs nothing either.
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    written(&folder.join("all"), &mut before);
    let (code, again, err) = parsec(folder, "compare c.toml --run all --json");
    assert_eq!((code, again), (0, out), "{err}");
    written(&folder.join("all"), &mut after);
    assert_eq!(before, after);
    let all: Vec<Value> = ["000", "111"].iter().map(|t| json!({"genotype": t, "accuracy": 1.5})).collect();
    std::fs::write(folder.join("u.json"), json!(all).to_string()).unwrap();
    let other = BY_TABLE.replace("key = \"acc.x\"", "").replace("t.json", "u.json");
    std::fs::write(folder.join("c.toml"), &other).unwrap();
    let (code, out, err) = parsec(folder, "compare c.toml --run all --json -q");
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{code} {e}: {err}"));
    assert_eq!((&told["runs"][7]["published"], &told["runs"][7]["regret"]), (&1.5.into(), &0.0.into()));

    // Tables without architectures of the space, without a file, and without the number are refused.
    std::fs::write(folder.join("other.json"), r#"[{"genotype": "DARTS_V2", "accuracy": 1}]"#).unwrap();
    for (from, to, code, parts) in [
        ("u.json", "other.json", 1, ["other.json", "architectures of the space macro (stages 1,2"]),
        ("u.json", "nowhere.json", 1, ["nowhere.json", "check the path"]),
        ("table = \"u.json\"", "table = \"u.json\"\nkey = \"acuracy\"", 2, ["`key` acuracy", "accuracy"]),
    ] {
        std::fs::write(folder.join("c.toml"), other.replace(from, to)).unwrap();
        let (found, _, err) = parsec(folder, "compare c.toml --run new -q");
        assert!(found == code && parts.iter().all(|part| err.contains(part)), "{to}: {err}");
        assert!(!folder.join("new").exists(), "{to}");
    }
}

#[test]
fn the_file_of_a_comparison_is_checked_as_a_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("c.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        CompareConfig::read(&path, None)
    };
    let start = "methods = [\"darts\"]\nseeds = [0]\n";
    for (text, parts) in [
        ("seeds = [0]", &["`methods`", "parsec, random, random_search, darts and largest"][..]),
        ("methods = [\"enas\"]\nseeds = [0]", &["`methods`", "enas"]),
        ("methods = [\"darts\", \"darts\"]\nseeds = [0]", &["`methods`", "once"]),
        ("methods = [\"darts\"]\nseeds = []", &["`seeds`"]),
        ("methods = [\"darts\"]\nseeds = [-1]", &["`seeds`", "from 0"]),
        (&format!("{start}data = \"mnist\""), &["`data`", "embedded"]),
        (&format!("{start}serch = 3"), &["`serch`", "`search`"]),
        (&format!("{start}search = 3"), &["`search`", "a table"]),
        (&format!("{start}[search]\nprior = 1"), &["[search]", "`prior`"]),
        (&format!("{start}[search]\nseed = 1"), &["[search]", "`seed`", "the same for all runs"]),
        (&format!("{start}[search]\nlr = -1"), &["[search] key `lr`", "above 0"]),
        (&format!("{start}[search]\ntrace_steps = 1"), &["`trace_steps`", "darts"]),
        (&format!("{start}[darts]\ntrace_steps = 1"), &["`trace_steps`", "darts"]),
        ("methods = [\"random_search\"]\nseeds = [0]\n[random_search]\nexplore = 0.1", &["`explore`"]),
        (&format!("{start}[largest]\nlr = 1"), &["`largest`"]),
        (&format!("{start}key = \"x\""), &["`key`", "`table`"]),
        (&format!("{start}table = 3"), &["`table`", "in quotes"]),
        (&format!("{start}table = \"\""), &["`table`", "in quotes"]),
        (&format!("{start}train = false"), &["`train`", "beside `table`"]),
        (&format!("{start}table = \"t.json\"\ntrain = true"), &["`train`", "a table of settings"]),
        (&format!("{start}[parsec]\nlr = -1"), &["[parsec] key `lr`", "above 0"]),
        (&format!("{start}[random]\nmethod = \"darts\""), &["[random]", "`method`"]),
        (&format!("{start}darts = 3"), &["`darts`", "a table"]),
        (&format!("{start}[train]\ngenotype = \"DARTS_V1\""), &["[train]", "`genotype`"]),
        (&format!("{start}[train]\nsteps = 1\nepochs = 1"), &["epochs"]),
        ("methods = [\"random\"]\nseeds = [0]\n[search]\nprior_from = \"r\"", &["`prior_from`", "random"]),
        ("methods = ", &["c.toml", "TOML"]),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{text}");
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
    // `assets/compare.toml` is read, and its resolved form is the same comparison.
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/compare.toml");
    let shipped = CompareConfig::read(&shipped, None).unwrap();
    assert_eq!((shipped.methods.len(), shipped.seeds.as_slice()), (3, &[0, 1, 2][..]));
    let resolved = read(&toml::to_string(&shipped.resolved().unwrap()).unwrap()).unwrap();
    assert_eq!(shipped.first_difference(&resolved).unwrap(), None);
    let search = shipped.search_config(Method::Darts, 2).unwrap();
    assert_eq!((search.algorithm.method, search.session.seed, search.length.steps), (Method::Darts, 2, 150));
    let search = shipped.search_config(Method::Parsec, 2).unwrap();
    assert_eq!((search.algorithm.method, search.session.seed, search.length.steps), (Method::Parsec, 2, 300));
    assert_eq!(shipped.train_config("DARTS_V1", 2).unwrap().architecture.genotype, "DARTS_V1");
    let elsewhere = CompareConfig::read(&path, Some("folder:x")).unwrap();
    assert_eq!(elsewhere.data, "folder:x");
    assert_eq!(elsewhere.first_difference(&shipped).unwrap().unwrap()[0], "data");
    // Published numbers change no run. Trainings may be added to a comparison of searches, but not be removed again.
    let judged =
        |rest: &str| read(&format!("methods = [\"darts\", \"largest\"]\nseeds = [0]\n{rest}")).unwrap();
    let (by_table, both) = (judged("table = \"t.json\"\ntrain = false"), judged("[train]\nsteps = 7"));
    assert_eq!((by_table.trains(), both.methods[1]), (false, Chooser::Largest));
    let resolved = read(&toml::to_string(&by_table.resolved().unwrap()).unwrap()).unwrap();
    assert_eq!(
        (resolved.first_difference(&by_table).unwrap(), resolved.table),
        (None, by_table.table.clone())
    );
    assert_eq!(
        judged("table = \"u.json\"\nkey = \"x\"\ntrain = false").first_difference(&by_table).unwrap(),
        None
    );
    assert_eq!(both.first_difference(&by_table).unwrap(), None);
    assert_eq!(by_table.first_difference(&both).unwrap().unwrap()[0], "train");
    assert_eq!(judged("[train]\nsteps = 8").first_difference(&both).unwrap().unwrap()[0], "train.steps");
    assert_eq!(judged("[search]\nlr = 0.5").first_difference(&by_table).unwrap().unwrap()[0], "search.lr");
    // The settings of a method do not matter if only one of the comparisons has the method.
    let own =
        |of: &str, lr: f64| read(&format!("methods = [\"{of}\"]\nseeds = [0]\n[darts]\nlr = {lr}")).unwrap();
    assert_eq!(own("parsec", 0.1).first_difference(&own("parsec", 0.2)).unwrap(), None);
    assert_eq!(own("darts", 0.1).first_difference(&own("parsec", 0.2)).unwrap(), None);
    let [name, was, is] = own("darts", 0.1).first_difference(&own("darts", 0.2)).unwrap().unwrap();
    assert_eq!((name.as_str(), was.as_str(), is.as_str()), ("darts.lr", "0.2", "0.1"));
    assert_eq!(own("darts", 0.2).search_config(Method::Darts, 0).unwrap().sgd.lr, 0.2);
    assert_ne!(own("darts", 0.2).search_config(Method::Parsec, 0).unwrap().sgd.lr, 0.2);
}
