//! Launches as plain data → work on an adapter, and results back. No other folder names wgpu.
//!
//! [`Device`] is an open adapter with the kernels compiled on it, shared by any number of [`Gpu`]s. A [`Gpu`] owns one
//! buffer per role ([`crate::kernel::Buf`]) on a device. [`Gpu::prepare`] turns launches into a [`Recorded`] list once.
//! [`Gpu::submit`] runs the list any number of times, and waits only while four submissions are in flight.
//! [`Gpu::read`] and [`Gpu::wait`] wait for all work. Nothing here knows a space or a search.

mod adapter;
mod children;
mod device;
mod executor;
mod mirror;
mod network;
mod pace;
mod parallel;
mod pipelines;
mod record;
mod results;
mod variants;
mod wait;

pub use adapter::{AdapterInfo, AdapterLimits, Class, adapters, choose, class_from_env, is_software};
pub use device::{Alter, Device, LimitsChoice, Options, Reads, has_dxc};
pub use executor::Gpu;
pub use network::{Child, Clip, Network, Update};
pub use record::Recorded;
pub use results::ChildResult;
pub use variants::{Excluded, Prove, Tuned, Variants};
pub use wait::wait;
