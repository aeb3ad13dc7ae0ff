//! The children and weights in a run's metrics → π after each step, with the bits that it had.
//!
//! π depends on the adapter only through the importance weights, and these are in the metrics. So no adapter is needed.

use super::algorithm::{Parsec, Rules};
use super::draws;
use super::strategy::Strategy;
use crate::config::{Config, Method};
use crate::error::Result;
use crate::files::tensors::Tensors;
use crate::space::{Alpha, Prior, Space};

/// A step of a search, as its metrics have it.
pub struct Recorded<'a> {
    /// The step, from 1.
    pub step: u64,
    /// Whether the step only trained the weights.
    pub warm_up: bool,
    /// The children.
    pub alphas: &'a [Alpha],
    /// The importance weights.
    pub weights: &'a [f64],
}

/// π on its way.
pub struct Retrace(Parsec);

impl Retrace {
    /// The prior before the first step of a search by `config`. `start` is the state of the run's first checkpoint.
    /// `None` if the method has no prior that moves.
    ///
    /// # Errors
    /// The state does not fit the space.
    pub fn new(config: &Config, space: &dyn Space, start: &Tensors) -> Result<Option<Self>> {
        if config.algorithm.method != Method::Parsec {
            return Ok(None);
        }
        // The length of an epoch matters for the warm-up only, and the records say which steps belong to it.
        let rules = Rules::of(config, 1);
        let warm_up = rules.warm_up.map(|_| 0);
        let mut parsec = Parsec::new(space, Rules { warm_up, patience: 0, ..rules });
        parsec.load(space, start)?;
        Ok(Some(Self(parsec)))
    }

    /// π after the steps so far.
    pub fn prior(&self) -> &Prior {
        &self.0.prior
    }

    /// Moves π by the next step. Returns whether the children of the step are those that π and the seed give. If they
    /// are not, π stays as it is: the metrics are of another run, or steps are missing.
    pub fn follow(&mut self, recorded: &Recorded<'_>) -> bool {
        let t = recorded.step - 1;
        if recorded.warm_up {
            self.0.rules.warm_up = Some(recorded.step);
        }
        let drawn = draws::draw(&self.0.prior, &self.0.rules, t);
        let fits = drawn.alphas == recorded.alphas && recorded.weights.len() == recorded.alphas.len();
        if fits && !recorded.warm_up {
            self.0.move_prior(t, recorded.alphas, recorded.weights, &drawn.ratios);
        }
        fits
    }
}
