//! A test, run twice on the adapter → errors and problems.

use crate::host::Instant;

use bytemuck::{cast_slice, pod_collect_to_vec};

use super::cases::Case;
use super::setup::{Memory, Setup};
use crate::Result;
use crate::gpu::Gpu;

/// The error of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The measured quantity: `shader::entry`, or a quantity of a whole child.
    pub kernel: String,
    /// Largest error, relative to the largest magnitude expected.
    pub error: f64,
    /// The largest error that is accepted.
    pub tolerance: f64,
}

/// Outcome of one test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Name of the test. The name can be used to run the test alone.
    pub case: String,
    /// All measured errors, also those within their tolerances.
    pub found: Vec<Found>,
    /// Reasons of the failure; empty if the test passed.
    pub problems: Vec<String>,
    /// Seconds that the test took.
    pub seconds: f64,
}

/// Runs a case.
///
/// # Errors
/// The errors of [`Gpu`]. A wrong result is no error; it is in [`Outcome::problems`].
pub fn run(gpu: &mut Gpu, case: &Case) -> Result<Outcome> {
    let started = Instant::now();
    let name = case.name();
    let mut setup = case.setup();
    setup.fast_math = gpu.info().backend == "metal";
    let first = execute(gpu, &setup)?;
    let mut outcome = compare(&setup, &first);
    if execute(gpu, &setup)? != first {
        outcome.problems.push("a second run gives other bits".into());
    }
    outcome.case = name;
    outcome.seconds = started.elapsed().as_secs_f64();
    Ok(outcome)
}

/// Runs the launches of `setup`, and returns all memory afterwards.
///
/// # Errors
/// The errors of [`Gpu`].
pub fn execute(gpu: &mut Gpu, setup: &Setup) -> Result<Memory> {
    for (buf, words) in &setup.memory {
        gpu.ensure(*buf, words.len() as u64 * 4)?;
        gpu.write(*buf, 0, cast_slice(words))?;
    }
    let recorded = gpu.prepare(&setup.launches)?;
    gpu.submit(&recorded)?;
    let mut after = Memory::new();
    for (buf, words) in &setup.memory {
        after.insert(*buf, pod_collect_to_vec(&gpu.read(*buf, 0, words.len() as u64 * 4)?));
    }
    Ok(after)
}

/// Compares outputs with the expected values, and every other word with its previous value.
pub fn compare(setup: &Setup, after: &Memory) -> Outcome {
    let mut outcome = Outcome::default();
    let mut may_change: std::collections::BTreeMap<_, Vec<bool>> =
        setup.memory.iter().map(|(buf, words)| (*buf, vec![false; words.len()])).collect();
    for output in &setup.outputs {
        let usual = output.tolerance;
        let tolerance = if setup.fast_math { usual.with_fast_math() } else { usual };
        let (Some(words), Some(may_change)) = (after.get(&output.buf), may_change.get_mut(&output.buf))
        else {
            outcome.problems.push(format!("{}: there is no buffer {:?}", output.kernel, output.buf));
            continue;
        };
        let (mut worst, mut at) = (0.0, None);
        for &(first, want) in &output.items {
            let places = (0..output.chunks).map(|chunk| first + chunk * output.stride);
            let mut got = 0.0;
            for place in places {
                may_change[place] = true;
                got += f64::from(f32::from_bits(words[place]));
            }
            let Some(want) = want else { continue };
            let error = (got - want).abs() / output.scale;
            // A NaN is the largest possible error.
            let error = if error.is_nan() { f64::INFINITY } else { error };
            if error > worst {
                (worst, at) = (error, Some((first, got, want)));
            }
        }
        if output.items.iter().any(|(_, want)| want.is_some()) {
            let (kernel, tolerance) = (output.kernel.clone(), tolerance.relative);
            outcome.found.push(Found { kernel, error: worst, tolerance });
        }
        if let Some((word, got, want)) = at.filter(|_| worst > tolerance.relative) {
            outcome.problems.push(format!(
                "{}: {got:e} instead of {want:e} at word {word} of {:?}; error {worst:.1e} of the largest value, accepted \
                 {:.1e} ({})",
                output.kernel, output.buf, tolerance.relative, tolerance.reason
            ));
        }
    }
    for (buf, before) in &setup.memory {
        let changed = |&i: &usize| !may_change[buf][i] && after[buf][i] != before[i];
        let mut places = (0..before.len()).filter(changed);
        if let Some(first) = places.next() {
            let n = 1 + places.count();
            outcome
                .problems
                .push(format!("{n} words of {buf:?} changed that no kernel may write, first word {first}"));
        }
    }
    outcome
}
