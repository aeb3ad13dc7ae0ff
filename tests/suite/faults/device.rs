//! Adapters that are lost during work, adapters without free memory, and losses that are not finite.

use std::path::Path;
use std::time::Duration;

use crate::with;
use parsec_nas::config::Config;
use parsec_nas::data::{Normalisation, Prefetch};
use parsec_nas::files::tensors::Tensors;
use parsec_nas::gpu::Gpu;
use parsec_nas::graph::Lowering;
use parsec_nas::kernel::Buf;
use parsec_nas::run::{self, Control, Events, Job, Manifest, Options, Outcome, Progress, RunDir, drive};
use parsec_nas::search::{Search, Settings};
use parsec_nas::train::Training;
use parsec_nas::{Error, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::super::gpu::{open, open_apart};
use super::super::run::{TOTAL, Walk, create, go, remains, resume_and_finish, unbroken};
use super::super::{search, train};
use super::{Dice, Row};

static NEVER: Control = Control::new();
const OPTIONS: Options = Options { checkpoint_every: 2, keep: 2 };

/// A job that loses its adapter several times, during a step or between two steps.
struct Fragile<'a, J> {
    job: J,
    gpu: fn(&mut J) -> &mut Gpu,
    dice: &'a mut Dice,
    /// Number of remaining losses.
    left: usize,
}

impl<J: Job> Job for Fragile<'_, J> {
    type Record = J::Record;

    fn step_index(&self) -> u64 {
        self.job.step_index()
    }

    fn total_steps(&self) -> u64 {
        self.job.total_steps()
    }

    fn step(&mut self) -> Result<J::Record> {
        if self.left > 0 && self.dice.below(2) == 0 {
            self.left -= 1;
            let lose = (self.gpu)(&mut self.job).breaker();
            let moment = Duration::from_micros(self.dice.below(120_000) as u64);
            std::thread::spawn(move || {
                std::thread::sleep(moment);
                lose();
            });
        }
        self.job.step()
    }

    fn snapshot(&mut self) -> Result<Tensors> {
        self.job.snapshot()
    }

    fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        self.job.restore(step, state)
    }

    fn reopen(&mut self) -> Result<()> {
        self.job.reopen()
    }

    fn progress(&self, record: &J::Record) -> Progress {
        self.job.progress(record)
    }

    fn score(&self) -> Option<f64> {
        self.job.score()
    }
}

/// The metrics of a run without times, and its last checkpoint.
fn left_by(run: &Path) -> (Vec<Value>, Vec<Vec<u8>>) {
    let (metrics, files) = remains(run);
    let lines = String::from_utf8(metrics).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    };
    (lines.lines().map(line).collect(), files.into_values().collect())
}

/// Runs jobs from `make` that lose their adapters, at least `times` times in all.
fn lost<J: Job>(
    fault: &'static str,
    make: impl Fn() -> Option<J>,
    gpu: fn(&mut J) -> &mut Gpu,
    times: usize,
    dice: &mut Dice,
) -> Option<Row> {
    let mut row = Row::new(fault);
    let folder = TempDir::new().unwrap();
    let new_run = |name: &str| {
        let config = Config::preset().unwrap();
        let manifest = Manifest::new(&config).unwrap();
        RunDir::create(&folder.path().join(name), &config, &manifest).unwrap()
    };
    let run = new_run("unbroken");
    assert_eq!(drive(&mut make()?, &run, OPTIONS, &Events::none(), &NEVER).unwrap(), Outcome::Done);
    let expected = left_by(run.path());
    for number in 0.. {
        let run = new_run(&format!("lost-{number}"));
        let mut job = Fragile { job: make()?, gpu, dice, left: (times - row.injected).min(3) };
        loop {
            let left = job.left;
            match drive(&mut job, &run, OPTIONS, &Events::none(), &NEVER) {
                Ok(_) => break row.injected += left - job.left,
                // An adapter that is lost twice at one step stops the run. The run is resumed here.
                Err(Error::Stopped { source, .. }) if matches!(*source, Error::Lost { .. }) => {
                    row.injected += left - job.left;
                    job.job = make()?;
                    run::resume(&mut job, &run).unwrap();
                }
                Err(e) => panic!("{e}"),
            }
        }
        row.differing += usize::from(left_by(run.path()) != expected);
        if row.injected >= times {
            break;
        }
    }
    Some(row)
}

/// The losses of devices of a search and of a training.
pub(super) fn lost_device(times: usize, dice: &mut Dice) -> Option<[Row; 2]> {
    let new_search = || {
        let dataset = search::dataset();
        let normalisation = Normalisation::of(&dataset.train);
        let config = with(search::config(), |c| {
            c.length.steps = 5;
            c.images.crop_pad = 2;
        });
        let settings = Settings::of(config, normalisation, Lowering::default()).unwrap();
        Some(Search::new(settings, dataset, open_apart()?).unwrap())
    };
    let new_training = || Some(train::training_on(open_apart()?, train::config(&[("steps", 5.into())])));
    Some([
        lost("device lost in mid-step, search", new_search, |job| job.network().gpu(), times, dice)?,
        lost(
            "device lost in mid-step, training",
            new_training,
            |job: &mut Training| job.network().gpu(),
            times,
            dice,
        )?,
    ])
}

#[test]
fn a_lost_device_is_opened_again_and_the_run_ends_like_an_unbroken_one() {
    if let Some(rows) = lost_device(3, &mut Dice(11)) {
        rows.iter().for_each(Row::check);
    }
}

/// All calls report the lost device, also calls that fail for another reason because of the loss.
#[test]
fn a_lost_device_says_so() {
    let Some(mut search) = new_search() else { return };
    search.step().unwrap();
    (search.network().gpu().breaker())();
    for _ in 0..2 {
        let error = search.step().unwrap_err();
        assert!(matches!(error, Error::Lost { .. }) && error.to_string().contains("destroyed"), "{error}");
    }
    assert!(matches!(search.snapshot().unwrap_err(), Error::Lost { .. }));
    search.reopen().unwrap();
    search.step().unwrap();
}

fn new_search() -> Option<Search> {
    let dataset = search::dataset();
    let normalisation = Normalisation::of(&dataset.train);
    let settings = Settings::of(search::config(), normalisation, Lowering::default()).unwrap();
    Some(Search::new(settings, dataset, open_apart()?).unwrap())
}

/// A job that fails at the steps at which the function returns an error.
struct Failing<F>(Walk, F);

impl<F: FnMut(u64) -> Result<()>> Job for Failing<F> {
    type Record = Value;

    fn step_index(&self) -> u64 {
        self.0.step_index()
    }

    fn total_steps(&self) -> u64 {
        self.0.total_steps()
    }

    fn step(&mut self) -> Result<Value> {
        (self.1)(self.0.step_index())?;
        self.0.step()
    }

    fn snapshot(&mut self) -> Result<Tensors> {
        self.0.snapshot()
    }

    fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        self.0.restore(step, state)
    }

    fn progress(&self, record: &Value) -> Progress {
        self.0.progress(record)
    }

    fn score(&self) -> Option<f64> {
        self.0.score()
    }
}

/// A failure other than a lost device stops a run at step 8, after the checkpoint of step 6. The message says how to
/// continue, and the resumed run ends like an unbroken run.
fn stopped_by(fault: &'static str, fail: impl FnMut(u64) -> Result<()>, parts: &[&str]) -> Row {
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    let run = create(&folder, "run");
    let options = Options { checkpoint_every: 3, keep: 2 };
    let error =
        drive(&mut Failing(Walk::new(TOTAL), fail), &run, options, &Events::none(), &NEVER).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.exit_code(), 1);
    for part in parts.iter().chain(&["saved up to step 6", "parsec resume"]) {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let path = run.path().to_owned();
    drop(run);
    resume_and_finish(&path);
    Row { injected: 1, differing: usize::from(remains(&path) != expected), ..Row::new(fault) }
}

/// Two such failures: no free memory on the GPU, and a panic in a thread that prepares batches.
pub(super) fn stopped() -> [Row; 2] {
    let full = |step| {
        let (what, try_this) = ("GPU memory".into(), "a smaller --batch".into());
        if step == 7 { Err(Error::Memory { what, need_bytes: 2, have_bytes: 1, try_this }) } else { Ok(()) }
    };
    let prepare = |step: u64| {
        assert!(step != 7, "the disk caught fire");
        Ok(vec![])
    };
    let mut loader = Prefetch::from_fn(prepare, 0, 3).unwrap();
    let panics = move |_| loader.next().map(drop);
    [
        stopped_by("no GPU memory left in mid-run", full, &["GPU memory", "a smaller --batch"]),
        stopped_by("a loader thread panics", panics, &["the disk caught fire"]),
    ]
}

#[test]
fn what_stops_a_run_says_how_to_go_on_and_loses_nothing() {
    stopped().iter().for_each(Row::check);
}

#[test]
fn a_job_that_cannot_open_its_adapter_again_stops() {
    let folder = TempDir::new().unwrap();
    let options = Options { checkpoint_every: 3, keep: 2 };
    let run = create(&folder, "other");
    let lost = |_| Err(Error::Lost { adapter: "a card".into(), message: "reset".into() });
    let mut job = Failing(Walk::new(TOTAL), lost);
    let error = drive(&mut job, &run, options, &Events::none(), &NEVER).unwrap_err();
    assert!(error.to_string().contains("saved up to step 0"), "{error}");
    assert!(go(&mut Walk::new(TOTAL), &run).is_ok());
}

#[test]
fn a_loss_that_is_no_number_stops_a_run_with_its_good_steps_saved() {
    if let Some(row) = not_a_number() {
        row.check();
    }
}

/// A loss that is not finite stops the run. The steps before are saved, with good π, weights and running statistics.
pub(super) fn not_a_number() -> Option<Row> {
    let folder = TempDir::new().unwrap();
    let options = Options { checkpoint_every: 0, keep: 2 };
    let dataset = search::dataset();
    let normalisation = Normalisation::of(&dataset.train);
    let config = with(search::config(), |c| {
        c.sgd.lr = 1e30;
        c.sgd.lr_min = 1e30;
        c.length.steps = 20;
    });
    let settings = Settings::of(config, normalisation, Lowering::default()).unwrap();
    let mut job = Search::new(settings, dataset, open()?).unwrap();
    let run = create(&folder, "search");
    let error = drive(&mut job, &run, options, &Events::none(), &NEVER).unwrap_err();
    let Error::NonFinite { step, .. } = error else { panic!("{error}") };
    let (newest, warnings) = run.checkpoints().newest_good().unwrap();
    assert!(warnings.is_empty() && newest.step == step - 1 && job.steps_done() == step - 1);
    assert_eq!(newest.state, job.snapshot().unwrap());
    assert_eq!(left_by(run.path()).0.len() as u64, step - 1);

    // A training whose weights become NaN after its first step.
    let at_once = Control::new();
    at_once.stop();
    let mut job = train::training(train::config(&[("steps", 4.into())])).unwrap();
    let run = create(&folder, "training");
    let stopped = drive(&mut job, &run, OPTIONS, &Events::none(), &at_once).unwrap_err();
    assert!(matches!(stopped, Error::Interrupted { step: 1, .. }), "{stopped}");
    let whole = job.snapshot().unwrap();
    let n = job.network().layout().v_len as usize;
    job.network().write_all(Buf::V, &vec![f32::NAN; n]).unwrap();
    let error = drive(&mut job, &run, OPTIONS, &Events::none(), &NEVER).unwrap_err();
    assert!(matches!(error, Error::NonFinite { step: 2, .. }), "{error}");
    let (newest, _) = run.checkpoints().newest_good().unwrap();
    assert_eq!((newest.step, &newest.state), (1, &whole));
    // The running statistics in memory contain the bad batch. Therefore they are not saved, and the run continues from
    // the checkpoint.
    run::resume(&mut job, &run).unwrap();
    assert_eq!(job.snapshot().unwrap(), whole);
    assert_eq!(drive(&mut job, &run, OPTIONS, &Events::none(), &NEVER).unwrap(), Outcome::Done);
    let mut unbroken = train::training(train::config(&[("steps", 4.into())])).unwrap();
    let whole = create(&folder, "unbroken");
    assert_eq!(drive(&mut unbroken, &whole, OPTIONS, &Events::none(), &NEVER).unwrap(), Outcome::Done);
    let differing = usize::from(left_by(run.path()) != left_by(whole.path()));
    Some(Row { injected: 2, differing, ..Row::new("a loss that is no number") })
}
