//! α → graph → plan: the structure of a network, and what evaluates it, as plain data.

pub mod spec;
