//! `scripts/faults [KILLS]` runs this file: it injects every fault many times and prints a table.

use super::super::gpu::has_gpu;
use super::{Dice, Job, Place, Row};

#[test]
#[ignore = "minutes; scripts/faults runs it"]
fn table() {
    assert!(has_gpu());
    let kills = std::env::var("PARSEC_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(100usize);
    let few = kills.div_ceil(10);
    let mut dice = Dice(kills as u64);
    let place = Place::new(12);
    let ends = [Job::Search, Job::Train].map(|job| place.unbroken(job, &format!("unbroken-{job:?}")));
    let mut rows = Vec::new();
    println!("\n| fault | times injected | runs lost | bits differing |\n|---|---:|---:|---:|");
    let mut tell = |row: Row| {
        println!("| {} | {} | {} | {} |", row.fault, row.injected, row.lost, row.differing);
        rows.push(row);
    };
    for (job, end) in [Job::Search, Job::Train].into_iter().zip(&ends) {
        tell(super::kill::sigkill(&place, job, end, kills, &mut dice));
    }
    #[cfg(unix)]
    {
        tell(super::kill::sigterm(&place, &ends, few, &mut dice));
        tell(super::kill::two_processes(&place, &ends[0], few));
    }
    tell(super::disk::full_in_process(7));
    #[cfg(unix)]
    {
        let blocks: Vec<usize> = (0..few).map(|i| i * 24 / few).collect();
        tell(super::disk::limits(&place, &ends[0], &blocks));
        tell(super::disk::read_only(&place, &ends[0]));
    }
    super::damage::unnoticed(&place.run("unbroken-Search"), 100 * kills, &mut dice)
        .into_iter()
        .for_each(&mut tell);
    for (job, end) in [Job::Search, Job::Train].into_iter().zip(&ends) {
        std::fs::remove_dir_all(place.run("damaged")).ok();
        tell(super::damage::passed_over(&place, job, end, few, &mut dice));
    }
    tell(super::data::changed(&place, &ends[0], few));
    super::device::lost_device(few, &mut dice).into_iter().flatten().for_each(&mut tell);
    super::device::stopped().into_iter().chain(super::device::not_a_number()).for_each(&mut tell);
    rows.iter().for_each(Row::check);
}
