//! The whole state of a search as named tensors, and back: `v.*`, `momentum.*`, and the strategy's (`pi.*` or `alpha.*`,
//! `adam.{m,v}.*`).

use std::path::Path;

use super::search::Search;
use crate::error::{Error, Result};
use crate::files::tensors::{self, Tensor, Tensors};
use crate::kernel::Buf;

impl Search {
    /// Everything that a step changes, with the same bits.
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

    /// Takes on the state that [`Self::snapshot`] gave after `step` steps.
    ///
    /// # Errors
    /// [`Error::File`] where a tensor is missing or has another shape.
    pub fn restore(&mut self, step: u64, state: &Tensors) -> Result<()> {
        let path = Path::new("checkpoint");
        for (prefix, buf) in [("v.", Buf::V), ("momentum.", Buf::Momentum)] {
            let values = self.take_all(state, path, prefix)?;
            self.evaluator.network().write_all(buf, &values)?;
        }
        // A step that failed may have left some.
        let none = vec![0.0; self.evaluator.layout().v_len as usize];
        self.evaluator.network().write_all(Buf::Grad, &none)?;
        self.strategy.load(&*self.settings.space, state)?;
        self.go_to(step);
        Ok(())
    }

    /// Takes the shared weights of another search of the same network: the tensors `v.*` of its [`Self::snapshot`] with
    /// the prefix `v.`, those of an exported file with none. Whatever else there is, momentum among it, is left behind.
    ///
    /// # Errors
    /// [`Error::File`] where a tensor is missing or has another shape.
    pub fn set_weights(&mut self, tensors: &Tensors, path: &Path, prefix: &str) -> Result<()> {
        let values = self.take_all(tensors, path, prefix)?;
        self.evaluator.network().write_all(Buf::V, &values)
    }

    /// All of `v`, or what is laid out like it, from the tensors whose names start with `prefix`.
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
