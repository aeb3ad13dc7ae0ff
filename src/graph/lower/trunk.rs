//! What no architecture changes: the stem, both inputs of cell 0 and the first input of cell 1.
//!
//! All children of a step read one batch with the same weights, so this part is computed once for all of them
//! ([`Extent::Trunk`]); each child starts from it and adds its gradient to one sum ([`Extent::Branch`]), from
//! which one backward pass goes on: ∂v of the trunk is linear in the gradient of what it gives.

use super::wide::Wide;
use super::{Builder, Extent, Gradient, Lowering};
use crate::graph::spec::{CellSpec, NetworkKind, NetworkSpec, StemKind};
use crate::kernel::Buf;
use crate::ops::{Array, Map, Tensor};

/// The tensors between trunk and children: both inputs of cell 0, 2C channels; the first input of cell 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// Before batch norm, with their coefficients.
    pub outputs: Vec<(Tensor, Array)>,
    /// Bytes of all coefficients.
    pub coefs_bytes: u64,
}

impl Trunk {
    /// The trunk of a network; none where children have nothing to share: running statistics would move twice,
    /// plain kernels store what views are made of, and a tensor that is split has no one place.
    pub fn of(spec: &NetworkSpec, batch: u32, lowering: &Lowering) -> Option<Self> {
        if spec.kind != NetworkKind::Search || spec.stem != StemKind::Cifar || !lowering.fuse {
            return None;
        }
        let (mut outputs, mut coefs_bytes) = (Vec::new(), 0);
        for cell in spec.cells().iter().take(2) {
            let blocks = if cell.index == 0 { 2 } else { 1 };
            let (buf, channels) = (Buf::Trunk(cell.index as u8), blocks * cell.c as u32);
            let tensor = Tensor { buf, channels, map: inner(cell, batch) };
            let bytes = u64::from(channels) * 16;
            let coefs = Array { buf: Buf::TrunkCoefs, offset_bytes: coefs_bytes, bytes };
            outputs.push((tensor, coefs));
            coefs_bytes += bytes.next_multiple_of(256);
        }
        let fits = outputs.iter().all(|(tensor, _)| tensor.bytes() <= lowering.page_bytes);
        fits.then_some(Self { outputs, coefs_bytes })
    }

    /// Where the sum of the children's gradients of an output is.
    pub fn gradient(output: Tensor) -> Tensor {
        let buf = match output.buf {
            Buf::Trunk(i) => Buf::TrunkGrad(i),
            other => other,
        };
        Tensor { buf, ..output }
    }
}

/// The layout of a cell's preprocessed inputs.
pub(super) fn inner(cell: &CellSpec, n: u32) -> Map {
    Map { n, h: cell.h_prev as u32, w: cell.w_prev as u32 }
}

impl Builder<'_> {
    /// Outputs of the trunk are read, and their gradients added to, like any other tensor's.
    pub(super) fn know_trunk(&mut self) {
        for &(tensor, coefs) in self.trunk.iter().flat_map(|t| &t.outputs) {
            self.coefs.insert(tensor.buf, coefs);
            let written = vec![true; tensor.channels as usize];
            self.gradients.insert(tensor.buf, Gradient { tensor: Trunk::gradient(tensor), written });
        }
    }

    /// The forward pass of [`Extent::Trunk`].
    pub(super) fn trunk(&mut self) {
        let (prev_prev, prev) = self.stem();
        for cell in self.request.spec.cells().iter().take(2) {
            match cell.index {
                0 => self.inputs(cell, Some(&prev_prev), Some(&prev)),
                _ => self.inputs(cell, Some(&prev), None),
            };
        }
    }

    /// Places for both preprocessed inputs of a cell, two blocks of C channels.
    pub(super) fn places(&mut self, cell: &CellSpec) -> Wide {
        let (c, map) = (cell.c as u32, inner(cell, self.request.batch));
        let given = self.trunk.as_ref().and_then(|t| t.outputs.get(cell.index)).map(|(tensor, _)| *tensor);
        match (given, self.request.extent) {
            (None, _) => self.wide(2 * c, c, map),
            (Some(first), Extent::Branch) if cell.index == 1 => {
                let second = self.tensor(c, map);
                Wide::pair(first, second)
            }
            (Some(tensor), _) => tensor.into(),
        }
    }
}
