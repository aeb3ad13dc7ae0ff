//! Results → files that other programs read.

pub mod tensors;
