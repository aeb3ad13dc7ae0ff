//! The content of the window without a display, driven through the labels that a screen reader reads.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../suite/small.rs"]
mod small;

mod driving;
mod hands;
mod watching;
