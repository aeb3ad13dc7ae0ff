//! The desktop window: start a search or a training, watch it, open any run, use what was found.
//!
//! The window only shows and asks. Runs are driven by `runner` on threads of their own ([`driven`]), folders are read by
//! [`watch`], drawings are made by [`picture`], and everything else that takes time is a [`task`]. Nothing waits in a
//! frame. All state of a run is in its folder, so a window that ends loses nothing.

mod app;
mod card;
mod curves;
pub mod driven;
mod form;
#[cfg(feature = "window")]
mod native;
mod pane;
mod picture;
mod task;
mod watch;

/// A frame is drawn after this time. At once there would be two, one after the other.
const SOON: std::time::Duration = std::time::Duration::from_millis(1);

pub use app::{App, Frames, Outside, Remembered, Start};
pub use driven::{Ended, Job};
#[cfg(feature = "window")]
pub use native::{Closed, open};
