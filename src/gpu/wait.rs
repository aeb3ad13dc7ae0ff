//! The only place where the host blocks on a future of wgpu.

use std::future::Future;

/// Waits until `future` is ready, and returns its result.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}
