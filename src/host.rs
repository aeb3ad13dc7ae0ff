//! What the host gives: its clock and its threads. Another kind of host, such as a browser, gives them here.

pub use std::thread;
pub use std::time::Instant;

/// Threads for work that can be shared: `wanted`, or where that is 0 one per core.
pub fn threads(wanted: usize) -> usize {
    match wanted {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}
