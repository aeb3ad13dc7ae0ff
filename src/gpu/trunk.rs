//! The part of children that no architecture changes, run once for all children of an uploaded batch.

use std::sync::Arc;

use super::network::{Child, Network};
use crate::error::Result;
use crate::graph::{Extent, Mode, Trunk};
use crate::kernel::Buf;
use crate::network::Net;

impl Network {
    /// Whether children like `net` of `batch` examples have a common trunk.
    pub fn has_trunk(&self, net: &Net, batch: u32) -> bool {
        Trunk::of(net, batch, &self.lowering).is_some()
    }

    /// Buffers for what the trunk gives children of `batch` examples.
    pub(super) fn ensure_trunk(&mut self, net: &Net, batch: u32) -> Result<()> {
        let Some(trunk) = Trunk::of(net, batch, &self.lowering) else { return Ok(()) };
        let mut wanted = vec![(Buf::TrunkCoefs, trunk.coefs_bytes)];
        for output in trunk.outputs.iter().map(|o| o.tensor) {
            wanted.push((output.buf, output.bytes()));
            wanted.push((Trunk::gradient(output).buf, output.bytes()));
        }
        for (buf, bytes) in wanted {
            if !self.gpu.has(buf, bytes) {
                self.gpu.allocate(buf, bytes)?;
                self.trunk_bytes.insert(buf, bytes);
                self.forget();
            }
        }
        Ok(())
    }

    /// Submits the trunk of a child, which is that of every child, on the batch of `split`. Children with
    /// [`Extent::Branch`] start from what it gives, and those in [`Mode::Train`] sum up their gradients there, from zero.
    pub fn run_trunk(&mut self, net: &Arc<Net>, mode: Mode, split: u8) -> Result<()> {
        self.run(trunk(net, Mode::Likelihood, split))?;
        if mode == Mode::Train {
            let bytes = self.trunk_bytes.clone().into_iter();
            for (buf, len) in bytes.filter(|(buf, _)| matches!(buf, Buf::TrunkGrad(_))) {
                self.gpu.fill_zero(buf, 0, len)?;
            }
        }
        Ok(())
    }

    /// Submits the trunk's backward pass from the sum of the children's gradients, which are weighted already.
    pub fn run_trunk_backward(&mut self, net: &Arc<Net>, split: u8) -> Result<()> {
        self.run(trunk(net, Mode::Train, split))
    }
}

fn trunk(net: &Arc<Net>, mode: Mode, split: u8) -> Child<'_> {
    Child { extent: Extent::Trunk, ..Child::new(net, mode, split) }
}
