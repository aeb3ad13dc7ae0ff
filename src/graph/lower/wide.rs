//! The channels of one map, in one tensor or in several tensors if a page is too small for all channels.
//!
//! Ops see one tensor at a time: a layer over a wide map is a launch per tensor. A convolution that reads several
//! tensors adds up its output tensor by tensor. A map that fits one page is one tensor, and needs no additional
//! launches.

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

/// Some channels, in order, in tensors that fit a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wide {
    tensors: Vec<Tensor>,
    /// Channels of each tensor but the last.
    each: u32,
}

impl Wide {
    /// Number of channels of all tensors.
    pub fn channels(&self) -> u32 {
        self.tensors.iter().map(|t| t.channels).sum()
    }

    /// Index of the tensor that holds `channel`.
    pub fn part_of(&self, channel: u32) -> usize {
        (channel / self.each) as usize
    }

    /// The tensor that holds `channel`, and the number of the channel in that tensor.
    pub fn at(&self, channel: u32) -> (Tensor, u32) {
        (self.tensors[self.part_of(channel)], channel % self.each)
    }

    /// The blocks of `len` channels from `first` on in each tensor, each block with its distance from `first`.
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

    /// The tensor, if there is only one.
    pub fn single(&self) -> Option<Tensor> {
        if let [tensor] = *self.tensors { Some(tensor) } else { None }
    }

    /// Tensors with the same number of channels. The last tensor may have fewer.
    pub fn side_by_side(tensors: Vec<Tensor>) -> Self {
        Self { each: tensors[0].channels, tensors }
    }
}

impl From<Tensor> for Wide {
    fn from(tensor: Tensor) -> Self {
        Self::side_by_side(vec![tensor])
    }
}

/// Size of each group if `n` things are divided evenly into the fewest groups of at most `most` things.
pub(super) fn even(n: u32, most: u32) -> u32 {
    n.div_ceil(n.div_ceil(most))
}
