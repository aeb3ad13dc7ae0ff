//! PARSEC: probabilistic neural architecture search on any GPU.
//!
//! The modules are listed in the order in which data flows through them. `ARCHITECTURE.md` has the map.

pub mod error;
pub mod files;
pub mod host;
pub mod rng;

pub mod config;
pub mod data;
pub mod network;
pub mod space;

pub mod kernel;
pub mod ops;
pub mod reference;

pub mod graph;

pub mod gpu;

pub mod search;
pub mod train;

pub mod bench;
pub mod selftest;

pub mod run;

pub mod export;
pub mod report;

pub mod runner;

pub mod view;

#[cfg(feature = "window-content")]
pub mod window;

#[cfg(feature = "cli")]
pub mod cli;

pub use error::{Error, Result};
