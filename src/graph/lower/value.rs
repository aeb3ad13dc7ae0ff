//! One record per tensor with everything that the lowering knows: how the tensor is read, and where its gradient
//! is.

use super::{Block, Builder};
use crate::Result;
use crate::error::Error;
use crate::kernel::Buf;
use crate::ops::{Array, GradView, Tensor};

/// The place of the gradient of a block of channels: the gradient of another tensor, times a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alias {
    /// The block of channels.
    pub of: Block,
    /// The other tensor, and the first channel in its gradient.
    pub tensor: Tensor,
    pub channel: u32,
    /// Factor of the gradient.
    pub multiplier: f32,
    /// The first drop-path factor, or the first factor of a mixed network.
    pub drop: Option<u32>,
}

/// A gradient, and which of its channels already hold something.
#[derive(Debug)]
struct Gradient {
    tensor: Tensor,
    written: Vec<bool>,
}

/// Everything that is known of a tensor.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// Batch-norm coefficients of the tensor's channels.
    pub coefs: Option<Array>,
    /// Unfused only: the tensor that stores norm(x).
    pub normed: Option<Tensor>,
    /// Blocks whose gradient is a part of another tensor's gradient.
    pub aliases: Vec<Alias>,
    gradient: Option<Gradient>,
    /// Coefficients of batch norm's backward pass.
    pub grad_coefs: Option<Array>,
    /// The gradient after batch norm's backward pass, if it is stored.
    pub dy: Option<Tensor>,
    /// The gradient of pooled features.
    pub features: Option<Array>,
}

impl Value {
    fn alias(&self, channel: u32) -> Option<&Alias> {
        self.aliases.iter().find(|a| (a.of.first..a.of.first + a.of.len).contains(&channel))
    }
}

impl Builder<'_> {
    /// The record of the tensor in `buf`.
    pub(super) fn value(&mut self, buf: Buf) -> &mut Value {
        self.values.entry(buf).or_default()
    }

    pub(super) fn coefs(&self, buf: Buf) -> Option<Array> {
        self.values.get(&buf)?.coefs
    }

    /// The tensor that consumers of x read: x itself, through coefficients, or the tensor that stores norm(x).
    pub(super) fn seen(&self, x: Tensor) -> Tensor {
        self.values.get(&x.buf).and_then(|v| v.normed).unwrap_or(x)
    }

    /// The gradient of x, or of norm(x) if consumers read x through coefficients.
    pub(super) fn gradient(&mut self, x: Tensor) -> Tensor {
        if let Some(gradient) = &self.value(x.buf).gradient {
            return gradient.tensor;
        }
        let tensor = self.tensor(x.channels, x.map);
        self.set_gradient(x, tensor, false);
        tensor
    }

    /// Makes `tensor` the gradient of x. `written` says whether `tensor` already holds something.
    pub(super) fn set_gradient(&mut self, x: Tensor, tensor: Tensor, written: bool) {
        let written = vec![written; x.channels as usize];
        self.value(x.buf).gradient = Some(Gradient { tensor, written });
    }

    pub(super) fn is_written(&self, x: Tensor, channel: u32) -> bool {
        let gradient = self.values.get(&x.buf).and_then(|v| v.gradient.as_ref());
        gradient.is_some_and(|g| g.written[channel as usize])
    }

    /// Marks the gradient of these channels as written.
    pub(super) fn mark(&mut self, block: Block) {
        self.gradient(block.tensor);
        if let Some(g) = &mut self.value(block.tensor.buf).gradient {
            g.written[block.first as usize..(block.first + block.len) as usize].fill(true);
        }
    }

    pub(super) fn alias(&self, x: Tensor, channel: u32) -> Option<Alias> {
        self.values.get(&x.buf)?.alias(channel).copied()
    }

    /// The one tensor that holds the gradient of all of x before batch norm's backward pass: the gradient of x, or
    /// the tensor that the gradients of all blocks of x are aliases of. If the blocks have factors, the array of
    /// factors comes with the tensor.
    pub(super) fn raw_gradient(&mut self, x: Tensor) -> Result<(Tensor, Option<Array>)> {
        let aliases = std::mem::take(&mut self.value(x.buf).aliases);
        let found = match aliases.first() {
            None => (self.gradient(x), None),
            Some(a) => {
                let same = |b: &Alias| b.tensor == a.tensor && b.drop.is_some() == a.drop.is_some();
                if !aliases.iter().all(same) {
                    return Err(Error::internal(
                        "the gradients of one tensor's blocks lie in several tensors",
                    ));
                }
                (self.gradient(a.tensor), a.drop.map(|_| self.factors()))
            }
        };
        self.value(x.buf).aliases = aliases;
        Ok(found)
    }

    /// How the op that computed y reads the gradient of y.
    pub(super) fn grad_view(&mut self, y: Tensor) -> Result<GradView> {
        if let Some(dy) = self.value(y.buf).dy {
            return Ok(GradView { dz: dy, bn: None, drop: None });
        }
        let bn = self.value(y.buf).grad_coefs;
        let (dz, drop) = self.raw_gradient(y)?;
        Ok(GradView { dz, bn, drop })
    }

    /// The channel of the gradient tensor that belongs to `channel` of y, and the first factor of that channel.
    pub(super) fn grad_channel(&self, y: Tensor, channel: u32) -> (u32, u32) {
        let stored = self.values.get(&y.buf).is_some_and(|v| v.dy.is_some());
        match self.alias(y, channel).filter(|_| !stored) {
            Some(a) => (a.channel + channel - a.of.first, a.drop.unwrap_or(0)),
            None => (channel, 0),
        }
    }

    /// The factors that gradients of blocks may be multiplied with: those of a mixed network, or those of
    /// drop-path.
    pub(super) fn factors(&self) -> Array {
        let net = self.request.net;
        let (buf, count) =
            if net.n_factors > 0 { (Buf::Mix, net.n_factors) } else { (Buf::DropPath, net.n_drops) };
        let bytes = count as u64 * u64::from(self.request.batch) * 4;
        Array { buf, offset_bytes: 0, bytes: bytes.next_multiple_of(16) }
    }
}
