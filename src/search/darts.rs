//! The deterministic approach (Eq. 2), first order, as DARTS does it: the baseline beside Algorithm 1.
//!
//! One network has all paths; node k is Σ_{i<k} Σ_o softmax(α)_o o(z_i). A step moves α by Adam on a batch of the
//! search split, then v by SGD on a batch of the train split. The weights are those of Algorithm 1, in the same
//! buffer. α starts at 0, where the reference starts at small random numbers.

use std::sync::Arc;
use std::time::Instant;

use super::Search;
use super::passes::{SEARCH, TRAIN, join};
use super::prior_update::{Adam, adam};
use super::record::{Clock, PerKind, Phases, StepRecord};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::gpu::{Child, ChildResult};
use crate::graph::Mode;
use crate::network::Net;
use crate::space::{CellKind, Mixture, Paths, Space};

/// The reference's weight decay of α, part of the gradient that Adam sees.
pub const ALPHA_DECAY: f64 = 1e-3;

/// α and Adam's moments, `[kind][edge][primitive]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Darts {
    /// The logits.
    pub alpha: Mixture,
    /// First moment.
    pub m: Vec<f64>,
    /// Second moment.
    pub v: Vec<f64>,
}

impl Darts {
    /// α = 0 and no moments yet.
    pub fn new(space: &Space) -> Self {
        let alpha = Mixture::uniform(space);
        let zeros = vec![0.0; alpha.logits.len()];
        Self { alpha, m: zeros.clone(), v: zeros }
    }

    /// What a checkpoint holds, by name.
    pub(super) fn parts(&self) -> [(&'static str, &[f64]); 3] {
        [("alpha", &self.alpha.logits), ("adam.m", &self.m), ("adam.v", &self.v)]
    }

    /// The same, to be set.
    pub(super) fn parts_mut(&mut self) -> [(&'static str, &mut [f64]); 3] {
        [("alpha", &mut self.alpha.logits), ("adam.m", &mut self.m), ("adam.v", &mut self.v)]
    }
}

/// The `t`-th step (from 1) of α: Adam down the gradient of the loss, given for the factors, and of the decay.
pub fn descend(darts: &mut Darts, of_factors: &[f64], t: u64, settings: Adam) {
    let of_loss = darts.alpha.gradient(of_factors);
    let up: Vec<f64> = of_loss.iter().zip(&darts.alpha.logits).map(|(g, a)| -(g + ALPHA_DECAY * a)).collect();
    adam(&mut darts.alpha.logits, &mut darts.m, &mut darts.v, &up, t, settings);
}

impl Search {
    /// One step; `darts` is a copy of the state, which becomes the state if all goes well.
    pub(super) fn mixed_iteration(&mut self, mut darts: Darts) -> Result<StepRecord> {
        let started = Instant::now();
        let mut seconds = Phases::default();
        // What ran between steps is not of this one.
        self.network.take_host_secs();
        let mut clock = Clock::new();
        let (search, train) = self.batches()?;
        seconds.data = clock.lap();

        // α moves along ∇_α of the loss on the search batch.
        let moves = self.prior_moves();
        let mode = if moves.is_some() { Mode::Factors } else { Mode::Likelihood };
        let found = self.mixed_pass(&darts, mode, SEARCH, &search)?;
        if let Some((t, settings)) = moves {
            // Taken before anything is checked, so that a step that fails leaves nothing behind.
            let of_factors = self.network.take_factor_gradient(darts.m.len())?;
            let of_factors: Vec<f64> = of_factors.into_iter().map(f64::from).collect();
            self.check_mixed(found.sum())?;
            self.check_mixed(of_factors.iter().sum())?;
            descend(&mut darts, &of_factors, t, settings);
        }
        self.check_mixed(found.sum())?;
        self.share(clock.lap(), &mut seconds.search, &mut seconds.plan);

        // v moves along ∇_v of the loss on the train batch.
        let lr = self.lr();
        let outcome = self.mixed_pass(&darts, Mode::Train, TRAIN, &train)?;
        self.network.step(self.update(lr))?;
        let clip = self.network.clip()?;
        self.check_mixed(clip.norm)?;
        self.share(clock.lap(), &mut seconds.train, &mut seconds.plan);

        self.darts = Some(darts);
        self.step += 1;
        let mut record = self.mixed_record(&found, &outcome);
        (record.lr, record.grad_norm, record.clip_factor) = (lr, clip.norm, clip.factor);
        record.mode_accuracy = self.evaluate_if_due()?;
        seconds.host = started.elapsed().as_secs_f64() - seconds.total();
        record.seconds = seconds;
        Ok(record)
    }

    /// The mixed network on a batch, whole or in its parts.
    fn mixed_pass(&mut self, darts: &Darts, mode: Mode, split: u8, batch: &Batch) -> Result<ChildResult> {
        let part = self.settings.config.part();
        let n_parts = batch.n / part;
        let net = self.mixed_net();
        let image_len = batch.channels * batch.height * batch.width;
        let factors: Vec<f32> = darts.alpha.factors().iter().map(|f| *f as f32).collect();
        self.network.set_child_weight(part as f64 / batch.n as f64)?;
        let parts = batch.images.chunks(part * image_len).zip(batch.labels.chunks(part));
        for (i, (images, labels)) in parts.enumerate() {
            self.network.upload(split, images, labels)?;
            self.network.upload_factors(&factors, split)?;
            self.network.run(Child::new(&net, mode, split))?;
            self.network.keep_results(i, n_parts, split)?;
        }
        Ok(join(self.network.results(n_parts, split)?.iter()))
    }

    /// The network of all paths at once.
    pub(super) fn mixed_net(&self) -> Arc<Net> {
        Arc::new(self.spec.net(Paths::All(self.space.primitives())))
    }

    fn check_mixed(&self, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        let genotype = format!("that of all paths at once, decoded {}", self.genotype());
        Err(Error::NonFinite { step: self.step + 1, child: 0, genotype, value })
    }

    fn mixed_record(&self, found: &ChildResult, outcome: &ChildResult) -> StepRecord {
        let n = self.settings.config.batch as f64;
        let decoded = self.genotype();
        let [normal, reduce] = self.entropy();
        let [skips, pools] = [
            CellKind::ALL.map(|kind| decoded.n_skips(kind)),
            CellKind::ALL.map(|kind| decoded.n_pools(kind)),
        ];
        StepRecord {
            step: self.step,
            epoch: (self.step - 1) / self.sources[1].batches_per_epoch() + 1,
            samples: 1,
            log_likelihood: vec![found.sum()],
            weights: vec![1.0],
            ess: 1.0,
            beta: 1.0,
            entropy: PerKind { normal, reduce },
            skips: PerKind { normal: skips[0], reduce: skips[1] },
            pools: PerKind { normal: pools[0], reduce: pools[1] },
            train_loss: -outcome.sum() / n,
            train_accuracy: outcome.n_correct as f64 / n,
            accuracy: found.n_correct as f64 / n,
            mode_accuracy: None,
            lr: 0.0,
            grad_norm: 0.0,
            clip_factor: 1.0,
            skipped: 0,
            shared: 0,
            arena_bytes: self.network.arena_bytes(),
            seconds: Phases::default(),
        }
    }
}
