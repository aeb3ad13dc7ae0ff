//! The two passes of a step over its children: likelihoods on the search batch, gradients on the train batch.
//!
//! A batch runs whole, or in parts of M examples (`micro_batch`): a part is uploaded, all children run on it
//! one after another in the same memory, then comes the next part. ℓ_k is the sum over the parts, and the
//! gradients of the parts, each of a mean over M examples, are added with weight M/N: the gradient of the
//! mean over all N. Batch norm sees a part at a time, which is all that tells this from the whole batch.
//!
//! What no architecture changes, the stem and what reads only it, is computed once for all children of a pass,
//! and so is its backward pass, from the sum of the children's weighted gradients (`graph::Extent`).

use std::sync::Arc;

use super::Search;
use super::children::{Children, largest};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::gpu::{Child, ChildResult};
use crate::graph::{Extent, Mode};
use crate::network::Net;
use crate::rng::{Purpose, stream};
use crate::space::{Genotype, Paths};

/// The buffers that hold the two batches.
pub(super) const SEARCH: u8 = 0;
pub(super) const TRAIN: u8 = 1;

/// Children that are planned together; two groups are kept by the network at once.
const GROUP: usize = 4;

/// What was submitted, and where its results will be.
pub(super) struct Pass {
    split: u8,
    n_children: usize,
    n_parts: usize,
}

impl Search {
    /// α_k ~ p(α|π), each child from its own stream.
    pub(super) fn sample(&self) -> Children {
        let config = &self.settings.config;
        let k = config.samples.count(self.prior.entropy().iter().sum());
        let draw = |k| self.prior.sample(&mut stream(config.seed, Purpose::Sample, self.step, k));
        Children::new(&self.space, &self.spec, (0..u64::from(k)).map(draw).collect(), !config.reference)
    }

    /// The architectures that the next step draws, in order.
    pub fn draw(&self) -> Vec<Genotype> {
        self.sample().alphas.iter().map(|alpha| self.space.genotype(alpha)).collect()
    }

    /// Forward passes of the distinct children on the search batch.
    pub(super) fn likelihoods(&mut self, children: &Children, batch: &Batch) -> Result<Pass> {
        let all: Vec<(&Arc<Net>, f64)> = children.nets.iter().map(|net| (net, 1.0)).collect();
        self.pass(Mode::Likelihood, SEARCH, batch, &all)
    }

    /// Adds ω̃_k ∇_v of the kept children on the train batch; also gives the networks that ran, with their
    /// weights.
    pub(super) fn gradients(
        &mut self,
        children: &Children,
        weights: &[f64],
        kept: &[bool],
        batch: &Batch,
    ) -> Result<(Pass, Vec<(usize, f64)>)> {
        let mut mass = vec![0.0; children.distinct.len()];
        for (k, &network) in children.network_of.iter().enumerate() {
            if kept[k] {
                mass[network] += weights[k];
            }
        }
        let ran: Vec<(usize, f64)> = mass.into_iter().enumerate().filter(|(_, w)| *w > 0.0).collect();
        let weighted: Vec<_> = ran.iter().map(|&(network, w)| (&children.nets[network], w)).collect();
        Ok((self.pass(Mode::Train, TRAIN, batch, &weighted)?, ran))
    }

    /// Submits the children, with the weights of their gradients, on a batch. Waits for nothing.
    fn pass(&mut self, mode: Mode, split: u8, batch: &Batch, children: &[(&Arc<Net>, f64)]) -> Result<Pass> {
        let part = self.settings.config.part();
        let (n_children, n_parts) = (children.len(), batch.n / part);
        let share = part as f64 / batch.n as f64;
        let image_len = batch.channels * batch.height * batch.width;
        let parts = batch.images.chunks(part * image_len).zip(batch.labels.chunks(part));
        let extent = self.extent();
        for (i, (images, labels)) in parts.enumerate() {
            self.network.upload(split, images, labels)?;
            if let (Extent::Branch, Some((net, _))) = (extent, children.first()) {
                self.network.run_trunk(net, mode, split)?;
            }
            for (k, &(net, weight)) in children.iter().enumerate() {
                // Those of a group are planned side by side, while the adapter is at work on the group before.
                if k.is_multiple_of(GROUP) {
                    let group = &children[k..children.len().min(k + GROUP)];
                    let ready: Vec<Child<'_>> = group
                        .iter()
                        .map(|(net, _)| Child { extent, ..Child::new(net, mode, split) })
                        .collect();
                    self.network.prepare_all(&ready)?;
                }
                if mode == Mode::Train {
                    self.network.set_child_weight(weight * share)?;
                }
                self.network.run(Child { extent, ..Child::new(net, mode, split) })?;
                self.network.keep_results(i * n_children + k, n_parts * n_children, split)?;
            }
            if let (Extent::Branch, Mode::Train, Some((net, _))) = (extent, mode, children.first()) {
                self.network.run_trunk_backward(net, split)?;
            }
        }
        Ok(Pass { split, n_children, n_parts })
    }

    /// What of a child runs once per child: with `reference`, all of it.
    pub(super) fn extent(&self) -> Extent {
        let config = &self.settings.config;
        let net = self.spec.net(Paths::All(&[]));
        if !config.reference && self.network.has_trunk(&net, config.part() as u32) {
            Extent::Branch
        } else {
            Extent::Whole
        }
    }

    /// Makes room for any child.
    pub(super) fn reserve(&mut self) -> Result<()> {
        let (part, extent) = (self.settings.config.part() as u32, self.extent());
        if self.darts.is_some() {
            return self.network.reserve([&self.mixed_net()], part, Extent::Whole);
        }
        let nets: Vec<_> = largest(&self.space)
            .iter()
            .map(|genotype| Arc::new(self.spec.net(Paths::Child(genotype))))
            .collect();
        if extent == Extent::Branch {
            self.network.reserve(&nets[..1], part, Extent::Trunk)?;
        }
        self.network.reserve(&nets, part, extent)
    }

    /// Results of each child of a pass on its whole batch: one read-back.
    pub(super) fn results(&mut self, pass: &Pass) -> Result<Vec<ChildResult>> {
        let by_part = self.network.results(pass.n_parts * pass.n_children, pass.split)?;
        let child = |k| join(by_part.iter().skip(k).step_by(pass.n_children));
        Ok((0..pass.n_children).map(child).collect())
    }
}

/// The results of one child on the parts of a batch, in their order, as those on the whole of it.
pub(super) fn join<'a>(parts: impl Iterator<Item = &'a ChildResult>) -> ChildResult {
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
