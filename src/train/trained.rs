//! (genotype, weights) → a network for use: logits, evaluation.

use std::path::Path;
use std::sync::Arc;

use super::evaluate::{Detail, Evaluation, evaluate};
use super::training::HELD_OUT;
use super::weights::Weights;
use crate::data::{Images, Normalisation};
use crate::error::Result;
use crate::files::tensors::Tensors;
use crate::gpu::{Child, Gpu, Network};
use crate::graph::{Layout, Lowering, Mode};
use crate::kernel::Buf;
use crate::network::Net;
use crate::space::NetworkSpec;
use crate::space::{Alpha, Paths};

/// The network of one genotype with its weights and running statistics on an adapter.
pub struct Trained {
    alpha: Alpha,
    spec: NetworkSpec,
    net: Arc<Net>,
    network: Network,
}

impl Trained {
    /// Uploads the weights among `tensors`, which were read from `path`, to `gpu`. The auxiliary head is left out.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for extents that cannot be built, [`crate::Error::File`] with the first tensor that
    /// does not fit, [`crate::Error::Memory`] if the weights do not fit the adapter's memory.
    pub fn new(
        spec: NetworkSpec,
        alpha: Alpha,
        (tensors, path): (&Tensors, &Path),
        gpu: Gpu,
        lowering: Lowering,
    ) -> Result<Self> {
        let spec = spec.with_auxiliary(false);
        spec.check()?;
        let net = Arc::new(spec.net(Paths::Child(&alpha)));
        let layout = Layout::new(net.params())?;
        let weights = Weights::from_tensors(tensors, path, &layout, true)?;
        let mut network = Network::new(gpu, net.image(), layout, lowering)?;
        network.write_all(Buf::V, &weights.v)?;
        network.write_all(Buf::State, &weights.state)?;
        Ok(Self { alpha, spec, net, network })
    }

    /// The network's structure.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The architecture.
    pub fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    /// Layers of the network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Number of values in one image: C·H·W.
    pub fn image_len(&self) -> usize {
        let spec = &self.spec;
        spec.in_channels * spec.height * spec.width
    }

    /// Logits \[N\]\[classes\] of normalised images \[N\]\[C\]\[H\]\[W\].
    pub fn logits(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        let n = images.len() / self.image_len();
        self.network.upload(HELD_OUT, images, &vec![0; n])?;
        self.network.run(Child::new(&self.net, Mode::Evaluate, HELD_OUT))?;
        self.network.logits(0, HELD_OUT)
    }

    /// Evaluates on `images`, in file order, in batches of `batch`.
    pub fn evaluate(
        &mut self,
        images: &Images,
        normalisation: &Normalisation,
        batch: usize,
    ) -> Result<(Evaluation, Detail)> {
        let mut detail = Detail::new(self.spec.n_classes);
        let mut see = |batch: &crate::data::Batch, logits: &[f32]| detail.add(&batch.labels, logits);
        let (network, net) = (&mut self.network, &self.net);
        let evaluation = evaluate(network, net, images, normalisation, batch, Some(&mut see))?;
        Ok((evaluation, detail))
    }

    /// Allocated bytes of the arena.
    pub fn arena_bytes(&self) -> u64 {
        self.network.arena_bytes()
    }
}
