//! The integration tests. They are one binary, so that they share one device.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod architecture;
mod chain;
mod class_weights;
mod cli;
mod compare;
mod config;
mod consensus;
mod data;
mod docs;
mod export;
mod faults;
mod folder;
mod genotypes;
mod golden;
mod gpu;
mod graph;
mod input;
mod kernels;
mod nets;
mod own_primitive;
mod pages;
mod pickle;
mod predict;
mod primitives;
mod python_files;
mod rank;
mod reference;
mod replay;
mod report;
mod reproduce;
mod run;
mod runner;
mod search;
mod shards;
mod sizes;
mod small;
mod sources;
mod space;
mod stored;
mod train;
mod trust;
mod variants;

/// `base` after `change`.
pub fn with<T>(mut base: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut base);
    base
}
