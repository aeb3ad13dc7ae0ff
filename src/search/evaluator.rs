//! The two passes of a step over its children: likelihoods on the search batch, gradients on the train batch.
//!
//! Equal children run once. A batch runs whole, or in micro-batches of M examples. A micro-batch is uploaded, all
//! children run on the micro-batch one after another in the same memory, and then the next micro-batch follows. ℓ_k is
//! the sum over the micro-batches. The gradient of each micro-batch is the gradient of a mean over M examples. These
//! gradients are added with weight M/N, which gives the gradient of the mean over all N examples. The only difference
//! from the whole batch is that batch norm uses the statistics of one micro-batch at a time.
//!
//! Gradients are added in lanes: the children with a gradient are distributed in turn over a fixed number of lanes, a
//! lane adds its children in order, and the sums of the lanes are added as a fixed tree ([`crate::ops::lane`]).
//! Therefore the bits do not depend on which adapter computes which lane.
//!
//! The part of the network that no architecture changes is computed once for all children of a pass. Its backward pass
//! runs once too, from the sum of the children's weighted gradients (`graph::Extent`).

use crate::host::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::gpu::{Child, ChildResult, Clip, Gpu, Network, Update};
use crate::graph::init::initial;
use crate::graph::{Extent, Layout, Lowering, Mode};
use crate::kernel::Buf;
use crate::network::Net;
use crate::space::{Alpha, NetworkSpec, Paths};

/// Input slots of the batches of the search split and of the train split.
pub(super) const SEARCH: u8 = 0;
pub(super) const TRAIN: u8 = 1;

/// Number of children that are planned together. The network keeps two groups at once.
const GROUP: usize = 4;

/// Seconds of a step in the evaluator, by kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// The host's work on plans, pipelines and launches.
    pub plan: f64,
    /// Likelihoods, without the time in `plan`.
    pub search: f64,
    /// Gradients and the update, without the time in `plan`.
    pub train: f64,
}

/// Results of the backward passes of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Mean cross-entropy on the train batch, weighted by child and by class.
    pub loss: f64,
    /// Weighted fraction of the train batch that was classified correctly.
    pub accuracy: f64,
    /// The clipping of the gradient.
    pub clip: Clip,
    /// log p(y|X, v, α_k) of each child on the train batch, nats, weighted by class. Empty if some children had no backward pass.
    pub log_likelihood: Vec<f64>,
}

/// A gradient that was submitted, with the weights of its children and the place of its results.
struct Submitted {
    pass: Pass,
    weights: Vec<f64>,
    name: String,
    /// For each child the index of its result. Empty if some children have no result.
    result_of: Vec<usize>,
}

/// A submitted pass and the place of its results.
struct Pass {
    input: u8,
    /// The weight of each example, by its class.
    of_examples: Vec<f64>,
    n_children: usize,
    n_micro_batches: usize,
}

/// Runs the passes of a step on one adapter. The adapter holds v, its gradient and momentum.
pub struct Evaluator {
    network: Network,
    spec: NetworkSpec,
    /// Number of examples of a train batch that run at a time, and then the number for a search batch.
    micro_batch: usize,
    search_micro_batch: usize,
    /// Number of examples of a whole train batch.
    batch: usize,
    /// Children whose weights sum to at most this have no backward pass.
    drop_mass: f64,
    /// Whether every child runs whole and by itself.
    literal: bool,
    lanes: usize,
    /// Layers of the children of the last pass, by architecture.
    nets: BTreeMap<Alpha, Arc<Net>>,
    /// Layers of any child. All children have the same trunk.
    any: Arc<Net>,
    submitted: Option<Submitted>,
    timings: Timings,
    /// Number of the current step, from 1, for error messages.
    pub(super) step: u64,
    /// Counts of the last step: correctly classified examples of each child, children that ran together with an equal
    /// child, and children without a backward pass.
    n_correct: Vec<usize>,
    n_shared: usize,
    n_skipped: usize,
}

impl Evaluator {
    /// A search parent of `spec` with random weights, on an adapter.
    ///
    /// # Errors
    /// [`Error::Memory`] if the weights do not fit the adapter's memory.
    pub fn new(gpu: Gpu, spec: NetworkSpec, config: &Config, lowering: Lowering) -> Result<Self> {
        let layout = Layout::new(spec.parent_params())?;
        let v = initial(&layout, config.session.seed);
        let mut network = Network::new(gpu, spec.image(), layout, lowering)?;
        network.write_all(Buf::V, &v)?;
        let any = Alpha(vec![0; spec.space.slots().len()]);
        Ok(Self {
            any: Arc::new(spec.net(Paths::Child(&any))),
            network,
            spec,
            micro_batch: config.micro_batch(),
            search_micro_batch: config.search_micro_batch(),
            batch: config.length.batch,
            drop_mass: if config.algorithm.reference { 0.0 } else { config.algorithm.drop_mass },
            literal: config.algorithm.reference,
            lanes: config.execution.lanes,
            nets: BTreeMap::new(),
            submitted: None,
            timings: Timings::default(),
            step: 1,
            n_correct: Vec::new(),
            n_shared: 0,
            n_skipped: 0,
        })
    }

    /// The network on its adapter.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    pub(super) fn layout(&self) -> &Layout {
        self.network.layout()
    }

    pub(super) fn arena_bytes(&self) -> u64 {
        self.network.arena_bytes()
    }

    /// The network without its architecture.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The layers of a child.
    pub fn net(&self, alpha: &Alpha) -> Arc<Net> {
        match self.nets.get(&self.spec.space.canonical(alpha)) {
            Some(net) => Arc::clone(net),
            None => Arc::new(self.spec.net(Paths::Child(&self.spec.space.canonical(alpha)))),
        }
    }

    /// Allocates memory for any child.
    pub fn reserve(&mut self) -> Result<()> {
        let nets: Vec<Arc<Net>> = self.spec.space.largest().iter().map(|alpha| self.net(alpha)).collect();
        let extent = self.extent();
        for (mode, micro_batch) in
            [(Mode::Train, self.micro_batch), (Mode::Likelihood, self.search_micro_batch)]
        {
            if extent == Extent::Branch {
                self.network.reserve([&self.any], mode, micro_batch as u32, Extent::Trunk)?;
            }
            self.network.reserve(&nets, mode, micro_batch as u32, extent)?;
        }
        self.network.reserve_lanes(self.lanes)
    }

    /// Allocates memory for the mixed network.
    pub(super) fn reserve_mixed(&mut self) -> Result<()> {
        let net = Arc::new(self.spec.net(Paths::All));
        self.network.reserve([&net], Mode::Train, self.micro_batch as u32, Extent::Whole)?;
        // The pass for the gradient of the factors keeps other tensors.
        self.network.reserve([&net], Mode::Factors, self.search_micro_batch as u32, Extent::Whole)
    }

    /// log p(y|X, v, α_k) of each child on a batch of the search split, nats, summed over the batch with the weights of
    /// the examples' classes.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the first child whose likelihood is not a number, [`Error::Device`].
    pub fn log_likelihoods(&mut self, alphas: &[Alpha], batch: &Batch) -> Result<Vec<f64>> {
        let start = self.start();
        let children = Distinct::of(self, alphas);
        self.nets = children.alphas.iter().cloned().zip(children.nets.iter().cloned()).collect();
        let all: Vec<(&Arc<Net>, f64)> = children.nets.iter().map(|net| (net, 1.0)).collect();
        let pass = self.pass(Mode::Likelihood, SEARCH, batch, &all)?;
        let results = self.results(&pass)?;
        let found: Vec<f64> =
            children.network_of.iter().map(|d| results[*d].weighted_sum(&pass.of_examples)).collect();
        if let Some(k) = found.iter().position(|l| !l.is_finite()) {
            return Err(self.non_finite(&children.alphas[children.network_of[k]], k, found[k]));
        }
        self.n_correct = children.network_of.iter().map(|d| results[*d].n_correct).collect();
        self.n_shared = alphas.len() - children.nets.len();
        self.timings.search += self.stop(start);
        Ok(found)
    }

    /// Submits Σ_k ω̃_k ∇_v log p(y|X, v, α_k) on a batch of the train split. Children with little weight are left out.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter fails.
    pub fn accumulate(&mut self, alphas: &[Alpha], weights: &[f64], batch: &Batch) -> Result<()> {
        let start = self.start();
        let children = Distinct::of(self, alphas);
        // If all weights are equal no child is left out, however small the weights are.
        let alike = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let kept = super::importance::kept(weights, if alike { 0.0 } else { self.drop_mass });
        self.n_skipped = kept.iter().filter(|kept| !**kept).count();
        self.n_shared = alphas.len() - children.nets.len();
        let mut mass = vec![0.0; children.nets.len()];
        for (k, &network) in children.network_of.iter().enumerate() {
            if kept[k] {
                mass[network] += weights[k];
            }
        }
        let ran: Vec<(usize, f64)> = mass.into_iter().enumerate().filter(|(_, w)| *w > 0.0).collect();
        let weighted: Vec<_> = ran.iter().map(|&(network, w)| (&children.nets[network], w)).collect();
        let pass = self.pass(Mode::Train, TRAIN, batch, &weighted)?;
        let name = self.spec.space.print(&alphas[0]);
        let result_of = if ran.len() == children.nets.len() { children.network_of } else { Vec::new() };
        let weights = ran.into_iter().map(|(_, w)| w).collect();
        self.submitted = Some(Submitted { pass, weights, name, result_of });
        self.timings.train += self.stop(start);
        Ok(())
    }

    /// Moves v along the accumulated gradient and clears the gradient. Waits for the adapter.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before v is changed, [`Error::Device`] if the adapter fails.
    pub fn update(&mut self, update: Update) -> Result<Trained> {
        let start = self.start();
        let Some(Submitted { pass, weights, name, result_of }) = self.submitted.take() else {
            return Err(Error::internal("an update without a gradient"));
        };
        self.network.step(update)?;
        let outcome = self.results(&pass)?;
        let clip = self.network.clip()?;
        if !clip.norm.is_finite() {
            return Err(Error::NonFinite { step: self.step, child: 0, genotype: name, value: clip.norm });
        }
        let (mass, n): (f64, f64) = (weights.iter().sum(), self.batch as f64);
        let mean = |f: &dyn Fn(&ChildResult) -> f64| {
            weights.iter().zip(&outcome).map(|(w, r)| w / mass * f(r) / n).sum::<f64>()
        };
        let sum = |r: &ChildResult| r.weighted_sum(&pass.of_examples);
        let (loss, accuracy) = (-mean(&sum), mean(&|r| r.n_correct as f64));
        let log_likelihood = result_of.into_iter().map(|d| sum(&outcome[d])).collect();
        self.timings.train += self.stop(start);
        Ok(Trained { loss, accuracy, clip, log_likelihood })
    }

    /// Runs the mixed network on a batch with these factors. Returns the results, the log-likelihood of the batch with
    /// the weights of the examples' classes, and in [`Mode::Factors`] the gradient of the factors.
    pub(super) fn mixed(
        &mut self,
        factors: &[f64],
        mode: Mode,
        batch: &Batch,
    ) -> Result<(ChildResult, f64, Vec<f64>)> {
        let start = self.start();
        let input = if mode == Mode::Train { TRAIN } else { SEARCH };
        let net = Arc::new(self.spec.net(Paths::All));
        let micro_batch = self.micro_batch_of(mode);
        let n_micro_batches = batch.n / micro_batch;
        let factors_f32: Vec<f32> = factors.iter().map(|f| *f as f32).collect();
        self.network.set_child_weight(micro_batch as f64 / batch.n as f64)?;
        for (i, (images, labels)) in micro_batches(batch, micro_batch).enumerate() {
            self.network.upload(input, images, labels)?;
            self.network.upload_factors(&factors_f32, input)?;
            self.network.run(Child::new(&net, mode, input))?;
            self.network.keep_results(i, n_micro_batches, input)?;
        }
        let found = join(self.network.results(n_micro_batches, input)?.iter());
        let mut of_factors = Vec::new();
        if mode == Mode::Factors {
            // The gradient is taken and cleared before any check, so that a failed step leaves no gradient in the
            // buffer.
            let taken = self.network.take_factor_gradient(factors.len())?;
            of_factors = taken.into_iter().map(f64::from).collect();
        }
        let secs = self.stop(start);
        *(if input == TRAIN { &mut self.timings.train } else { &mut self.timings.search }) += secs;
        let sum = found.weighted_sum(&self.network.weights_of(&batch.labels));
        Ok((found, sum, of_factors))
    }

    /// The update after a pass of the mixed network.
    pub(super) fn update_mixed(&mut self, update: Update) -> Result<Clip> {
        let start = self.start();
        self.network.step(update)?;
        let clip = self.network.clip();
        self.timings.train += self.stop(start);
        clip
    }

    /// The result of a child on images that are not in the search's batches, with the statistics of each batch.
    pub(super) fn result(&mut self, net: &Arc<Net>, batch: &Batch) -> Result<ChildResult> {
        self.network.upload(SEARCH, &batch.images, &batch.labels)?;
        self.network.run(Child::new(net, Mode::Likelihood, SEARCH))?;
        self.network.last_result(SEARCH)
    }

    /// Logits \[N\]\[classes\] of a child on images that are not in the search's batches, with the statistics of the batch.
    pub(super) fn logits(&mut self, net: &Arc<Net>, batch: &Batch) -> Result<Vec<f32>> {
        self.network.upload(SEARCH, &batch.images, &batch.labels)?;
        self.network.run(Child::new(net, Mode::Likelihood, SEARCH))?;
        self.network.logits(0, SEARCH)
    }

    /// Begins the `step`-th step (from 1) and resets the counts and times of the step before.
    pub(super) fn begin(&mut self, step: u64) {
        self.step = step;
        self.timings = Timings::default();
        self.n_correct.clear();
        (self.n_shared, self.n_skipped) = (0, 0);
    }

    /// Seconds since the last call, by kind of work.
    pub(super) fn take_timings(&mut self) -> Timings {
        std::mem::take(&mut self.timings)
    }

    /// Counts of the last step: correctly classified examples of each child, children that ran together with an equal
    /// child, and children without a backward pass.
    pub(super) fn counts(&self) -> (&[usize], usize, usize) {
        (&self.n_correct, self.n_shared, self.n_skipped)
    }

    /// Sets the counts of a step with the mixed network, which has no children.
    pub(super) fn count_mixed(&mut self, n_correct: usize) {
        (self.n_correct, self.n_shared, self.n_skipped) = (vec![n_correct], 0, 0);
    }

    fn start(&mut self) -> Instant {
        // Time from before this pass is discarded.
        self.network.take_host_secs();
        Instant::now()
    }

    /// Seconds since the start without the host's seconds, which are added to the planning time.
    fn stop(&mut self, start: Instant) -> f64 {
        let all = start.elapsed().as_secs_f64();
        let planned = self.network.take_host_secs().min(all);
        self.timings.plan += planned;
        all - planned
    }

    fn non_finite(&self, alpha: &Alpha, child: usize, value: f64) -> Error {
        Error::NonFinite { step: self.step, child, genotype: self.spec.space.print(alpha), value }
    }

    /// Submits the children on a batch, with the weights of their gradients. Does not wait.
    fn pass(&mut self, mode: Mode, input: u8, batch: &Batch, children: &[(&Arc<Net>, f64)]) -> Result<Pass> {
        let micro_batch = self.micro_batch_of(mode);
        let (n_children, n_micro_batches) = (children.len(), batch.n / micro_batch);
        let lanes = if mode == Mode::Train { self.lanes.min(n_children).max(1) } else { 1 };
        // The order of the children, lane by lane.
        let order: Vec<usize> = (0..lanes).flat_map(|lane| (lane..n_children).step_by(lanes)).collect();
        let set_aside = mode == Mode::Train && self.lanes > 1;
        let share = micro_batch as f64 / batch.n as f64;
        let (any, extent) = (Arc::clone(&self.any), self.extent());
        for (i, (images, labels)) in micro_batches(batch, micro_batch).enumerate() {
            self.network.upload(input, images, labels)?;
            if extent == Extent::Branch {
                self.network.run_trunk(&any, mode, input)?;
            }
            if set_aside && i > 0 {
                self.network.put_gradient_aside()?;
            }
            for (at, &k) in order.iter().enumerate() {
                // The children of a group are planned side by side, while the adapter works on the group before.
                if at.is_multiple_of(GROUP) {
                    let group = &order[at..n_children.min(at + GROUP)];
                    let child = |k: &usize| Child { extent, ..Child::new(children[*k].0, mode, input) };
                    let ready: Vec<Child<'_>> = group.iter().map(child).collect();
                    self.network.prepare_all(&ready)?;
                }
                let (net, weight) = children[k];
                if mode == Mode::Train {
                    self.network.set_child_weight(weight * share)?;
                }
                self.network.run(Child { extent, ..Child::new(net, mode, input) })?;
                self.network.keep_results(i * n_children + k, n_micro_batches * n_children, input)?;
                if lanes > 1 && k + lanes >= n_children {
                    self.network.close_lane(k % lanes, k % lanes + 1 == lanes)?;
                }
            }
            if (extent, mode) == (Extent::Branch, Mode::Train) {
                self.network.run_trunk_backward(&any, input)?;
            }
            if set_aside && i > 0 {
                self.network.add_gradient_aside()?;
            }
        }
        let of_examples = self.network.weights_of(&batch.labels);
        Ok(Pass { input, of_examples, n_children, n_micro_batches })
    }

    /// Number of examples that run at a time.
    fn micro_batch_of(&self, mode: Mode) -> usize {
        if mode == Mode::Train { self.micro_batch } else { self.search_micro_batch }
    }

    /// Whether a child runs whole or only from the trunk on.
    fn extent(&self) -> Extent {
        let whole = self.literal || !self.network.has_trunk(&self.any, self.micro_batch as u32);
        if whole { Extent::Whole } else { Extent::Branch }
    }

    /// Results of each child of a pass on the whole batch. All results are read back at once.
    fn results(&mut self, pass: &Pass) -> Result<Vec<ChildResult>> {
        let by_micro_batch = self.network.results(pass.n_micro_batches * pass.n_children, pass.input)?;
        let child = |k| join(by_micro_batch.iter().skip(k).step_by(pass.n_children));
        Ok((0..pass.n_children).map(child).collect())
    }
}

/// K children and their distinct networks.
struct Distinct {
    /// The distinct children in canonical form, in the order of first appearance.
    alphas: Vec<Alpha>,
    nets: Vec<Arc<Net>>,
    /// For each child the index of its network.
    network_of: Vec<usize>,
}

impl Distinct {
    /// The networks of `alphas`. In the literal mode each child has its own network.
    fn of(evaluator: &Evaluator, alphas: &[Alpha]) -> Self {
        let (mut distinct, mut nets, mut network_of) = (Vec::new(), Vec::new(), Vec::new());
        for alpha in alphas {
            let alpha = evaluator.spec.space.canonical(alpha);
            let there = distinct.iter().position(|d| *d == alpha).filter(|_| !evaluator.literal);
            network_of.push(there.unwrap_or(distinct.len()));
            if there.is_none() {
                nets.push(evaluator.net(&alpha));
                distinct.push(alpha);
            }
        }
        Self { alphas: distinct, nets, network_of }
    }
}

/// The images and labels of each micro-batch of `micro_batch` examples.
fn micro_batches(batch: &Batch, micro_batch: usize) -> impl Iterator<Item = (&[f32], &[u32])> {
    let image_len = batch.channels * batch.height * batch.width;
    batch.images.chunks(micro_batch * image_len).zip(batch.labels.chunks(micro_batch))
}

/// Joins the results of one child on the micro-batches, in their order, to the result on the whole batch.
fn join<'a>(micro_batches: impl Iterator<Item = &'a ChildResult>) -> ChildResult {
    let mut whole = ChildResult { log_likelihood: Vec::new(), n_correct: 0 };
    for micro_batch in micro_batches {
        whole.log_likelihood.extend(&micro_batch.log_likelihood);
        whole.n_correct += micro_batch.n_correct;
    }
    whole
}

/// An error of memory for micro-batches of `micro_batch` examples, with a suggestion of a micro-batch and a batch that would
/// fit.
pub(super) fn suggest_smaller(e: Error, batch: usize, micro_batch: usize) -> Error {
    match e {
        Error::Memory { what, need_bytes, have_bytes, try_this } if try_this.contains("--batch") => {
            let fits =
                (micro_batch as u64 * have_bytes / need_bytes.max(1)).clamp(1, micro_batch as u64) as usize;
            let divisor = (1..=fits).rev().find(|m| batch.is_multiple_of(*m)).unwrap_or(1);
            let try_this = format!(
                "--micro-batch {divisor} (batch norm then sees {divisor} examples at a time), --batch {fits}, \
                 or fewer --channels"
            );
            Error::Memory { what, need_bytes, have_bytes, try_this }
        }
        other => other,
    }
}
