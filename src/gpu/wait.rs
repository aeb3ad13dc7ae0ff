//! The only place where the host blocks on the adapter: on a future of wgpu, or on submitted work. The window waits for its dialogs here too.

use std::future::Future;
use std::time::Duration;

/// Waits until `future` is ready, and returns its result.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// Waits for the submission `index`, or for all submissions, but not longer than `timeout`. Callbacks of finished work run
/// meanwhile.
///
/// # Errors
/// The time is over, or the device is lost.
pub fn wait_for_work(
    device: &wgpu::Device,
    index: Option<wgpu::SubmissionIndex>,
    timeout: Duration,
) -> Result<(), wgpu::PollError> {
    device.poll(wgpu::PollType::Wait { submission_index: index, timeout: Some(timeout) }).map(|_| ())
}
