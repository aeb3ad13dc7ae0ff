//! Where the host waits for the adapter: nothing else in the program does.

use std::future::Future;

/// What `future` gives once the adapter has it.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}
