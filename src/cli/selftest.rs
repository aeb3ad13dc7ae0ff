//! `parsec selftest` → every kernel against its f64 reference on the adapter.

use super::{Ui, not_merged};
use crate::Result;

/// Tests every kernel.
///
/// # Errors
/// [`crate::Error::Device`] if any kernel is outside its tolerance.
pub fn selftest(_ui: &Ui) -> Result<()> {
    // crate::gpu::selftest::selftest(ui)
    Err(not_merged("selftest"))
}
