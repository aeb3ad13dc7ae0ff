//! The two passes of a step over its children: likelihoods on the search batch, gradients on the train batch.
//!
//! Equal children run once. A batch runs whole, or in parts of M examples (`micro_batch`): a part is uploaded, all
//! children run on it one after another in the same memory, then comes the next part. ℓ_k is the sum over the parts, and
//! the gradients of the parts, each of a mean over M examples, are added with weight M/N: the gradient of the mean over
//! all N. Batch norm sees a part at a time, which is all that tells this from the whole batch.
//!
//! Gradients are added in lanes: the children that have one are dealt out to a fixed number of lanes in turn, a lane adds
//! its own in order, and the sums of the lanes are added as a fixed tree ([`crate::ops::lane`]). So the bits do not depend
//! on which adapter computes which lane.
//!
//! What no architecture changes is computed once for all children of a pass, and so is its backward pass, from the sum
//! of the children's weighted gradients (`graph::Extent`).

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

/// The buffers that hold the two batches.
pub(super) const SEARCH: u8 = 0;
pub(super) const TRAIN: u8 = 1;

/// Children that are planned together; two groups are kept by the network at once.
const GROUP: usize = 4;

/// Seconds of a step that were the evaluator's, by what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// The host's work on plans, pipelines and launches.
    pub plan: f64,
    /// Likelihoods, without that.
    pub search: f64,
    /// Gradients and the update, without that.
    pub train: f64,
}

/// What the backward passes of a step found.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Mean cross-entropy on the train batch, by weight.
    pub loss: f64,
    /// Part of the train batch classified correctly, by weight.
    pub accuracy: f64,
    /// The clipping of the gradient.
    pub clip: Clip,
    /// log p(y|X, v, α_k) on the train batch, nats, of each child; empty where some had no backward pass.
    pub log_likelihood: Vec<f64>,
}

/// A gradient that was submitted: whose it is, and where its results will be.
struct Submitted {
    pass: Pass,
    weights: Vec<f64>,
    name: String,
    /// For each child that of its results, where all have some.
    result_of: Vec<usize>,
}

/// What was submitted, and where its results will be.
struct Pass {
    split: u8,
    n_children: usize,
    n_parts: usize,
}

/// Carries out the passes of a step on one adapter: it has v, its gradient and momentum.
pub struct Evaluator {
    network: Network,
    spec: NetworkSpec,
    /// Examples of a train batch that run at a time, and of one of the search split.
    part: usize,
    search_part: usize,
    /// Examples of a whole train batch.
    batch: usize,
    /// Children with this much weight in all have no backward pass.
    drop_mass: f64,
    /// Every child runs whole and by itself.
    literal: bool,
    lanes: usize,
    /// Layers of the children of the last pass, by architecture.
    nets: BTreeMap<Alpha, Arc<Net>>,
    /// Layers of any child: all have the same trunk.
    any: Arc<Net>,
    submitted: Option<Submitted>,
    timings: Timings,
    /// The step that failures are told of, from 1.
    pub(super) step: u64,
    /// Of the last step: what its children classified correctly, children that ran with another, and without a
    /// backward pass.
    n_correct: Vec<usize>,
    n_shared: usize,
    n_skipped: usize,
}

impl Evaluator {
    /// A search parent of `spec` with random weights, on an adapter.
    ///
    /// # Errors
    /// [`Error::Memory`] where the weights do not fit the adapter.
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
            part: config.part(),
            search_part: config.search_part(),
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

    /// The network but for its architecture.
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

    /// Makes room for any child.
    pub fn reserve(&mut self) -> Result<()> {
        let nets: Vec<Arc<Net>> = self.spec.space.largest().iter().map(|alpha| self.net(alpha)).collect();
        let extent = self.extent();
        for (mode, part) in [(Mode::Train, self.part), (Mode::Likelihood, self.search_part)] {
            if extent == Extent::Branch {
                self.network.reserve([&self.any], mode, part as u32, Extent::Trunk)?;
            }
            self.network.reserve(&nets, mode, part as u32, extent)?;
        }
        self.network.reserve_lanes(self.lanes)
    }

    /// Makes room for the mixed network.
    pub(super) fn reserve_mixed(&mut self) -> Result<()> {
        let net = Arc::new(self.spec.net(Paths::All));
        self.network.reserve([&net], Mode::Train, self.part as u32, Extent::Whole)?;
        // What computes the gradient of the factors keeps other tensors.
        self.network.reserve([&net], Mode::Factors, self.search_part as u32, Extent::Whole)
    }

    /// log p(y|X, v, α_k) of each child on a batch of the search split, nats, summed over the batch.
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
        let found: Vec<f64> = children.network_of.iter().map(|d| results[*d].sum()).collect();
        if let Some(k) = found.iter().position(|l| !l.is_finite()) {
            return Err(self.non_finite(&children.alphas[children.network_of[k]], k, found[k]));
        }
        self.n_correct = children.network_of.iter().map(|d| results[*d].n_correct).collect();
        self.n_shared = alphas.len() - children.nets.len();
        self.timings.search += self.stop(start);
        Ok(found)
    }

    /// Submits Σ_k ω̃_k ∇_v log p(y|X, v, α_k) on a batch of the train split. Children of little weight are left out.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter fails.
    pub fn accumulate(&mut self, alphas: &[Alpha], weights: &[f64], batch: &Batch) -> Result<()> {
        let start = self.start();
        let children = Distinct::of(self, alphas);
        // Where all children count alike none counts little, however many there are.
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

    /// Moves v along the accumulated gradient, which is cleared. Waits.
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
        let (loss, accuracy) = (-mean(&|r| r.sum()), mean(&|r| r.n_correct as f64));
        let log_likelihood = result_of.into_iter().map(|d| outcome[d].sum()).collect();
        self.timings.train += self.stop(start);
        Ok(Trained { loss, accuracy, clip, log_likelihood })
    }

    /// The mixed network on a batch, with these factors: the results, and in [`Mode::Factors`] the gradient of the factors.
    pub(super) fn mixed(
        &mut self,
        factors: &[f64],
        mode: Mode,
        batch: &Batch,
    ) -> Result<(ChildResult, Vec<f64>)> {
        let start = self.start();
        let split = if mode == Mode::Train { TRAIN } else { SEARCH };
        let net = Arc::new(self.spec.net(Paths::All));
        let part = self.part_of(mode);
        let n_parts = batch.n / part;
        let factors_f32: Vec<f32> = factors.iter().map(|f| *f as f32).collect();
        self.network.set_child_weight(part as f64 / batch.n as f64)?;
        for (i, (images, labels)) in parts(batch, part).enumerate() {
            self.network.upload(split, images, labels)?;
            self.network.upload_factors(&factors_f32, split)?;
            self.network.run(Child::new(&net, mode, split))?;
            self.network.keep_results(i, n_parts, split)?;
        }
        let found = join(self.network.results(n_parts, split)?.iter());
        let mut of_factors = Vec::new();
        if mode == Mode::Factors {
            // Taken before anything is checked, so that a step that fails leaves nothing behind.
            let taken = self.network.take_factor_gradient(factors.len())?;
            of_factors = taken.into_iter().map(f64::from).collect();
        }
        let secs = self.stop(start);
        *(if split == TRAIN { &mut self.timings.train } else { &mut self.timings.search }) += secs;
        Ok((found, of_factors))
    }

    /// The update after a pass of the mixed network.
    pub(super) fn update_mixed(&mut self, update: Update) -> Result<Clip> {
        let start = self.start();
        self.network.step(update)?;
        let clip = self.network.clip();
        self.timings.train += self.stop(start);
        clip
    }

    /// How a child does on images that no batch of the search has, with each batch's statistics.
    pub(super) fn result(&mut self, net: &Arc<Net>, batch: &Batch) -> Result<ChildResult> {
        self.network.upload(SEARCH, &batch.images, &batch.labels)?;
        self.network.run(Child::new(net, Mode::Likelihood, SEARCH))?;
        self.network.last_result(SEARCH)
    }

    /// Begins a step, the `step`-th from 1: what was counted and timed of the one before is forgotten.
    pub(super) fn begin(&mut self, step: u64) {
        self.step = step;
        self.timings = Timings::default();
        self.n_correct.clear();
        (self.n_shared, self.n_skipped) = (0, 0);
    }

    /// Seconds since the last call, by what was done.
    pub(super) fn take_timings(&mut self) -> Timings {
        std::mem::take(&mut self.timings)
    }

    /// What the children of the last step classified correctly, how many of them ran with another, and how many had no
    /// backward pass.
    pub(super) fn counts(&self) -> (&[usize], usize, usize) {
        (&self.n_correct, self.n_shared, self.n_skipped)
    }

    /// The same of a step with the mixed network, which has no children.
    pub(super) fn count_mixed(&mut self, n_correct: usize) {
        (self.n_correct, self.n_shared, self.n_skipped) = (vec![n_correct], 0, 0);
    }

    fn start(&mut self) -> Instant {
        // What ran before is not of this pass.
        self.network.take_host_secs();
        Instant::now()
    }

    /// Seconds since the start without the host's, which are added to those of planning.
    fn stop(&mut self, start: Instant) -> f64 {
        let all = start.elapsed().as_secs_f64();
        let planned = self.network.take_host_secs().min(all);
        self.timings.plan += planned;
        all - planned
    }

    fn non_finite(&self, alpha: &Alpha, child: usize, value: f64) -> Error {
        Error::NonFinite { step: self.step, child, genotype: self.spec.space.print(alpha), value }
    }

    /// Submits the children, with the weights of their gradients, on a batch. Waits for nothing.
    fn pass(&mut self, mode: Mode, split: u8, batch: &Batch, children: &[(&Arc<Net>, f64)]) -> Result<Pass> {
        let part = self.part_of(mode);
        let (n_children, n_parts) = (children.len(), batch.n / part);
        let lanes = if mode == Mode::Train { self.lanes.min(n_children).max(1) } else { 1 };
        // Which child runs when: lane by lane.
        let order: Vec<usize> = (0..lanes).flat_map(|lane| (lane..n_children).step_by(lanes)).collect();
        let set_aside = mode == Mode::Train && self.lanes > 1;
        let share = part as f64 / batch.n as f64;
        let (any, extent) = (Arc::clone(&self.any), self.extent());
        for (i, (images, labels)) in parts(batch, part).enumerate() {
            self.network.upload(split, images, labels)?;
            if extent == Extent::Branch {
                self.network.run_trunk(&any, mode, split)?;
            }
            if set_aside && i > 0 {
                self.network.put_gradient_aside()?;
            }
            for (at, &k) in order.iter().enumerate() {
                // Those of a group are planned side by side, while the adapter is at work on the group before.
                if at.is_multiple_of(GROUP) {
                    let group = &order[at..n_children.min(at + GROUP)];
                    let child = |k: &usize| Child { extent, ..Child::new(children[*k].0, mode, split) };
                    let ready: Vec<Child<'_>> = group.iter().map(child).collect();
                    self.network.prepare_all(&ready)?;
                }
                let (net, weight) = children[k];
                if mode == Mode::Train {
                    self.network.set_child_weight(weight * share)?;
                }
                self.network.run(Child { extent, ..Child::new(net, mode, split) })?;
                self.network.keep_results(i * n_children + k, n_parts * n_children, split)?;
                if lanes > 1 && k + lanes >= n_children {
                    self.network.close_lane(k % lanes, k % lanes + 1 == lanes)?;
                }
            }
            if (extent, mode) == (Extent::Branch, Mode::Train) {
                self.network.run_trunk_backward(&any, split)?;
            }
            if set_aside && i > 0 {
                self.network.add_gradient_aside()?;
            }
        }
        Ok(Pass { split, n_children, n_parts })
    }

    /// Examples that run at a time.
    fn part_of(&self, mode: Mode) -> usize {
        if mode == Mode::Train { self.part } else { self.search_part }
    }

    /// What of a child runs once per child.
    fn extent(&self) -> Extent {
        let whole = self.literal || !self.network.has_trunk(&self.any, self.part as u32);
        if whole { Extent::Whole } else { Extent::Branch }
    }

    /// Results of each child of a pass on its whole batch: one read-back.
    fn results(&mut self, pass: &Pass) -> Result<Vec<ChildResult>> {
        let by_part = self.network.results(pass.n_parts * pass.n_children, pass.split)?;
        let child = |k| join(by_part.iter().skip(k).step_by(pass.n_children));
        Ok((0..pass.n_children).map(child).collect())
    }
}

/// K children, and which of them are the same network.
struct Distinct {
    /// The distinct ones, in one form, in order of first appearance.
    alphas: Vec<Alpha>,
    nets: Vec<Arc<Net>>,
    /// For each child its network.
    network_of: Vec<usize>,
}

impl Distinct {
    /// The networks of `alphas`; taken literally each child has one of its own.
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

/// A batch in parts: images and labels of `part` examples each.
fn parts(batch: &Batch, part: usize) -> impl Iterator<Item = (&[f32], &[u32])> {
    let image_len = batch.channels * batch.height * batch.width;
    batch.images.chunks(part * image_len).zip(batch.labels.chunks(part))
}

/// The results of one child on the parts of a batch, in their order, as those on the whole of it.
fn join<'a>(parts: impl Iterator<Item = &'a ChildResult>) -> ChildResult {
    let mut whole = ChildResult { log_likelihood: Vec::new(), n_correct: 0 };
    for part in parts {
        whole.log_likelihood.extend(&part.log_likelihood);
        whole.n_correct += part.n_correct;
    }
    whole
}

/// A lack of memory for parts of `part` examples, with the parts and the batch that would fit.
pub(super) fn suggest_smaller(e: Error, batch: usize, part: usize) -> Error {
    match e {
        Error::Memory { what, need_bytes, have_bytes, try_this } if try_this.contains("--batch") => {
            let fits = (part as u64 * have_bytes / need_bytes.max(1)).clamp(1, part as u64) as usize;
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
