//! Runs that are killed or asked to stop at random moments; two processes on one run.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use super::super::gpu::has_gpu;
use super::{Dice, End, Job, Place, Row, resume};

/// Number of lines in the metrics.
fn n_lines(run: &Path) -> usize {
    std::fs::read(run.join("metrics.jsonl")).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

/// Waits until the metrics have `lines` lines, and then for `moment`. Returns whether the process still runs.
fn wait(child: &mut Child, run: &Path, lines: usize, moment: Duration) -> bool {
    let started = Instant::now();
    while n_lines(run) < lines && started.elapsed() < Duration::from_secs(60) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(moment);
    child.try_wait().unwrap().is_none()
}

/// Kills runs `times` times in all. A run is killed and resumed until it reaches its end.
pub(super) fn sigkill(place: &Place, job: Job, unbroken: &End, times: usize, dice: &mut Dice) -> Row {
    let mut row = Row::new(match job {
        Job::Search => "SIGKILL, search",
        Job::Train => "SIGKILL, training",
    });
    for number in 0.. {
        let name = format!("killed-{job:?}-{number}");
        let run = place.run(&name);
        loop {
            let args = if run.exists() { resume(&name) } else { place.start(job, &name) };
            let mut child = place.spawn(&args);
            // One kill of four is near the start of the process. The others are some steps later, at any moment of a
            // step. Writing the checkpoint takes a large part of a step.
            let before = n_lines(&run);
            let (lines, moment) = match dice.below(4) {
                0 => (0, dice.below(1500)),
                _ => (before + 1 + dice.below(3), dice.below(60)),
            };
            if row.injected < times && wait(&mut child, &run, lines, Duration::from_millis(moment as u64)) {
                child.kill().unwrap();
                row.injected += 1;
            }
            let out = child.wait_with_output().unwrap();
            match out.status.code() {
                Some(0) => {
                    row.compare(&run, unbroken);
                    break;
                }
                Some(_) => {
                    eprintln!("{}: {}", row.fault, String::from_utf8_lossy(&out.stderr));
                    row.lost += 1;
                    break;
                }
                None => {}
            }
        }
        std::fs::remove_dir_all(&run).unwrap();
        if row.injected >= times {
            break;
        }
    }
    row
}

/// Sends SIGTERM to runs. They save their state, print how to continue, and end with exit code 130.
#[cfg(unix)]
pub(super) fn sigterm(place: &Place, unbroken: &[End; 2], times: usize, dice: &mut Dice) -> Row {
    let mut row = Row::new("SIGTERM");
    for (i, (job, unbroken)) in
        [Job::Search, Job::Train].into_iter().zip(unbroken).cycle().take(times).enumerate()
    {
        let name = format!("stopped-{i}");
        let run = place.run(&name);
        let mut child = place.spawn(&place.start(job, &name));
        let lines = 1 + dice.below(2);
        assert!(wait(&mut child, &run, lines, Duration::from_millis(dice.below(30) as u64)));
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        row.injected += 1;
        // If the signal arrives in the last step, the run ends normally.
        if out.status.code() != Some(0) {
            assert!(out.status.code() == Some(130) && err.contains("parsec resume"), "{err}");
            assert!(err.contains(&format!("after step {}", n_lines(&run))), "{err}");
            place.resume(&name, unbroken, &mut row);
        } else {
            row.compare(&run, unbroken);
        }
    }
    row
}

/// A second process names the id of the first one and changes nothing. A lock whose owner has ended is ignored.
#[cfg(unix)]
pub(super) fn two_processes(place: &Place, unbroken: &End, times: usize) -> Row {
    let mut row = Row::new("a second process on the run; a stale lock");
    let mut child = place.spawn(&place.start(Job::Search, "shared"));
    assert!(wait(&mut child, &place.run("shared"), 1, Duration::ZERO));
    // The owner of the lock is suspended, so that it cannot end in the meantime.
    let signal = |name: &str, pid: u32| {
        let status = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
        assert!(status.unwrap().success());
    };
    signal("-STOP", child.id());
    for _ in 0..times {
        let (code, err) = place.finish(&resume("shared"));
        assert!(code == 1 && err.contains(&format!("process {} working on it", child.id())), "{err}");
        row.injected += 1;
    }
    signal("-CONT", child.id());
    let out = child.wait_with_output().unwrap();
    if out.status.code() != Some(0) {
        row.lost += 1;
        return row;
    }
    row.compare(&place.run("shared"), unbroken);
    // The file of the lock still exists, with the id of a process that has ended.
    let lock = std::fs::read_to_string(place.run("shared").join(".lock")).unwrap();
    assert!(lock.trim().parse::<u32>().is_ok());
    std::fs::remove_file(place.run("shared").join("result.json")).unwrap();
    place.resume("shared", unbroken, &mut row);
    row
}

#[test]
#[cfg(unix)]
fn killed_stopped_and_shared_runs_end_like_unbroken_ones() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(5);
    let ends = [Job::Search, Job::Train].map(|job| place.unbroken(job, &format!("unbroken-{job:?}")));
    let mut dice = Dice(5);
    for (job, end) in [Job::Search, Job::Train].into_iter().zip(&ends) {
        sigkill(&place, job, end, 3, &mut dice).check();
    }
    sigterm(&place, &ends, 2, &mut dice).check();
    two_processes(&place, &ends[0], 1).check();
}

/// A search that is killed before its first checkpoint still starts from the prior and the weights of the other search.
#[test]
fn killed_before_the_first_checkpoint_a_search_from_another_s_prior_starts_from_it() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(2);
    place.unbroken(Job::Search, "first");
    let from = |run: &str| {
        let mut args = place.start(Job::Search, run);
        args.extend(["--prior-from", "first", "--weights-from", "first"].map(str::to_owned));
        args
    };
    let (code, err) = place.finish(&from("second"));
    assert_eq!(code, 0, "{err}");
    let unbroken = End::of(&place.run("second"));
    // The folder is now as it was before the first checkpoint.
    let run = place.run("second");
    for name in ["result.json", "metrics.jsonl"] {
        std::fs::remove_file(run.join(name)).unwrap();
    }
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let mut row = Row::new("killed before the first checkpoint");
    row.injected = 1;
    place.resume("second", &unbroken, &mut row);
    row.check();
}
