//! The kernels against their f64 references, and the harness that compares them against itself.

use parsec_nas::selftest::{cases, run};

use super::gpu::gpu;

#[test]
fn every_case_passes() {
    let Some(mut gpu) = gpu() else { return };
    let mut failed = Vec::new();
    for case in cases::all() {
        let outcome = run::run(&mut gpu, &case).unwrap();
        eprintln!("{:6.2} s {}", outcome.seconds, outcome.case);
        for f in &outcome.found { eprintln!("      {:30} {:.1e} {:.1e} {}", f.kernel, f.error, f.tolerance, if f.error > f.tolerance {"!!!"} else if f.error > 0.3*f.tolerance {"~"} else {""}); }
        failed.extend(outcome.problems.iter().map(|p| format!("{}: {p}", outcome.case)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
