//! The state of a search → the architecture that it stands for, by its method.

use super::Search;
use crate::config::Method;
use crate::rng::{Purpose, stream};
use crate::space::{Genotype, Mixture, N_KINDS, Prior};

impl Search {
    /// The architecture that the search would end with now: the mode of π; of a random search, whose π has no
    /// mode worth the name, a draw from it that only the seed decides; with all paths at once what α is decoded to.
    pub fn genotype(&self) -> Genotype {
        if let Some(darts) = &self.darts {
            return darts.alpha.decode(&self.space);
        }
        let config = &self.settings.config;
        if config.method == Method::Random {
            let mut rng = stream(config.seed, Purpose::Result, 0, 0);
            return self.space.genotype(&self.prior.sample(&mut rng));
        }
        self.mode()
    }

    /// Entropy in nats of π, or of the softmax of α, over each kind of cell.
    pub fn entropy(&self) -> [f64; N_KINDS] {
        self.darts.as_ref().map_or_else(|| self.prior.entropy(), |darts| darts.alpha.entropy())
    }

    /// The same where a search begins.
    pub fn entropy_uniform(&self) -> [f64; N_KINDS] {
        match self.darts {
            Some(_) => Mixture::uniform(&self.space).entropy(),
            None => Prior::uniform(&self.space).entropy(),
        }
    }

    /// α, where all paths run at once.
    pub fn mixture(&self) -> Option<&Mixture> {
        self.darts.as_ref().map(|darts| &darts.alpha)
    }
}
