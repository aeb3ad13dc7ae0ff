//! Data that change or disappear during a run.

use super::super::gpu::has_gpu;
use super::{End, Job, Place, Row, resume};

/// A run keeps its images in memory. A resumed run needs the images with which it was started.
pub(super) fn changed(place: &Place, unbroken: &End, times: usize) -> Row {
    let mut row = Row::new("data folder changed or gone");
    let (images, away) = (place.path().join("images"), place.path().join("away"));
    for i in 0..times {
        // The images disappear during the run.
        let name = format!("data-{i}");
        let run = place.run(&name);
        let mut child = place.spawn(&place.start(Job::Search, &name));
        while !run.join("metrics.jsonl").exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::fs::rename(&images, &away).unwrap();
        row.injected += 1;
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        row.compare(&run, unbroken);

        // At a resume the images are missing, and then one pixel is changed.
        std::fs::remove_file(run.join("result.json")).unwrap();
        let (code, err) = place.finish(&resume(&name));
        assert!(code == 1 && err.contains("images") && err.contains("nothing of that name"), "{err}");
        std::fs::rename(&away, &images).unwrap();
        let picture = images.join(["red/07.png", "blue/00.png"][i % 2]);
        let whole = std::fs::read(&picture).unwrap();
        let mut changed = image::open(&picture).unwrap().to_rgb8();
        changed.get_pixel_mut(3, 4).0[1] ^= 1;
        changed.save(&picture).unwrap();
        let (code, err) = place.finish(&resume(&name));
        assert!(
            code == 1
                && err.contains("sha256")
                && err.contains("folder:images")
                && err.contains("--data SPEC"),
            "{err}"
        );
        row.injected += 2;
        std::fs::write(&picture, whole).unwrap();
        place.resume(&name, unbroken, &mut row);
    }
    row
}

#[test]
fn data_that_change_or_go_are_noticed() {
    if !has_gpu() {
        return;
    }
    let place = Place::new(3);
    let unbroken = place.unbroken(Job::Search, "unbroken");
    changed(&place, &unbroken, 1).check();
}
