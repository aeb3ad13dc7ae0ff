//! How an op reads a value: through batch norm's coefficients and ReLU, or (unfused) from a tensor that stores the
//! result.

use super::{Block, Builder, Wide};
use crate::error::{Error, Result};
use crate::ops::elementwise::{self, ApplyBackward};
use crate::ops::{Tensor, View};

/// A value: channels of tensors that may be read through ReLU.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub wide: Wide,
    /// The first channel of each path's value. All values have the same number of channels.
    pub firsts: Vec<u32>,
    pub channels: u32,
    pub relu: bool,
}

impl Seen {
    /// One value: some channels of tensors.
    pub fn new(wide: Wide, first: u32, channels: u32) -> Self {
        Self { wide, firsts: vec![first], channels, relu: false }
    }

    /// The blocks of the value in each tensor, each with its distance from the value's first channel. If there are
    /// several values, these are the blocks of the first value.
    pub fn blocks(&self) -> Vec<(u32, Block)> {
        self.wide.blocks(self.firsts[0], self.channels)
    }

    /// The one tensor that holds all values, and the first channel of each value there.
    pub fn single(&self) -> Result<(Tensor, Vec<u32>)> {
        let (tensor, _) = self.wide.at(self.firsts[0]);
        let mut firsts = Vec::new();
        for &first in &self.firsts {
            match self.wide.blocks(first, self.channels)[..] {
                [(_, block)] if block.tensor == tensor => firsts.push(block.first),
                _ => return Err(Error::internal("an op reads a value that several pages hold")),
            }
        }
        Ok((tensor, firsts))
    }
}

/// A way to read values of `channels` channels from `firsts` on in x. Without fusion, ReLU stores the values in a
/// new tensor, and `firsts` are changed to the positions there.
pub(super) fn view(b: &mut Builder<'_>, x: Tensor, firsts: &mut [u32], channels: u32, relu: bool) -> View {
    let x = b.seen(x);
    let view = View { x, coefs: b.coefs(x.buf), relu };
    if b.fuse() || !relu {
        return view;
    }
    let mut distinct: Vec<u32> = firsts.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let y = materialise(b, view, &distinct, channels);
    for first in firsts {
        let at = distinct.partition_point(|d| d < first);
        *first = at as u32 * channels;
    }
    View { x: y, coefs: None, relu: false }
}

/// Stores blocks of a view side by side in a new tensor.
pub(super) fn materialise(b: &mut Builder<'_>, view: View, firsts: &[u32], channels: u32) -> Tensor {
    let y = b.tensor(firsts.len() as u32 * channels, view.x.map);
    let blocks: Vec<(u32, u32)> = (0..).map(|i| i * channels).zip(firsts).map(|(to, s)| (*s, to)).collect();
    copy_into(b, view, y, blocks, channels);
    y
}

/// Writes blocks of a view into y. A block is (first channel in the view, first channel in y).
fn copy_into(b: &mut Builder<'_>, view: View, y: Tensor, blocks: Vec<(u32, u32)>, channels: u32) {
    for &(from, to) in &blocks {
        b.push(elementwise::apply(&view, from, y, to, channels));
    }
    b.undo(move |b| {
        let dy = b.gradient(y);
        for (from, to) in blocks {
            let accumulate = b.is_written(view.x, from);
            let dx = b.gradient(view.x);
            let at = ApplyBackward { from, to, channels, accumulate };
            b.push(elementwise::apply_backward(&view, dy, dx, at));
            b.mark(Block { tensor: view.x, first: from, len: channels });
        }
        Ok(())
    });
}

/// How a block of a value is read.
fn block_view(b: &Builder<'_>, block: Block, relu: bool) -> View {
    let seen = b.seen(block.tensor);
    View { x: seen, coefs: b.coefs(seen.buf), relu }
}

/// The value as plain tensors: the tensors themselves where nothing has to be applied, otherwise new tensors.
pub(super) fn plain(b: &mut Builder<'_>, x: &Seen) -> Vec<(u32, Tensor)> {
    let mut tensors = Vec::new();
    for (at, block) in x.blocks() {
        let view = block_view(b, block, x.relu);
        let whole = block.first == 0 && block.len == view.x.channels;
        let y = if whole && view.coefs.is_none() && !view.relu {
            view.x
        } else {
            materialise(b, view, &[block.first], block.len)
        };
        tensors.push((at, y));
    }
    tensors
}

/// The value as one plain tensor.
pub(super) fn gathered(b: &mut Builder<'_>, x: &Seen) -> Tensor {
    let blocks = x.blocks();
    let y = b.tensor(x.channels, blocks[0].1.tensor.map);
    for (at, block) in blocks {
        let view = block_view(b, block, x.relu);
        copy_into(b, view, y, vec![(block.first, at)], block.len);
    }
    y
}
