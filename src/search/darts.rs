//! The deterministic approach (Eq. 2), first order, as in DARTS. It is a baseline of Algorithm 1.
//!
//! One network has all paths. In the DARTS space node k is Σ_{i<k} Σ_o softmax(α)_o o(z_i). A step moves α by Adam on a
//! batch of the search split, then v by SGD on a batch of the train split. The weights are those of Algorithm 1, in the
//! same buffer. α starts at 0, whereas the DARTS implementation starts at small random numbers.

use std::path::Path;

use super::evaluator::{Evaluator, Trained};
use super::prior_update::{Adam, adam};
use super::strategy::{Step, Strategy, put, take_tables};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::files::tensors::Tensors;
use crate::gpu::Update;
use crate::graph::Mode;
use crate::space::{Alpha, MixedAlpha, Space};

/// Weight decay of α, as in the DARTS implementation. The decay is part of the gradient that Adam receives.
pub const ALPHA_DECAY: f64 = 1e-3;

/// α and Adam's moments, one set of paths after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Relaxation {
    /// The logits.
    pub alpha: MixedAlpha,
    /// First moment.
    pub m: Vec<f64>,
    /// Second moment.
    pub v: Vec<f64>,
}

impl Relaxation {
    /// α = 0 and no moments yet.
    pub fn new(space: &dyn Space) -> Self {
        let alpha = MixedAlpha::uniform(space);
        let zeros = vec![0.0; alpha.logits.len()];
        Self { alpha, m: zeros.clone(), v: zeros }
    }
}

/// The `t`-th step (from 1) of α: Adam down the gradient of the loss and of the decay. `of_factors` is the gradient of
/// the loss with respect to the factors.
pub fn descend(darts: &mut Relaxation, of_factors: &[f64], t: u64, settings: Adam) {
    let of_loss = darts.alpha.gradient(of_factors);
    let up: Vec<f64> = of_loss.iter().zip(&darts.alpha.logits).map(|(g, a)| -(g + ALPHA_DECAY * a)).collect();
    adam(&mut darts.alpha.logits, &mut darts.m, &mut darts.v, &up, t, settings);
}

/// The strategy that runs all paths at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Darts {
    /// α and Adam's moments.
    pub darts: Relaxation,
    adam: Adam,
    /// Number of steps before α moves. `None` if α never moves.
    warm_up: Option<u64>,
}

impl Darts {
    /// A search with α = 0.
    pub fn new(space: &dyn Space, adam: Adam, warm_up: Option<u64>) -> Self {
        Self { darts: Relaxation::new(space), adam, warm_up }
    }

    fn check(&self, evaluator: &Evaluator, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        let space = &*evaluator.spec().space;
        let decoded = space.print(&self.darts.alpha.decode(space));
        let genotype = format!("that of all paths at once, decoded {decoded}");
        Err(Error::NonFinite { step: evaluator.step, child: 0, genotype, value })
    }
}

impl Strategy for Darts {
    fn step(
        &mut self,
        t: u64,
        evaluator: &mut Evaluator,
        [search, train]: [&Batch; 2],
        update: Update,
    ) -> Result<Step> {
        // The state stays unchanged until everything has succeeded.
        let mut darts = self.darts.clone();

        // The update of α, along ∇_α of the loss on the search batch.
        let moves = self.warm_up.filter(|warm_up| t >= *warm_up);
        let mode = if moves.is_some() { Mode::Factors } else { Mode::Likelihood };
        let (found, log_likelihood, of_factors) = evaluator.mixed(&darts.alpha.factors(), mode, search)?;
        self.check(evaluator, log_likelihood)?;
        self.check(evaluator, of_factors.iter().sum())?;
        if let Some(warm_up) = moves {
            descend(&mut darts, &of_factors, t + 1 - warm_up, self.adam);
        }

        // The update of v, along ∇_v of the loss on the train batch.
        let (outcome, sum, _) = evaluator.mixed(&darts.alpha.factors(), Mode::Train, train)?;
        let clip = evaluator.update_mixed(update)?;
        self.check(evaluator, clip.norm)?;
        self.darts = darts;
        let n = train.n as f64;
        let (loss, accuracy) = (-sum / n, outcome.n_correct as f64 / n);
        evaluator.count_mixed(found.n_correct);
        Ok(Step {
            alphas: Vec::new(),
            log_likelihood: vec![log_likelihood],
            weights: vec![1.0],
            beta: 1.0,
            lr: update.lr,
            warm_up: moves.is_none(),
            traced: None,
            trained: Trained { loss, accuracy, clip, log_likelihood: Vec::new() },
        })
    }

    fn reserve(&self, evaluator: &mut Evaluator) -> Result<()> {
        evaluator.reserve_mixed()
    }

    fn architecture(&self, space: &dyn Space) -> Alpha {
        self.darts.alpha.decode(space)
    }

    fn entropy(&self) -> Vec<f64> {
        self.darts.alpha.entropy()
    }

    fn mixed_alpha(&self) -> Option<&MixedAlpha> {
        Some(&self.darts.alpha)
    }

    fn save(&self, space: &dyn Space, out: &mut Tensors) {
        let tables = space.mixed_tables();
        let Relaxation { alpha, m, v } = &self.darts;
        for (prefix, values) in [("alpha", &alpha.logits), ("adam.m", m), ("adam.v", v)] {
            put(out, prefix, &tables, values);
        }
    }

    fn load(&mut self, space: &dyn Space, state: &Tensors) -> Result<()> {
        let tables = space.mixed_tables();
        let read = |prefix: &str| take_tables(state, Path::new("checkpoint"), prefix, &tables);
        let (logits, m, v) = (read("alpha")?, read("adam.m")?, read("adam.v")?);
        let mut alpha = MixedAlpha::uniform(space);
        alpha.logits = logits;
        self.darts = Relaxation { alpha, m, v };
        Ok(())
    }
}
