//! What the lowering knows of a tensor, in one record: how it is read, and where its gradient is.

use super::{Block, Builder};
use crate::Result;
use crate::error::Error;
use crate::kernel::Buf;
use crate::ops::{Array, GradView, Tensor};

/// Where the gradient of a block of channels is to be found: in that of another tensor, times a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alias {
    /// The channels.
    pub of: Block,
    /// The tensor whose gradient it is, and the first channel there.
    pub tensor: Tensor,
    pub channel: u32,
    /// The factor.
    pub multiplier: f32,
    /// The first drop-path factor, or factor of a mixed network.
    pub drop: Option<u32>,
}

/// A gradient and which of its channels hold something already.
#[derive(Debug)]
struct Gradient {
    tensor: Tensor,
    written: Vec<bool>,
}

/// What is known of a tensor.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// Batch-norm coefficients of its channels.
    pub coefs: Option<Array>,
    /// Unfused: norm(x) made real.
    pub normed: Option<Tensor>,
    /// Blocks whose gradient is another tensor's.
    pub aliases: Vec<Alias>,
    gradient: Option<Gradient>,
    /// Coefficients of batch norm's backward pass.
    pub grad_coefs: Option<Array>,
    /// The gradient behind batch norm's backward pass, where it is stored.
    pub dy: Option<Tensor>,
    /// Of pooled features: their gradient.
    pub features: Option<Array>,
}

impl Value {
    fn alias(&self, channel: u32) -> Option<&Alias> {
        self.aliases.iter().find(|a| (a.of.first..a.of.first + a.of.len).contains(&channel))
    }
}

impl Builder<'_> {
    /// What is known of the tensor in `buf`.
    pub(super) fn value(&mut self, buf: Buf) -> &mut Value {
        self.values.entry(buf).or_default()
    }

    pub(super) fn coefs(&self, buf: Buf) -> Option<Array> {
        self.values.get(&buf)?.coefs
    }

    /// What consumers of x see of its batch norm: x itself, read through coefficients, or norm(x).
    pub(super) fn seen(&self, x: Tensor) -> Tensor {
        self.values.get(&x.buf).and_then(|v| v.normed).unwrap_or(x)
    }

    /// The gradient tensor of x: of what its consumers see.
    pub(super) fn gradient(&mut self, x: Tensor) -> Tensor {
        if let Some(gradient) = &self.value(x.buf).gradient {
            return gradient.tensor;
        }
        let tensor = self.tensor(x.channels, x.map);
        self.set_gradient(x, tensor, false);
        tensor
    }

    /// Makes `tensor` the gradient of x; `written`: whether it holds something already.
    pub(super) fn set_gradient(&mut self, x: Tensor, tensor: Tensor, written: bool) {
        let written = vec![written; x.channels as usize];
        self.value(x.buf).gradient = Some(Gradient { tensor, written });
    }

    pub(super) fn is_written(&self, x: Tensor, channel: u32) -> bool {
        let gradient = self.values.get(&x.buf).and_then(|v| v.gradient.as_ref());
        gradient.is_some_and(|g| g.written[channel as usize])
    }

    /// The gradient of these channels holds something from now on.
    pub(super) fn mark(&mut self, block: Block) {
        self.gradient(block.tensor);
        if let Some(g) = &mut self.value(block.tensor.buf).gradient {
            g.written[block.first as usize..(block.first + block.len) as usize].fill(true);
        }
    }

    pub(super) fn alias(&self, x: Tensor, channel: u32) -> Option<Alias> {
        self.values.get(&x.buf)?.alias(channel).copied()
    }

    /// The gradient of all of x as it is: in one tensor, that of x or the one that all its blocks' gradients are in.
    /// With it the factors of these blocks, if they have any.
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

    /// How the producer of y reads its gradient.
    pub(super) fn grad_view(&mut self, y: Tensor) -> Result<GradView> {
        if let Some(dy) = self.value(y.buf).dy {
            return Ok(GradView { dz: dy, bn: None, drop: None });
        }
        let bn = self.value(y.buf).grad_coefs;
        let (dz, drop) = self.raw_gradient(y)?;
        Ok(GradView { dz, bn, drop })
    }

    /// The channel of the gradient tensor that belongs to `channel` of y, and its first factor.
    pub(super) fn grad_channel(&self, y: Tensor, channel: u32) -> (u32, u32) {
        let stored = self.values.get(&y.buf).is_some_and(|v| v.dy.is_some());
        match self.alias(y, channel).filter(|_| !stored) {
            Some(a) => (a.channel + channel - a.of.first, a.drop.unwrap_or(0)),
            None => (channel, 0),
        }
    }

    /// The factors that gradients of blocks may be multiplied with: a mixed network's, or those of drop-path.
    pub(super) fn factors(&self) -> Array {
        let net = self.request.net;
        let (buf, count) =
            if net.n_factors > 0 { (Buf::Mix, net.n_factors) } else { (Buf::DropPath, net.n_drops) };
        let bytes = count as u64 * u64::from(self.request.batch) * 4;
        Array { buf, offset_bytes: 0, bytes: bytes.next_multiple_of(16) }
    }
}
