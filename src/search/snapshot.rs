//! The whole state of a search as named tensors, and back: `v.*`, `momentum.*`, `pi.*` (or `alpha.*`),
//! `adam.{m,v}.*`.

use std::path::Path;

use super::Search;
use super::prior_update::Moments;
use crate::error::{Error, Result};
use crate::export::tensors::{self, Tensor, Tensors};
use crate::kernel::Buf;
use crate::space::prior::PerNode;
use crate::space::{CellKind, N_EDGES, N_KINDS, N_SLOTS, Prior};

impl Search {
    /// Everything that a step changes, with the same bits.
    pub fn snapshot(&mut self) -> Result<Tensors> {
        let mut out = Tensors::new();
        for (prefix, buf) in [("v", Buf::V), ("momentum", Buf::Momentum)] {
            let values = self.network.read_all(buf)?;
            for (name, entry) in self.network.layout().trained() {
                out.insert(format!("{prefix}.{name}"), Tensor::f32(&entry.spec.shape, entry.unpack(&values)));
            }
        }
        if let Some(darts) = &self.darts {
            for (prefix, values) in darts.parts() {
                put_edges(&mut out, prefix, values);
            }
            return Ok(out);
        }
        let parts = [("pi", &self.prior.logits), ("adam.m", &self.moments.m), ("adam.v", &self.moments.v)];
        for (prefix, values) in parts {
            put(&mut out, prefix, values);
        }
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
            self.network.write_all(buf, &values)?;
        }
        // A step that failed may have left some.
        let none = vec![0.0; self.network.layout().v_len as usize];
        self.network.write_all(Buf::Grad, &none)?;
        if let Some(mut darts) = self.darts.clone() {
            for (prefix, values) in darts.parts_mut() {
                take_edges(state, path, prefix, values)?;
            }
            self.darts = Some(darts);
            self.go_to(step);
            return Ok(());
        }
        self.prior = take_prior(state, path, &self.prior)?;
        self.moments = Moments {
            m: take(state, path, "adam.m", &self.moments.m)?,
            v: take(state, path, "adam.v", &self.moments.v)?,
        };
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
        self.network.write_all(Buf::V, &values)
    }

    /// All of `v`, or what is laid out like it, from the tensors whose names start with `prefix`.
    fn take_all(&self, state: &Tensors, path: &Path, prefix: &str) -> Result<Vec<f32>> {
        let layout = self.network.layout();
        let mut values = vec![0f32; layout.v_len as usize];
        for (name, entry) in layout.trained() {
            let name = format!("{prefix}{name}");
            let (shape, data) = tensors::f32s(state, path, &name)?;
            if shape != entry.spec.shape {
                let expected = format!("{name} of shape {:?}", entry.spec.shape);
                let try_this = "a run of the same network: layers, channels, primitives, classes";
                return Err(Error::file(path, None, expected, format!("{shape:?}"), try_this));
            }
            entry.pack(data, &mut values);
        }
        Ok(values)
    }
}

/// Name of one node's tensor.
fn name(prefix: &str, kind: CellKind, node: usize) -> String {
    format!("{prefix}.{}.{node}", kind.name())
}

/// Adds `{prefix}.{normal,reduce}.{0..3}`, F64 [2, pairs].
pub(super) fn put(out: &mut Tensors, prefix: &str, values: &PerNode) {
    for kind in CellKind::ALL {
        for (node, values) in values[kind.index()].iter().enumerate() {
            let shape = [N_SLOTS, values.len() / N_SLOTS];
            out.insert(name(prefix, kind, node), Tensor::f64(&shape, values.clone()));
        }
    }
}

fn take(state: &Tensors, path: &Path, prefix: &str, like: &PerNode) -> Result<PerNode> {
    let mut out = like.clone();
    for kind in CellKind::ALL {
        for (node, values) in out[kind.index()].iter_mut().enumerate() {
            let name = name(prefix, kind, node);
            let (_, data) = tensors::f64s(state, path, &name)?;
            if data.len() != values.len() {
                let expected = format!("{name} with {} numbers (the same primitives)", values.len());
                return Err(Error::file(
                    path,
                    None,
                    expected,
                    data.len().to_string(),
                    "the same --primitives",
                ));
            }
            values.copy_from_slice(data);
        }
    }
    Ok(out)
}

/// Adds `{prefix}.{normal,reduce}`, F64 [edges, primitives].
fn put_edges(out: &mut Tensors, prefix: &str, values: &[f64]) {
    for (kind, values) in CellKind::ALL.into_iter().zip(values.chunks(values.len() / N_KINDS)) {
        let shape = [N_EDGES, values.len() / N_EDGES];
        out.insert(format!("{prefix}.{}", kind.name()), Tensor::f64(&shape, values.to_vec()));
    }
}

fn take_edges(state: &Tensors, path: &Path, prefix: &str, values: &mut [f64]) -> Result<()> {
    let len = values.len() / N_KINDS;
    for (kind, values) in CellKind::ALL.into_iter().zip(values.chunks_mut(len)) {
        let name = format!("{prefix}.{}", kind.name());
        let (_, data) = tensors::f64s(state, path, &name)?;
        if data.len() != len {
            let expected = format!("{name} with {len} numbers (the same primitives)");
            return Err(Error::file(path, None, expected, data.len().to_string(), "the same --primitives"));
        }
        values.copy_from_slice(data);
    }
    Ok(())
}

/// The prior among the tensors of a checkpoint, if it is over the same space as `like`.
///
/// # Errors
/// [`Error::File`] where a tensor is missing or has another number of pairs.
pub fn take_prior(state: &Tensors, path: &Path, like: &Prior) -> Result<Prior> {
    Ok(Prior { logits: take(state, path, "pi", &like.logits)? })
}
