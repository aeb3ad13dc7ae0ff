//! Faults that are injected on purpose. After each fault nothing is half written, and the run ends with the bits of an
//! unbroken run.
//!
//! Every fault is a function that injects the fault a number of times and returns a [`Row`]. The suite injects each
//! fault a few times. `scripts/faults` injects them often and prints the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use image::RgbImage;
use serde_json::Value;
use tempfile::TempDir;

mod damage;
mod data;
mod device;
mod disk;
mod kill;
mod long;
mod longer;
mod moved;
mod numbers;
mod output;
mod signals;

/// The results of injecting one fault.
#[derive(Debug, Default)]
struct Row {
    fault: &'static str,
    injected: usize,
    /// Number of runs that could not be resumed.
    lost: usize,
    /// Number of runs that ended with other results than an unbroken run.
    differing: usize,
}

impl Row {
    fn new(fault: &'static str) -> Self {
        Self { fault, ..Self::default() }
    }

    fn check(&self) {
        assert!(self.injected > 0 && self.lost == 0 && self.differing == 0, "{self:?}");
    }
}

/// Pseudo-random numbers, the same in every run of the suite.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// A folder for runs of the program, and the number of steps of each run.
struct Place {
    folder: TempDir,
    steps: u64,
}

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Job {
    Search,
    Train,
}

const GENOTYPE: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('skip_connect', 0), ('avg_pool_3x3', 2), ('skip_connect', 1), ('max_pool_3x3', 3), ('skip_connect', 0), ('skip_connect', 0)], normal_concat=[2, 3, 4, 5], reduce=[('skip_connect', 0), ('skip_connect', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 3), ('avg_pool_3x3', 1), ('skip_connect', 0), ('skip_connect', 2)], reduce_concat=[2, 3, 4, 5])";

impl Place {
    /// A folder with 40 images of 8x8 pixels in two classes.
    fn new(steps: u64) -> Self {
        let folder = TempDir::new().unwrap();
        for (class, name) in ["blue", "red"].iter().enumerate() {
            let dir = folder.path().join("images").join(name);
            std::fs::create_dir_all(&dir).unwrap();
            for i in 0..20 {
                picture(class, i).save(dir.join(format!("{i:02}.png"))).unwrap();
            }
        }
        Self { folder, steps }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The arguments that start a run with a checkpoint after every step.
    fn start(&self, job: Job, run: &str) -> Vec<String> {
        let own = match job {
            Job::Search => {
                "search --samples 2 --search-batch 4 --primitives max_pool_3x3,skip_connect,sep_conv_3x3 --eval-every 0"
            }
            Job::Train => "train --preset small --drop-path 0.1 --genotype",
        };
        let mut args: Vec<String> = own.split(' ').map(str::to_owned).collect();
        if job == Job::Train {
            args.push(GENOTYPE.into());
        }
        let both = "--data folder:images --size 8 --layers 3 --channels 2 --batch 4 --threads 1 --checkpoint-every 1";
        args.extend(both.split(' ').map(str::to_owned));
        args.extend(["--steps", &self.steps.to_string(), "--run", run].map(str::to_owned));
        args
    }

    fn command(&self, args: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
        command.args(args).current_dir(self.path()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env_remove("PARSEC_DEVICE").env("PARSEC_CACHE", self.path().join("cache"));
        command
    }

    fn spawn(&self, args: &[String]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Runs the program to its end. Returns the exit code and the standard error.
    fn finish(&self, args: &[String]) -> (i32, String) {
        let out = self.command(args).output().unwrap();
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
    }

    /// Runs a job to its end without any fault, and returns its results.
    fn unbroken(&self, job: Job, name: &str) -> End {
        let (code, err) = self.finish(&self.start(job, name));
        assert_eq!(code, 0, "{err}");
        End::of(&self.run(name))
    }

    /// Resumes a run to its end, and counts in `row` whether it was lost or differs.
    fn resume(&self, name: &str, unbroken: &End, row: &mut Row) {
        let (code, err) = self.finish(&resume(name));
        if code != 0 {
            eprintln!("{}: {err}", row.fault);
            row.lost += 1;
        } else {
            row.compare(&self.run(name), unbroken);
        }
    }
}

impl Row {
    /// Counts the run as differing if its results are not those of an unbroken run.
    fn compare(&mut self, run: &Path, unbroken: &End) {
        if let Some(what) = End::of(run).difference(unbroken) {
            eprintln!("{}: {what} differ", self.fault);
            self.differing += 1;
        }
    }
}

fn resume(name: &str) -> Vec<String> {
    ["resume", name].map(str::to_owned).to_vec()
}

fn picture(class: usize, seed: u32) -> RgbImage {
    RgbImage::from_fn(8, 8, |x, y| {
        let noise = ((x * 31 + y * 17 + seed * 7) % 40) as u8;
        let mut pixel = [noise, 30 + noise, noise];
        pixel[2 * class] = 180 + noise;
        image::Rgb(pixel)
    })
}

/// The results of a run, without times and paths.
#[derive(Clone, Debug, PartialEq)]
struct End {
    metrics: Vec<Value>,
    checkpoints: BTreeMap<String, Vec<u8>>,
    result: Value,
}

impl End {
    fn of(run: &Path) -> Self {
        let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let timeless = |mut line: Value, keys: &[&str]| {
            let object = line.as_object_mut().unwrap();
            keys.iter().for_each(|key| drop(object.remove(*key)));
            line
        };
        let line = |line: &str| timeless(serde_json::from_str(line).unwrap(), &["seconds"]);
        let mut checkpoints = BTreeMap::new();
        for folder in std::fs::read_dir(run.join("checkpoints")).unwrap() {
            let folder = folder.unwrap();
            let name = folder.file_name().into_string().unwrap();
            for file in std::fs::read_dir(folder.path()).unwrap() {
                let file = file.unwrap();
                let name = format!("{name}/{}", file.file_name().into_string().unwrap());
                checkpoints.insert(name, std::fs::read(file.path()).unwrap());
            }
        }
        let mut result: Value =
            serde_json::from_slice(&std::fs::read(run.join("result.json")).unwrap()).unwrap();
        // Data that were moved are the same data.
        let parts = result.pointer_mut("/data/parts").and_then(Value::as_array_mut);
        for part in parts.into_iter().flatten() {
            part["place"].take();
        }
        Self {
            metrics: metrics.lines().map(line).collect(),
            checkpoints,
            result: timeless(result, &["seconds", "run"]),
        }
    }

    fn difference(&self, other: &Self) -> Option<String> {
        let line = self.metrics.iter().zip(&other.metrics).find(|(a, b)| a != b);
        if let Some((a, b)) = line {
            return Some(format!("metrics: {a}\nand      {b}\n"));
        }
        let names = |end: &Self| end.checkpoints.keys().cloned().collect::<Vec<_>>();
        if names(self) != names(other) {
            return Some(format!("checkpoints {:?} and {:?}", names(self), names(other)));
        }
        let parts = [
            ("metrics", self.metrics == other.metrics),
            ("checkpoints", self.checkpoints == other.checkpoints),
            ("results", self.result == other.result),
        ];
        parts.iter().find(|(_, same)| !same).map(|(name, _)| (*name).to_owned())
    }
}
