//! `parsec report`: the page, the numbers behind it, and the event files of TensorBoard.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use parsec_nas::files::tensors::Tensors;
use parsec_nas::report::History;
use parsec_nas::report::doubts;
use parsec_nas::report::plot::{smoothed, thinned};
use parsec_nas::run::{RunDir, checkpoint};
use parsec_nas::search::prior_tensors;
use parsec_nas::search::retrace::{Recorded, Retrace};
use parsec_nas::view::{Course, RunView};
use serde_json::Value;
use tempfile::TempDir;

use crate::small;

/// Exit code, standard output, standard error.
fn parsec(folder: &Path, args: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    let out = command.args(args.split_whitespace()).current_dir(folder).output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

fn good(folder: &Path, args: &str) -> String {
    let (code, out, err) = parsec(folder, args);
    assert_eq!(code, 0, "{args}: {err}");
    out
}

fn refused(folder: &Path, args: &str) -> String {
    let (code, _, err) = parsec(folder, args);
    assert_eq!(code, 1, "{args}: {err}");
    err
}

/// A short search of chains of small images.
fn search(folder: &Path, run: &str, more: &str) {
    good(
        folder,
        &format!(
            "search --data {} --space macro --stages 2,1 --channels 4 --head 8 --size 8 --batch 8 --search-batch 16 \
             --samples 4 --steps 12 --warmup 0.25 --threads 1 --run {run} -q {more}",
            small::data()
        ),
    );
}

const TRAIN: &str =
    "train --genotype 010 --stages 2,1 --size 8 --preset small --channels 4 --head 8 --batch 8 --epochs 2 -q";

/// The page at `path`, after checks that hold for every page: it is well-formed, and loads nothing.
fn page(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        // The name of SVG's elements is no address that a browser loads.
        let own = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!own.contains(elsewhere), "{elsewhere}");
    }
    check_elements(&text);
    for (start, _) in text.match_indices("data-panel=\"") {
        let value = text[start + 12..].split('"').next().unwrap().replace("&quot;", "\"");
        let panel: Value = serde_json::from_str(&value.replace("&amp;", "&")).unwrap();
        let points = panel["series"][0]["points"].as_array().unwrap();
        assert!(!points.is_empty() && panel["x"][0].as_f64() <= panel["x"][1].as_f64());
    }
    text
}

/// Fails unless every element is ended, in order.
fn check_elements(text: &str) {
    let body = text.split("<body>").nth(1).unwrap().split("<script>").next().unwrap();
    let mut open: Vec<&str> = Vec::new();
    for (at, _) in body.match_indices('<') {
        let tag = body[at + 1..].split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') && !["meta", "input", "br"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

fn headings(page: &str) -> Vec<&str> {
    page.split("<h2>").skip(1).map(|rest| rest.split("</h2>").next().unwrap()).collect()
}

#[test]
fn a_report_tells_everything_about_a_run_and_loads_nothing() {
    if !crate::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    search(folder, "found", "");
    let out = good(folder, "report found");
    assert!(out.contains("found/report.html"), "{out}");
    let text = page(&folder.join("found/report.html"));
    let all = [
        "Result",
        "Architecture",
        "What to distrust",
        "Curves",
        "The prior",
        "Children",
        "Data",
        "Costs",
        "Settings",
        "How to reproduce",
    ];
    assert_eq!(headings(&text), all);
    let result: Value = serde_json::from_slice(&fs::read(folder.join("found/result.json")).unwrap()).unwrap();
    let accuracy = format!("{:.2} %", 100.0 * result["accuracy"].as_f64().unwrap());
    for wanted in [
        accuracy.as_str(),
        result["genotype"].as_str().unwrap(),
        "finished, 12 steps",
        "120 + 40 images, 10 classes",
        "The accuracy is of 40 images only",
        "parsec search found/config.toml --run NEW ",
        "href=\"metrics.jsonl\"",
        "data-replay-mark",
        "data-frame",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    // Nine steps after the warm-up, four children each.
    assert!(text.contains("36 children after the warm-up"));
    let written: Value =
        serde_json::from_str(&good(folder, "report found --out pages/it.html --json")).unwrap();
    assert_eq!(written["report"], "pages/it.html");
    assert!(
        written["doubts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|doubt| doubt.as_str().unwrap().contains("40 images"))
    );
    assert!(page(&folder.join("pages/it.html")).contains("found/metrics.jsonl"));

    // A run that is not finished, with a damaged line, and one before its first step.
    fs::remove_file(folder.join("found/result.json")).unwrap();
    let metrics = folder.join("found/metrics.jsonl");
    let lines = fs::read_to_string(&metrics).unwrap();
    let first: Vec<&str> = lines.lines().take(7).collect();
    fs::write(&metrics, format!("{}\nnonsense\n{{\"step\": 8, \"acc", first.join("\n"))).unwrap();
    good(folder, "report found");
    let text = page(&folder.join("found/report.html"));
    assert!(
        text.contains("at step 7 of 12") && text.contains("1 line of metrics.jsonl is no record"),
        "{text}"
    );
    fs::write(&metrics, "").unwrap();
    good(folder, "report found");
    assert!(!headings(&page(&folder.join("found/report.html"))).contains(&"Curves"));

    good(folder, &format!("{TRAIN} --data {} --run trained", small::data()));
    good(folder, "report trained");
    let text = page(&folder.join("trained/report.html"));
    assert!(!headings(&text).contains(&"Children") && headings(&text).contains(&"Curves"));
    assert!(text.contains("The held-out images chose the best checkpoint"));

    search(folder, "other", "--seed 7");
    search(folder, "third", "--seed 8");
    good(folder, "consensus other third --run all -q");
    good(folder, "report all");
    let text = page(&folder.join("all/report.html"));
    assert!(text.contains("<td>other</td>") && headings(&text).contains(&"The prior"));
    search(folder, "drawn", "--method random");
    good(folder, "report drawn");
    assert!(!headings(&page(&folder.join("drawn/report.html"))).contains(&"The prior"));

    // A longer run, and damage.
    good(folder, "resume other --steps 15 -q");
    good(folder, "report other");
    let text = page(&folder.join("other/report.html"));
    assert!(text.contains("parsec resume NEW --steps 15     # interrupted at step 12"), "{text}");
    let metrics = folder.join("third/metrics.jsonl");
    let lines = fs::read_to_string(&metrics).unwrap();
    let without: Vec<&str> =
        lines.lines().enumerate().filter(|(i, _)| *i != 4).map(|(_, line)| line).collect();
    fs::write(&metrics, without.join("\n") + "\n").unwrap();
    let (_, _, err) = parsec(folder, "report third");
    assert!(err.contains("The replay ends at step 4: the next step is missing"), "{err}");
    assert!(page(&folder.join("third/report.html")).contains("Step 5 is missing"));
    fs::remove_dir_all(folder.join("third/checkpoints")).unwrap();
    let result = fs::read_to_string(folder.join("third/result.json")).unwrap();
    let value: Value = serde_json::from_str(&result).unwrap();
    let genotype = value["genotype"].as_str().unwrap();
    fs::write(folder.join("third/result.json"), result.replace(&format!("\"{genotype}\""), "\"999\""))
        .unwrap();
    good(folder, "report third");
    let text = page(&folder.join("third/report.html"));
    assert!(
        text.contains("No checkpoint can be read") && text.contains("`999` of the run is none of its space")
    );
    // The run's own files are not written over.
    let (code, _, err) = parsec(folder, "report other --out other/config.toml");
    assert!(code == 2 && err.contains("an earlier page"), "{err}");
    fs::create_dir(folder.join("cut")).unwrap();
    fs::write(folder.join("cut/config.toml"), "# A comparison, resolved.\n").unwrap();

    for (args, words) in [
        ("report nothing", "nothing there"),
        ("report found/metrics.jsonl", "a file"),
        ("report .", "no manifest.json"),
        ("report cut", "an unfinished one"),
        ("report drawn --out found/metrics.jsonl/page.html", "create"),
    ] {
        let error = refused(folder, args);
        assert!(error.contains(words), "{args}: {error}");
    }
}

#[test]
fn a_report_of_a_comparison_has_its_table_and_its_runs() {
    if !crate::gpu::has_gpu() {
        return;
    }
    let place = crate::compare::place(crate::compare::CONFIG);
    good(place.path(), "compare c.toml --run both -q");
    good(place.path(), "report both");
    let text = page(&place.path().join("both/report.html"));
    assert_eq!(headings(&text), ["Result", "What to distrust", "Runs", "How to reproduce"]);
    assert!(text.contains("1 seed: the interval") && text.matches("Genotype(").count() == 2);
    let (code, _, err) = parsec(place.path(), "report both --tensorboard");
    assert!(code == 2 && err.contains("METHOD-SEED/search"), "{err}");
    fs::write(place.path().join("both/comparison.json"), "{}").unwrap();
    assert!(refused(place.path(), "report both").contains("the result of a comparison"));
}

/// π after each step has the bits of the checkpoints, in both spaces, whatever the rules.
#[test]
fn the_prior_is_traced_from_the_metrics_bit_for_bit() {
    if !crate::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    let cells = "search --space darts --layers 3 --channels 2 --size 8 --batch 4 --search-batch 4 --samples 3 --steps 8 \
                 --threads 1 -q --run cells";
    good(
        folder,
        &format!("{cells} --data {} --primitives max_pool_3x3,skip_connect,sep_conv_3x3", small::data()),
    );
    search(folder, "chain", "");
    search(
        folder,
        "paper",
        "--draws independent --explore 0 --baseline none --temper none --keep-checkpoints 9 \
                             --checkpoint-every 1",
    );
    search(folder, "on", "--prior-from chain");
    for name in ["cells", "chain", "paper", "on"] {
        let run = RunDir::open(&folder.join(name)).unwrap();
        let (config, checkpoints) = (run.config().unwrap(), run.checkpoints());
        let space = config.space().unwrap();
        let history = History::read(&run.metrics_path()).unwrap();
        let start = checkpoint::read(&checkpoints.path_of(0)).unwrap().state;
        let mut retrace = Retrace::new(&config, &*space, &start).unwrap().unwrap();
        let of = |state: &Tensors| -> Tensors {
            let is_prior = |(name, _): &(&String, _)| name.starts_with("pi.");
            state.iter().filter(is_prior).map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
        };
        let mut n_compared = 0;
        for drawn in &history.drawn {
            let (step, warm_up) = (drawn.step, drawn.warm_up);
            let (alphas, weights) = (&drawn.alphas, &drawn.weights);
            assert!(retrace.follow(&Recorded { step, warm_up, alphas, weights }), "{name} {step}");
            if checkpoints.steps().unwrap().contains(&step) {
                let saved = checkpoint::read(&checkpoints.path_of(step)).unwrap().state;
                assert_eq!(prior_tensors(retrace.prior(), &*space), of(&saved), "{name} {step}");
                n_compared += 1;
            }
        }
        assert!(n_compared >= if name == "paper" { 9 } else { 1 }, "{name}");
        // A course has few points, evenly from the start, and the last; it goes on with new steps.
        let view = RunView::read(run.path()).unwrap();
        let course = Course::of(&view, 4).unwrap().unwrap();
        let steps: Vec<u64> = course.points().iter().map(|point| point.step).collect();
        assert!(steps.len() <= 6 && steps[0] == 0 && steps.last() == Some(&history.last_step), "{steps:?}");
        assert!(steps.windows(2).all(|pair| pair[1] <= pair[0] + steps[1]), "{steps:?}");
        assert_eq!(course.points().last().unwrap().probabilities, retrace.prior().probabilities());
        let mut earlier = RunView::read(run.path()).unwrap();
        earlier.history.drawn.truncate(2);
        let mut later = Course::of(&earlier, 4).unwrap().unwrap();
        assert_eq!(later.points().last().unwrap().step, 2);
        assert!(later.is_of(&history) && !course.is_of(&earlier.history));
        later.follow(&history);
        assert!(later.points() == course.points() && later.broken.is_none());
        // The children of another step are not those that the prior gives.
        let wrong =
            Recorded { step: 5, warm_up: false, alphas: &history.drawn[0].alphas, weights: &[0.25; 4] };
        let before = retrace.prior().clone();
        assert!(!retrace.follow(&wrong) && *retrace.prior() == before);
    }
}

/// A field of a message: its number, and a number of 64 or 32 bits, or bytes.
enum Field<'a> {
    Fixed64(f64),
    Fixed32(f32),
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let n = match key & 7 {
            0 => 0,
            1 => 8,
            5 => 4,
            _ => varint(&mut bytes) as usize,
        };
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Fixed64(f64::from_le_bytes(bytes[..8].try_into().unwrap())),
            5 => Field::Fixed32(f32::from_le_bytes(bytes[..4].try_into().unwrap())),
            _ => Field::Bytes(&bytes[..n]),
        };
        bytes = &bytes[n..];
        found.push((key >> 3, field));
    }
    found
}

/// CRC-32C bit by bit, masked as in the format's description.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

type Scalars = BTreeMap<String, Vec<(u64, f32)>>;

/// The scalars by tag and step, and the tags of other values, in the one event file of `run`.
fn events(run: &Path) -> (Scalars, Vec<String>) {
    let files: Vec<_> = fs::read_dir(run.join("tensorboard")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = fs::read(&files[0]).unwrap();
    // So begins every event file: a record of 24 bytes.
    assert_eq!(bytes[..12], [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
    let (mut scalars, mut others) = (Scalars::new(), Vec::new());
    let (mut at, mut time) = (0, 0.0);
    while at < bytes.len() {
        let n = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let record = &bytes[at + 12..at + 12 + n];
        assert_eq!((word(at + 8), word(at + 12 + n)), (crc(&bytes[at..at + 8]), crc(record)));
        at += 16 + n;
        let mut step = 0;
        for (number, field) in fields(record) {
            match (number, field) {
                (1, Field::Fixed64(seconds)) => {
                    assert!(seconds > 1e9);
                    time = f64::max(time, seconds);
                }
                (2, Field::Varint(n)) => step = n,
                (3, Field::Bytes(version)) => assert_eq!(version, b"brain.Event:2"),
                (5, Field::Bytes(summary)) => {
                    for (_, value) in fields(summary) {
                        let Field::Bytes(value) = value else { panic!() };
                        let mut tag = String::new();
                        for (number, field) in fields(value) {
                            match (number, field) {
                                (1, Field::Bytes(name)) => tag = String::from_utf8(name.to_vec()).unwrap(),
                                (2, Field::Fixed32(x)) => {
                                    scalars.entry(tag.clone()).or_default().push((step, x))
                                }
                                _ => others.push(tag.clone()),
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }
    (scalars, others)
}

#[test]
fn tensorboards_files_have_one_point_a_step_also_after_a_resume() {
    if !crate::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    search(folder, "live", "--tensorboard");
    let (live, others) = events(&folder.join("live"));
    let history = History::read(&folder.join("live/metrics.jsonl")).unwrap();
    for (tag, column) in [
        ("loss/train", "train_loss"),
        ("search/ess", "ess"),
        ("search/entropy_layers", "entropy.layers"),
        ("lr", "lr"),
        ("cost/seconds_train", "seconds.train"),
    ] {
        let wanted: Vec<(u64, f32)> =
            history.column(column).iter().map(|(step, x)| (*step as u64, *x as f32)).collect();
        assert_eq!((&live[tag], wanted.len()), (&wanted, 12), "{tag}");
    }
    // In the warm-up the accuracy is that of the train batch.
    let searched: Vec<u64> = live["accuracy/search"].iter().map(|p| p.0).collect();
    assert_eq!(searched, (4..=12).collect::<Vec<u64>>());
    for tag in [
        "architecture",
        "prior",
        "prior_network",
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    ] {
        assert!(others.iter().any(|other| other == tag), "{tag}: {others:?}");
    }
    assert!(live.contains_key("search/skips_layers") && !live.contains_key("search/entropy_normal"));
    // A longer run goes on with the same curves, without the flag.
    good(folder, "resume live --steps 15 -q");
    let (longer, _) = events(&folder.join("live"));
    assert_eq!(longer["loss/train"][..12], live["loss/train"]);
    let steps: Vec<u64> = longer["loss/train"].iter().map(|p| p.0).collect();
    assert_eq!(steps, (1..=15).collect::<Vec<u64>>());

    // Afterwards, with the same numbers.
    good(folder, &format!("{TRAIN} --data {} --run trained", small::data()));
    let written: Value = serde_json::from_str(&good(folder, "report trained --tensorboard --json")).unwrap();
    assert_eq!(written["tensorboard"], "trained/tensorboard");
    let (scalars, others) = events(&folder.join("trained"));
    assert_eq!(scalars["loss/train"].len(), 30);
    assert_eq!(scalars["accuracy/val"].last().unwrap().0, 30);
    assert!(others.contains(&"architecture".to_owned()) && !others.contains(&"prior".to_owned()));
    fs::remove_dir_all(folder.join("live/tensorboard")).unwrap();
    good(folder, "report live --tensorboard");
    assert_eq!(events(&folder.join("live")).0, longer);

    // A file that cannot be written ends no run.
    fs::write(folder.join("blocked"), "").unwrap();
    search(folder, "again", "");
    fs::remove_file(folder.join("again/result.json")).unwrap();
    fs::write(folder.join("again/tensorboard"), "").unwrap();
    let (code, _, err) = parsec(folder, "resume again --steps 14 --tensorboard -q");
    assert!(code == 0 && err.contains("a folder for event files"), "{err}");
    // The event files of a run that is going on are its own.
    fs::remove_file(folder.join("live/result.json")).unwrap();
    let (_, _, err) = parsec(folder, "report live --tensorboard");
    assert!(err.contains("the run writes it"), "{err}");
}

#[test]
fn metrics_are_read_while_a_run_writes_them() {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("metrics.jsonl");
    let mut history = History::read(&path).unwrap();
    assert!(history.is_empty());
    fs::write(&path, "{\"step\": 1, \"ess\": 2.5, \"entropy\": {\"a\": 1, \"b\": 2}}\n{\"step\": 2, \"ess\"")
        .unwrap();
    history.read_more().unwrap();
    assert_eq!((history.last_step, history.sum_below("entropy")), (1, vec![(1.0, 3.0)]));
    let whole = "{\"step\": 1, \"ess\": 2.5, \"entropy\": {\"a\": 1, \"b\": 2}}\n{\"step\": 2, \"ess\": 3}\nnonsense\n\
                 {\"step\": 3, \"ess\": 4, \"warm_up\": true}\n";
    fs::write(&path, whole).unwrap();
    history.read_more().unwrap();
    assert_eq!(history.column("ess"), [(1.0, 2.5), (2.0, 3.0), (3.0, 4.0)]);
    assert_eq!((history.n_skipped, history.column("warm_up")), (1, &[(3.0, 1.0)][..]));
    // A resume cuts the file back, or a step is done again.
    fs::write(&path, "{\"step\": 1, \"ess\": 7}\n").unwrap();
    history.read_more().unwrap();
    assert_eq!(history.column("ess"), [(1.0, 7.0)]);
    history.add(b"{\"step\": 2, \"ess\": 8}");
    history.add(b"{\"step\": 1, \"ess\": 9}");
    assert_eq!((history.column("ess"), history.last_step), (&[(1.0, 9.0)][..], 1));
}

#[test]
fn smoothed_lines_keep_their_course_and_thin_ones_their_extremes() {
    let line: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), 3.0 * f64::from(i) - 7.0)).collect();
    for (was, is) in line.iter().zip(smoothed(&line)) {
        assert!(was.0 == is.0 && (was.1 - is.1).abs() < 1e-9, "{was:?} {is:?}");
    }
    // Twelve points on either side of each: the mean of 25 of them.
    let mut wild: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), 0.0)).collect();
    wild[250].1 = 25.0;
    wild[260].1 = f64::NAN;
    let smooth = smoothed(&wild);
    assert!((smooth[250].1 - 25.0 / 24.0).abs() < 1e-12 && smooth[260].1.is_nan(), "{:?}", smooth[250]);
    assert_eq!((smooth[237].1, smooth[0].1), (0.0, 0.0));
    assert_eq!(smoothed(&wild[..5]), wild[..5]);
    let many: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), f64::from(i % 997))).collect();
    let thin = thinned(&many);
    assert!(thin.len() <= 1200 && thin.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{}", thin.len());
    assert!(thin.iter().any(|p| p.1 == 996.0) && thin.iter().any(|p| p.1 == 0.0));
}

#[test]
fn doubts_follow_from_the_numbers() {
    let history = |lines: &[Value]| {
        let mut history = History::default();
        lines.iter().for_each(|line| history.add(line.to_string().as_bytes()));
        history
    };
    let train = |last: f64| {
        let line = |step: u64| {
            let held_out = if step == 10 { 0.8 } else { last };
            serde_json::json!({ "step": step, "accuracy": 0.97, "held_out_accuracy": held_out })
        };
        history(&[line(10), line(20)])
    };
    let text = |history: &History, third: bool| doubts::of_training(history, third).join("\n");
    let bad = text(&train(0.6), false);
    assert!(bad.contains("Overfitting: 97.0 %") && bad.contains("best at step 10 (80.0 %)"), "{bad}");
    assert!(bad.contains("a little too high"));
    assert_eq!(text(&train(0.9), true), "");
    let about = doubts::of_any(&train(0.9), 30, None, Some(100)).join("\n");
    assert!(about.contains("step 20 of 30") && about.contains("up to 5.0 percentage points"), "{about}");
    let cut = doubts::of_any(&train(0.9), 30, Some(30), None).join("\n");
    assert!(cut.contains("metrics.jsonl ends at step 20, and the result is of step 30"), "{cut}");
    assert!(doubts::of_any(&train(0.9), 20, Some(20), Some(5000)).is_empty());
    let gap = history(&[1, 2, 4].map(|step| serde_json::json!({ "step": step, "lr": 0.1 })));
    assert_eq!(doubts::of_any(&gap, 4, None, None), ["Step 3 is missing in metrics.jsonl."]);
    // What belongs to a prior is not said of methods without one.
    let lines: Vec<Value> = (1..=10)
        .map(|step| {
            let weights = [0.98, 0.02];
            serde_json::json!({
                "step": step, "ess": 1.1, "entropy": { "layers": 8.7 }, "warm_up": false, "weights": weights,
                "alpha": [[0], [1]], "log_likelihood": [-1.0, -2.0],
            })
        })
        .collect();
    let space = parsec_nas::space::space("macro", &Default::default()).unwrap();
    let searched = |uniform: Option<f64>, by_evidence: bool| {
        let of = doubts::Searched {
            space: &*space,
            chosen: None,
            uniform,
            by_evidence,
            is_over: true,
            trust: None,
        };
        doubts::of_search(&history(&lines), &of).join("\n")
    };
    let text = searched(Some(8.8), true);
    assert!(text.contains("effective sample size was 1.1") && text.contains("choice by evidence"), "{text}");
    assert!(!searched(Some(8.8), false).contains("choice by evidence"));
    assert_eq!(searched(None, false).lines().count(), 1);
}
