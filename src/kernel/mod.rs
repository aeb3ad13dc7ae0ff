//! WGSL text → validated modules with reflected bindings; launches as plain data.

pub mod dispatch;

pub use dispatch::{Buf, Dispatch, Range};
pub mod specialise;
