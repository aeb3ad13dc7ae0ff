//! Services of the host: its clock and its threads. A port to another host, such as a browser, replaces them here.

pub use std::thread;
pub use std::time::Instant;

/// Time since the beginning of 1970.
pub fn since_1970() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Number of threads for work that can be shared: `wanted`, or one per core if `wanted` is 0.
pub fn threads(wanted: usize) -> usize {
    match wanted {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// Time of the last change of a file, since the beginning of 1970.
pub fn changed(about: &std::fs::Metadata) -> Option<std::time::Duration> {
    about.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()
}
