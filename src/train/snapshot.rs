//! The whole state of a training ↔ named tensors: `v.*`, `momentum.*`, `state.*` (running statistics).

use std::path::Path;

use super::Training;
use super::weights::{Prefixes, Weights};
use crate::error::{Error, Result};
use crate::files::tensors::{self, Tensor, Tensors};
use crate::kernel::Buf;

impl Training {
    /// All values that a step changes, with the same bits.
    pub fn snapshot(&mut self) -> Result<Tensors> {
        let weights = self.weights()?;
        let momentum = self.network.read_all(Buf::Momentum)?;
        let layout = self.network.layout();
        let mut out = weights.to_tensors(layout, Prefixes::CHECKPOINT);
        for (name, entry) in layout.trained() {
            let tensor = Tensor::f32(&entry.spec.shape, entry.unpack(&momentum));
            out.insert(format!("momentum.{name}"), tensor);
        }
        Ok(out)
    }

    /// Restores the state that [`Self::snapshot`] returned after `step` steps.
    ///
    /// # Errors
    /// [`Error::File`] if a tensor is missing or has another shape.
    pub fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        let path = Path::new("checkpoint");
        let layout = self.network.layout();
        let weights = Weights::from_tensors(state, path, layout, true)?;
        let mut momentum = vec![0f32; layout.v_len as usize];
        for (name, entry) in layout.trained() {
            let name = format!("momentum.{name}");
            let (shape, values) = tensors::f32s(state, path, &name)?;
            if shape != entry.spec.shape {
                let expected = format!("{name} of shape {:?}", entry.spec.shape);
                return Err(Error::file(path, None, expected, format!("{shape:?}"), ""));
            }
            entry.pack(values, &mut momentum);
        }
        self.set_weights(&weights)?;
        self.network.write_all(Buf::Momentum, &momentum)?;
        // A step that failed may have left gradients.
        self.network.write_all(Buf::Grad, &vec![0.0; momentum.len()])?;
        self.go_to(step);
        Ok(())
    }

    /// The current weights and running statistics.
    pub fn weights(&mut self) -> Result<Weights> {
        let (v, state) = (self.network.read_all(Buf::V)?, self.network.read_all(Buf::State)?);
        Ok(Weights { v, state, batches_tracked: self.batches_tracked })
    }

    /// Replaces weights and running statistics by `weights`. The momentum stays unchanged.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<()> {
        self.network.write_all(Buf::V, &weights.v)?;
        self.network.write_all(Buf::State, &weights.state)?;
        self.batches_tracked = weights.batches_tracked;
        Ok(())
    }
}
