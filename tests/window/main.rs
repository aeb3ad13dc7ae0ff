//! The content of the window without a display, driven through the labels that a screen reader reads.

#[path = "../suite/small.rs"]
mod small;

mod driving;
mod hands;
mod watching;
