//! Damaged and missing files of a run are skipped or refused. They are never used.

use std::path::Path;

use parsec_nas::run::{RunDir, checkpoint};

use super::super::gpu::has_gpu;
use super::{Dice, End, Job, Place, Row, resume};

/// The two files of a checkpoint, and the two files that describe a run.
const OF_CHECKPOINT: [&str; 2] = ["state.safetensors", "state.json"];
const OF_RUN: [&str; 2] = ["manifest.json", "config.toml"];

/// Damages the file at `path`: changes, removes or inserts bytes.
fn damage(path: &Path, dice: &mut Dice) {
    let whole = std::fs::read(path).unwrap();
    let mut bytes = whole.clone();
    let at = dice.below(bytes.len());
    match dice.below(6) {
        0..=2 => bytes[at] ^= 1 << dice.below(8),
        3 => bytes.truncate(at),
        4 => bytes.insert(at, dice.below(256) as u8),
        _ => {
            let end = (at + 1 + dice.below(512)).min(bytes.len());
            bytes[at..end].fill(0);
        }
    }
    if bytes == whole {
        bytes[at] ^= 0x80;
    }
    std::fs::write(path, bytes).unwrap();
}

/// Damages the files of the newest checkpoint of a search, and the files that describe the run. `differing` counts
/// damage that was not noticed and changed the content that is read.
pub(super) fn unnoticed(run: &Path, times: usize, dice: &mut Dice) -> [Row; 2] {
    let mut rows =
        [Row::new("checkpoint's files damaged, read"), Row::new("manifest and configuration damaged")];
    let opened = RunDir::open(run).unwrap();
    let checkpoints = opened.checkpoints();
    let newest = checkpoints.path_of(*checkpoints.steps().unwrap().last().unwrap());
    assert!(checkpoint::read(&newest).is_ok());
    for i in 0..times {
        let file = newest.join(OF_CHECKPOINT[i % 2]);
        let whole = std::fs::read(&file).unwrap();
        damage(&file, dice);
        rows[0].differing += usize::from(checkpoint::read(&newest).is_ok());
        std::fs::write(&file, whole).unwrap();

        let file = run.join(OF_RUN[i % 2]);
        let whole = std::fs::read(&file).unwrap();
        let facts = |run: &RunDir| (run.manifest().unwrap(), run.config().unwrap());
        let before = facts(&opened);
        damage(&file, dice);
        // If the damaged file is accepted, the damage changed only a comment or a space, and the content is the same.
        if let Ok(again) = RunDir::open_for_writing(run)
            && facts(&again) != before
        {
            eprintln!("{}", std::fs::read_to_string(&file).unwrap_or_default());
            rows[1].differing += 1;
        }
        std::fs::write(&file, whole).unwrap();
        rows.iter_mut().for_each(|row| row.injected += 1);
    }
    rows
}

/// If the newest checkpoint is damaged or lacks a file, the program warns, continues from the checkpoint before, and
/// ends like an unbroken run.
pub(super) fn passed_over(place: &Place, job: Job, unbroken: &End, times: usize, dice: &mut Dice) -> Row {
    let mut row = Row::new(match job {
        Job::Search => "newest checkpoint damaged or missing, search",
        Job::Train => "newest checkpoint damaged or missing, training",
    });
    place.unbroken(job, "damaged");
    let run = place.run("damaged");
    for i in 0..times {
        std::fs::remove_file(run.join("result.json")).unwrap();
        let newest = run.join(format!("checkpoints/step-{:08}", place.steps));
        let file = newest.join(OF_CHECKPOINT[i % 2]);
        match i % 4 {
            3 => std::fs::remove_file(file).unwrap(),
            _ => damage(&file, dice),
        }
        row.injected += 1;
        let (code, err) = place.finish(&resume("damaged"));
        assert!(code != 0 || err.contains("damaged checkpoint, passed over"), "{err}");
        if code != 0 {
            eprintln!("{err}");
            row.lost += 1;
            break;
        }
        row.compare(&run, unbroken);
    }
    row
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(3);
    let mut dice = Dice(7);
    for job in [Job::Search, Job::Train] {
        let unbroken = place.unbroken(job, &format!("unbroken-{job:?}"));
        std::fs::remove_dir_all(place.run("damaged")).ok();
        passed_over(&place, job, &unbroken, 2, &mut dice).check();
    }
    unnoticed(&place.run("unbroken-Search"), 200, &mut dice).iter().for_each(Row::check);

    // If steps were done but there is no checkpoint at all, the run does not start again from the beginning.
    let run = place.run("unbroken-Search");
    std::fs::remove_file(run.join("result.json")).unwrap();
    let metrics = std::fs::read(run.join("metrics.jsonl")).unwrap();
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let (code, err) = place.finish(&resume("unbroken-Search"));
    assert!(code == 1 && err.contains("checkpoints") && err.contains("no checkpoint at all"), "{err}");
    assert_eq!(std::fs::read(run.join("metrics.jsonl")).unwrap(), metrics);
}

/// An older checkpoint is kept until a newer one is undamaged, even if later checkpoints are damaged.
#[test]
fn damaged_checkpoints_do_not_push_out_good_ones() {
    use super::super::run::{Walk, create, go};
    let folder = tempfile::TempDir::new().unwrap();
    let run = create(&folder, "run");
    assert!(go(&mut Walk { fail_at: Some(11), ..Walk::new(11) }, &run).is_err());
    let checkpoints = run.checkpoints();
    assert_eq!(checkpoints.steps().unwrap(), [0, 3, 6, 9]);
    for step in [6, 9] {
        std::fs::write(checkpoints.path_of(step).join("state.json"), "").unwrap();
    }
    // The run continues from step 3 and stops after step 4.
    let (good, _) = checkpoints.newest_good().unwrap();
    checkpoints.save(4, None, &good.state).unwrap();
    checkpoints.prune(4, 1).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [0, 3, 4, 6, 9], "3 has the best score");
    assert_eq!(checkpoints.newest_good().unwrap().0.step, 4);
}

/// Every score is read as it was written. Otherwise its checkpoint would be treated as damaged.
#[test]
fn a_checkpoint_of_any_score_is_whole() {
    let folder = tempfile::TempDir::new().unwrap();
    let run = super::super::run::create(&folder, "run");
    let checkpoints = run.checkpoints();
    for n in 1..300u64 {
        let score = (7 * n % 311) as f64 / (n + 13) as f64;
        checkpoints.save(n, Some(score), &parsec_nas::files::tensors::Tensors::new()).unwrap();
        assert_eq!(checkpoint::read(&checkpoints.path_of(n)).unwrap().score, Some(score));
        std::fs::remove_dir_all(checkpoints.path_of(n)).unwrap();
    }
}
