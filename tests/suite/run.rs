//! The run folder with a small job of the tests: kills, resumes, damage, locks, full disks, tensor files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::with;
use parsec_nas::cli::line::{Terminal, Trends, line};
use parsec_nas::config::Config;
use parsec_nas::files;
use parsec_nas::files::tensors::{self, Data, Metadata, Tensor, Tensors};
use parsec_nas::run::{
    self, Control, Estimate, Event, Events, Job, Manifest, Options, Outcome, Progress, RunDir, Warning,
    drive, metrics,
};
use parsec_nas::runner::open;
use parsec_nas::search::take_prior;
use parsec_nas::space::Darts;
use parsec_nas::{Error, Result};
use proptest::prelude::*;
use tempfile::TempDir;

/// A job whose state is f32. Each step depends on the whole state.
pub(super) struct Walk {
    pub(super) step: u64,
    pub(super) total: u64,
    pub(super) x: Vec<f32>,
    pub(super) fail_at: Option<u64>,
    pub(super) stop_at: Option<(u64, &'static Control)>,
}

impl Walk {
    pub(super) fn new(total: u64) -> Self {
        Self { step: 0, total, x: vec![0.1, 0.7, 0.3], fail_at: None, stop_at: None }
    }
}

impl Job for Walk {
    type Record = serde_json::Value;

    fn step_index(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.total
    }

    fn step(&mut self) -> Result<Self::Record> {
        if self.fail_at == Some(self.step + 1) {
            return Err(Error::device("the job failed", ""));
        }
        self.step += 1;
        let drift = (self.step as f32).sin();
        self.x.rotate_left(1);
        self.x.iter_mut().for_each(|x| *x = 3.9 * *x * (1.0 - *x) + 1e-3 * drift * *x);
        if let Some((_, flag)) = self.stop_at.filter(|(step, _)| *step <= self.step) {
            flag.stop();
        }
        Ok(serde_json::json!({"step": self.step, "x": self.x}))
    }

    fn snapshot(&mut self) -> Result<Tensors> {
        Ok(Tensors::from([("x".into(), Tensor::f32(&[3], self.x.clone()))]))
    }

    fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        self.step = step;
        self.x = tensors::f32s(state, Path::new("state"), "x")?.1.to_vec();
        Ok(())
    }

    fn progress(&self, _: &Self::Record) -> Progress {
        Progress { step: self.step, total: self.total, ..Progress::default() }
    }

    fn score(&self) -> Option<f64> {
        // The score is best at step 4, and then falls.
        (self.step > 0).then(|| -((self.step as f64) - 4.0).abs())
    }
}

pub(super) const TOTAL: u64 = 11;
const EVERY_3: Options = Options { checkpoint_every: 3, keep: 2 };
static NEVER: Control = Control::new();

pub(super) fn create(folder: &TempDir, name: &str) -> RunDir {
    let config = Config::preset().unwrap();
    RunDir::create(&folder.path().join(name), &config, &Manifest::new(&config).unwrap()).unwrap()
}

pub(super) fn go(job: &mut Walk, run: &RunDir) -> Result<Outcome> {
    drive(job, run, EVERY_3, &Events::none(), &NEVER)
}

/// Metrics and last checkpoint, byte for byte.
pub(super) fn remains(run: &Path) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    let last = RunDir::open(run).unwrap().checkpoints();
    let last = last.path_of(*last.steps().unwrap().last().unwrap());
    let files = std::fs::read_dir(last).unwrap().map(|e| e.unwrap());
    let files = files.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()));
    (std::fs::read(run.join("metrics.jsonl")).unwrap(), files.collect())
}

/// Does an unbroken run. Returns its metrics and its last checkpoint.
pub(super) fn unbroken(folder: &TempDir) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    let run = create(folder, "unbroken");
    assert_eq!(go(&mut Walk::new(TOTAL), &run).unwrap(), Outcome::Done);
    remains(run.path())
}

pub(super) fn resume_and_finish(path: &Path) -> (u64, Vec<Warning>) {
    let run = RunDir::open_for_writing(path).unwrap();
    let mut job = Walk::new(TOTAL);
    let warnings = run::resume(&mut job, &run).unwrap();
    let from = job.step_index();
    go(&mut job, &run).unwrap();
    (from, warnings)
}

#[test]
fn an_unbroken_run_leaves_a_line_per_step_and_the_right_checkpoints() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    let (tell, seen) = std::sync::mpsc::channel();
    let events = Events::new(move |event| {
        if let Event::Step { progress, line } = event {
            tell.send((progress.step, line)).unwrap();
        }
    });
    drive(&mut Walk::new(TOTAL), &run, EVERY_3, &events, &NEVER).unwrap();
    drop(events);
    let (steps, told): (Vec<u64>, Vec<String>) = seen.iter().unzip();
    assert_eq!(steps, (1..=TOTAL).collect::<Vec<_>>());
    let lines = std::fs::read_to_string(run.metrics_path()).unwrap();
    assert_eq!(lines.lines().collect::<Vec<_>>(), told, "a step is told as its line in the metrics");
    assert_eq!(lines.lines().count(), 11);
    // These are the first checkpoint, the best one (step 3, at distance 1 from step 4), and the last two.
    assert_eq!(run.checkpoints().steps().unwrap(), [0, 3, 9, 11]);
    assert_eq!(run.checkpoints().best().unwrap().unwrap().step, 3);
    let mut names: Vec<_> = std::fs::read_dir(run.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".lock", "checkpoints", "config.toml", "manifest.json", "metrics.jsonl"]);
    assert!(run.path().join("checkpoints/step-00000000/state.safetensors").is_file());
}

#[test]
fn killed_after_any_step_and_resumed_it_equals_the_unbroken_run() {
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    for killed_at in 1..=TOTAL {
        let run = create(&folder, &format!("killed-{killed_at}"));
        let mut job = Walk { fail_at: Some(killed_at), ..Walk::new(TOTAL) };
        // A step that fails leaves the same files as a kill: the lines and the checkpoints before the step.
        assert!(go(&mut job, &run).is_err());
        let path = run.path().to_owned();
        drop(run);
        // A kill may leave a part of the line that was being written.
        let mut torn = std::fs::read(path.join("metrics.jsonl")).unwrap();
        torn.extend_from_slice(&b"{\"step\": 12345"[..killed_at as usize]);
        std::fs::write(path.join("metrics.jsonl"), torn).unwrap();
        let (from, warnings) = resume_and_finish(&path);
        assert_eq!(from, (killed_at - 1) / 3 * 3);
        assert_eq!(warnings, []);
        assert_eq!(remains(&path), expected, "killed at step {killed_at}");
    }
}

#[test]
fn killed_while_a_checkpoint_is_written() {
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    let run = create(&folder, "run");
    assert!(go(&mut Walk { fail_at: Some(8), ..Walk::new(TOTAL) }, &run).is_err());
    let path = run.path().to_owned();
    drop(run);
    let partial = path.join("checkpoints/.step-00000009.partial");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("state.safetensors"), b"half").unwrap();
    assert_eq!(resume_and_finish(&path).0, 6);
    assert_eq!(remains(&path), expected);
    assert!(!partial.exists());
}

#[test]
fn killed_before_the_first_checkpoint() {
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    let path = create(&folder, "run").path().to_owned();
    assert_eq!(resume_and_finish(&path).0, 0);
    assert_eq!(remains(&path), expected);
}

#[test]
fn interrupted_it_saves_and_says_how_to_go_on() {
    static STOP: Control = Control::new();
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    let run = create(&folder, "run");
    let mut job = Walk { stop_at: Some((5, &STOP)), ..Walk::new(TOTAL) };
    let error = drive(&mut job, &run, EVERY_3, &Events::none(), &STOP).unwrap_err();
    assert_eq!(error.exit_code(), 130);
    assert!(error.to_string().contains("parsec resume"), "{error}");
    assert_eq!(run.checkpoints().steps().unwrap().last(), Some(&5));
    let path = run.path().to_owned();
    drop(run);
    assert_eq!(resume_and_finish(&path).0, 5);
    assert_eq!(remains(&path), expected);
}

#[test]
fn commands_in_messages_can_be_copied() {
    for (run, word) in [
        ("runs/a-1", "runs/a-1"),
        ("my run", "'my run'"),
        ("it's", "\"it's\""),
        ("-r", "./-r"),
        ("m \"x'", "'m \"x'\\'''"),
    ] {
        let text = Error::Interrupted { step: 3, run: run.into() }.to_string();
        assert!(text.ends_with(&format!("go on with: parsec resume {word}")), "{text}");
    }
}

#[test]
fn interrupted_in_its_last_step_it_is_done() {
    static STOP: Control = Control::new();
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    let mut job = Walk { stop_at: Some((TOTAL, &STOP)), ..Walk::new(TOTAL) };
    assert_eq!(drive(&mut job, &run, EVERY_3, &Events::none(), &STOP).unwrap(), Outcome::Done);
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    let path = folder.path().join("unbroken");
    let run = RunDir::open_for_writing(&path).unwrap();
    let mut job = Walk::new(TOTAL);
    run::resume(&mut job, &run).unwrap();
    assert_eq!(go(&mut job, &run).unwrap(), Outcome::AlreadyDone);
    assert_eq!(remains(&path), expected);
    assert!(!run.is_finished());
    run.write_result(&serde_json::json!({"accuracy": 0.5})).unwrap();
    assert!(run.is_finished());
    assert_eq!(run.result().unwrap()["accuracy"], 0.5);
}

/// Damages the newest checkpoint (of step 6) with `damage`. Checks that the checkpoint before (of step 3) is used, that
/// there is a warning, and that the run ends like an unbroken run.
fn falls_back(damage: impl Fn(&Path)) {
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    let run = create(&folder, "run");
    assert!(go(&mut Walk { fail_at: Some(9), ..Walk::new(TOTAL) }, &run).is_err());
    let path = run.path().to_owned();
    drop(run);
    let newest = path.join("checkpoints/step-00000006");
    damage(&newest);
    let (from, warnings) = resume_and_finish(&path);
    assert_eq!(from, 3);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].path, newest);
    assert_eq!(remains(&path), expected);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    for name in ["state.safetensors", "state.json"] {
        falls_back(|newest| std::fs::remove_file(newest.join(name)).unwrap());
        falls_back(|newest| std::fs::write(newest.join(name), b"").unwrap());
        falls_back(|newest| {
            let bytes = std::fs::read(newest.join(name)).unwrap();
            std::fs::write(newest.join(name), &bytes[..bytes.len() - 1]).unwrap();
        });
    }
    falls_back(|newest| {
        std::fs::remove_dir_all(newest).unwrap();
        std::fs::create_dir(newest).unwrap();
    });
}

#[test]
fn any_flipped_bit_in_a_checkpoint_is_found() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    go(&mut Walk::new(3), &run).unwrap();
    let path = run.checkpoints().path_of(3);
    assert!(run::checkpoint::read(&path).is_ok());
    for name in ["state.safetensors", "state.json"] {
        let file = path.join(name);
        let bytes = std::fs::read(&file).unwrap();
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << (i % 8);
            std::fs::write(&file, flipped).unwrap();
            assert!(run::checkpoint::read(&path).is_err(), "byte {i} of {name}");
        }
        std::fs::write(&file, bytes).unwrap();
    }
    assert!(run::checkpoint::read(&path).is_ok());
    // A checkpoint with the name of another step is refused.
    let moved = run.checkpoints().path_of(4);
    std::fs::rename(&path, &moved).unwrap();
    assert!(run::checkpoint::read(&moved).unwrap_err().to_string().contains("step 3"));
}

#[test]
fn with_every_checkpoint_damaged_it_says_so() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    go(&mut Walk::new(3), &run).unwrap();
    for step in run.checkpoints().steps().unwrap() {
        std::fs::write(run.checkpoints().path_of(step).join("state.safetensors"), b"x").unwrap();
    }
    let error = run::resume(&mut Walk::new(3), &run).unwrap_err();
    assert!(error.to_string().contains("at least one whole checkpoint"), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn metrics_are_cut_back_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let cut = |text: &str, step| {
        std::fs::write(&path, text).unwrap();
        let warnings = metrics::cut_back(&path, step).unwrap();
        (std::fs::read_to_string(&path).unwrap(), warnings.len())
    };
    let (one, two) = ("{\"step\":1, \"x\": 1.50}\n", "{\"x\":2,\"step\":2}\n");
    assert_eq!(cut(&format!("{one}{two}"), 1), (one.into(), 0));
    assert_eq!(cut(&format!("{one}{two}"), 2), (format!("{one}{two}"), 0));
    assert_eq!(cut(&format!("{one}{two}{{\"st"), 2), (format!("{one}{two}"), 0));
    assert_eq!(cut(&format!("{one}{two}"), 0), (String::new(), 0));
    // Damage that a kill cannot cause gives a warning.
    assert_eq!(cut(&format!("{one}nonsense\n{two}"), 2), (format!("{one}{two}"), 1));
    assert_eq!(cut(one, 2), (one.into(), 1));
    assert_eq!(cut(two, 2), (two.into(), 1));
    std::fs::remove_file(&path).unwrap();
    assert!(metrics::cut_back(&path, 0).unwrap().is_empty());
    assert!(!path.exists());
}

#[test]
fn an_existing_folder_is_refused_and_untouched() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    let config = Config::preset().unwrap();
    let manifest = Manifest::new(&config).unwrap();
    let error = RunDir::create(run.path(), &config, &manifest).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("parsec resume"), "{error}");
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    assert!(RunDir::check_free(&other).is_ok());
    std::fs::write(other.join("mine.txt"), "mine").unwrap();
    let error = RunDir::create(&other, &config, &manifest).unwrap_err();
    assert!(error.to_string().contains("not empty") && !error.to_string().contains("resume"), "{error}");
    assert_eq!(std::fs::read_to_string(other.join("mine.txt")).unwrap(), "mine");
    assert_eq!(RunDir::check_free(&other.join("mine.txt")).unwrap_err().exit_code(), 2);
    std::fs::remove_file(other.join("mine.txt")).unwrap();
    assert!(RunDir::create(&other, &config, &manifest).is_ok(), "an empty folder is welcome");
    // A place that cannot be written is refused at once.
    #[cfg(target_os = "linux")]
    for place in ["/proc/run", "/proc/deep/run"] {
        let error = RunDir::check_free(std::path::Path::new(place)).unwrap_err().to_string();
        assert!(error.contains("create a run folder in /proc"), "{error}");
    }
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = TempDir::new().unwrap();
    let missing = RunDir::open(&folder.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing"));
    let error = RunDir::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("no manifest.json"), "{error}");
    assert_eq!((missing.exit_code(), error.exit_code()), (1, 1));
}

#[test]
fn a_run_has_one_writer_and_any_number_of_readers() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    assert!(RunDir::open(run.path()).is_ok());
    let error = RunDir::open_for_writing(run.path()).unwrap_err().to_string();
    assert!(error.contains("working on it"), "{error}");
    if cfg!(unix) {
        assert!(error.contains(&std::process::id().to_string()), "{error}");
    }
    let path = run.path().to_owned();
    drop(run);
    assert!(RunDir::open_for_writing(&path).is_ok(), "a lock ends with its owner");
}

#[test]
fn a_changed_configuration_or_other_data_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = create(&folder, "run").path().to_owned();
    let text = std::fs::read_to_string(path.join("config.toml")).unwrap();
    std::fs::write(path.join("config.toml"), text.replace("\nlr = 0.1\n", "\nlr = 0.5\n")).unwrap();
    let error = RunDir::open_for_writing(&path).unwrap_err().to_string();
    assert!(error.contains("lr = 0.1") && error.contains("0.5"), "{error}");
    std::fs::write(path.join("config.toml"), text).unwrap();
    let manifest = RunDir::open_for_writing(&path).unwrap().manifest().unwrap();
    let data = serde_json::json!({
        "kind": "folder", "n_train": 3, "n_test": 1, "channels": 1, "height": 2, "width": 2, "n_classes": 2,
        "sha256": "aa"
    });
    let manifest = Manifest { data: data.clone(), ..manifest };
    let check = |now: &serde_json::Value| open::check_data(&manifest, now, "folder:photos", &path);
    assert!(check(&data).is_ok());
    let refused = |key: &str, value: serde_json::Value| {
        let mut other = data.clone();
        other[key] = value;
        check(&other).unwrap_err().to_string()
    };
    let error = refused("sha256", "bb".into());
    assert!(error.contains("sha256") && error.contains("aa") && error.contains("bb"), "{error}");
    // A part that is new.
    let error = refused("n_report", 8.into());
    assert!(
        error.starts_with("folder:photos: ") && error.contains("number of images to report: 0"),
        "{error}"
    );
    assert!(error.contains("found 8") && error.contains("--data SPEC"), "{error}");
}

#[test]
fn the_configuration_and_the_manifest_come_back() {
    let folder = TempDir::new().unwrap();
    let config = with(Config::preset().unwrap(), |c| {
        c.length.steps = 12;
        c.sgd.lr = 0.1 + 0.2;
    });
    let mut manifest = Manifest::new(&config).unwrap();
    manifest.limits.insert("max_buffer_size".into(), u64::MAX);
    let run = RunDir::create(&folder.path().join("a/b"), &config, &manifest).unwrap();
    assert_eq!(run.config().unwrap(), config);
    assert_eq!(run.manifest().unwrap(), manifest);
}

#[test]
fn the_prior_of_a_run_is_read_from_its_newest_checkpoint() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    let error = run::read_prior(run.path()).unwrap_err();
    assert!(error.to_string().contains("no checkpoint"), "{error}");
    let mut state = Tensors::new();
    for cell in ["normal", "reduce"] {
        for node in 0..4 {
            let pairs = 7 * (node + 2);
            state.insert(format!("pi.{cell}.{node}"), Tensor::f64(&[2, pairs], vec![0.5; 2 * pairs]));
        }
    }
    let expected = state.clone();
    state.insert("v".into(), Tensor::f32(&[1], vec![1.0]));
    run.checkpoints().save(1, None, &state).unwrap();
    assert_eq!(run::read_prior(run.path()).unwrap().0, expected);
    state.remove("pi.reduce.3");
    run.checkpoints().save(2, None, &state).unwrap();
    let (prior, _) = run::read_prior(run.path()).unwrap();
    let error = take_prior(&prior, run.path(), &Darts::default()).unwrap_err();
    assert!(error.to_string().contains("pi.reduce.3"), "{error}");
}

/// A device that is always full stands for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_damages_nothing() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("file.txt");
    files::atomic_write(&target, b"before").unwrap();
    symlink("/dev/full", files::partial_name(&target)).unwrap();
    let error = files::atomic_write(&target, b"after").unwrap_err();
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert_eq!(std::fs::read(&target).unwrap(), b"before");
    assert!(std::fs::symlink_metadata(files::partial_name(&target)).is_err(), "no rest is left");

    // If the metrics cannot be written, the run stops with its checkpoints. When there is space again, the run
    // continues.
    let expected = unbroken(&folder);
    let run = create(&folder, "run");
    assert!(go(&mut Walk { fail_at: Some(8), ..Walk::new(TOTAL) }, &run).is_err());
    let path = run.path().to_owned();
    let kept = path.join("metrics.kept");
    std::fs::rename(path.join("metrics.jsonl"), &kept).unwrap();
    symlink("/dev/full", path.join("metrics.jsonl")).unwrap();
    let mut job = Walk::new(TOTAL);
    let newest = run.checkpoints().newest_good().unwrap().0;
    job.restore(newest.step, &newest.state).unwrap();
    let error = go(&mut job, &run).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl") && error.contains("free some space"), "{error}");
    assert_eq!(run.checkpoints().steps().unwrap().last(), Some(&6));
    drop(run);
    std::fs::rename(&kept, path.join("metrics.jsonl")).unwrap();
    assert_eq!(resume_and_finish(&path).0, 6);
    assert_eq!(remains(&path), expected);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_others() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    go(&mut Walk::new(3), &run).unwrap();
    let before = remains(run.path());
    // A file has the name of the partial folder.
    std::fs::write(run.path().join("checkpoints/.step-00000004.partial"), b"").unwrap();
    assert!(run.checkpoints().save(4, None, &Tensors::new()).is_err());
    assert_eq!(remains(run.path()), before);
}

#[test]
fn tensor_files_round_trip_and_are_the_same_bytes_every_time() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.safetensors");
    let all = Tensors::from([
        ("b".into(), Tensor::f32(&[2, 3], vec![1.0, -0.0, f32::MIN_POSITIVE, 3.5, f32::MAX, 6.0])),
        ("a".into(), Tensor::f64(&[1], vec![std::f64::consts::PI])),
        ("counter".into(), Tensor::i64(&[], vec![i64::MIN])),
        ("empty".into(), Tensor::f32(&[0, 4], vec![])),
        ("é \"quoted\"".into(), Tensor { shape: vec![3], data: Data::U8(vec![1, 2, 3]) }),
        ("i".into(), Tensor { shape: vec![1], data: Data::I32(vec![-7]) }),
    ]);
    let metadata: Metadata = (0..20).map(|i| (format!("key{i}"), format!("value {i}"))).collect();
    tensors::write_atomic(&path, &all, &metadata).unwrap();
    let first = std::fs::read(&path).unwrap();
    assert_eq!(tensors::read(&path).unwrap(), (all.clone(), metadata.clone()));
    tensors::write_atomic(&path, &all, &metadata).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    let wrong = Tensors::from([("w".into(), Tensor::f32(&[2, 2], vec![0.0; 3]))]);
    assert!(tensors::write_atomic(&path, &wrong, &metadata).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), first, "a refused write leaves the file");
}

#[test]
fn a_damaged_tensor_file_is_named() {
    let path = PathBuf::from("some/weights.safetensors");
    let all = Tensors::from([("w".into(), Tensor::f32(&[4], vec![1.0; 4]))]);
    let bytes = tensors::to_bytes(&all, &Metadata::new(), &path).unwrap();
    for cut in 0..bytes.len() {
        let error = tensors::parse(&bytes[..cut], &path).unwrap_err();
        assert!(error.to_string().contains("weights.safetensors"), "{error}");
    }
    // The header claims 2^60 bytes.
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(tensors::parse(&huge, &path).is_err());
    let mut longer = bytes;
    longer.push(0);
    assert!(tensors::parse(&longer, &path).is_err());
    let short = br#"{"w":{"dtype":"I16","shape":[1],"data_offsets":[0,2]}}"#;
    let mut i16 = (short.len() as u64).to_le_bytes().to_vec();
    i16.extend_from_slice(short);
    i16.extend_from_slice(&[0, 0]);
    assert!(tensors::parse(&i16, &path).unwrap_err().to_string().contains("I16"));
    assert!(tensors::read(&path).unwrap_err().to_string().contains("weights.safetensors"));
    let error = tensors::f64s(&all, &path, "w").unwrap_err().to_string();
    assert!(error.contains("F64") && error.contains("F32") && error.contains("weights"), "{error}");
    assert!(tensors::f32s(&all, &path, "v").unwrap_err().to_string().contains("`v`"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = tensors::parse(&bytes, Path::new("x"));
    }

    #[test]
    fn no_change_of_a_header_makes_the_reader_panic(at in 8usize..100, byte in any::<u8>(), len in 0u64..200) {
        let all = Tensors::from([("w".into(), Tensor::f32(&[2, 2], vec![1.0; 4]))]);
        let mut bytes = tensors::to_bytes(&all, &Metadata::new(), Path::new("x")).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        _ = tensors::parse(&bytes, Path::new("x"));
        bytes[..8].copy_from_slice(&len.to_le_bytes());
        _ = tensors::parse(&bytes, Path::new("x"));
    }

    #[test]
    fn no_metrics_make_cutting_back_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), step in 0u64..5) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, bytes).unwrap();
        metrics::cut_back(&path, step).unwrap();
    }
}

/// The times of a typical search: a first step of many seconds, a few steps with new kernels, and an evaluation from
/// time to time.
#[test]
fn the_estimate_never_starts_with_hours_for_a_run_of_minutes() {
    let mut estimate = Estimate::default();
    assert_eq!(estimate.left(400.0), None);
    estimate.finished(25.0, 1.0);
    assert_eq!(estimate.left(399.0), None, "the first step compiles: it says nothing of the others");
    let mut total = 0.0;
    for step in 2..=400u64 {
        let secs = if step < 6 { 1.0 } else { 0.2 } + if step % 50 == 0 { 2.0 } else { 0.0 };
        estimate.finished(secs, 1.0);
        total += secs;
        let left = estimate.left((400 - step) as f64).unwrap();
        assert!(left < 420.0, "{left} s left after step {step}");
    }
    assert!(total < 120.0);
    // At the end the estimate is the mean, including evaluations.
    assert!((estimate.left(100.0).unwrap() - 100.0 * (0.2 + 2.0 / 50.0)).abs() < 1e-9);
}

/// A step in which kernels are compiled takes many times as long as the others, and there may be several of them.
#[test]
fn the_estimate_leaves_out_steps_that_compile() {
    let mut estimate = Estimate::default();
    estimate.compiled();
    estimate.finished(60.0, 1.0);
    for _ in 0..5 {
        estimate.compiled();
        estimate.finished(10.0, 1.0);
        assert_eq!(estimate.left(500.0), None, "nothing is known yet of steps without compilation");
    }
    estimate.finished(0.5, 1.0);
    assert_eq!(estimate.left(500.0), Some(250.0));
    estimate.compiled();
    estimate.finished(10.0, 1.0);
    assert_eq!(estimate.left(500.0), Some(250.0));
    // Of two steps the shorter one counts: the other may have waited for something.
    estimate.finished(3.0, 1.0);
    assert_eq!(estimate.left(500.0), Some(250.0));

    // If every step compiles, their median is better than nothing.
    let mut estimate = Estimate::default();
    for i in 0..21 {
        assert_eq!(estimate.left(1.0), None);
        estimate.compiled();
        estimate.finished(2.0 + f64::from(i), 1.0);
    }
    assert_eq!(estimate.left(1.0), Some(12.0));
}

/// The first steps of a search have less work, because they only train the weights.
#[test]
fn the_estimate_counts_work() {
    let mut estimate = Estimate::default();
    for _ in 0..100 {
        estimate.finished(0.3, 3.0);
    }
    let left = estimate.left(50.0 * 3.0 + 100.0 * 7.0).unwrap();
    assert!((left - 0.1 * 850.0).abs() < 1e-9);
    // Steps with more work do not change the time per unit of work.
    for _ in 0..50 {
        estimate.finished(0.7, 7.0);
    }
    assert!((estimate.left(70.0).unwrap() - 7.0).abs() < 1e-9);
}

/// A paused run does no step. The run can continue, and it can be stopped while it waits.
#[test]
fn a_paused_run_waits_and_goes_on_with_the_same_steps() {
    static CONTROL: Control = Control::new();
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    let run = create(&folder, "run");
    let path = run.path().to_owned();
    let (tell, seen) = std::sync::mpsc::channel();
    let events = Events::new(move |event| {
        if let Event::Step { progress, .. } = event {
            if progress.step == 4 {
                CONTROL.pause();
            }
            tell.send(progress.step).unwrap();
        }
    });
    let going = std::thread::spawn(move || drive(&mut Walk::new(TOTAL), &run, EVERY_3, &events, &CONTROL));
    assert_eq!((1..=4).map(|_| seen.recv().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let waited = seen.recv_timeout(std::time::Duration::from_millis(200));
    assert!(waited.is_err() && !going.is_finished(), "a step while it is paused");
    CONTROL.go_on();
    assert_eq!(going.join().unwrap().unwrap(), Outcome::Done);
    assert_eq!(remains(&path), expected);

    let run = create(&folder, "stopped");
    let control = std::sync::Arc::new(Control::new());
    control.pause();
    let of_run = std::sync::Arc::clone(&control);
    let going = std::thread::spawn(move || {
        drive(&mut Walk::new(TOTAL), &run, EVERY_3, &Events::none(), &of_run).unwrap_err()
    });
    control.stop();
    assert!(matches!(going.join().unwrap(), Error::Interrupted { step: 1, .. }));
}

/// The line of progress fits every width, and has as much as there is room for.
#[test]
fn the_line_of_progress_fits_the_terminal() {
    let mut trends = Trends::default();
    let mut progress = parsec_nas::run::Progress { total: 12_000, epoch: 3, ..Default::default() };
    for step in 1..=400 {
        let x = f64::from(step) / 400.0;
        progress.step = u64::from(step as u32);
        progress.numbers =
            vec![("accuracy", x), ("ESS", 1.5), ("entropy", 20.0 - 10.0 * x), ("held-out", 0.5)];
        trends.add(&progress);
    }
    let show = |columns: usize, colours: bool, unicode: bool| {
        line(&progress, "1h05m", &trends, Terminal { columns, colours, unicode })
    };
    let mut last = 0;
    for columns in 1..=240 {
        let plain = show(columns, false, true);
        let width = plain.chars().count();
        assert!(width < columns.max(2) && (width >= last || columns < 30), "{columns}: {plain}");
        last = width;
        // Colours take no room.
        let coloured = show(columns, true, true);
        let mut stripped = String::new();
        for (i, part) in coloured.split('\u{1b}').enumerate() {
            stripped += if i == 0 { part } else { part.split_once('m').unwrap().1 };
        }
        assert_eq!(stripped, plain);
        assert!(show(columns, false, false).is_ascii());
    }
    assert_eq!(show(40, false, true), "400/12000 1h05m left accuracy 1.00");
    let wide = show(200, false, true);
    for part in
        ["400/12000", "1h05m left", "epoch 3", "ESS 1.50", "entropy 10.0", "held-out 0.500", "▁▁▁", "░░░░"]
    {
        assert!(wide.contains(part), "{part}: {wide}");
    }
    // One trend rises, the other falls.
    assert!(
        wide.contains("█ ESS") && wide.contains("▁ held-out") && wide.contains("entropy 10.0 █"),
        "{wide}"
    );
    assert!(show(200, true, true).contains("\u{1b}[32m"));
    let broken = parsec_nas::run::Progress { numbers: vec![("loss", f64::NAN)], ..progress.clone() };
    let mut trends = Trends::default();
    trends.add(&broken);
    let terminal = Terminal { columns: 80, colours: false, unicode: true };
    assert!(line(&broken, "", &trends, terminal).contains("loss NaN"));
}

/// A link stays a link, and what is no regular file is written itself.
#[cfg(unix)]
#[test]
fn links_and_pipes_are_written_and_not_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "before").unwrap();
    symlink("file", at("link")).unwrap();
    files::atomic_write(&at("link"), b"after").unwrap();
    assert!(at("link").is_symlink() && std::fs::read(at("file")).unwrap() == b"after");
    symlink(at("nowhere"), at("dangling")).unwrap();
    files::atomic_write(&at("dangling"), b"new").unwrap();
    assert!(at("dangling").is_symlink() && std::fs::read(at("nowhere")).unwrap() == b"new");
    let pipe = at("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    files::atomic_write(&pipe, b"through").unwrap();
    assert_eq!(reader.join().unwrap(), b"through");
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    files::atomic_write(Path::new("/dev/null"), b"gone").unwrap();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}
