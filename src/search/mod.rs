//! Algorithm 1, which is importance-weighted Monte-Carlo empirical Bayes over child networks, and its baselines.
//!
//! [`algorithm`] follows the paper's box; [`importance`] has the weights, [`prior_update`] the update of π. A
//! [`Strategy`] defines the steps: `Parsec`, the searches of [`random`], or all paths at once in [`darts`]. An
//! [`Evaluator`] runs the passes of a step with the weights v on the adapter; π is on the host.

pub mod algorithm;
pub mod best;
pub mod darts;
pub mod draws;
mod evaluate;
pub mod evaluator;
pub mod evidence;
pub mod importance;
mod job;
mod moments;
pub mod prior_update;
pub mod random;
mod record;
pub mod retrace;
#[allow(clippy::module_inception)]
mod search;
mod snapshot;
pub mod strategy;
mod trace;

pub use algorithm::{Parsec, Rules};
pub use evaluate::{Evaluation, HeldOut};
pub use evaluator::{Evaluator, Trained};
pub use random::{Random, RandomSearch, random_architecture};
pub use record::{Phases, StepRecord};
pub use search::{Search, Settings, batch_sources};
pub use strategy::{Step, Strategy, prior_tensors, take_prior};
