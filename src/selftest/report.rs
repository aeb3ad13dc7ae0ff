//! Outcomes → a report that can be pasted into a bug report, as text or JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::run::Outcome;
use crate::gpu::AdapterInfo;

/// The worst error of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// How many outputs of it were compared.
    pub outputs: usize,
    /// The error that came nearest to its tolerance, or furthest beyond.
    pub worst_error: f64,
    /// Its tolerance.
    pub tolerance: f64,
    /// The case it was found in.
    pub case: String,
}

/// A case that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// Its name.
    pub case: String,
    /// Why.
    pub problems: Vec<String>,
}

/// What a self-test found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this program.
    pub version: &'static str,
    /// The adapter, its driver and its limits.
    pub adapter: AdapterInfo,
    /// Operating system and architecture.
    pub system: String,
    /// How kernels read activations here without a trial: from `buffers` or through `textures`.
    pub reads: &'static str,
    /// What the user should know about the adapter.
    pub remarks: Vec<String>,
    /// Cases that ran.
    pub cases: usize,
    /// By `shader::entry`, or by what was measured of a whole child.
    pub kernels: BTreeMap<String, Line>,
    /// What failed; empty if all is well.
    pub failures: Vec<Failure>,
    /// How long it took.
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

    /// Adds one case.
    pub fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        for found in &outcome.found {
            let line = self.kernels.entry(found.kernel.clone()).or_default();
            line.outputs += 1;
            // Where rounding is not allowed at all, any error is past every other.
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
