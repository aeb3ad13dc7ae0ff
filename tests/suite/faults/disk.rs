//! Disks that are full or read-only, at every write.

use parsec_nas::files;
use tempfile::TempDir;

#[cfg(unix)]
use super::super::gpu::has_gpu;
use super::super::run::{TOTAL, Walk, create, go, remains, resume_and_finish, unbroken};
use super::Row;
#[cfg(unix)]
use super::{End, Job, Place};

/// A disk that is full after a number of bytes, for each multiple of `stride` up to the bytes that a run writes. Every
/// file is cut somewhere. When there is space again, the run continues.
pub(super) fn full_in_process(stride: usize) -> Row {
    let mut row = Row::new("disk full, after every so many bytes");
    let folder = TempDir::new().unwrap();
    let expected = unbroken(&folder);
    for room in (0..).step_by(stride) {
        let name = format!("full-{room}");
        let run = create(&folder, &name);
        let before = row.injected;
        files::limit_writes(Some(room));
        let done = go(&mut Walk::new(TOTAL), &run);
        files::limit_writes(None);
        if let Err(e) = &done {
            let text = e.to_string();
            assert!(text.contains("free some space") && text.contains("parsec resume"), "{text}");
            assert_eq!(e.exit_code(), 1);
            row.injected += 1;
        }
        let path = run.path().to_owned();
        drop(run);
        // No checkpoint is half written. Only the last line of the metrics may be.
        for entry in std::fs::read_dir(path.join("checkpoints")).unwrap() {
            let entry = entry.unwrap();
            assert!(parsec_nas::run::checkpoint::read(&entry.path()).is_ok(), "{:?}", entry.path());
        }
        resume_and_finish(&path);
        row.differing += usize::from(remains(&path) != expected);
        std::fs::remove_dir_all(path).unwrap();
        if row.injected == before {
            break;
        }
    }
    row
}

/// The same for the program as a process: the system refuses files larger than a limit, for many limits.
#[cfg(unix)]
pub(super) fn limits(place: &Place, unbroken: &End, blocks: &[usize]) -> Row {
    let mut row = Row::new("write refused, file size limit");
    for blocks in blocks {
        let name = format!("limited-{blocks}");
        let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let out = std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_parsec")])
            .args(place.start(Job::Search, &name))
            .current_dir(place.path())
            .env_remove("PARSEC_DEVICE")
            .env("PARSEC_CACHE", place.path().join("cache"))
            // The driver's own cache of shaders would meet the limit too.
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && err.contains("cannot write"), "{blocks}: {err}");
        row.injected += 1;
        if place.run(&name).exists() {
            place.resume(&name, unbroken, &mut row);
        } else {
            // If there is no run folder, no partial folder is left either.
            let rest = std::fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name());
            assert!(!rest.into_iter().any(|n| n.to_string_lossy().contains(&name)), "{name}");
        }
    }
    row
}

/// A read-only run folder: the run stops with a message, and continues when the folder is writable.
#[cfg(unix)]
pub(super) fn read_only(place: &Place, unbroken: &End) -> Row {
    use std::os::unix::fs::PermissionsExt;
    let mut row = Row::new("read-only run folder");
    let run = place.run("read-only");
    place.unbroken(Job::Search, "read-only");
    std::fs::remove_file(run.join("result.json")).unwrap();
    let mode = |mode| std::fs::set_permissions(&run, std::fs::Permissions::from_mode(mode)).unwrap();
    let lock = run.join(".lock");
    std::fs::remove_file(&lock).unwrap();
    mode(0o555);
    // Nothing is read-only for root. If root runs the test, a folder in the place of the lock is the fault.
    let root = std::fs::write(&lock, "").is_ok();
    if root {
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
    }
    let (code, err) = place.finish(&super::resume("read-only"));
    assert!(code == 1 && err.contains("cannot open") && err.contains(".lock"), "{err}");
    row.injected += 1;
    if root {
        std::fs::remove_dir(&lock).unwrap();
    }
    mode(0o755);
    place.resume("read-only", unbroken, &mut row);
    row
}

#[test]
fn a_disk_that_is_full_at_any_write_loses_nothing() {
    // The stride is a prime, so that writes are cut at many different places.
    full_in_process(97).check();
}

#[test]
#[cfg(unix)]
fn writes_that_the_system_refuses_lose_nothing() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(3);
    let unbroken = place.unbroken(Job::Search, "unbroken");
    limits(&place, &unbroken, &[0, 8]).check();
    read_only(&place, &unbroken).check();
}
