//! Channels of one map in as many tensors as pages of the arena make necessary.
//!
//! Ops never see more than one of them: a layer over a wide map is a launch per tensor. A convolution that
//! reads several adds up its output, tensor by tensor; where all fits one page there is one, and no more launches
//! than ever.

use crate::ops::Tensor;

/// Some channels of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    pub tensor: Tensor,
    pub first: u32,
    pub len: u32,
}

impl From<Tensor> for Block {
    fn from(tensor: Tensor) -> Self {
        Self { tensor, first: 0, len: tensor.channels }
    }
}

/// Some channels, in order, in tensors of at most a page.
#[derive(Clone, Debug, PartialEq)]
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

    /// Which tensor holds `channel`.
    pub fn part_of(&self, channel: u32) -> usize {
        (channel / self.each) as usize
    }

    /// The tensor that holds `channel`, and the channel's number in it.
    pub fn at(&self, channel: u32) -> (Tensor, u32) {
        (self.tensors[self.part_of(channel)], channel % self.each)
    }

    /// `len` channels from `first` on, by tensor, each with its distance from `first`.
    pub fn blocks(&self, first: u32, len: u32) -> Vec<(u32, Block)> {
        let mut blocks = Vec::new();
        let mut done = 0;
        while done < len {
            let (tensor, first) = self.at(first + done);
            let here = (tensor.channels - first).min(len - done);
            blocks.push((done, Block { tensor, first, len: here }));
            done += here;
        }
        blocks
    }

    /// The one tensor, if it is one.
    pub fn single(&self) -> Option<Tensor> {
        if let [tensor] = *self.tensors { Some(tensor) } else { None }
    }

    /// Tensors of as many channels, the last perhaps of fewer.
    pub fn side_by_side(tensors: Vec<Tensor>) -> Self {
        Self { each: tensors[0].channels, tensors }
    }
}

impl From<Tensor> for Wide {
    fn from(tensor: Tensor) -> Self {
        Self::side_by_side(vec![tensor])
    }
}

/// How many of `n` things go into each of the fewest groups of at most `most`, evenly.
pub(super) fn even(n: u32, most: u32) -> u32 {
    n.div_ceil(n.div_ceil(most))
}
