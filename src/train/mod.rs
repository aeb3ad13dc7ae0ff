//! Networks outside the search: training, evaluating and using the network of one genotype, and one pass of a given
//! network on given tensors.
//!
//! [`Training::step`] is one step of SGD. `schedule` has the values that change from step to step, `snapshot` the
//! state, `weights` reads files of weights, and `trained` is a network that is only used.

mod evaluate;
mod job;
mod latency;
mod record;
pub mod replay;
pub mod schedule;
mod snapshot;
mod trained;
mod training;
pub mod weights;

pub use evaluate::{Detail, Evaluation, order, probabilities};
pub use latency::Speed;
pub use record::{Phases, TrainRecord};
pub use trained::Trained;
pub use training::{Settings, Training, lowering, memory, network_spec};
