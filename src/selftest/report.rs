//! Outcomes → a report that can be pasted into a bug report, as text or JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::run::Outcome;
use crate::gpu::AdapterInfo;

/// The worst error of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// Number of compared outputs of the kernel.
    pub outputs: usize,
    /// The error that is nearest to its tolerance, or farthest beyond its tolerance.
    pub worst_error: f64,
    /// Tolerance of the worst error.
    pub tolerance: f64,
    /// The case with the worst error.
    pub case: String,
}

/// A case that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// Name of the case.
    pub case: String,
    /// Reasons of the failure.
    pub problems: Vec<String>,
}

/// Result of a self-test.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this program.
    pub version: &'static str,
    /// The adapter, its driver and its limits.
    pub adapter: AdapterInfo,
    /// Operating system and architecture.
    pub system: String,
    /// How kernels read activations on this adapter without a trial: from `buffers` or through `textures`.
    pub reads: &'static str,
    /// Remarks about the adapter for the user.
    pub remarks: Vec<String>,
    /// Number of cases that ran.
    pub cases: usize,
    /// Lines by `shader::entry`, or by the quantity that was measured of a whole child.
    pub kernels: BTreeMap<String, Line>,
    /// The cases that failed; empty if all passed.
    pub failures: Vec<Failure>,
    /// Seconds that the self-test took.
    pub seconds: f64,
}

impl Report {
    /// An empty report.
    pub fn new(adapter: AdapterInfo, reads: &'static str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            adapter,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            reads,
            remarks: Vec::new(),
            cases: 0,
            kernels: BTreeMap::new(),
            failures: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Adds the outcome of one case.
    pub fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        for found in &outcome.found {
            let line = self.kernels.entry(found.kernel.clone()).or_default();
            line.outputs += 1;
            // With a tolerance of 0, any error is worse than every error with another tolerance.
            let share =
                |error: f64, tolerance: f64| if tolerance > 0.0 { error / tolerance } else { error * 1e30 };
            let nearer = share(found.error, found.tolerance) > share(line.worst_error, line.tolerance);
            if line.outputs == 1 || nearer {
                (line.worst_error, line.tolerance) = (found.error, found.tolerance);
                line.case = outcome.case.clone();
            }
        }
        if !outcome.problems.is_empty() {
            self.failures.push(Failure { case: outcome.case.clone(), problems: outcome.problems.clone() });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, l) = (&self.adapter, &self.adapter.limits);
        writeln!(
            f,
            "parsec {} selftest, {}, activations read from {}",
            self.version, self.system, self.reads
        )?;
        writeln!(f, "adapter  {} ({}, {})", a.name, a.backend, a.device_type)?;
        writeln!(f, "driver   {} {}", a.driver, a.driver_info)?;
        self.remarks.iter().try_for_each(|remark| writeln!(f, "remark   {remark}"))?;
        writeln!(
            f,
            "limits   binding {} MiB, buffer {} MiB, {} storage buffers, workgroup memory {} KiB, {} invocations, subgroups \
             {} to {}",
            l.max_storage_buffer_binding_size >> 20,
            l.max_buffer_size >> 20,
            l.max_storage_buffers_per_shader_stage,
            l.max_compute_workgroup_storage_size >> 10,
            l.max_compute_invocations_per_workgroup,
            l.subgroup_min_size,
            l.subgroup_max_size,
        )?;
        writeln!(f, "\n{:36} {:>7} {:>11} {:>9}", "kernel", "outputs", "worst error", "accepted")?;
        for (kernel, line) in &self.kernels {
            writeln!(
                f,
                "{kernel:36} {:>7} {:>11.1e} {:>9.1e}",
                line.outputs, line.worst_error, line.tolerance
            )?;
        }
        for failure in &self.failures {
            writeln!(f, "\nFAILED {}", failure.case)?;
            for problem in &failure.problems {
                writeln!(f, "  {problem}")?;
            }
        }
        write!(f, "\n{} cases, {} failed, {:.1} s", self.cases, self.failures.len(), self.seconds)
    }
}
