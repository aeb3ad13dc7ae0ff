//! (to be written)

pub mod devices;
