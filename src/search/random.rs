//! Searches whose π never moves: the baselines of Algorithm 1.
//!
//! [`Random`] draws children as Algorithm 1 does and ends with a draw. [`RandomSearch`] is random search with shared
//! weights: all children train v with equal weight, and the search ends with the child that was best on the search
//! batches.

use std::path::Path;

use super::algorithm::{Parsec, Rules, alike, train_alike};
use super::draws;
use super::evaluator::Evaluator;
use super::strategy::{Step, Strategy};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::files::tensors::{self, Tensor, Tensors};
use crate::gpu::Update;
use crate::rng::{Purpose, stream};
use crate::space::{Alpha, Prior, Space};

/// A search whose π never moves. The result is a draw from π that only the seed decides, because such a π has no
/// meaningful mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Random(pub Parsec);

impl Random {
    /// A random search with these rules, except that π does not move.
    pub fn new(space: &dyn Space, rules: Rules) -> Self {
        Self(Parsec::new(space, Rules { warm_up: None, ..rules }))
    }
}

impl Strategy for Random {
    fn step(
        &mut self,
        t: u64,
        evaluator: &mut Evaluator,
        batches: [&Batch; 2],
        update: Update,
    ) -> Result<Step> {
        self.0.step(t, evaluator, batches, update)
    }

    fn reserve(&self, evaluator: &mut Evaluator) -> Result<()> {
        self.0.reserve(evaluator)
    }

    fn architecture(&self, _space: &dyn Space) -> Alpha {
        random_architecture(&self.0.prior, self.0.rules.seed)
    }

    fn entropy(&self) -> Vec<f64> {
        self.0.entropy()
    }

    fn prior(&self) -> Option<&Prior> {
        self.0.prior()
    }

    fn set_prior(&mut self, prior: Prior) {
        self.0.set_prior(prior);
    }

    fn draws(&self, t: u64) -> Vec<Alpha> {
        self.0.draw(t)
    }

    fn save(&self, space: &dyn Space, out: &mut Tensors) {
        self.0.save(space, out);
    }

    fn load(&mut self, space: &dyn Space, state: &Tensors) -> Result<()> {
        self.0.load(space, state)
    }
}

/// The result of a random search: a draw from π.
pub fn random_architecture(prior: &Prior, seed: u64) -> Alpha {
    prior.sample(&mut stream(seed, Purpose::Result, 0, 0))
}

/// The best child that a random search has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Log-likelihood of the child per image of the search batch, minus the mean over the children of its step, nats.
    /// The children of a step share one batch, and subtracting the mean removes the difficulty of that batch.
    pub score: f64,
    /// Architecture of the child.
    pub alpha: Alpha,
}

impl Best {
    /// The best child of a step whose log-likelihoods (nats) are sums over `n_images` images. Among equal children the
    /// first one is taken.
    fn of(alphas: &[Alpha], log_likelihood: &[f64], n_images: usize) -> Option<Self> {
        let mean = log_likelihood.iter().sum::<f64>() / log_likelihood.len() as f64;
        let mut best: Option<(f64, &Alpha)> = None;
        for (alpha, log_lik) in alphas.iter().zip(log_likelihood) {
            let score = (log_lik - mean) / n_images.max(1) as f64;
            if best.is_none_or(|(before, _)| score > before) {
                best = Some((score, alpha));
            }
        }
        best.map(|(score, alpha)| Self { score, alpha: alpha.clone() })
    }
}

/// Random search with shared weights. After the warm-up its steps have the same passes as those of Algorithm 1.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomSearch {
    random: Random,
    /// Number of steps that only train v.
    warm_up: u64,
    /// `None` before the first likelihood.
    best: Option<Best>,
}

impl RandomSearch {
    /// A search with uniform π that has seen no child.
    pub fn new(space: &dyn Space, rules: Rules) -> Self {
        let warm_up = rules.warm_up.unwrap_or(0);
        // π never moves, so all steps draw as in a warm-up: stratified draws take every choice equally often.
        Self { random: Random::new(space, rules), warm_up, best: None }
    }
}

impl Strategy for RandomSearch {
    fn step(
        &mut self,
        t: u64,
        evaluator: &mut Evaluator,
        [search, train]: [&Batch; 2],
        update: Update,
    ) -> Result<Step> {
        let Parsec { prior, rules, .. } = &self.random.0;
        let alphas = draws::draw(prior, rules, t).alphas;
        if t < self.warm_up {
            return train_alike(evaluator, alphas, [search, train], update, t < rules.trace_steps);
        }
        let log_likelihood = evaluator.log_likelihoods(&alphas, search)?;
        let weights = alike(&alphas);
        evaluator.accumulate(&alphas, &weights, train)?;
        let trained = evaluator.update(update)?;
        // All passes have succeeded, so the step is done.
        let here = Best::of(&alphas, &log_likelihood, search.n);
        let is_better = |here: &Best| self.best.as_ref().is_none_or(|best| here.score > best.score);
        if let Some(here) = here.filter(is_better) {
            self.best = Some(here);
        }
        // All weights are equal, as with an exponent of 0.
        let (beta, lr) = (0.0, update.lr);
        Ok(Step { alphas, log_likelihood, weights, beta, lr, warm_up: false, traced: None, trained })
    }

    fn reserve(&self, evaluator: &mut Evaluator) -> Result<()> {
        self.random.reserve(evaluator)
    }

    /// The best child seen. Before the first likelihood it is a draw, as in [`Random`].
    fn architecture(&self, space: &dyn Space) -> Alpha {
        self.best.as_ref().map_or_else(|| self.random.architecture(space), |best| best.alpha.clone())
    }

    fn entropy(&self) -> Vec<f64> {
        self.random.entropy()
    }

    fn prior(&self) -> Option<&Prior> {
        self.random.prior()
    }

    fn set_prior(&mut self, prior: Prior) {
        self.random.set_prior(prior);
    }

    fn draws(&self, t: u64) -> Vec<Alpha> {
        self.random.draws(t)
    }

    fn save(&self, space: &dyn Space, out: &mut Tensors) {
        self.random.save(space, out);
        let n = usize::from(self.best.is_some());
        let scores = self.best.iter().map(|best| best.score).collect();
        let choices = self.best.iter().flat_map(|best| best.alpha.0.iter().map(|c| i64::from(*c))).collect();
        out.insert(SCORE.into(), Tensor::f64(&[n], scores));
        out.insert(ALPHA.into(), Tensor::i64(&[n, space.slots().len()], choices));
    }

    fn load(&mut self, space: &dyn Space, state: &Tensors) -> Result<()> {
        let best = take_best(space, state)?;
        self.random.load(space, state)?;
        self.best = best;
        Ok(())
    }
}

/// Names of the tensors of the best child. The tensors are empty before the first likelihood.
const SCORE: &str = "best.score";
const ALPHA: &str = "best.alpha";

/// The best child of a checkpoint.
fn take_best(space: &dyn Space, state: &Tensors) -> Result<Option<Best>> {
    let path = Path::new("checkpoint");
    let (_, scores) = tensors::f64s(state, path, SCORE)?;
    let (_, choices) = tensors::i64s(state, path, ALPHA)?;
    let alpha: Option<Vec<u16>> = choices.iter().map(|c| u16::try_from(*c).ok()).collect();
    let alpha = alpha.map(Alpha).filter(|alpha| space.contains(alpha));
    match (scores, alpha) {
        ([], _) if choices.is_empty() => Ok(None),
        ([score], Some(alpha)) if score.is_finite() => Ok(Some(Best { score: *score, alpha })),
        _ => {
            let expected =
                format!("a number `{SCORE}` and an architecture `{ALPHA}` of the space, or neither");
            let found = format!("{scores:?} and {choices:?}");
            Err(Error::file(path, None, expected, found, "the same --space with the same choices"))
        }
    }
}
