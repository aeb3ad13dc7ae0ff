//! Runs that start at the same moment and take the next free number.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use parsec_nas::config::Config;
use parsec_nas::run::{Manifest, RunDir};
use tempfile::TempDir;

use super::super::gpu::has_gpu;
use super::{Job, Place};

const AT_ONCE: usize = 4;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn of_threads_at_once_each_takes_another_number() {
    let folder = TempDir::new().unwrap();
    let parent = folder.path().join("runs");
    for _ in 0..100 {
        let barrier = Barrier::new(AT_ONCE);
        let claims: Vec<_> = std::thread::scope(|scope| {
            let take = || {
                barrier.wait();
                RunDir::claim_in(&parent, "search").unwrap()
            };
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let taken: BTreeSet<PathBuf> = claims.iter().map(|claim| claim.path().to_owned()).collect();
        let expected = (1..=AT_ONCE).map(|n| parent.join(format!("search-{n:04}"))).collect();
        assert_eq!(taken, expected);
        drop(claims);
        assert_eq!(names(&parent), BTreeSet::new(), "what was not used is removed");
    }
    _ = std::fs::remove_dir(&parent);
    drop(RunDir::claim_in(&parent, "search").unwrap());
    assert!(!parent.exists(), "so is the folder that was made for it");
}

#[test]
fn a_claim_that_became_a_run_stays_and_others_go() {
    let folder = TempDir::new().unwrap();
    let config = Config::preset().unwrap();
    let manifest = Manifest::new(&config).unwrap();
    let claims = [(); 3].map(|()| RunDir::claim_in(folder.path(), "search").unwrap());
    drop(RunDir::create(claims[1].path(), &config, &manifest).unwrap());
    drop(claims);
    assert_eq!(names(folder.path()), BTreeSet::from(["search-0002".to_owned()]));
    assert_eq!(RunDir::open(&folder.path().join("search-0002")).unwrap().manifest().unwrap(), manifest);
    // The numbers that became free are taken again, and the run is not touched.
    let claims = [(); 3].map(|()| RunDir::claim_in(folder.path(), "search").unwrap());
    let taken: Vec<PathBuf> = claims.iter().map(|claim| claim.path().to_owned()).collect();
    assert_eq!(taken, [1, 3, 4].map(|n| folder.path().join(format!("search-000{n}"))));
}

/// The arguments of a run without `--run`.
fn unnamed(place: &Place) -> Vec<String> {
    let mut args = place.start(Job::Search, "");
    args.truncate(args.len() - 2);
    args
}

#[test]
fn of_processes_at_once_each_makes_its_own_run() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(1);
    for round in 1..=3 {
        let children: Vec<_> = (0..AT_ONCE).map(|_| place.spawn(&unnamed(&place))).collect();
        for child in children {
            let out = child.wait_with_output().unwrap();
            assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        }
        let runs = place.path().join("runs");
        let expected = (1..=round * AT_ONCE).map(|n| format!("search-{n:04}")).collect();
        assert_eq!(names(&runs), expected);
        for name in expected {
            let result = RunDir::open(&runs.join(&name)).unwrap().result().unwrap();
            assert_eq!((&result["run"], &result["steps"]), (&format!("runs/{name}").into(), &1.into()));
        }
    }
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let place = Place::new(1);
    std::fs::rename(place.path().join("images"), place.path().join("away")).unwrap();
    let train = "train --genotype DARTS_V2 --data folder:images --size 8".split(' ').map(str::to_owned);
    let all =
        [unnamed(&place), train.collect(), "consensus away away".split(' ').map(str::to_owned).collect()];
    for args in all {
        for _ in 0..5 {
            let children: Vec<_> = (0..AT_ONCE).map(|_| place.spawn(&args)).collect();
            for child in children {
                let out = child.wait_with_output().unwrap();
                let err = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.code().is_some_and(|code| code == 1 || code == 2), "{err}");
            }
            assert_eq!(names(&place.path().join("runs")), BTreeSet::new(), "{args:?}");
            _ = std::fs::remove_dir(place.path().join("runs"));
        }
        assert!(matches!(place.finish(&args).0, 1 | 2));
        assert_eq!(names(place.path()), BTreeSet::from(["away".to_owned()]), "{args:?}");
    }
    // A folder `runs` that was there before is kept.
    std::fs::create_dir(place.path().join("runs")).unwrap();
    assert_eq!(place.finish(&unnamed(&place)).0, 1);
    assert!(names(&place.path().join("runs")).is_empty() && place.path().join("runs").is_dir());
}
