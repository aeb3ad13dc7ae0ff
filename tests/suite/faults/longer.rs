//! Runs that are made longer or shorter.

use std::collections::BTreeMap;
use std::path::Path;

use parsec_nas::config::Lengths;
use parsec_nas::run::RunDir;
use serde_json::Value;

use super::super::gpu::has_gpu;
use super::{End, Job, Place, resume};

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// A run of `steps` steps with a checkpoint of each of them.
fn start(place: &Place, job: Job, name: &str) -> Vec<String> {
    let mut args = place.start(job, name);
    args.extend(["--keep-checkpoints", "99"].map(str::to_owned));
    if job == Job::Search {
        args.extend(["--warmup", "0.5"].map(str::to_owned));
    }
    args
}

fn done(place: &Place, args: &[String]) -> String {
    let (code, err) = place.finish(args);
    assert_eq!(code, 0, "{args:?}: {err}");
    err
}

fn refused(place: &Place, args: &str, expected: i32, parts: &[&str]) {
    let (code, err) = place.finish(&words(args));
    assert!(code == expected && parts.iter().all(|part| err.contains(part)), "{args}: {code}: {err}");
}

/// The run is as if it had been killed after the checkpoint of `step`.
fn cut(run: &Path, step: u64) {
    _ = std::fs::remove_file(run.join("result.json"));
    let checkpoints = RunDir::open(run).unwrap().checkpoints();
    for later in checkpoints.steps().unwrap().into_iter().filter(|later| *later > step) {
        std::fs::remove_dir_all(checkpoints.path_of(later)).unwrap();
    }
}

fn column<T>(run: &Path, key: &str, value: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| value(&line[key]).unwrap()).collect()
}

fn manifest(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("manifest.json")).unwrap()).unwrap()
}

/// The learning rate of each step. `lengths` has, for each step, the number of all steps that its schedule uses.
fn cosine(run: &Path, lengths: &[u64]) -> Vec<f64> {
    let config: BTreeMap<String, toml::Value> =
        toml::from_str(&std::fs::read_to_string(run.join("config.toml")).unwrap()).unwrap();
    let [lr, min] = ["lr", "lr_min"].map(|key| config[key].as_float().unwrap());
    let rate = |(step, length): (usize, &u64)| {
        min + 0.5 * (lr - min) * (1.0 + (std::f64::consts::PI * (step as f64 / *length as f64)).cos())
    };
    lengths.iter().enumerate().map(rate).collect()
}

#[test]
fn a_longer_run_has_the_bits_of_an_unbroken_one() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(4);
    for job in [Job::Search, Job::Train] {
        let name = format!("{job:?}");
        let run = place.run(&name);
        done(&place, &start(&place, job, &name));
        assert!(manifest(&run).get("lengths").is_none());
        let short = End::of(&run);
        let err = done(&place, &words(&format!("resume {name} --steps 8")));
        assert!(
            err.contains("8 steps in place of 4: after step 4 the schedules are those of 8 steps"),
            "{err}"
        );
        let rates = cosine(&run, &[4, 4, 4, 4, 8, 8, 8, 8]);
        assert!(err.contains(&format!("the learning rate goes on at {:.3e}", rates[4])), "{err}");
        let long = End::of(&run);
        assert_eq!((long.metrics.len(), &long.result["steps"]), (8, &8.into()));
        assert_eq!(long.metrics[..4], short.metrics);
        assert_eq!(column(&run, "lr", Value::as_f64), rates);
        let lengths = serde_json::json!([{"from": 0, "steps": 4}, {"from": 4, "steps": 8}]);
        assert_eq!((&manifest(&run)["lengths"], &manifest(&run)["total_steps"]), (&lengths, &8.into()));
        if job == Job::Search {
            // The warm-up of the first length has passed, and does not come again.
            let warm: Vec<bool> = column(&run, "warm_up", Value::as_bool);
            assert_eq!(warm, [true, true, false, false, false, false, false, false]);
        }
        // The longer run ends with the same bits wherever it is killed, even before the change of the length.
        for step in [7, 5, 4, 3, 1, 0] {
            cut(&run, step);
            let err = done(&place, &resume(&name));
            assert!(err.contains(&format!("going on after step {step}\n")), "{err}");
            assert_eq!(End::of(&run).difference(&long), None, "killed after step {step}");
        }
        // The same length again changes nothing.
        done(&place, &words(&format!("resume {name} --steps 8")));
        assert_eq!(End::of(&run).difference(&long), None);
        assert_eq!(manifest(&run)["lengths"], lengths);

        // A run cannot be made shorter than the steps that are done.
        let before = manifest(&run);
        refused(&place, &format!("resume {name} --steps 7"), 2, &["--steps 7", "at least 8", "are done"]);
        assert_eq!((manifest(&run), End::of(&run).difference(&long)), (before, None));

        // A second change.
        done(&place, &words(&format!("resume {name} --steps 9")));
        assert_eq!(column(&run, "lr", Value::as_f64), cosine(&run, &[4, 4, 4, 4, 8, 8, 8, 8, 9]));
        let longest = End::of(&run);
        cut(&run, 2);
        done(&place, &resume(&name));
        assert_eq!(End::of(&run).difference(&longest), None);
        if job == Job::Train {
            done(&place, &words("eval Train"));
        }
        done(&place, &words(&format!("show {name}")));
    }
}

#[test]
fn an_unfinished_run_may_become_longer_or_shorter() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(8);
    let run = place.run("s");
    done(&place, &start(&place, Job::Search, "s"));
    let warm = |run: &Path| column(run, "warm_up", Value::as_bool).iter().filter(|warm| **warm).count();
    assert_eq!(warm(&run), 4);
    // The run becomes longer during its warm-up. The warm-up is stretched to half of twelve steps.
    cut(&run, 2);
    done(&place, &words("resume s --steps 12"));
    assert_eq!((warm(&run), End::of(&run).metrics.len()), (6, 12));
    assert_eq!(column(&run, "lr", Value::as_f64)[..2], cosine(&run, &[8, 8]));
    assert_eq!(column(&run, "lr", Value::as_f64)[2..], cosine(&run, &[12; 12])[2..]);
    // The run becomes shorter, but stays longer than the steps that are done.
    cut(&run, 3);
    refused(&place, "resume s --steps 2", 2, &["--steps 2", "at least 3", "are done"]);
    done(&place, &words("resume s --steps 4"));
    let short = End::of(&run);
    assert_eq!((warm(&run), short.metrics.len(), &short.result["steps"]), (3, 4, &4.into()));
    // The new length is the number of steps that are done. The run ends there.
    cut(&run, 3);
    done(&place, &words("resume s --steps 3"));
    assert_eq!(End::of(&run).result["steps"], 3);

    // Epochs of a training: 32 images in batches of 4.
    done(&place, &start(&place, Job::Train, "t"));
    done(&place, &words("resume t --epochs 2"));
    assert_eq!(End::of(&place.run("t")).result["steps"], 16);
    refused(
        &place,
        "resume t --epochs 1",
        2,
        &["--epochs 1", "at least 2 epochs", "16 steps", "1 epoch (8 steps)", "--epochs 3"],
    );
    refused(&place, "resume t --epochs 1 --steps 3", 2, &["--steps"]);
    refused(&place, "resume t --steps 0", 2, &["--steps"]);
    // Epochs of a search are those of the train split: 16 images.
    done(&place, &words("resume s --epochs 2"));
    assert_eq!(End::of(&run).result["steps"], 8);
    let started = place.start(Job::Search, "e").join(" ").replace("--steps 8", "--epochs 1");
    done(&place, &words(&started));
    done(&place, &words("resume e --epochs 2"));
    assert_eq!(End::of(&place.run("e")).result["steps"], 8);
}

#[test]
fn what_has_no_length_is_not_made_longer() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(30);
    let args = place.start(Job::Search, "p").join(" ") + " --warmup 0 --patience 1 --choose mode";
    done(&place, &words(&args));
    let end = End::of(&place.run("p"));
    assert!(end.metrics.len() < 30);
    let before = manifest(&place.run("p"));
    refused(&place, "resume p --steps 60", 1, &["`patience` ended", "--prior-from p"]);
    assert_eq!((manifest(&place.run("p")), End::of(&place.run("p"))), (before, end));
    done(
        &place,
        &words(&args.replace("--run p", "--run q").replace("--patience 1", "--patience 0 --seed 3")),
    );
    done(&place, &words("consensus p q --run c"));
    refused(&place, "resume c --steps 60", 1, &["a consensus"]);
}

/// A run of version 0.1.0, whose manifest knows nothing of lengths.
#[test]
fn an_old_run_may_become_longer() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(1);
    for kind in ["search", "train"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs-0.1.0").join(kind);
        super::super::stored::copy(&from, &place.run(kind));
        done(&place, &words(&format!("resume {kind} --steps 8")));
        assert_eq!(End::of(&place.run(kind)).result["steps"], 8);
        assert_eq!(
            column(&place.run(kind), "lr", Value::as_f64)[3..],
            cosine(&place.run(kind), &[8; 8])[3..]
        );
    }
}

#[test]
fn a_step_goes_by_the_length_of_its_time() {
    let one = Lengths::default();
    assert_eq!((one.at(0, 10), one.at(10, 10), one.last(), one.is_empty()), (10, 10, None, true));
    let half = |steps: u64| steps / 2;
    assert_eq!(one.phase(10, half), 5);
    let two = one.changed(10, 6, 20);
    assert_eq!([0, 5, 6, 19].map(|step| two.at(step, 20)), [10, 10, 20, 20]);
    assert_eq!((two.phase(20, half), two.last()), (5, Some(20)), "a phase that has passed");
    assert_eq!(one.changed(10, 4, 20).phase(20, half), 10, "a phase that still goes on");
    assert_eq!(one.changed(10, 4, 6).phase(6, half), 4, "it never ends before the change");
    assert_eq!(one.changed(10, 5, 20).phase(20, half), 5, "the step at its end");
    let three = two.changed(20, 15, 40);
    assert_eq!([5, 6, 14, 15].map(|step| three.at(step, 40)), [10, 20, 20, 40]);
    // After a step back the later change no longer holds.
    let back = three.changed(40, 8, 30);
    assert_eq!([5, 6, 7, 8, 15].map(|step| back.at(step, 30)), [10, 20, 20, 30, 30]);
    // Before the first step only the new length holds.
    assert_eq!(one.changed(10, 0, 30).at(0, 30), 30);
    assert_eq!(one.changed(10, 0, 30).phase(30, half), 15);
    let json = serde_json::to_string(&two).unwrap();
    assert_eq!(json, r#"[{"from":0,"steps":10},{"from":6,"steps":20}]"#);
    assert_eq!(serde_json::from_str::<Lengths>(&json).unwrap(), two);
}
