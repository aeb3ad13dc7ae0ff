//! Runs whose data were moved before the resume, and programs that are started in another folder.

use std::path::Path;

use parsec_nas::run::{Manifest, RunDir};

use super::super::gpu::has_gpu;
use super::{End, Job, Place, resume};

fn manifest(run: &Path) -> Manifest {
    RunDir::open(run).unwrap().manifest().unwrap()
}

/// The run is as if it had been killed after its first checkpoint.
fn unfinish(run: &Path) {
    std::fs::remove_file(run.join("result.json")).unwrap();
    let checkpoints = RunDir::open(run).unwrap().checkpoints();
    for step in checkpoints.steps().unwrap().into_iter().filter(|step| *step > 0) {
        std::fs::remove_dir_all(checkpoints.path_of(step)).unwrap();
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Exit code and standard error of the program, started in the folder `from`.
fn start_in(place: &Place, from: &Path, args: &[String]) -> (i32, String) {
    let out = place.command(args).current_dir(from).output().unwrap();
    (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn moved_data_are_named_once() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(3);
    for job in [Job::Search, Job::Train] {
        let unbroken = place.unbroken(job, &format!("unbroken-{job:?}"));
        let name = format!("{job:?}");
        place.unbroken(job, &name);
        let run = place.run(&name);
        unfinish(&run);
        let (images, away) = (place.path().join("images"), place.path().join("away/pictures"));
        std::fs::create_dir_all(away.parent().unwrap()).unwrap();
        std::fs::rename(&images, &away).unwrap();
        let before = manifest(&run);
        assert_eq!((&before.data_at, before.data_from.as_deref()), (&None, Some(place.path())));

        // Without the flag the error lists the places in which the program looked for the data.
        let (code, err) = place.finish(&resume(&name));
        let tried = format!("tried images, {0}/images, {0}/{name}/images", place.path().display());
        assert!(code == 1 && err.contains(&tried) && err.contains("--data SPEC"), "{err}");
        // Other data are refused, and nothing is recorded.
        std::fs::create_dir_all(place.path().join("others")).unwrap();
        for class in ["blue", "red"] {
            let to = place.path().join("others").join(class);
            std::fs::create_dir_all(&to).unwrap();
            for i in 0..20 {
                super::picture(0, i).save(to.join(format!("{i:02}.png"))).unwrap();
            }
        }
        let (code, err) = place.finish(&words(&format!("resume {name} --data folder:others")));
        assert!(code == 1 && err.contains("sha256"), "{err}");
        let (code, err) = place.finish(&words(&format!("resume {name} --data nonsense")));
        assert!(code == 2 && err.contains("--data"), "{err}");
        assert_eq!(manifest(&run), before);

        let (code, err) = place.finish(&words(&format!("resume {name} --data folder:away/pictures")));
        assert_eq!(code, 0, "{err}");
        assert_eq!(End::of(&run).difference(&unbroken), None);
        let after = manifest(&run);
        assert_eq!(after, Manifest { data_at: Some("folder:away/pictures".into()), ..before });
        // The run now knows the new place.
        unfinish(&run);
        let (code, err) = place.finish(&resume(&name));
        assert_eq!(code, 0, "{err}");
        assert_eq!(End::of(&run).difference(&unbroken), None);
        if job == Job::Train {
            let (code, err) = place.finish(&words("eval Train"));
            assert_eq!(code, 0, "{err}");
        }

        // The place of a finished run's data can be changed too.
        std::fs::rename(&away, &images).unwrap();
        let (code, err) = place.finish(&words(&format!("resume {name} --data folder:images")));
        assert!(code == 0 && err.contains("the data are at folder:images"), "{err}");
        assert_eq!(manifest(&run).data_at.as_deref(), Some("folder:images"));
        let (code, err) = place.finish(&words(&format!("resume {name} --data folder:others")));
        assert!(code == 1 && err.contains("sha256"), "{err}");
        assert_eq!(manifest(&run).data_at.as_deref(), Some("folder:images"));
        assert_eq!(End::of(&run).difference(&unbroken), None);
        std::fs::remove_dir_all(place.path().join("others")).unwrap();
    }
}

#[test]
fn relative_data_are_found_from_another_folder() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(2);
    let unbroken = place.unbroken(Job::Train, "unbroken");
    place.unbroken(Job::Train, "kept/run");
    let run = place.run("kept/run");
    let elsewhere = tempfile::TempDir::new().unwrap();
    let name = |run: &Path| run.display().to_string();
    let goes_on = |from: &Path, run: &Path| {
        unfinish(run);
        let (code, err) = start_in(&place, from, &resume(&name(run)));
        assert_eq!(code, 0, "{err}");
        assert_eq!(End::of(run).difference(&unbroken), None);
        let (code, err) = start_in(&place, from, &["eval".to_owned(), name(run)]);
        assert_eq!(code, 0, "{err}");
    };
    goes_on(elsewhere.path(), &run);
    goes_on(&run, Path::new(&run));

    // A folder of the same name in the current folder has other images, or none.
    let others = elsewhere.path().join("images/red");
    std::fs::create_dir_all(&others).unwrap();
    goes_on(elsewhere.path(), &run);
    super::picture(1, 3).save(others.join("1.png")).unwrap();
    super::picture(1, 4).save(others.join("2.png")).unwrap();
    goes_on(elsewhere.path(), &run);

    // Other images of the same number and size: those of the run are evaluated.
    let twin = tempfile::TempDir::new().unwrap();
    for class in ["blue", "red"] {
        let to = twin.path().join("images").join(class);
        std::fs::create_dir_all(&to).unwrap();
        for i in 0..20 {
            super::picture(0, i).save(to.join(format!("{i:02}.png"))).unwrap();
        }
    }
    let (code, err) = start_in(&place, twin.path(), &["eval".to_owned(), name(&run)]);
    assert!(code == 0 && !err.contains("are not those"), "{err}");

    // The run and its images move together.
    let moved = elsewhere.path().join("moved");
    std::fs::create_dir_all(moved.join("kept")).unwrap();
    std::fs::rename(&run, moved.join("kept/run")).unwrap();
    std::fs::rename(place.path().join("images"), moved.join("images")).unwrap();
    goes_on(place.path(), &moved.join("kept/run"));
    // The images move into the run.
    std::fs::rename(moved.join("images"), moved.join("kept/run/images")).unwrap();
    goes_on(place.path(), &moved.join("kept/run"));
}

/// A shell leaves `~` after a colon as it is.
#[test]
#[cfg(unix)]
fn a_tilde_is_the_home_folder() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(2);
    let unbroken = place.unbroken(Job::Train, "unbroken");
    let elsewhere = tempfile::TempDir::new().unwrap();
    let at_home = |from: &Path, args: &[String]| {
        let out = place.command(args).current_dir(from).env("HOME", place.path()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let mut args = place.start(Job::Train, "home");
    let at = args.iter().position(|arg| arg == "folder:images").unwrap();
    args[at] = "folder:~/images".into();
    at_home(place.path(), &args);
    let run = place.run("home");
    assert_eq!((manifest(&run).data_at, manifest(&run).data_from), (None, None));
    unfinish(&run);
    at_home(elsewhere.path(), &resume(&run.display().to_string()));
    assert_eq!(End::of(&run).difference(&unbroken), None);
    at_home(elsewhere.path(), &["eval".to_owned(), run.display().to_string()]);
    let spec: parsec_nas::data::Spec = "idx:~other/~".parse().unwrap();
    assert_eq!(spec.dir, Path::new("~other/~"), "only the home folder of the user is meant");
}
