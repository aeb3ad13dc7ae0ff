//! (to be written)

pub mod show;
