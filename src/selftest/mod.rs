//! Every kernel, and whole children, on an adapter compared with the f64 reference → a report.
//!
//! [`cases`] has inputs and expected outputs, [`setup`] lays them out in memory, and [`run`] runs and compares
//! them. [`child`] does the same for whole networks. Tolerances are not adjusted to results: each tolerance has a
//! reason beside it.

pub mod cases;
pub mod child;
pub mod distance;
pub mod draw;
pub mod gradient;
mod mixed;
pub mod proof;
pub mod report;
pub mod run;
pub mod setup;
pub mod shaders;

use crate::host::Instant;

pub use report::Report;
pub use run::Outcome;

use crate::gpu::{Device, Gpu, Options};
use crate::kernel::kernel;
use crate::{Error, Result};

/// One in this number of cases also runs with activations read the other way.
const OTHER_READS: usize = 4;

/// Runs all cases whose names contain `filter`. `seen` gets each outcome as soon as the case is done.
///
/// # Errors
/// [`Error::Usage`] if no case has such a name, and the errors of [`Gpu`]. Wrong results are no error here: they
/// are in [`Report::failures`].
pub fn selftest(
    device: Option<&str>,
    options: Options,
    filter: Option<&str>,
    seen: &mut dyn FnMut(&Outcome),
) -> Result<Report> {
    let started = Instant::now();
    let wanted = |name: &str| filter.is_none_or(|part| name.contains(part));
    let device = Device::open(device, options)?;
    let mut gpu = Gpu::on(&device)?;
    let mut report = Report::new(gpu.info().clone(), reads(&gpu));
    report.remarks = gpu.remarks().to_vec();
    for case in cases::all().iter().filter(|case| wanted(&case.name())) {
        let outcome = run::run(&mut gpu, case)?;
        seen(&outcome);
        report.add(&outcome);
    }
    other_reads(&mut gpu, &wanted, &mut |outcome| {
        seen(&outcome);
        report.add(&outcome);
    })?;
    drop(gpu);
    child::run(&|| Gpu::on(&device), &wanted, &mut |outcome| {
        seen(&outcome);
        report.add(&outcome);
    })?;
    if report.cases == 0 {
        let names: Vec<String> = cases::all().iter().map(cases::Case::name).collect();
        let ops: std::collections::BTreeSet<&str> =
            names.iter().filter_map(|n| n.split(' ').next()).collect();
        let expected = format!("a part of a case's name, such as {}", Vec::from_iter(ops).join(", "));
        return Err(Error::usage(
            "--case",
            expected,
            filter.unwrap_or_default(),
            "parsec selftest -v lists them",
        ));
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// How kernels read activations.
fn reads(gpu: &Gpu) -> &'static str {
    if gpu.reads_through_textures() { "textures" } else { "buffers" }
}

/// Runs some of the cases with activations read the other way, because `--tune` may choose that way.
fn other_reads(gpu: &mut Gpu, wanted: &dyn Fn(&str) -> bool, seen: &mut dyn FnMut(Outcome)) -> Result<()> {
    gpu.read_through_textures(!gpu.reads_through_textures());
    let reads = reads(gpu);
    let mut reading = Vec::new();
    for case in cases::all() {
        let mut has_textures = false;
        for launch in case.setup().launches {
            has_textures |= !kernel(launch.shader)?.textures.is_empty();
        }
        if has_textures {
            reading.push(case);
        }
    }
    // A part of the cases is enough, because these kernels differ only in how they load.
    for case in reading.iter().step_by(OTHER_READS) {
        let name = format!("{} reads={reads}", case.name());
        if wanted(&name) {
            let mut outcome = run::run(gpu, case)?;
            outcome.case = name;
            outcome.found.iter_mut().for_each(|f| f.kernel = format!("{} ({reads})", f.kernel));
            seen(outcome);
        }
    }
    Ok(())
}
