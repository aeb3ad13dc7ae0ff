//! A form of the kernels → whether its results are right on an adapter. Only right forms are timed.
//!
//! The cases are those of the self-test, in the given form: forward, gradients of data and of weights, at odd sizes
//! and at the sizes of a child, against the f64 reference. A case is a problem if it is wrong, if a second run
//! gives other bits, or if it writes where it must not.

use super::{cases, run};
use crate::gpu::{Gpu, Variants};
use crate::{Error, Result};

/// Tests the kernels of `shaders` in these forms on `gpu`, and returns the problems of the first case that fails. Empty
/// if all cases are right. The buffers of `gpu` are overwritten.
///
/// # Errors
/// The errors of [`Gpu`], except that a kernel that the driver refuses is a problem of the form.
pub fn prove(gpu: &mut Gpu, variants: Variants, shaders: &[&str]) -> Result<Vec<String>> {
    gpu.read_through_textures(variants.textures == 1);
    for (shader, cases) in cases::of(&variants.tuning) {
        if !shaders.contains(&shader) {
            continue;
        }
        // All kernels are compiled at once, on all cores; each case alone would compile only its few kernels. A
        // kernel that the driver refuses is found below, with the case that needs it.
        let launches: Vec<_> = cases.iter().flat_map(|case| case.setup().launches).collect();
        match gpu.compile(&launches) {
            Ok(()) | Err(Error::Kernel { .. }) => {}
            Err(other) => return Err(other),
        }
        for case in &cases {
            match run::run(gpu, case) {
                Ok(outcome) if outcome.problems.is_empty() => {}
                Ok(outcome) => return Ok(outcome.problems),
                Err(Error::Kernel { kernel, message }) => return Ok(vec![format!("{kernel}: {message}")]),
                Err(other) => return Err(other),
            }
        }
    }
    Ok(Vec::new())
}
