//! The kernels against the oracle, the harness that compares them, and the forms in which they are compiled.

mod forms;
mod harness;
mod languages;

use std::collections::BTreeSet;

use parsec_nas::gpu::Gpu;
use parsec_nas::kernel::{Launch, SOURCES, kernel};
use parsec_nas::selftest::{self, cases, cases::Case, child, run, shaders};

use super::gpu::{device, gpu, options};

/// The first case whose name has all these parts.
fn case(parts: &[&str]) -> Case {
    let has = |name: &str| parts.iter().all(|part| name.contains(part));
    cases::all().into_iter().find(|c| has(&c.name())).expect("a case with these parts")
}

/// All launches of all cases.
fn launches() -> Vec<Launch> {
    cases::all().iter().flat_map(|c| c.setup().launches).collect()
}

#[test]
fn every_kernel_agrees_with_its_reference() {
    let Some(mut gpu) = gpu() else { return };
    let mut failed = Vec::new();
    for case in cases::all() {
        let outcome = run::run(&mut gpu, &case).unwrap();
        assert!(!outcome.found.is_empty(), "{} compares nothing", outcome.case);
        failed.extend(outcome.problems.iter().map(|p| format!("{}: {p}", outcome.case)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn whole_children_and_steps_agree_with_the_reference() {
    let Some(device) = device() else { return };
    let mut failed = Vec::new();
    let mut n = 0;
    child::run(&|| Gpu::on(device), &|_| true, &mut |outcome| {
        n += 1;
        failed.extend(outcome.problems.iter().map(|p| format!("{}: {p}", outcome.case)));
    })
    .unwrap();
    assert!(n >= 5 && failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_entry_point_of_every_shader_has_a_case() {
    let covered: BTreeSet<_> = launches().iter().map(|d| (d.shader, d.entry)).collect();
    for source in SOURCES {
        for entry in &kernel(source.name).unwrap().entries {
            assert!(covered.contains(&(source.name, entry.name.as_str())), "{}::{}", source.name, entry.name);
        }
    }
}

/// For each override of each entry point, the cases have every value that plans use.
#[test]
fn every_override_value_that_plans_use_has_a_case() {
    let values = |list: &[Launch]| -> BTreeSet<_> {
        let of =
            |d: &Launch| d.overrides.iter().map(|(n, v)| (d.shader, d.entry, *n, *v)).collect::<Vec<_>>();
        list.iter().flat_map(of).collect()
    };
    let (planned, tested) = (values(&shaders::planned().unwrap()), values(&launches()));
    assert!(planned.len() > 100, "{}", planned.len());
    let missing: Vec<_> = planned.difference(&tested).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn names_of_cases_are_unique_and_run_them_alone() {
    let Some(gpu) = gpu() else { return };
    drop(gpu);
    let names: Vec<String> = cases::all().iter().map(Case::name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    let name = "fill n_quads=300";
    let mut seen = Vec::new();
    let report = selftest::selftest(None, options(), Some(name), &mut |o| seen.push(o.case.clone())).unwrap();
    assert_eq!(seen, [name]);
    assert_eq!((report.cases, report.failures.len()), (1, 0));
    let text = report.to_string();
    for part in
        [report.adapter.name.as_str(), report.adapter.driver_info.as_str(), "fill::fill", "1 cases, 0 failed"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["kernels"]["fill::fill"]["worst_error"], 0.0);
    let error = selftest::selftest(None, options(), Some("no such case"), &mut |_| {}).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("depthwise"), "{error}");
}
