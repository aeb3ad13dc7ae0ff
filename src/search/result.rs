//! The state of a search → the architecture that it stands for, by its method.

use super::Search;
use crate::config::{Config, Method};
use crate::error::Result;
use crate::rng::{Purpose, stream};
use crate::space::{Genotype, Mixture, N_KINDS, Prior, Space};

/// What a random search from the uniform prior ends with, for which nothing has to be searched.
pub fn random_genotype(config: &Config) -> Result<Genotype> {
    let names: Vec<&str> = config.primitives.iter().map(|p| p.name()).collect();
    let space = Space::new(&names)?;
    Ok(draw(&space, &Prior::uniform(&space), config.seed))
}

fn draw(space: &Space, prior: &Prior, seed: u64) -> Genotype {
    space.genotype(&prior.sample(&mut stream(seed, Purpose::Result, 0, 0)))
}

impl Search {
    /// The architecture that the search would end with now: the mode of π; of a random search, whose π has no
    /// mode worth the name, a draw from it that only the seed decides; with all paths at once what α is decoded to.
    pub fn genotype(&self) -> Genotype {
        if let Some(darts) = &self.darts {
            return darts.alpha.decode(&self.space);
        }
        let config = &self.settings.config;
        if config.method == Method::Random {
            return draw(&self.space, &self.prior, config.seed);
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
