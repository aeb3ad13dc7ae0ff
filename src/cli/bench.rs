//! `parsec bench` → times of kernels and steps against the adapter's bounds.

use super::{Ui, not_merged};
use crate::Result;

/// Measures.
pub fn bench(_ui: &Ui) -> Result<()> {
    // crate::gpu::bench::bench(ui)
    Err(not_merged("bench"))
}
