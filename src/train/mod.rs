//! Networks outside the search: one pass of a given network on given tensors.

pub mod replay;
