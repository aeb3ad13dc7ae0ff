//! A form of the kernels → whether its results are right on an adapter: what must hold before its speed counts.
//!
//! The cases are the self-test's, in the form that is asked about: forward, gradients of data and of weights, at odd sizes
//! and at those of a child, against the f64 reference. A case that is wrong, gives other bits a second time or writes
//! where it must not is a problem.

use super::{cases, run};
use crate::gpu::{Gpu, Variants};
use crate::{Error, Result};

/// The first thing that is wrong with the kernels of `shaders` in these forms on `gpu`, whose buffers are overwritten;
/// nothing where all are right.
///
/// # Errors
/// Those of [`Gpu`], but for a kernel that the driver refuses: that is a problem of the form.
pub fn prove(gpu: &mut Gpu, variants: Variants, shaders: &[&str]) -> Result<Vec<String>> {
    gpu.read_through_textures(variants.textures == 1);
    for (shader, cases) in cases::of(&variants.tuning) {
        if !shaders.contains(&shader) {
            continue;
        }
        // On all cores, where each case would have its few kernels compiled alone. A kernel that the driver refuses is
        // found below, with the case that needs it.
        let dispatches: Vec<_> = cases.iter().flat_map(|case| case.setup().dispatches).collect();
        match gpu.compile(&dispatches) {
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
