//! A request → the finished plan.

use super::lower::{Request, lower};
use super::memory::{PAGE_BYTES, Regions, place};
use super::recompute::recompute;
use crate::error::Result;
use crate::kernel::Launch;

/// The work of one network as plain data. Equal requests give equal plans.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Launches in order, bound to pages and buffers.
    pub launches: Vec<Launch>,
    /// The place and the life of each tensor.
    pub regions: Regions,
    /// Bytes of the packed weights.
    pub packed_bytes: u64,
    /// Multiplications plus additions of all launches.
    pub flops: u64,
    /// Bytes that all launches move if each launch reads or writes each of its operands once.
    pub bytes: u64,
}

impl Plan {
    /// Plans one network.
    ///
    /// Errors: [`crate::Error::Memory`] if a tensor is larger than a page.
    pub fn new(request: Request<'_>) -> Result<Self> {
        let lowered = recompute(lower(request)?)?;
        let (mut launches, packed_bytes) = (lowered.launches, lowered.packed_bytes);
        let page_bytes = request.lowering.page_bytes.min(PAGE_BYTES);
        let regions = place(&mut launches, &lowered.sizes, page_bytes)?;
        let flops = launches.iter().map(|d| d.flops).sum();
        let bytes = launches.iter().map(|d| d.bytes).sum();
        Ok(Self { launches, regions, packed_bytes, flops, bytes })
    }

    /// Bytes of the arena that the plan needs.
    pub fn arena_bytes(&self) -> u64 {
        self.regions.arena_bytes()
    }
}
