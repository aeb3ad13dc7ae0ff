//! Algorithm 1, in the order of the paper's box.

use std::path::Path;

use super::draws::{self, Drawn};
use super::evaluator::Evaluator;
use super::importance;
use super::prior_update::{self, Adam, Moments};
use super::strategy::{Step, Strategy, put, take};
use crate::config::{Baseline, Config, Draws, Samples, Temper, TrainWeights};
use crate::data::Batch;
use crate::error::Result;
use crate::files::tensors::{self, Tensor, Tensors};
use crate::gpu::Update;
use crate::space::{Alpha, Prior, Space};

/// Rules for drawing from π and for moving π.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Number K of architectures per step.
    pub samples: Samples,
    /// Tempering of the importance weights.
    pub temper: Temper,
    /// Number that is subtracted from the weights in π's gradient.
    pub baseline: Baseline,
    /// Settings of Adam for π.
    pub adam: Adam,
    /// The way in which the architectures are drawn.
    pub draws: Draws,
    /// Fraction ε of each slot's draws that are uniform.
    pub explore: f64,
    /// Weight of each child in the gradient of v.
    pub train_weights: TrainWeights,
    /// Number of steps before π moves, in which all children have equal weight. `None` if π never moves.
    pub warm_up: Option<u64>,
    /// Number of steps of the warm-up that compute likelihoods only for a trace.
    pub trace_steps: u64,
    /// Largest number of identities in a group of slots of the result. `None` for any number.
    pub max_skips: Option<usize>,
    /// The search ends when the mode has not changed for this number of steps. 0 for no such end.
    pub patience: u64,
    /// Key of the random numbers.
    pub seed: u64,
}

/// Name of the tensor with the number of steps since the mode changed.
const SETTLED: &str = "settled";

impl Rules {
    /// The rules of a configuration, where an epoch has `steps_per_epoch` steps.
    pub fn of(config: &Config, steps_per_epoch: u64) -> Self {
        Self {
            samples: config.algorithm.samples,
            temper: config.prior.temper,
            baseline: config.prior.baseline,
            draws: config.algorithm.draws,
            explore: config.algorithm.explore,
            train_weights: config.algorithm.train_weights,
            adam: Adam {
                lr: config.prior.prior_lr,
                beta1: config.prior.prior_beta1,
                beta2: config.prior.prior_beta2,
            },
            warm_up: config.warm_up_steps(steps_per_epoch),
            trace_steps: config.execution.trace_steps,
            max_skips: config.outcome.max_skips,
            patience: config.outcome.patience,
            seed: config.session.seed,
        }
    }
}

/// Importance-weighted Monte-Carlo empirical Bayes: the paper's Algorithm 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsec {
    /// π.
    pub prior: Prior,
    moments: Moments,
    pub(super) rules: Rules,
    /// Number of steps since the mode changed.
    settled: u64,
}

impl Parsec {
    /// A search with uniform π.
    pub fn new(space: &dyn Space, rules: Rules) -> Self {
        let prior = Prior::uniform(space);
        Self { moments: Moments::zeros(&prior), prior, rules, settled: 0 }
    }

    /// The architectures that step `t` draws.
    pub fn draw(&self, t: u64) -> Vec<Alpha> {
        draws::draw(&self.prior, &self.rules, t).alphas
    }

    /// The update of π in step `t`, along Σ_k (ω̃_k − b) ∇_π log p(α_k|π); b = 0 is the paper's.
    pub(super) fn move_prior(&mut self, t: u64, alphas: &[Alpha], weights: &[f64], ratios: &[f64]) {
        let Self { prior, moments, rules, settled } = self;
        let Some(warm_up) = rules.warm_up else { return };
        let mode = prior.mode();
        let gradient = prior_update::gradient(prior, alphas, weights, rules.baseline, ratios);
        prior_update::ascend(prior, moments, &gradient, t + 1 - warm_up, rules.adam);
        *settled = if prior.mode() == mode { *settled + 1 } else { 0 };
    }
}

impl Strategy for Parsec {
    /// Lines 5 to 17 of the paper's box.
    fn step(
        &mut self,
        t: u64,
        evaluator: &mut Evaluator,
        [search, train]: [&Batch; 2],
        update: Update,
    ) -> Result<Step> {
        // 6-8: α_k ~ p(α|π), K of them.
        let Self { prior, rules, .. } = self;
        let Drawn { alphas, ratios } = draws::draw(prior, rules, t);

        // 3: the warm-up. All children train v with equal weight, and π stays as it is.
        if rules.warm_up.is_some_and(|warm_up| t < warm_up) {
            let traced = t < rules.trace_steps;
            return train_alike(evaluator, alphas, [search, train], update, traced);
        }

        // 9: ω_k = p(y|X, v, α_k) on a batch of the search split (5), as logarithms.
        let log_omega = evaluator.log_likelihoods(&alphas, search)?;

        // 10: ω̃_k = ω_k^β / Σ_j ω_j^β; β = 1 is the paper's. If children were drawn from q instead of π, the weights
        // are multiplied by π/q.
        let temper = rules.temper.within(rules.samples, alphas.len());
        let beta = importance::exponent(temper, &log_omega, &ratios);
        let weights = importance::corrected(&log_omega, beta, &ratios);

        // 12, 14: ∇_v = Σ_k ω̃_k ∇_v log p(y|X, v, α_k) on a batch of the train split (11).
        match rules.train_weights {
            TrainWeights::Importance => evaluator.accumulate(&alphas, &weights, train)?,
            TrainWeights::Uniform => evaluator.accumulate(&alphas, &alike(&alphas), train)?,
        }

        // 16: the update of v.
        let trained = evaluator.update(update)?;

        // 13, 15, 17: the update of π.
        self.move_prior(t, &alphas, &weights, &ratios);
        let lr = update.lr;
        let traced = None;
        Ok(Step { alphas, log_likelihood: log_omega, weights, beta, lr, warm_up: false, traced, trained })
    }

    fn reserve(&self, evaluator: &mut Evaluator) -> Result<()> {
        evaluator.reserve()
    }

    fn architecture(&self, space: &dyn Space) -> Alpha {
        match self.rules.max_skips {
            None => self.prior.mode(),
            Some(most) => self.prior.mode_with_skips(space, most),
        }
    }

    fn settled(&self) -> u64 {
        self.settled
    }

    fn entropy(&self) -> Vec<f64> {
        self.prior.entropy()
    }

    fn prior(&self) -> Option<&Prior> {
        Some(&self.prior)
    }

    /// Replaces π and resets Adam's moments.
    fn set_prior(&mut self, prior: Prior) {
        self.moments = Moments::zeros(&prior);
        self.prior = prior;
    }

    fn draws(&self, t: u64) -> Vec<Alpha> {
        self.draw(t)
    }

    fn save(&self, space: &dyn Space, out: &mut Tensors) {
        let tables = space.prior_tables();
        for (prefix, values) in
            [("pi", &self.prior.logits), ("adam.m", &self.moments.m), ("adam.v", &self.moments.v)]
        {
            put(out, prefix, &tables, &values.concat());
        }
        if self.rules.patience > 0 {
            out.insert(SETTLED.into(), Tensor::i64(&[1], vec![self.settled as i64]));
        }
    }

    fn load(&mut self, space: &dyn Space, state: &Tensors) -> Result<()> {
        let read = |prefix: &str| take(state, Path::new("checkpoint"), prefix, space);
        let prior = self.prior.with(read("pi")?);
        self.moments = Moments { m: read("adam.m")?, v: read("adam.v")? };
        self.prior = prior;
        if self.rules.patience > 0 {
            let (_, found) = tensors::i64s(state, Path::new("checkpoint"), SETTLED)?;
            self.settled = found.first().map_or(0, |n| n.unsigned_abs());
        }
        Ok(())
    }
}

/// The weight 1/K for each of K children.
pub(super) fn alike(alphas: &[Alpha]) -> Vec<f64> {
    vec![1.0 / alphas.len() as f64; alphas.len()]
}

/// A step in which all children train v with equal weight. Only a trace needs their likelihoods on the search batch.
pub(super) fn train_alike(
    evaluator: &mut Evaluator,
    alphas: Vec<Alpha>,
    [search, train]: [&Batch; 2],
    update: Update,
    traced: bool,
) -> Result<Step> {
    let traced = if traced { Some(evaluator.log_likelihoods(&alphas, search)?) } else { None };
    let weights = alike(&alphas);
    evaluator.accumulate(&alphas, &weights, train)?;
    let trained = evaluator.update(update)?;
    let log_likelihood = trained.log_likelihood.clone();
    Ok(Step { alphas, log_likelihood, weights, beta: 1.0, lr: update.lr, warm_up: true, traced, trained })
}
