//! (layers of a network, batch) → a plan, which says which kernels run in which order on which memory.
//!
//! Plans are plain data without any GPU type, so they can be made, printed, compared and counted anywhere.

pub mod init;
pub mod layout;
pub mod lower;
pub mod memory;
pub mod plan;
pub mod recompute;

pub use layout::Layout;
pub use lower::{Extent, Loss, Lowering, Memory, Mode, Request, Trunk};
pub use plan::Plan;
