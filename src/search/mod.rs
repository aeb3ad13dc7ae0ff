//! Algorithm 1: importance-weighted Monte-Carlo empirical Bayes over child networks.
//!
//! [`Search::step`] stands beside the paper's box; [`importance`] has the weights, [`prior_update`] the
//! update of π. The weights v live on the adapter, π on the host.

mod algorithm;
mod children;
mod evaluate;
pub mod importance;
mod passes;
pub mod prior_update;
mod record;
mod result;
mod snapshot;
mod trace;

pub use crate::graph::init;
pub use algorithm::{Search, Settings};
pub use evaluate::Evaluation;
pub use record::{PerKind, Phases, StepRecord};
pub use snapshot::take_prior;
