//! Training the network of one genotype, step by step.

use crate::host::Instant;
use std::sync::Arc;

use super::evaluate::{Evaluation, evaluate};
use super::record::{Phases, TrainRecord};
use super::schedule;
use super::weights::Weights;
use crate::config::{self, Every, Session, TrainConfig};
use crate::data::{Account, Augment, Batch, BatchSource, Dataset, Images, Normalisation, Prefetch, Split};
use crate::error::{Error, Result};
use crate::gpu::{Child, Gpu, Network, Update, Variants};
use crate::graph::{Layout, Loss, Lowering, Memory, Mode};
use crate::network::{Net, Shape};
use crate::space::{Alpha, NetworkKind, NetworkSpec, Paths, Space};

/// Input slots of the training batch and of the batch that is evaluated.
const TRAIN: u8 = 0;
pub(super) const HELD_OUT: u8 = 1;

/// Settings of a training, apart from its data, its adapter and its state.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The resolved configuration.
    pub config: TrainConfig,
    /// The space that builds the network.
    pub space: Arc<dyn Space>,
    /// The architecture.
    pub alpha: Alpha,
    /// Normalisation of the images.
    pub normalisation: Normalisation,
}

/// A running training. Weights, momentum and running statistics are on the adapter, the step is here.
pub struct Training {
    settings: Settings,
    spec: NetworkSpec,
    net: Arc<Net>,
    pub(super) network: Network,
    dataset: Arc<Dataset>,
    source: Arc<BatchSource>,
    prefetch: Option<Prefetch>,
    step: u64,
    pub(super) batches_tracked: i64,
    held_out: Option<(u64, Evaluation)>,
}

/// The network that `config` trains on the images of `dataset`.
pub fn network_spec(config: &TrainConfig, space: &Arc<dyn Space>, dataset: &Dataset) -> NetworkSpec {
    let images = &dataset.train;
    NetworkSpec {
        space: Arc::clone(space),
        kind: NetworkKind::Final,
        in_channels: images.channels,
        height: images.height,
        width: images.width,
        n_classes: dataset.class_names.len(),
        channels: config.network.channels,
    }
}

/// The lowering of the networks of `config`.
pub fn lowering(config: &TrainConfig) -> Lowering {
    let loss = Loss {
        label_smoothing: config.regularisation.label_smoothing as f32,
        auxiliary: config.regularisation.auxiliary as f32,
    };
    Lowering {
        fuse: !config.session.reference_kernels,
        loss,
        memory: memory(config.session.memory),
        ..Lowering::default()
    }
}

/// The planner's value for a setting of the configuration.
pub fn memory(memory: config::Memory) -> Memory {
    match memory {
        config::Memory::Normal => Memory::Normal,
        config::Memory::Low => Memory::Low,
    }
}

impl Training {
    /// Uses these variants of the kernels from now on.
    pub fn use_variants(&mut self, variants: Variants) {
        self.network.use_variants(variants);
    }

    /// A training before its first step: random weights, all training images.
    ///
    /// # Errors
    /// [`Error::Usage`] for extents that cannot be built, for batches larger than the data and for weights that do not
    /// fit the classes, [`Error::Memory`] if the network does not fit the adapter's memory.
    pub fn new(mut settings: Settings, dataset: Arc<Dataset>, gpu: Gpu) -> Result<Self> {
        let config = &settings.config;
        let spec = network_spec(config, &settings.space, &dataset);
        spec.check()?;
        let class_weights = config.images.class_weights.of(&dataset)?;
        let all = (0..dataset.train.n as u32).collect();
        let augment = Augment {
            crop_pad: config.images.crop_pad as usize,
            flip: config.images.flip,
            cutout: config.regularisation.cutout as usize,
            resized_crop: config.regularisation.resized_crop,
            jitter: config.regularisation.jitter as f32,
            hue: config.regularisation.hue as f32,
        };
        let data = Arc::clone(&dataset);
        let normalisation = &settings.normalisation;
        let source = BatchSource::new(
            data,
            all,
            Split::Train,
            config.length.batch,
            config.session.seed,
            augment,
            normalisation,
        )?;
        settings.config.resolve_steps(source.batches_per_epoch());

        let config = &settings.config;
        let net = Arc::new(spec.net(Paths::Child(&settings.alpha)));
        let mut network = Network::new(gpu, net.image(), Layout::new(net.params())?, lowering(config))?;
        network.set_class_weights(&class_weights)?;
        let initial = Weights::initial(network.layout(), config.session.seed);
        let mut training = Self {
            settings,
            spec,
            net,
            network,
            dataset,
            source: Arc::new(source),
            prefetch: None,
            step: 0,
            batches_tracked: 0,
            held_out: None,
        };
        training.set_weights(&initial)?;
        training.reserve().map_err(|e| smaller_batch(e, training.settings.config.length.batch))?;
        Ok(training)
    }

    /// After the adapter was lost: opens the adapter again and starts the training from its beginning.
    ///
    /// # Errors
    /// The errors of [`Self::new`] and of [`Network::open_again`].
    pub fn reopen(&mut self) -> Result<()> {
        let (gpu, variants) = (self.network.open_again()?, self.network.variants());
        *self = Self::new(self.settings.clone(), Arc::clone(&self.dataset), gpu)?;
        self.use_variants(variants);
        Ok(())
    }

    /// Allocates memory for all passes of a training, so that a lack of memory is reported before the first step.
    fn reserve(&mut self) -> Result<()> {
        let Shape { c, h, w } = self.net.image();
        let image_len = c * h * w;
        let batch = self.settings.config.length.batch;
        // The largest batch of an evaluation contains the remainder.
        let last = |images: &Images| if images.n <= batch { images.n } else { batch + images.n % batch };
        let parts = [Some(&self.dataset.test), self.dataset.report.as_ref()];
        let last = parts.into_iter().flatten().map(last).max().unwrap_or(batch);
        for (input, n, mode) in [(TRAIN, batch, Mode::Train), (HELD_OUT, last, Mode::Evaluate)] {
            self.network.upload(input, &vec![0.0; n * image_len], &vec![0; n])?;
            let drop_path = mode == Mode::Train && self.drops_paths();
            if drop_path {
                self.network.upload_drop_path(&vec![1.0; self.net.n_drops * n])?;
            }
            self.network.prepare(Child { drop_path, ..Child::new(&self.net, mode, input) })?;
        }
        Ok(())
    }

    /// One step: forward, backward and update, then the evaluation if it is due.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before the weights are changed, [`Error::Device`] if the adapter fails.
    pub fn step(&mut self) -> Result<TrainRecord> {
        let done = self.iteration();
        if done.is_err() {
            // The step was not done, so its batch is needed again.
            self.prefetch = None;
        }
        done
    }

    fn iteration(&mut self) -> Result<TrainRecord> {
        let started = Instant::now();
        let batch = self.next_batch()?;
        self.network.upload(TRAIN, &batch.images, &batch.labels)?;
        let (config, per_epoch) = (&self.settings.config, self.source.batches_per_epoch());
        let lr = schedule::lr(config, self.step, per_epoch);
        let probability = schedule::drop_path(config, self.step, per_epoch);
        let update = Update {
            lr,
            momentum: config.sgd.momentum,
            weight_decay: config.sgd.weight_decay,
            max_norm: config.sgd.grad_clip,
        };
        let drop_path = self.drops_paths();
        if drop_path {
            let (seed, rows) = (config.session.seed, self.net.n_drops);
            let factors = schedule::drop_path_factors(probability, seed, self.step, rows, batch.n);
            self.network.upload_drop_path(&factors)?;
        }
        let data = started.elapsed().as_secs_f64();

        self.network.run(Child { drop_path, ..Child::new(&self.net, Mode::Train, TRAIN) })?;
        let result = self.network.last_result(TRAIN)?;
        let sum = result.weighted_sum(&self.network.weights_of(&batch.labels));
        if !sum.is_finite() {
            return Err(self.non_finite(sum));
        }
        self.network.step(update)?;
        let clip = self.network.clip()?;
        if !clip.norm.is_finite() {
            return Err(self.non_finite(clip.norm));
        }
        self.step += 1;
        self.batches_tracked += 1;
        let trained = started.elapsed().as_secs_f64();

        let held_out = self.evaluate_if_due()?;
        Ok(TrainRecord {
            step: self.step,
            epoch: (self.step - 1) / per_epoch + 1,
            loss: -sum / batch.n as f64,
            accuracy: result.n_correct as f64 / batch.n as f64,
            lr,
            drop_path: probability,
            grad_norm: clip.norm,
            clip_factor: clip.factor,
            held_out_accuracy: held_out.map(|e| e.accuracy()),
            held_out_loss: held_out.map(|e| -e.mean_log_likelihood),
            arena_bytes: self.network.arena_bytes(),
            seconds: Phases {
                data,
                train: trained - data,
                evaluate: started.elapsed().as_secs_f64() - trained,
            },
        })
    }

    fn drops_paths(&self) -> bool {
        self.settings.config.regularisation.drop_path > 0.0 && self.net.n_drops > 0
    }

    fn next_batch(&mut self) -> Result<Batch> {
        if self.prefetch.is_none() {
            let threads = crate::host::threads(self.settings.config.session.threads);
            self.prefetch = Some(Prefetch::new(vec![Arc::clone(&self.source)], self.step, threads)?);
        }
        let next = self.prefetch.as_mut().map(Prefetch::next).transpose()?;
        let batch = next.and_then(|(_, batches)| batches.into_iter().next());
        batch.ok_or_else(|| Error::device("the loader gave no batch", "resume the run"))
    }

    /// Evaluates the current network on the held-out images, with running statistics.
    pub fn evaluate(&mut self) -> Result<Evaluation> {
        if let Some((step, evaluation)) = self.held_out
            && step == self.step
        {
            return Ok(evaluation);
        }
        let found = self.evaluate_on(&Arc::clone(&self.dataset).test)?;
        self.held_out = Some((self.step, found));
        Ok(found)
    }

    /// Evaluates the current network on the images to report, if these are another part than the held-out images.
    pub fn evaluate_report(&mut self) -> Result<Option<Evaluation>> {
        let dataset = Arc::clone(&self.dataset);
        dataset.report.as_ref().map(|images| self.evaluate_on(images)).transpose()
    }

    fn evaluate_on(&mut self, images: &Images) -> Result<Evaluation> {
        let Settings { config, normalisation, .. } = &self.settings;
        evaluate(&mut self.network, &self.net, images, normalisation, config.length.batch, None)
    }

    fn evaluate_if_due(&mut self) -> Result<Option<Evaluation>> {
        let Session { eval_every, checkpoint_every, .. } = &self.settings.config.session;
        let due = |every: &Every| every.is_due(self.step, self.source.batches_per_epoch());
        let last = self.settings.config.steps_at(self.step - 1);
        if due(eval_every) || due(checkpoint_every) || self.step >= last {
            return self.evaluate().map(Some);
        }
        Ok(None)
    }

    /// Number of batches in an epoch of the training images.
    pub fn steps_per_epoch(&self) -> u64 {
        self.source.batches_per_epoch()
    }

    /// Held-out accuracy, if the network was evaluated after the last step.
    pub fn score_now(&self) -> Option<f64> {
        self.held_out.filter(|(step, _)| *step == self.step).map(|(_, e)| e.accuracy())
    }

    /// Sets the number of steps done. The loader starts again from there.
    pub(super) fn go_to(&mut self, step: u64) {
        self.step = step;
        self.prefetch = None;
        self.held_out = None;
    }

    /// The network without its architecture.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The architecture as text.
    pub fn genotype(&self) -> String {
        self.settings.space.print(&self.settings.alpha)
    }

    /// The architecture.
    pub fn alpha(&self) -> &Alpha {
        &self.settings.alpha
    }

    /// Layers of the network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    fn non_finite(&self, value: f64) -> Error {
        Error::NonFinite { step: self.step + 1, child: 0, genotype: self.genotype(), value }
    }

    /// The network and its adapter.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Number of steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The account of the data.
    pub fn account(&self) -> &Account {
        &self.dataset.account
    }

    /// The configuration with every length resolved.
    pub fn config(&self) -> &TrainConfig {
        &self.settings.config
    }
}

fn smaller_batch(e: Error, batch: usize) -> Error {
    match e {
        Error::Memory { what, need_bytes, have_bytes, .. } => {
            let fits = (batch as u64 * have_bytes / need_bytes.max(1)).max(1);
            let try_this = format!("--batch {fits}, fewer --channels or --memory low");
            Error::Memory { what, need_bytes, have_bytes, try_this }
        }
        other => other,
    }
}
