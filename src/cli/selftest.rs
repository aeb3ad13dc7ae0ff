//! `parsec selftest` → every kernel on the adapter against the f64 oracle.

use super::Ui;
use super::Verbosity;
use crate::gpu::Options;
use crate::{Error, Result, selftest};

/// The flags of `selftest`.
#[derive(Debug, clap::Args)]
pub struct SelftestArgs {
    /// Only the cases whose names contain this
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    /// Kernels as they are written, loops not written out: for a driver that compiles long kernels slowly or wrongly
    #[arg(long)]
    pub plain_kernels: bool,
}

/// Tests every kernel.
///
/// # Errors
/// [`Error::Device`] if any result is outside its tolerance.
pub fn selftest(args: &SelftestArgs, ui: &Ui) -> Result<()> {
    let mut seen = |outcome: &selftest::Outcome| {
        if !outcome.problems.is_empty() {
            ui.note(&format!("FAILED {}", outcome.case));
        } else if ui.verbosity == Verbosity::Verbose {
            ui.note(&format!("{:6.2} s  {}", outcome.seconds, outcome.case));
        }
    };
    let options = Options { plain: args.plain_kernels, ..Options::default() };
    let report = selftest::selftest(ui.device.as_deref(), options, args.case.as_deref(), &mut seen)?;
    ui.emit(&report)?;
    ui.say(&report.to_string())?;
    match report.failures.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Error::device(
            format!(
                "{} of {} cases failed on {}, the first: {}",
                report.failures.len(),
                report.cases,
                report.adapter.name,
                first.case
            ),
            "a newer driver or another --device; do not trust results of this one, and report the output above as a bug",
        )),
    }
}
