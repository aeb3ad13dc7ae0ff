//! A network on an adapter: the shared weights, the arena, and children that run one after another in the arena.
//!
//! A plan is made per architecture and kept. The arena is as large as the largest child seen needs, whatever the
//! number of children. Only functions that return results wait for the GPU.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::host::Instant;

use bytemuck::cast_slice;

use super::executor::Gpu;
use super::parallel::in_parallel;
use super::record::Recorded;
use super::results::ChildResult;
use crate::error::Result;
use crate::graph::{Extent, Layout, Lowering, Mode, Plan, Request};
use crate::kernel::{Buf, Launch, Range};
use crate::network::{Net, Shape};
use crate::ops::optimizer::{self, scalar};
use crate::ops::{Map, Tuning};

/// Number of plans that are kept. The least recently used plan is dropped first.
const MAX_PLANS: usize = 64;

/// Two requests with equal keys have the same plan.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    net: Arc<Net>,
    mode: Mode,
    extent: Extent,
    batch: u32,
    input: u8,
    drop_path: bool,
}

/// A child that is ready to run.
struct Prepared {
    key: Key,
    recorded: Recorded,
    pages: Vec<u64>,
}

/// A network to run: a child of a search, a mixed network or a final network.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Layers of the network. A mixed network reads the factors that were uploaded last.
    pub net: &'a Arc<Net>,
    /// Likelihood, evaluation or training.
    pub mode: Mode,
    /// The part of the network to run.
    pub extent: Extent,
    /// Input slot of the batch to run on.
    pub input: u8,
    /// Whether the network reads the uploaded drop-path factors.
    pub drop_path: bool,
}

impl<'a> Child<'a> {
    /// A whole network without drop-path.
    pub fn new(net: &'a Arc<Net>, mode: Mode, input: u8) -> Self {
        Self { net, mode, extent: Extent::Whole, input, drop_path: false }
    }
}

/// Hyper-parameters of one update of v.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient; a larger gradient is clipped.
    pub max_norm: f64,
}

/// Measurements of an update by the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// Factor that the gradient was multiplied with.
    pub factor: f64,
    /// Norm of the gradient before clipping.
    pub norm: f64,
}

/// The weights, the arena and the children's plans on an adapter.
pub struct Network {
    pub(super) gpu: Gpu,
    pub(super) layout: Layout,
    pub(super) lowering: Lowering,
    pub(super) batches: [u32; 2],
    pub(super) image: Shape,
    /// The weight of each class in the loss.
    class_weights: Vec<f64>,
    pages: Vec<u64>,
    /// Bytes of the trunk's buffers.
    pub(super) trunk_bytes: BTreeMap<Buf, u64>,
    prepared: Vec<Prepared>,
    update: Option<Recorded>,
    host: Duration,
}

impl Network {
    /// Allocates the weights on `gpu`. `image` has the extents of an image, and `layout` has the places of the
    /// parameters. All parameters start at zero. All classes have weight 1 in the loss.
    ///
    /// Errors: [`crate::Error::Memory`] if the weights do not fit.
    pub fn new(mut gpu: Gpu, image: Shape, layout: Layout, lowering: Lowering) -> Result<Self> {
        let n_classes = layout.param("classifier.bias").len as usize;
        let bytes = u64::from(layout.v_len) * 4;
        for buf in [Buf::V, Buf::Grad, Buf::Momentum] {
            gpu.allocate(buf, bytes)?;
        }
        gpu.allocate(Buf::State, u64::from(layout.state_len) * 4)?;
        gpu.allocate(Buf::Scalars, scalar::COUNT as u64 * 4)?;
        gpu.allocate(Buf::Norms, optimizer::NORMS_BYTES)?;
        let mut network = Self {
            gpu,
            layout,
            lowering,
            batches: [0; 2],
            image,
            class_weights: Vec::new(),
            pages: Vec::new(),
            trunk_bytes: BTreeMap::new(),
            prepared: Vec::new(),
            update: None,
            host: Duration::ZERO,
        };
        network.set_child_weight(1.0)?;
        network.set_class_weights(&vec![1.0; n_classes])?;
        Ok(network)
    }

    /// The places of the parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The adapter.
    pub fn gpu(&mut self) -> &mut Gpu {
        &mut self.gpu
    }

    /// Opens the same adapter again after its device was lost. Error: [`crate::Error::Device`] if the adapter is
    /// gone.
    pub fn open_again(&mut self) -> Result<Gpu> {
        self.forget();
        self.gpu.open_again()
    }

    /// The forms of the kernels that run.
    pub(super) fn tuning(&self) -> Tuning {
        self.lowering.tuning
    }

    pub(super) fn set_tuning(&mut self, tuning: Tuning) {
        self.lowering.tuning = tuning;
        self.forget();
    }

    /// Bytes of the allocated arena: the pages, and the buffers of the trunk.
    pub fn arena_bytes(&self) -> u64 {
        self.pages.iter().chain(self.trunk_bytes.values()).sum()
    }

    /// Makes the arena large enough for these children before anything runs.
    ///
    /// Errors: [`crate::Error::Memory`] with the bytes that are needed.
    pub fn reserve<'a>(
        &mut self,
        nets: impl IntoIterator<Item = &'a Arc<Net>>,
        mode: Mode,
        batch: u32,
        extent: Extent,
    ) -> Result<()> {
        for net in nets {
            let key = Key { batch, ..self.key(Child { extent, ..Child::new(net, mode, 0) }) };
            let plan = self.plan(&key)?;
            self.make_room(&key, &plan)?;
            // Gradients are added to this buffer, so it must not be replaced later.
            if net.n_factors > 0 {
                self.ensure(Buf::MixGrad, net.n_factors as u64 * 4)?;
            }
        }
        Ok(())
    }

    fn plan(&self, key: &Key) -> Result<Plan> {
        Plan::new(Request {
            net: &key.net,
            layout: &self.layout,
            batch: key.batch,
            mode: key.mode,
            extent: key.extent,
            input: key.input,
            drop_path: key.drop_path,
            lowering: self.lowering,
        })
    }

    /// The plan of a child for the uploaded batch.
    pub fn plan_of(&self, child: Child<'_>) -> Result<Plan> {
        self.plan(&self.key(child))
    }

    fn key(&self, child: Child<'_>) -> Key {
        Key {
            net: Arc::clone(child.net),
            mode: child.mode,
            extent: child.extent,
            batch: self.batches[usize::from(child.input)],
            input: child.input,
            drop_path: child.drop_path,
        }
    }

    fn make_room(&mut self, key: &Key, plan: &Plan) -> Result<()> {
        if key.extent != Extent::Whole {
            self.ensure_trunk(&key.net, key.batch)?;
        }
        self.ensure(Buf::Coefs, plan.regions.coefs_bytes.max(16))?;
        self.ensure(Buf::Packed, plan.packed_bytes)?;
        self.grow(&plan.regions.pages)
    }

    fn grow(&mut self, pages: &[u64]) -> Result<()> {
        for (i, &bytes) in pages.iter().enumerate() {
            if self.pages.get(i).is_none_or(|have| *have < bytes) {
                self.gpu.allocate(Buf::Page(i as u16), bytes)?;
                self.pages.resize(self.pages.len().max(i + 1), 0);
                self.pages[i] = bytes;
                self.forget();
            }
        }
        Ok(())
    }

    /// Drops everything recorded, because it names buffers that are gone.
    pub(super) fn forget(&mut self) {
        self.prepared.clear();
        self.update = None;
    }

    pub(super) fn ensure(&mut self, buf: Buf, bytes: u64) -> Result<()> {
        let before = self.gpu.allocated_bytes();
        if !self.gpu.has(buf, bytes) {
            // The buffer gets some room to grow, so that recorded launches stay valid longer.
            self.gpu.allocate(buf, bytes.max(256).next_power_of_two())?;
        }
        if self.gpu.allocated_bytes() != before {
            self.forget();
        }
        Ok(())
    }

    /// Submits a child on the batch in its input slot. The results per example are in `Results` afterwards. In
    /// [`Mode::Train`] the child's gradient, times the child's weight, is added to the accumulated gradient.
    pub fn run(&mut self, child: Child<'_>) -> Result<()> {
        let key = self.key(child);
        self.on_host(|network| network.launch(key))
    }

    /// Does `work` and adds up its time, without the time of waiting for the adapter.
    pub(super) fn on_host(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let (start, waited) = (Instant::now(), self.gpu.waited);
        let done = work(self);
        self.host += start.elapsed().saturating_sub(self.gpu.waited - waited);
        done
    }

    /// Seconds since the last call in which the host planned, prepared (including pipelines) and encoded children
    /// and updates. The adapter may have worked at the same time.
    pub fn take_host_secs(&mut self) -> f64 {
        std::mem::take(&mut self.host).as_secs_f64()
    }

    /// Number of plans that are kept. The number is bounded, whatever runs.
    pub fn n_plans(&self) -> usize {
        self.prepared.len()
    }

    fn launch(&mut self, key: Key) -> Result<()> {
        let prepared = self.take_prepared(key)?;
        let done = self.gpu.submit(&prepared.recorded);
        debug_assert!(prepared.pages.len() <= self.pages.len());
        self.prepared.push(prepared);
        done
    }

    /// Does everything that [`Self::run`] does before submitting: makes memory and pipelines for the child.
    pub fn prepare(&mut self, child: Child<'_>) -> Result<()> {
        let prepared = self.take_prepared(self.key(child))?;
        self.prepared.push(prepared);
        Ok(())
    }

    /// Seconds of the first run of each group of the child's launches. The seconds include making the pipelines, and
    /// compilation if none of the kernels has run before.
    pub fn first_launches(&mut self, child: Child<'_>, groups: &[Vec<Launch>]) -> Result<Vec<f64>> {
        let key = self.key(child);
        let plan = self.plan(&key)?;
        self.make_room(&key, &plan)?;
        let mut secs = Vec::with_capacity(groups.len());
        for group in groups {
            let start = Instant::now();
            let recorded = self.gpu.prepare(group)?;
            self.gpu.submit(&recorded)?;
            self.gpu.wait()?;
            secs.push(start.elapsed().as_secs_f64());
        }
        Ok(secs)
    }

    /// Seconds that the launches of `child` take; see [`Gpu::times`]. With `update` the launches of the update of v
    /// follow, with a learning rate of 0. The gradient is cleared afterwards.
    pub fn times(&mut self, child: Child<'_>, update: bool, repeats: usize) -> Result<Vec<f64>> {
        let prepared = self.take_prepared(self.key(child))?;
        let mut lists = vec![&prepared.recorded];
        let step = Update { lr: 0.0, momentum: 0.0, weight_decay: 0.0, max_norm: 1.0 };
        let recorded = if update { Some(self.prepare_update(step)?) } else { None };
        lists.extend(&recorded);
        let secs = self.gpu.times(&lists, repeats);
        self.update = recorded;
        self.prepared.push(prepared);
        let none = vec![0.0; self.layout.v_len as usize];
        self.write_all(Buf::Grad, &none)?;
        secs
    }

    /// Prepares several children at once, on all cores.
    pub fn prepare_all(&mut self, children: &[Child<'_>]) -> Result<()> {
        self.on_host(|network| network.make_ready(children))
    }

    fn make_ready(&mut self, children: &[Child<'_>]) -> Result<()> {
        let mut keys: Vec<Key> = Vec::new();
        for key in children.iter().map(|child| self.key(*child)) {
            if !keys.contains(&key) && self.prepared.iter().all(|p| p.key != key) {
                keys.push(key);
            }
        }
        if keys.len() < 2 {
            return Ok(());
        }
        let network = &*self;
        let plans = in_parallel(&keys, |key| network.plan(key)).into_iter().collect::<Result<Vec<_>>>()?;
        // When a page grows, everything prepared before is dropped. So all pages grow first.
        for (key, plan) in keys.iter().zip(&plans) {
            self.make_room(key, plan)?;
        }
        let lists: Vec<&[Launch]> = plans.iter().map(|plan| plan.launches.as_slice()).collect();
        let recorded = self.gpu.prepare_all(&lists)?;
        for ((key, plan), recorded) in keys.into_iter().zip(plans).zip(recorded) {
            self.prepared.push(Prepared { key, recorded, pages: plan.regions.pages });
        }
        let too_many = self.prepared.len().saturating_sub(MAX_PLANS);
        self.prepared.drain(..too_many);
        Ok(())
    }

    /// Takes the child, ready to run, out of the list. The caller puts it back at the end, so that the most
    /// recently used child is last.
    fn take_prepared(&mut self, key: Key) -> Result<Prepared> {
        if let Some(at) = self.prepared.iter().position(|p| p.key == key) {
            return Ok(self.prepared.remove(at));
        }
        let plan = self.plan(&key)?;
        self.make_room(&key, &plan)?;
        let recorded = self.gpu.prepare(&plan.launches)?;
        if self.prepared.len() >= MAX_PLANS {
            self.prepared.remove(0);
        }
        Ok(Prepared { key, recorded, pages: plan.regions.pages })
    }

    /// Sets the weight ω̃_k that later gradients are multiplied with.
    pub fn set_child_weight(&mut self, weight: f64) -> Result<()> {
        self.gpu.write(Buf::Scalars, scalar::CHILD as u64 * 4, cast_slice(&[weight as f32]))
    }

    /// Sets the weight of each class in the loss. Later gradients of an example are multiplied with the weight of its
    /// class. The results of the examples are not weighted.
    pub fn set_class_weights(&mut self, weights: &[f64]) -> Result<()> {
        let mut padded: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
        padded.resize(weights.len().next_multiple_of(4), 0.0);
        self.ensure(Buf::ClassWeights, padded.len() as u64 * 4)?;
        self.gpu.write(Buf::ClassWeights, 0, cast_slice(&padded))?;
        self.class_weights = weights.to_vec();
        Ok(())
    }

    /// The weights of examples with these labels in the loss.
    pub fn weights_of(&self, labels: &[u32]) -> Vec<f64> {
        let weight = |label: &u32| self.class_weights.get(*label as usize).copied().unwrap_or(1.0);
        labels.iter().map(weight).collect()
    }

    /// Keeps the results of the child that ran last in `slot`. [`Self::results`] reads them.
    pub fn keep_results(&mut self, slot: usize, n_slots: usize, input: u8) -> Result<()> {
        let bytes = u64::from(self.batches[usize::from(input)]) * 8;
        self.ensure(Buf::Kept, bytes * n_slots as u64)?;
        let from = Range { buf: Buf::Results, offset_bytes: 0, len_bytes: bytes };
        self.gpu.copy(from, Buf::Kept, bytes * slot as u64)
    }

    /// The results in the first `n_slots` slots: log-likelihood and correctness per example. Waits.
    pub fn results(&mut self, n_slots: usize, input: u8) -> Result<Vec<ChildResult>> {
        let n = self.batches[usize::from(input)] as usize;
        let values = self.read(Buf::Kept, n * 2 * n_slots)?;
        Ok(values.chunks_exact(2 * n).map(|both| ChildResult::new(both, n)).collect())
    }

    /// The results of the child that ran last. Waits.
    pub fn last_result(&mut self, input: u8) -> Result<ChildResult> {
        let n = self.batches[usize::from(input)] as usize;
        let both = self.read(Buf::Results, 2 * n)?;
        Ok(ChildResult::new(&both, n))
    }

    /// Logits \[N\]\[classes\] of the child that ran last: of the classifier (`which` 0) or the auxiliary head (1).
    /// Waits.
    pub fn logits(&mut self, which: u8, input: u8) -> Result<Vec<f32>> {
        let n = self.batches[usize::from(input)] as usize;
        self.read(Buf::Logits(which), n * self.class_weights.len())
    }

    /// Uploads the factors of a mixed network for the batch in the input slot `input`.
    pub fn upload_factors(&mut self, factors: &[f32], input: u8) -> Result<()> {
        // Kernels read a factor per example, as with drop-path.
        let n = self.batches[usize::from(input)] as usize;
        let mut all: Vec<f32> = factors.iter().flat_map(|f| std::iter::repeat_n(*f, n)).collect();
        all.resize(all.len().next_multiple_of(4), 0.0);
        self.ensure(Buf::Mix, all.len() as u64 * 4)?;
        self.ensure(Buf::MixGrad, factors.len() as u64 * 4)?;
        self.gpu.write(Buf::Mix, 0, cast_slice(&all))
    }

    /// Returns the accumulated gradient of `count` factors, and clears it. Waits.
    pub fn take_factor_gradient(&mut self, count: usize) -> Result<Vec<f32>> {
        let gradient = self.read(Buf::MixGrad, count)?;
        self.gpu.write(Buf::MixGrad, 0, cast_slice(&vec![0f32; count]))?;
        Ok(gradient)
    }

    /// The first `len` numbers of a buffer. Waits.
    pub fn read(&mut self, buf: Buf, len: usize) -> Result<Vec<f32>> {
        let bytes = self.gpu.read(buf, 0, len as u64 * 4)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// All of `V`, `Grad`, `Momentum` or `State`. Waits.
    pub fn read_all(&mut self, buf: Buf) -> Result<Vec<f32>> {
        let len = if buf == Buf::State { self.layout.state_len } else { self.layout.v_len };
        self.read(buf, len as usize)
    }

    /// Sets all of `V`, `Grad`, `Momentum` or `State`.
    pub fn write_all(&mut self, buf: Buf, values: &[f32]) -> Result<()> {
        self.gpu.write(buf, 0, cast_slice(values))
    }

    /// Submits the update of v from the accumulated gradient, and clears the gradient.
    pub fn step(&mut self, update: Update) -> Result<()> {
        self.on_host(|network| network.launch_update(update))
    }

    /// Takes the recorded launches of an update. The launches read the values of `update` from the adapter's
    /// memory.
    fn prepare_update(&mut self, update: Update) -> Result<Recorded> {
        let Update { lr, momentum, weight_decay, max_norm } = update;
        let scalars = [lr, momentum, weight_decay, max_norm].map(|x| x as f32);
        self.gpu.write(Buf::Scalars, scalar::LR as u64 * 4, cast_slice(&scalars))?;
        match self.update.take() {
            Some(recorded) => Ok(recorded),
            None => {
                let piece = self.gpu.max_binding_bytes();
                self.gpu.prepare(&optimizer::update(self.layout.v_len, piece))
            }
        }
    }

    fn launch_update(&mut self, update: Update) -> Result<()> {
        let recorded = self.prepare_update(update)?;
        let done = self.gpu.submit(&recorded);
        self.update = Some(recorded);
        done
    }

    /// Clip factor and norm of the last update. Waits.
    pub fn clip(&mut self) -> Result<Clip> {
        let scalars = self.read(Buf::Scalars, scalar::COUNT)?;
        Ok(Clip { factor: f64::from(scalars[scalar::CLIP]), norm: f64::from(scalars[scalar::NORM]) })
    }

    /// Uploads a batch: images \[N\]\[C\]\[H\]\[W\] (normalised) and labels \[N\].
    pub fn upload(&mut self, input: u8, images: &[f32], labels: &[u32]) -> Result<()> {
        let n = labels.len();
        let Shape { c, h, w } = self.image;
        debug_assert_eq!(images.len(), n * c * h * w);
        let map = Map { n: n as u32, h: h as u32, w: w as u32 };
        let (row, pitch) = (map.wq() as usize * 4, map.pitch() as usize * 4);
        let mut padded = vec![0f32; c * pitch];
        for (i, line) in images.chunks_exact(w).enumerate() {
            let (image, rest) = (i / (c * h), i % (c * h));
            let (channel, y) = (rest / h, rest % h);
            let at = channel * pitch + (image * h + y) * row;
            padded[at..at + w].copy_from_slice(line);
        }
        let mut labels = labels.to_vec();
        labels.resize(n.next_multiple_of(4), 0);
        let classes = self.class_weights.len() as u64;
        self.ensure(Buf::Images(input), padded.len() as u64 * 4)?;
        self.ensure(Buf::Labels(input), labels.len() as u64 * 4)?;
        self.ensure(Buf::Results, n as u64 * 8 + 16)?;
        for which in 0..=u8::from(self.layout.get("auxiliary_head.classifier.bias").is_some()) {
            self.ensure(Buf::Logits(which), n as u64 * classes * 4 + 16)?;
        }
        self.batches[usize::from(input)] = n as u32;
        self.gpu.write(Buf::Images(input), 0, cast_slice(&padded))?;
        self.gpu.write(Buf::Labels(input), 0, cast_slice(&labels))
    }

    /// Uploads drop-path factors, f32 [cells * 8]\[N\].
    pub fn upload_drop_path(&mut self, factors: &[f32]) -> Result<()> {
        let mut factors = factors.to_vec();
        factors.resize(factors.len().next_multiple_of(4), 0.0);
        self.ensure(Buf::DropPath, factors.len() as u64 * 4)?;
        self.gpu.write(Buf::DropPath, 0, cast_slice(&factors))
    }
}
