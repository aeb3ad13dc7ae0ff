//! The whole state of a search ↔ named tensors: `v.*`, `momentum.*`, and the tensors of the strategy (`pi.*` or
//! `alpha.*`, `adam.{m,v}.*`).

use std::path::Path;

use super::search::Search;
use crate::error::{Error, Result};
use crate::files::tensors::{self, Tensor, Tensors};
use crate::kernel::Buf;

impl Search {
    /// All values that a step changes, with the same bits.
    pub fn snapshot(&mut self) -> Result<Tensors> {
        let mut out = Tensors::new();
        for (prefix, buf) in [("v", Buf::V), ("momentum", Buf::Momentum)] {
            let values = self.evaluator.network().read_all(buf)?;
            for (name, entry) in self.evaluator.layout().trained() {
                out.insert(format!("{prefix}.{name}"), Tensor::f32(&entry.spec.shape, entry.unpack(&values)));
            }
        }
        self.strategy.save(&*self.settings.space, &mut out);
        Ok(out)
    }

    /// Restores the state that [`Self::snapshot`] returned after `step` steps.
    ///
    /// # Errors
    /// [`Error::File`] if a tensor is missing or has another shape.
    pub fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        let path = Path::new("checkpoint");
        for (prefix, buf) in [("v.", Buf::V), ("momentum.", Buf::Momentum)] {
            let values = self.take_all(state, path, prefix)?;
            self.evaluator.network().write_all(buf, &values)?;
        }
        // A step that failed may have left gradients.
        let none = vec![0.0; self.evaluator.layout().v_len as usize];
        self.evaluator.network().write_all(Buf::Grad, &none)?;
        self.strategy.load(&*self.settings.space, state)?;
        self.go_to(step);
        Ok(())
    }

    /// Takes the shared weights of another search of the same network. With the prefix `v.` these are the tensors `v.*`
    /// of its [`Self::snapshot`]; without a prefix, the tensors of an exported file. Other tensors, such as momentum,
    /// are ignored.
    ///
    /// # Errors
    /// [`Error::File`] if a tensor is missing or has another shape.
    pub fn set_weights(&mut self, tensors: &Tensors, path: &Path, prefix: &str) -> Result<()> {
        let values = self.take_all(tensors, path, prefix)?;
        self.evaluator.network().write_all(Buf::V, &values)
    }

    /// All of `v`, or of a buffer with the same layout, from the tensors whose names start with `prefix`.
    fn take_all(&self, state: &Tensors, path: &Path, prefix: &str) -> Result<Vec<f32>> {
        let layout = self.evaluator.layout();
        let mut values = vec![0f32; layout.v_len as usize];
        for (name, entry) in layout.trained() {
            let name = format!("{prefix}{name}");
            let (shape, data) = tensors::f32s(state, path, &name)?;
            if shape != entry.spec.shape {
                let expected = format!("{name} of shape {:?}", entry.spec.shape);
                let try_this =
                    "a run of the same network: space, layers or stages, channels, choices, classes";
                return Err(Error::file(path, None, expected, format!("{shape:?}"), try_this));
            }
            entry.pack(data, &mut values);
        }
        Ok(values)
    }
}
