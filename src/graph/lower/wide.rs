//! Channels of one map in as many tensors as pages of the arena make necessary.
//!
//! Ops never see more than one of them: a step over a wide map is a step per tensor. A convolution that
//! reads several adds up its output, tensor by tensor; where all fits one page there is one, and no more steps
//! than ever.

use crate::ops::{Map, Tensor};

use super::Builder;

/// Some channels, in order, in tensors of at most a page.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    tensors: Vec<Tensor>,
    /// Channels of each tensor but the last.
    each: u32,
}

impl Wide {
    /// Channels in all.
    pub fn channels(&self) -> u32 {
        self.tensors.iter().map(|t| t.channels).sum()
    }

    /// Layout of one channel.
    pub fn map(&self) -> Map {
        self.tensors[0].map
    }

    /// The tensors, each with the number of its first channel.
    pub fn parts(&self) -> impl Iterator<Item = (u32, Tensor)> + '_ {
        (0..).step_by(self.each as usize).zip(self.tensors.iter().copied())
    }

    /// Which tensor holds `channel`.
    pub fn part_of(&self, channel: u32) -> usize {
        (channel / self.each) as usize
    }

    /// The tensor that holds `channel`, and the channel's number in it.
    pub fn at(&self, channel: u32) -> (Tensor, u32) {
        (self.tensors[self.part_of(channel)], channel % self.each)
    }
}

impl Wide {
    /// Two tensors of as many channels.
    pub fn pair(first: Tensor, second: Tensor) -> Self {
        Self { each: first.channels, tensors: vec![first, second] }
    }
}

impl From<Tensor> for Wide {
    fn from(tensor: Tensor) -> Self {
        Self { each: tensor.channels, tensors: vec![tensor] }
    }
}

impl Builder<'_> {
    /// Room for `channels` channels, a multiple of `unit`, of which no unit is torn apart.
    pub(super) fn wide(&mut self, channels: u32, unit: u32, map: Map) -> Wide {
        // Rows of weights are read in quads, so parts have a multiple of four channels.
        let unit = if unit.is_multiple_of(4) { unit } else { 2 * unit };
        let each = even(channels.div_ceil(unit), self.fit(unit, map)) * unit;
        let part = |first: u32| self.tensor(each.min(channels - first), map);
        Wide { tensors: (0..channels).step_by(each as usize).map(part).collect(), each }
    }

    /// How many blocks of `channels` channels fit a page; one that does not is refused when it is placed.
    pub(super) fn fit(&self, channels: u32, map: Map) -> u32 {
        let bytes = Tensor { buf: crate::kernel::Buf::V, channels, map }.bytes();
        (self.request.lowering.page_bytes / bytes).max(1) as u32
    }
}

/// How many of `n` things go into each of the fewest groups of at most `most`, evenly.
pub(super) fn even(n: u32, most: u32) -> u32 {
    n.div_ceil(n.div_ceil(most))
}
