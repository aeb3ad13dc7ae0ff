//! Algorithm 1: importance-weighted Monte-Carlo empirical Bayes over child networks; beside it its baselines.
//!
//! [`Search::step`] stands beside the paper's box; [`importance`] has the weights, [`prior_update`] the
//! update of π. The weights v live on the adapter, π on the host. `darts` has the step over all paths at once;
//! a random search is Algorithm 1 whose π stays, and a draw from it at the end.

mod algorithm;
mod children;
pub mod darts;
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
pub use result::random_genotype;
pub use snapshot::take_prior;
