//! The trunk: the part of a network that is the same for every architecture, such as the stem and the layers that
//! read only the stem.
//!
//! All children of a step read one batch with the same weights, so the trunk is computed once for all of them
//! ([`Extent::Trunk`]). Each child starts from the trunk's outputs and adds its gradient to one sum
//! ([`Extent::Branch`]). One backward pass of the trunk starts from that sum, because ∂v of the trunk is linear in
//! the gradient of its outputs.

use super::route::Route;
use super::{Builder, Extent, Lowering};
use crate::kernel::Buf;
use crate::network::{Kind, Net};
use crate::ops::{Array, MAX_TASKS, Map, Tensor, UNIFORM_BYTES};

/// A tensor between trunk and children.
#[derive(Clone, Debug, PartialEq)]
pub struct TrunkOutput {
    /// The values, before batch norm.
    pub tensor: Tensor,
    /// The coefficients of the values.
    pub coefs: Array,
    /// The layers whose values are in the tensor, and the first channel of each layer.
    pub joints: Vec<(usize, u32)>,
}

/// The tensors between trunk and children.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// The tensors with their coefficients.
    pub outputs: Vec<TrunkOutput>,
    /// Bytes of all coefficients.
    pub coefs_bytes: u64,
}

impl Trunk {
    /// The part of a network that is computed once for all children. `None` in three cases: a final network,
    /// because batch norm's running statistics would be updated twice; an unfused lowering, because children read
    /// other tensors than the stored ones; and an output that is too large for one page.
    pub fn of(net: &Net, batch: u32, lowering: &Lowering) -> Option<Self> {
        let keeps_statistics = net.layers.iter().any(|l| matches!(l.kind, Kind::Norm { running: true, .. }));
        if keeps_statistics || !lowering.fuse {
            return None;
        }
        // An output is a fixed value that no fixed layer reads. Only the rest of a child reads the output,
        // whichever architecture the child has.
        let mut inner = vec![false; net.layers.len()];
        for layer in net.layers.iter().filter(|l| l.fixed) {
            layer.inputs.iter().for_each(|x| inner[*x] = true);
        }
        let (mut outputs, mut coefs_bytes): (Vec<TrunkOutput>, u64) = (Vec::new(), 0);
        for level in Route::new(net).levels.values() {
            let ends = level.paths.iter().map(super::route::Path::end);
            let ends: Vec<usize> = ends.filter(|l| net.layers[*l].fixed && !inner[*l]).collect();
            let Some(&first) = ends.first() else { continue };
            let shape = net.layers[first].shape;
            if ends.iter().any(|l| net.layers[*l].shape != shape) {
                return None;
            }
            let c = shape.c as u32;
            let (buf, channels) = (Buf::Trunk(outputs.len() as u8), c * ends.len() as u32);
            let tensor =
                Tensor { buf, channels, map: Map { n: batch, h: shape.h as u32, w: shape.w as u32 } };
            let bytes = u64::from(channels) * 16;
            if tensor.bytes() > lowering.page_bytes || ends.len() > MAX_TASKS || bytes > UNIFORM_BYTES {
                return None;
            }
            let coefs = Array { buf: Buf::TrunkCoefs, offset_bytes: coefs_bytes, bytes };
            outputs.push(TrunkOutput {
                tensor,
                coefs,
                joints: ends.into_iter().zip((0..).map(|i| i * c)).collect(),
            });
            coefs_bytes += bytes.next_multiple_of(256);
        }
        (!outputs.is_empty()).then_some(Self { outputs, coefs_bytes })
    }

    /// The sum of the children's gradients of an output.
    pub fn gradient(output: Tensor) -> Tensor {
        let buf = match output.buf {
            Buf::Trunk(i) => Buf::TrunkGrad(i),
            other => other,
        };
        Tensor { buf, ..output }
    }

    /// The output whose first joint is layer `end`, if the trunk itself is computed.
    pub(super) fn output(&self, extent: Extent, end: usize) -> Option<Tensor> {
        let begins = |o: &&TrunkOutput| o.joints[0].0 == end;
        self.outputs.iter().find(begins).filter(|_| extent == Extent::Trunk).map(|o| o.tensor)
    }
}

/// Registers the outputs of the trunk. They are then read like other tensors, and gradients are added to their
/// gradients.
pub(super) fn know(b: &mut Builder<'_>) {
    let outputs = b.trunk.as_ref().map(|t| t.outputs.clone()).unwrap_or_default();
    for TrunkOutput { tensor, coefs, .. } in outputs {
        b.value(tensor.buf).coefs = Some(coefs);
        b.set_gradient(tensor, Trunk::gradient(tensor), true);
    }
}
