//! Signals that are ignored, that stop a run, and that make it save.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::gpu::has_gpu;
use super::{End, Job, Place, resume};

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Waits until `there` is true. Returns false if the process ends before.
fn wait(child: &mut Child, there: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !there() {
        assert!(started.elapsed() < Duration::from_secs(120), "nothing happens");
        if child.try_wait().unwrap().is_some() {
            return there();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn has_lines(run: &Path) -> bool {
    std::fs::read(run.join("metrics.jsonl")).is_ok_and(|bytes| bytes.contains(&b'\n'))
}

/// The program, started by a shell that ignores the signals `ignored`.
fn ignoring(place: &Place, args: &[String], ignored: &str) -> Child {
    let command = place.command(&[]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("trap '' {ignored}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(args);
    shell
        .current_dir(place.path())
        .env_remove("PARSEC_DEVICE")
        .env("PARSEC_CACHE", place.path().join("cache"));
    shell.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn err(child: Child) -> (Option<i32>, String) {
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// `nohup parsec search &` outlives its terminal. So does each other signal that was ignored at the start.
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(8);
    let unbroken = place.unbroken(Job::Search, "unbroken");
    for signal in ["HUP", "INT", "TERM", "USR1"] {
        let run = place.run(signal);
        let mut child = ignoring(&place, &place.start(Job::Search, signal), signal);
        assert!(wait(&mut child, || has_lines(&run)));
        send(signal, &child);
        let (code, err) = err(child);
        assert_eq!(code, Some(0), "{signal}: {err}");
        assert!(!err.contains("saving") && !err.contains("stopping"), "{signal}: {err}");
        assert_eq!(End::of(&run).difference(&unbroken), None, "{signal}");
    }
    // A signal that is not ignored still stops the run.
    let mut child = ignoring(&place, &place.start(Job::Search, "heard"), "HUP USR1");
    assert!(wait(&mut child, || has_lines(&place.run("heard"))));
    send("TERM", &child);
    let (code, err) = err(child);
    assert!(code == Some(130) && err.contains("stopping after this step"), "{code:?}: {err}");
}

#[test]
fn each_way_to_stop_a_run_saves_it() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(8);
    let unbroken = place.unbroken(Job::Search, "unbroken");
    for signal in ["HUP", "INT", "TERM"] {
        let run = place.run(signal);
        let mut child = place.spawn(&place.start(Job::Search, signal));
        assert!(wait(&mut child, || has_lines(&run)));
        send(signal, &child);
        let (code, err) = err(child);
        assert!(code == Some(130) && err.contains("parsec resume"), "{signal}: {code:?}: {err}");
        assert_eq!(place.finish(&resume(signal)).0, 0);
        assert_eq!(End::of(&run).difference(&unbroken), None, "{signal}");
    }
}

/// Slurm sends SIGUSR1 before a job's time is over. The run saves and goes on. If it is killed afterwards, no step
/// before the signal is lost.
#[test]
fn a_request_to_save_saves_and_the_run_goes_on() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(40);
    for job in [Job::Search, Job::Train] {
        let start = |name: &str| {
            let mut args = place.start(job, name);
            let at = args.iter().position(|arg| arg == "--checkpoint-every").unwrap();
            args[at + 1] = "end".into();
            args
        };
        let (whole, name) = (format!("whole-{job:?}"), format!("saved-{job:?}"));
        let (code, text) = place.finish(&start(&whole));
        assert_eq!(code, 0, "{text}");
        let unbroken = End::of(&place.run(&whole));

        let run = place.run(&name);
        let mut child = place.spawn(&start(&name));
        assert!(wait(&mut child, || has_lines(&run)));
        send("USR1", &child);
        let steps = || parsec_nas::run::Checkpoints::new(run.join("checkpoints")).steps().unwrap();
        assert!(wait(&mut child, || steps().len() > 1));
        let saved = steps()[1];
        assert!(0 < saved && saved < 40, "{saved}");
        // The run goes on.
        let lines = || std::fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count() as u64;
        assert!(wait(&mut child, || lines() > saved));
        child.kill().unwrap();
        let (_, text) = err(child);
        assert!(text.contains("saving after this step"), "{text}");

        let (code, text) = place.finish(&resume(&name));
        assert!(code == 0 && text.contains(&format!("going on after step {saved}\n")), "{text}");
        let end = End::of(&run);
        assert_eq!((&end.metrics, &end.result), (&unbroken.metrics, &unbroken.result));
        let last = |end: &End| end.checkpoints["step-00000040/state.safetensors"].clone();
        assert_eq!(last(&end), last(&unbroken));
    }
}

/// Before the first step nothing can be saved. A request to save waits for the first step, and a request to stop leaves
/// no folder.
#[test]
fn signals_before_the_first_step() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(3);
    let mut args = place.start(Job::Search, "");
    args.truncate(args.len() - 2);
    let runs = place.path().join("runs");
    let run = runs.join("search-0001");
    let mut child = place.spawn(&args);
    assert!(wait(&mut child, || run.exists()));
    send("INT", &child);
    let (code, text) = err(child);
    assert!(
        code == Some(130) && text.contains("before the first step") && !runs.exists(),
        "{code:?}: {text}"
    );

    let mut child = place.spawn(&args);
    assert!(wait(&mut child, || run.exists()));
    send("USR1", &child);
    let (code, text) = err(child);
    assert!(code == Some(0) && text.contains("saved after step 1"), "{code:?}: {text}");
    assert!(run.join("result.json").is_file());
}
