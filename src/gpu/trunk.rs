//! The part of children that no architecture changes, run once for all children of an uploaded batch.

use super::network::{Child, Network};
use crate::error::Result;
use crate::graph::{Extent, Mode, Trunk};
use crate::kernel::Buf;
use crate::space::{Genotype, Pair, Primitive};

/// Stands for any architecture: the trunk is the same for all.
const ANY: Genotype = {
    let pair = Pair { input: 0, primitive: Primitive::None };
    Genotype { normal: [[pair; 2]; 4], reduce: [[pair; 2]; 4] }
};

impl Network {
    /// Whether children of `batch` examples have a common trunk.
    pub fn has_trunk(&self, batch: u32) -> bool {
        self.trunk_of(batch).is_some()
    }

    pub(super) fn trunk_of(&self, batch: u32) -> Option<Trunk> {
        Trunk::of(self.spec(), batch, &self.lowering)
    }

    /// Buffers for what the trunk gives children of `batch` examples.
    pub(super) fn ensure_trunk(&mut self, batch: u32) -> Result<()> {
        let Some(trunk) = self.trunk_of(batch) else { return Ok(()) };
        let mut wanted = vec![(Buf::TrunkCoefs, trunk.coefs_bytes)];
        for (output, _) in trunk.outputs {
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

    /// Submits the trunk on the batch of `split`. Children with [`Extent::Branch`] start from what it gives,
    /// and those in [`Mode::Train`] sum up their gradients there, from zero.
    pub fn run_trunk(&mut self, mode: Mode, split: u8) -> Result<()> {
        self.run(trunk(Mode::Likelihood, split))?;
        if mode == Mode::Train {
            let bytes = self.trunk_bytes.clone().into_iter();
            for (buf, len) in bytes.filter(|(buf, _)| matches!(buf, Buf::TrunkGrad(_))) {
                self.gpu.fill_zero(buf, 0, len)?;
            }
        }
        Ok(())
    }

    /// Submits the trunk's backward pass from the sum of the children's gradients, which are weighted already.
    pub fn run_trunk_backward(&mut self, split: u8) -> Result<()> {
        self.run(trunk(Mode::Train, split))
    }

    /// Makes room for both passes of the trunk.
    pub fn reserve_trunk(&mut self, batch: u32) -> Result<()> {
        self.reserve([&ANY], batch, Extent::Trunk)
    }
}

fn trunk(mode: Mode, split: u8) -> Child<'static> {
    Child { extent: Extent::Trunk, ..Child::new(&ANY, mode, split) }
}
