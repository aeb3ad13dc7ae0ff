//! Standard output and standard error that are closed or full, or that have lost their reader.

use std::process::{Output, Stdio};

use super::super::gpu::has_gpu;
use super::{End, Job, Place, Row};

/// The fault of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Broken {
    /// A pipe whose reader has gone, as after `| head`.
    Pipe,
    /// A disk without room.
    #[cfg(target_os = "linux")]
    Full,
    /// No file at all.
    #[cfg(unix)]
    Closed,
}

const ALL: &[Broken] = &[
    Broken::Pipe,
    #[cfg(target_os = "linux")]
    Broken::Full,
    #[cfg(unix)]
    Broken::Closed,
];

/// Runs the program with a broken standard output (1) or standard error (2), or both.
fn broken(place: &Place, args: &[String], how: Broken, which: &[u8]) -> Output {
    #[cfg(unix)]
    if how == Broken::Closed {
        let close: String = which.iter().map(|fd| format!(" {fd}>&-")).collect();
        let command = place.command(&[]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" \"$@\"{close}")]).arg(command.get_program()).args(args);
        for (key, value) in command.get_envs() {
            _ = match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        return shell.current_dir(place.path()).stdin(Stdio::null()).output().unwrap();
    }
    let mut command = place.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(target_os = "linux")]
    if how == Broken::Full {
        let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
        for fd in which {
            _ = if *fd == 1 { command.stdout(full()) } else { command.stderr(full()) };
        }
    }
    let mut child = command.spawn().unwrap();
    if how == Broken::Pipe {
        for fd in which {
            if *fd == 1 { drop(child.stdout.take()) } else { drop(child.stderr.take()) }
        }
    }
    child.wait_with_output().unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The code, after a check that the program did not panic.
fn code(out: &Output, what: &str) -> i32 {
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(!err.contains("panicked"), "{what}: {err}");
    out.status.code().unwrap_or_else(|| panic!("{what} was ended by a signal: {err}"))
}

#[test]
fn a_run_ends_as_if_its_output_were_read() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(3);
    for job in [Job::Search, Job::Train] {
        let unbroken = place.unbroken(job, &format!("unbroken-{job:?}"));
        let mut row = Row::new("nobody reads the output");
        for (i, how) in ALL.iter().enumerate() {
            for (j, which) in [&[1][..], &[2], &[1, 2]].into_iter().enumerate() {
                let name = format!("{job:?}-{i}-{j}");
                let mut args = place.start(job, &name);
                args.push("--verbose".into());
                let out = broken(&place, &args, *how, which);
                assert_eq!(code(&out, &format!("{how:?} {which:?}")), 0);
                row.injected += 1;
                row.compare(&place.run(&name), &unbroken);
            }
        }
        row.check();
    }
}

/// The result of a run is saved before it is printed, and the error says where.
#[cfg(target_os = "linux")]
#[test]
fn a_full_output_names_the_saved_result() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(1);
    let mut args = place.start(Job::Train, "t");
    args.push("--json".into());
    let out = broken(&place, &args, Broken::Full, &[1]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(code(&out, "train"), 1);
    assert!(err.contains("cannot write standard output") && err.contains("t/result.json"), "{err}");
    assert!(place.run("t").join("result.json").is_file());
}

/// If the output is the result, a full output is a failure. A pipe without its reader is no failure, because
/// the reader has read enough.
#[test]
fn commands_whose_result_is_the_output_say_so_by_their_code() {
    let gpu = has_gpu();
    let place = Place::new(1);
    let mut all = vec![
        words("show DARTS_V2"),
        words("show DARTS_V2 --json"),
        words("--help"),
        words("search --help"),
        words("--version"),
    ];
    if gpu {
        place.unbroken(Job::Train, "t");
        place.unbroken(Job::Search, "s");
        let more = [
            "devices",
            "devices --json",
            "eval t",
            "eval t --json",
            "predict t images/red/01.png",
            "predict t images/red/01.png --json",
            "show s --json",
            "resume s --json",
        ];
        all.extend(more.map(words));
    }
    for args in all {
        let what = format!("{args:?}");
        for how in ALL {
            let out = broken(&place, &args, *how, &[1]);
            let (code, err) = (code(&out, &what), String::from_utf8_lossy(&out.stderr).into_owned());
            #[cfg(target_os = "linux")]
            if *how == Broken::Full {
                assert!(code == 1 && err.contains("cannot write standard output"), "{what}: {code} {err}");
                continue;
            }
            // Rust treats a closed standard output as an output that accepts everything.
            assert!(code == 0 && !err.contains("error"), "{what} {how:?}: {code} {err}");
        }
        // Remarks on a broken standard error do not change the code.
        for how in ALL {
            assert_eq!(code(&broken(&place, &args, *how, &[2]), &what), 0, "{what} {how:?}");
        }
    }
}

#[test]
fn errors_that_nobody_reads_keep_their_code() {
    let place = Place::new(1);
    for (args, expected) in
        [("resume nowhere", 1), ("serch", 2), ("search --samples 0", 2), ("search none.toml", 1)]
    {
        for how in ALL {
            for which in [&[2][..], &[1, 2]] {
                let out = broken(&place, &words(args), *how, which);
                assert_eq!(code(&out, args), expected, "{args} {how:?} {which:?}");
            }
        }
    }
}

/// The JSON of a run is its result. Its text is a report about files.
#[test]
#[cfg(target_os = "linux")]
fn a_run_whose_json_has_no_room_is_done_and_says_so() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(2);
    let unbroken = place.unbroken(Job::Train, "unbroken");
    let out = broken(&place, &place.start(Job::Train, "text"), Broken::Full, &[1]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(0) && err.contains("warning: cannot write standard output"), "{err}");
    let mut args = place.start(Job::Train, "json");
    args.push("--json".into());
    let out = broken(&place, &args, Broken::Full, &[1]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && err.contains("error: cannot write standard output"), "{err}");
    for name in ["text", "json"] {
        assert_eq!(End::of(&place.run(name)).difference(&unbroken), None);
    }
}
