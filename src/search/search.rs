//! A search: the strategy's steps on batches of the two splits, the state, and the observers.

use crate::host::Instant;
use std::sync::Arc;

use super::algorithm::{Parsec, Rules};
use super::darts::Darts;
use super::evaluate::EvaluateMode;
use super::evaluator::{Evaluator, suggest_smaller};
use super::random::{Random, RandomSearch};
use super::record::{Phases, StepRecord};
use super::strategy::{Step, Strategy};
use super::trace::Trace;
use crate::config::{Config, Method};
use crate::data::{
    Account, Augment, Batch, BatchSource, Dataset, Normalisation, Prefetch, Split, Splits, splits,
};
use crate::error::{Error, Result};
use crate::files::tensors::Tensors;
use crate::gpu::{Gpu, Network, Update};
use crate::graph::Lowering;
use crate::space::{Alpha, MixedAlpha, NetworkKind, NetworkSpec, Prior, Space};

/// Settings of a search, apart from its data, its adapter and its state.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The resolved configuration.
    pub config: Config,
    /// The space of the search.
    pub space: Arc<dyn Space>,
    /// Normalisation of the images.
    pub normalisation: Normalisation,
    /// The lowering of children.
    pub lowering: Lowering,
}

impl Settings {
    /// The settings of a search of the space that the configuration names.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that the space refuses.
    pub fn of(config: Config, normalisation: Normalisation, lowering: Lowering) -> Result<Self> {
        Ok(Self { space: config.space()?, config, normalisation, lowering })
    }

    /// The search parent for these images.
    pub fn spec(&self, dataset: &Dataset) -> NetworkSpec {
        let images = &dataset.train;
        NetworkSpec {
            space: Arc::clone(&self.space),
            kind: NetworkKind::Search,
            in_channels: images.channels,
            height: images.height,
            width: images.width,
            n_classes: dataset.class_names.len(),
            channels: self.config.network.channels,
        }
    }
}

/// Observer of every step.
pub(super) trait Observer: Send {
    /// Whether the observer needs the state from before the step.
    fn wants_before(&self, search: &Search) -> bool;

    /// Called when a step is done. The observer may add values to the record.
    fn seen(&self, search: &mut Search, done: &Done<'_>, record: &mut StepRecord) -> Result<()>;
}

/// A step that is done.
pub(super) struct Done<'a> {
    pub before: Option<&'a Tensors>,
    pub search: &'a Batch,
    pub train: &'a Batch,
    pub step: &'a Step,
}

/// A running search: {v, momentum} on the adapter, {the strategy's state, step} here.
pub struct Search {
    pub(super) settings: Settings,
    pub(super) evaluator: Evaluator,
    pub(super) strategy: Box<dyn Strategy>,
    pub(super) dataset: Arc<Dataset>,
    sources: [Arc<BatchSource>; 2],
    prefetch: Option<Prefetch>,
    observers: Vec<Box<dyn Observer>>,
    pub(super) step: u64,
    pub(super) mode_accuracy: Option<(u64, f64)>,
}

impl Search {
    /// A search before its first step: random v, uniform π.
    ///
    /// # Errors
    /// [`Error::Usage`] for extents that cannot be built, for batches larger than a split and for weights that do not
    /// fit the classes, [`Error::Memory`] if a child does not fit the adapter's memory.
    pub fn new(mut settings: Settings, dataset: Arc<Dataset>, gpu: Gpu) -> Result<Self> {
        let spec = settings.spec(&dataset);
        spec.check()?;
        let class_weights = settings.config.images.class_weights.of(&dataset)?;
        let splits = data_splits(&settings.config, &dataset);
        let side = dataset.train.height.max(dataset.train.width);
        settings.config.resolve_for(splits.train.len(), splits.search.len(), side);
        let sources = batch_sources(&settings.config, &settings.normalisation, &dataset)?;
        let per_epoch = sources[1].batches_per_epoch();

        let config = &settings.config;
        let mut evaluator = Evaluator::new(gpu, spec, config, settings.lowering)?;
        evaluator.network().set_class_weights(&class_weights)?;
        let (space, rules) = (&*settings.space, Rules::of(config, per_epoch));
        let strategy: Box<dyn Strategy> = match config.algorithm.method {
            Method::Parsec => Box::new(Parsec::new(space, rules)),
            Method::Random => Box::new(Random::new(space, rules)),
            Method::RandomSearch => Box::new(RandomSearch::new(space, rules)),
            Method::Darts => Box::new(Darts::new(space, rules.adam, rules.warm_up)),
        };
        strategy.reserve(&mut evaluator).map_err(|e| {
            suggest_smaller(e, config.length.batch, config.micro_batch().max(config.search_micro_batch()))
        })?;
        Ok(Self {
            settings,
            evaluator,
            strategy,
            dataset,
            sources,
            prefetch: None,
            observers: vec![Box::new(Trace), Box::new(EvaluateMode)],
            step: 0,
            mode_accuracy: None,
        })
    }

    /// After the adapter was lost: opens the adapter again and starts the search from its beginning.
    ///
    /// # Errors
    /// The errors of [`Self::new`] and of [`Network::open_again`].
    pub fn reopen(&mut self) -> Result<()> {
        let gpu = self.evaluator.network().open_again()?;
        *self = Self::new(self.settings.clone(), Arc::clone(&self.dataset), gpu)?;
        Ok(())
    }

    /// One step of the strategy.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything is changed, [`Error::Device`] if the adapter fails.
    pub fn step(&mut self) -> Result<StepRecord> {
        let done = self.iteration();
        if done.is_err() {
            // The step was not done, so its batches are needed again.
            self.prefetch = None;
        }
        done
    }

    fn iteration(&mut self) -> Result<StepRecord> {
        let started = Instant::now();
        let observers = std::mem::take(&mut self.observers);
        let wanted = observers.iter().any(|o| o.wants_before(self));
        let before = if wanted { Some(self.snapshot()?) } else { None };

        let waiting = Instant::now();
        let (search, train) = self.batches()?;
        let data = waiting.elapsed().as_secs_f64();
        let update = self.update();
        self.evaluator.begin(self.step + 1);
        let step = self.strategy.step(self.step, &mut self.evaluator, [&search, &train], update);
        let step = match step {
            Ok(step) => step,
            Err(e) => {
                self.observers = observers;
                return Err(e);
            }
        };
        self.step += 1;

        let mut record = StepRecord::of(self, &step);
        let done = Done { before: before.as_ref(), search: &search, train: &train, step: &step };
        let seen = observers.iter().try_for_each(|o| o.seen(self, &done, &mut record));
        self.observers = observers;
        seen?;
        let timings = self.evaluator.take_timings();
        record.seconds =
            Phases { data, plan: timings.plan, search: timings.search, train: timings.train, host: 0.0 };
        record.seconds.host = started.elapsed().as_secs_f64() - record.seconds.total();
        Ok(record)
    }

    fn batches(&mut self) -> Result<(Batch, Batch)> {
        if self.prefetch.is_none() {
            let threads = crate::host::threads(self.settings.config.session.threads);
            self.prefetch = Some(Prefetch::new(self.sources.to_vec(), self.step, threads)?);
        }
        let next = self.prefetch.as_mut().map(Prefetch::next).transpose()?;
        let mut batches = next.map(|(_, batches)| batches).unwrap_or_default().into_iter();
        match (batches.next(), batches.next()) {
            (Some(search), Some(train)) => Ok((search, train)),
            _ => Err(Error::device("the loader gave no batches", "resume the run")),
        }
    }

    /// Sets the number of steps done. The loader starts again from there.
    pub(super) fn go_to(&mut self, step: u64) {
        self.step = step;
        self.prefetch = None;
    }

    /// The settings of the update of v at this step. The learning rate is a cosine from `lr` to `lr_min` over all
    /// steps.
    pub(crate) fn update(&self) -> Update {
        let c = &self.settings.config;
        let part = self.step as f64 / c.steps_at(self.step).max(1) as f64;
        let lr = c.sgd.lr_min + 0.5 * (c.sgd.lr - c.sgd.lr_min) * (1.0 + (std::f64::consts::PI * part).cos());
        Update { lr, momentum: c.sgd.momentum, weight_decay: c.sgd.weight_decay, max_norm: c.sgd.grad_clip }
    }

    /// Work of the last step and of the remaining steps. The unit is a forward pass of one example; a backward pass is
    /// two units.
    pub fn work(&self) -> [f64; 2] {
        let c = &self.settings.config;
        let train = 3.0 * c.length.batch as f64;
        let after = match c.algorithm.method {
            Method::Parsec | Method::RandomSearch => train + c.search_batch() as f64,
            Method::Random => train,
            Method::Darts => 2.0 * train,
        };
        let warm_up = c.warm_up_steps(self.steps_per_epoch()).unwrap_or(c.length.steps);
        let left = c.length.steps.saturating_sub(self.step);
        let warming = warm_up.saturating_sub(self.step).min(left);
        let last = if self.step <= warm_up { train } else { after };
        [last, warming as f64 * train + (left - warming) as f64 * after]
    }

    /// Number of batches in an epoch of the train split.
    pub fn steps_per_epoch(&self) -> u64 {
        self.sources[1].batches_per_epoch()
    }

    /// Epoch of the train split in which the last step was, from 1.
    pub(super) fn epoch(&self) -> u64 {
        (self.step - 1) / self.steps_per_epoch() + 1
    }

    /// The architectures that the next step draws, in order.
    pub fn draw(&self) -> Vec<Alpha> {
        self.strategy.draws(self.step)
    }

    /// The architecture with which the strategy would end now. For `parsec` it is the mode of π, for `random` a draw
    /// from π that only the seed decides, for `random_search` the best child seen, and for `darts` the architecture
    /// decoded from α.
    pub fn architecture(&self) -> Alpha {
        self.strategy.architecture(&*self.settings.space)
    }

    /// The architecture with which the strategy would end now, as text.
    pub fn genotype(&self) -> String {
        self.settings.space.print(&self.architecture())
    }

    /// Entropy in nats of π, or of the softmax of α, over each group of slots.
    pub fn entropy(&self) -> Vec<f64> {
        self.strategy.entropy()
    }

    /// The entropy at the start of a search from scratch, over each group of slots.
    pub fn entropy_uniform(&self) -> Vec<f64> {
        let space = &*self.settings.space;
        match self.strategy.mixed_alpha() {
            Some(_) => MixedAlpha::uniform(space).entropy(),
            None => Prior::uniform(space).entropy(),
        }
    }

    /// π, if the method has one.
    pub fn prior(&self) -> Option<&Prior> {
        self.strategy.prior()
    }

    /// Replaces π, for instance by that of another run, and resets Adam.
    pub fn set_prior(&mut self, prior: Prior) {
        self.strategy.set_prior(prior);
    }

    /// α, if all paths run at once.
    pub fn mixed_alpha(&self) -> Option<&MixedAlpha> {
        self.strategy.mixed_alpha()
    }

    /// The space of the search.
    pub fn space(&self) -> &dyn Space {
        &*self.settings.space
    }

    /// The network without its architecture.
    pub fn spec(&self) -> &NetworkSpec {
        self.evaluator.spec()
    }

    /// The evaluator, which runs the passes of a step.
    pub fn evaluator(&mut self) -> &mut Evaluator {
        &mut self.evaluator
    }

    /// The network and its adapter.
    pub fn network(&mut self) -> &mut Network {
        self.evaluator.network()
    }

    /// Number of steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Whether the mode has not changed for the number of steps in `patience`.
    pub fn has_settled(&self) -> bool {
        let patience = self.settings.config.outcome.patience;
        patience > 0 && self.strategy.settled() >= patience
    }

    /// The account of the data.
    pub fn account(&self) -> &Account {
        &self.dataset.account
    }

    /// The configuration with every length resolved.
    pub fn config(&self) -> &Config {
        &self.settings.config
    }
}

/// Batches of the search split and of the train split.
///
/// # Errors
/// [`Error::Usage`] for batches larger than a split.
pub fn batch_sources(
    config: &Config,
    normalisation: &Normalisation,
    dataset: &Arc<Dataset>,
) -> Result<[Arc<BatchSource>; 2]> {
    let splits = data_splits(config, dataset);
    let augment =
        Augment { crop_pad: config.images.crop_pad as usize, flip: config.images.flip, ..Augment::NONE };
    let source = |indices, part, batch| {
        let data = Arc::clone(dataset);
        BatchSource::new(data, indices, part, batch, config.session.seed, augment, normalisation)
            .map(Arc::new)
    };
    let train = source(splits.train, Split::Train, config.length.batch)?;
    Ok([source(splits.search, Split::Search, config.search_batch())?, train])
}

/// The two data splits of the training images.
fn data_splits(config: &Config, dataset: &Dataset) -> Splits {
    splits(dataset.train.n, config.algorithm.search_fraction, config.session.seed)
}
