//! Algorithm 1, step by step.

use std::sync::Arc;
use std::time::Instant;

use super::children::Children;
use super::darts::Darts;
use super::importance;
use super::init::initial;
use super::passes::suggest_smaller;
use super::prior_update::{self, Adam, Moments};
use super::record::{Clock, Phases, StepRecord};
use crate::config::{Config, Method, Temper};
use crate::data::{Augment, Batch, BatchSource, Dataset, Normalisation, Part, Prefetch, check_sides, split};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Network, Update};
use crate::graph::spec::{NetworkKind, NetworkSpec, StemKind};
use crate::graph::{Layout, Lowering};
use crate::kernel::Buf;
use crate::space::{Alpha, Genotype, Prior, Space};

/// What a search depends on besides its data, its adapter and its state.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The resolved configuration; `steps` is set.
    pub config: Config,
    /// Normalisation of the images.
    pub normalisation: Normalisation,
    /// How children are lowered.
    pub lowering: Lowering,
}

/// A running search: {v, momentum} on the adapter, {π, Adam's moments, step} here.
pub struct Search {
    pub(super) settings: Settings,
    pub(super) space: Space,
    pub(super) spec: NetworkSpec,
    pub(super) network: Network,
    pub(super) dataset: Arc<Dataset>,
    pub(super) sources: Vec<Arc<BatchSource>>,
    prefetch: Option<Prefetch>,
    pub(super) prior: Prior,
    pub(super) moments: Moments,
    /// In place of π, where all paths run at once.
    pub(super) darts: Option<Darts>,
    pub(super) step: u64,
    pub(super) mode_accuracy: Option<(u64, f64)>,
}

/// What a step did, for the trace.
pub(super) struct Happened {
    pub search: Batch,
    pub train: Batch,
    pub children: Children,
    pub log_likelihood: Vec<f64>,
    pub weights: Vec<f64>,
    pub beta: f64,
    pub lr: f64,
    pub clip_factor: f64,
}

impl Search {
    /// A search at its beginning: random v, uniform π.
    ///
    /// # Errors
    /// [`Error::Usage`] for extents that cannot be built and batches larger than a split,
    /// [`Error::Memory`] where a child does not fit the adapter.
    pub fn new(mut settings: Settings, dataset: Arc<Dataset>, gpu: Gpu) -> Result<Self> {
        let config = &settings.config;
        let images = &dataset.train;
        check_sides(images.height, images.width)?;
        let names: Vec<&str> = config.primitives.iter().map(|p| p.name()).collect();
        let space = Space::new(&names)?;
        let spec = NetworkSpec {
            kind: NetworkKind::Search,
            stem: StemKind::Cifar,
            in_channels: images.channels,
            height: images.height,
            width: images.width,
            n_classes: dataset.class_names.len(),
            layers: config.layers,
            channels: config.channels,
            auxiliary: false,
        };
        spec.check()?;
        let splits = split(images.n, config.search_fraction, config.seed);
        let augment = Augment { crop_pad: config.crop_pad as usize, flip: config.flip, ..Augment::NONE };
        let source = |indices, part| {
            let data = Arc::clone(&dataset);
            BatchSource::new(data, indices, part, config.batch, config.seed, augment, &settings.normalisation)
        };
        let sources = vec![
            Arc::new(source(splits.search, Part::Search)?),
            Arc::new(source(splits.train, Part::Train)?),
        ];
        settings.config.resolve_steps(sources[1].batches_per_epoch());
        let config = &settings.config;

        let layout = Layout::new(spec.params(None, space.primitives()))?;
        let v = initial(&layout, config.seed);
        let mut network = Network::new(gpu, spec.image(), layout, settings.lowering)?;
        network.write_all(Buf::V, &v)?;
        let prior = Prior::uniform(&space);
        let moments = Moments::zeros(&prior);
        let darts = (config.method == Method::Darts).then(|| Darts::new(&space));
        let mut search = Self {
            settings,
            space,
            spec,
            network,
            dataset,
            sources,
            prefetch: None,
            prior,
            moments,
            darts,
            step: 0,
            mode_accuracy: None,
        };
        let (batch, part) = (search.settings.config.batch, search.settings.config.part());
        search.reserve().map_err(|e| suggest_smaller(e, batch, part))?;
        Ok(search)
    }

    /// The search at its beginning on its adapter opened again, after that was lost.
    ///
    /// # Errors
    /// Those of [`Self::new`] and of [`Network::open_again`].
    pub fn reopen(&mut self) -> Result<()> {
        let gpu = self.network.open_again()?;
        *self = Self::new(self.settings.clone(), Arc::clone(&self.dataset), gpu)?;
        Ok(())
    }

    /// One iteration of Algorithm 1 (lines 5 to 17), or of the method that takes its place.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything is changed, [`Error::Device`] if the adapter fails.
    pub fn step(&mut self) -> Result<StepRecord> {
        let done = match self.darts.clone() {
            Some(darts) => self.mixed_iteration(darts),
            None => self.iteration(),
        };
        if done.is_err() {
            // The step was not done: its batches are still to come.
            self.prefetch = None;
        }
        done
    }

    fn iteration(&mut self) -> Result<StepRecord> {
        let started = Instant::now();
        let before = if self.traced() { Some(self.snapshot()?) } else { None };
        let mut seconds = Phases::default();
        // What ran between steps is not of this one.
        self.network.take_host_secs();
        let mut clock = Clock::new();

        // 5: a batch from the search split; 11: a batch from the train split.
        let (search, train) = self.batches()?;
        seconds.data = clock.lap();

        // 6-9: K architectures and their likelihoods ω_k.
        let children = self.sample();
        seconds.plan = clock.lap();
        let pass = self.likelihoods(&children, &search)?;
        let results = self.results(&pass)?;
        let log_likelihood: Vec<f64> = children.network_of.iter().map(|&d| results[d].sum()).collect();
        self.check_finite(&log_likelihood, &children)?;
        self.share(clock.lap(), &mut seconds.search, &mut seconds.plan);

        // 10: normalised weights ω̃_k, by log-sum-exp.
        let beta = importance::exponent(self.temper(log_likelihood.len()), &log_likelihood);
        let weights = importance::weights(&log_likelihood, beta);

        // 12-16: v moves by Σ_k ω̃_k ∇_v log p(y|X, v, α_k).
        let lr = self.lr();
        let kept = importance::kept(&weights, self.drop_mass());
        let (pass, trained) = self.gradients(&children, &weights, &kept, &train)?;
        self.network.step(self.update(lr))?;
        let outcome = self.results(&pass)?;
        let clip = self.network.clip()?;
        if !clip.norm.is_finite() {
            return Err(self.non_finite(&children, 0, clip.norm));
        }
        self.share(clock.lap(), &mut seconds.train, &mut seconds.plan);

        // 13-17: π moves by Σ_k ω̃_k ∇_π log p(α_k|π).
        self.update_prior(&children.alphas, &weights);
        self.step += 1;

        let mut record = self.record(&children, &weights, &results, &trained, &outcome);
        record.ess = importance::ess(&weights);
        (record.beta, record.lr) = (beta, lr);
        (record.grad_norm, record.clip_factor) = (clip.norm, clip.factor);
        record.skipped = kept.iter().filter(|kept| !**kept).count();
        if let Some(before) = before {
            let (log_likelihood, weights) = (log_likelihood.clone(), weights.clone());
            let clip_factor = clip.factor;
            let happened =
                Happened { search, train, children, log_likelihood, weights, beta, lr, clip_factor };
            self.trace(&before, &happened)?;
        }
        (record.log_likelihood, record.weights) = (log_likelihood, weights);
        record.mode_accuracy = self.evaluate_if_due()?;
        seconds.host = started.elapsed().as_secs_f64() - seconds.total();
        record.seconds = seconds;
        Ok(record)
    }

    /// Splits the time of a pass into the host's and the rest.
    pub(super) fn share(&mut self, lap: f64, pass: &mut f64, host: &mut f64) {
        let planned = self.network.take_host_secs().min(lap);
        *pass = lap - planned;
        *host += planned;
    }

    /// The tempering of a step with `k` children: no larger effective size than they can have.
    fn temper(&self, k: usize) -> Temper {
        match self.settings.config.temper {
            Temper::Ess(target) => {
                Temper::Ess(target.min(self.settings.config.samples.largest_ess(k as u32)))
            }
            other => other,
        }
    }

    fn update_prior(&mut self, alphas: &[Alpha], weights: &[f64]) {
        let Some((t, adam)) = self.prior_moves() else { return };
        let baseline = self.settings.config.baseline;
        let gradient = prior_update::gradient(&self.prior, alphas, weights, baseline);
        prior_update::ascend(&mut self.prior, &mut self.moments, &gradient, t, adam);
    }

    /// Whether this step moves π (or α), and as which of Adam's steps.
    pub(super) fn prior_moves(&self) -> Option<(u64, Adam)> {
        let config = &self.settings.config;
        let warm_up = config.warmup_epochs * self.sources[1].batches_per_epoch();
        let frozen = config.freeze_prior || config.method == Method::Random;
        let adam = Adam { lr: config.prior_lr, beta1: config.prior_beta1, beta2: config.prior_beta2 };
        (!frozen && self.step >= warm_up).then(|| (self.step + 1 - warm_up, adam))
    }

    pub(super) fn batches(&mut self) -> Result<(Batch, Batch)> {
        if self.prefetch.is_none() {
            let threads = match self.settings.config.threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                n => n,
            };
            self.prefetch = Some(Prefetch::new(self.sources.clone(), self.step, threads)?);
        }
        let next = self.prefetch.as_mut().map(Prefetch::next).transpose()?;
        let mut batches = next.map(|(_, batches)| batches).unwrap_or_default().into_iter();
        match (batches.next(), batches.next()) {
            (Some(search), Some(train)) => Ok((search, train)),
            _ => Err(Error::device("the loader gave no batches", "resume the run")),
        }
    }

    /// Sets the state's step; the loader starts there.
    pub(super) fn go_to(&mut self, step: u64) {
        self.step = step;
        self.prefetch = None;
    }

    /// Cosine from `lr` to `lr_min` over all steps.
    pub(super) fn lr(&self) -> f64 {
        let c = &self.settings.config;
        let part = self.step as f64 / c.steps.max(1) as f64;
        c.lr_min + 0.5 * (c.lr - c.lr_min) * (1.0 + (std::f64::consts::PI * part).cos())
    }

    pub(super) fn update(&self, lr: f64) -> Update {
        let c = &self.settings.config;
        Update { lr, momentum: c.momentum, weight_decay: c.weight_decay, max_norm: c.grad_clip }
    }

    fn drop_mass(&self) -> f64 {
        if self.settings.config.reference { 0.0 } else { self.settings.config.drop_mass }
    }

    pub(super) fn traced(&self) -> bool {
        self.step < self.settings.config.trace_steps
    }

    fn check_finite(&self, log_likelihood: &[f64], children: &Children) -> Result<()> {
        match log_likelihood.iter().position(|l| !l.is_finite()) {
            None => Ok(()),
            Some(k) => Err(self.non_finite(children, k, log_likelihood[k])),
        }
    }

    fn non_finite(&self, children: &Children, child: usize, value: f64) -> Error {
        let genotype = children.distinct[children.network_of[child]].to_string();
        Error::NonFinite { step: self.step + 1, child, genotype, value }
    }

    /// The mode of π.
    pub fn mode(&self) -> Genotype {
        self.space.genotype(&self.prior.mode())
    }

    /// π.
    pub fn prior(&self) -> &Prior {
        &self.prior
    }

    /// Replaces π, for instance by that of another run; Adam starts anew.
    pub fn set_prior(&mut self, prior: Prior) {
        self.moments = Moments::zeros(&prior);
        self.prior = prior;
    }

    /// The space that π is over.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The network and its adapter.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The configuration with every length resolved.
    pub fn config(&self) -> &Config {
        &self.settings.config
    }
}
