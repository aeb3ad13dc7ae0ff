//! The state of a search → the architecture that it stands for, by its method.

use super::Search;
use crate::config::Method;
use crate::rng::{Purpose, stream};
use crate::space::Genotype;

impl Search {
    /// The architecture that the search would end with now: the mode of π; of a random search, whose π has no
    /// mode worth the name, a draw from it that only the seed decides.
    pub fn genotype(&self) -> Genotype {
        let config = &self.settings.config;
        match config.method {
            Method::Random => {
                let mut rng = stream(config.seed, Purpose::Result, 0, 0);
                self.space.genotype(&self.prior.sample(&mut rng))
            }
            Method::Parsec | Method::Darts => self.mode(),
        }
    }
}
