//! Partial sums of weight gradients. They are collected in one array and added to the gradient together.

use super::{Builder, Mode};
use crate::kernel::Buf;
use crate::ops::reduce::Rows;
use crate::ops::{Array, Param, reduce};

/// Partial sums are added up when more than this many elements are collected (1 MiB).
const FLUSH_ELEMENTS: u32 = 256 << 10;

/// The partial sums collected so far.
#[derive(Default)]
pub(super) struct Partials {
    /// Tensor number of the array, and the length of the array in elements.
    array: Option<(u32, u32)>,
    reductions: Vec<reduce::Task>,
}

/// Partial sums that belong together: first element, number of chunks, and elements from one chunk to the next.
#[derive(Clone, Copy)]
pub(super) struct Chunks {
    pub first: u32,
    pub count: u32,
    pub stride: u32,
}

impl Builder<'_> {
    /// Room for `elements` partial sums. Returns their range and their first element in the array.
    pub(super) fn partial(&mut self, elements: u32) -> (Array, u32) {
        let most = self.request.lowering.page_bytes / 4;
        let padded = elements.next_multiple_of(64);
        if self.partials.array.is_some_and(|(_, len)| u64::from(len + padded) > most) {
            self.flush();
        }
        let (id, len) = match self.partials.array {
            Some(there) => there,
            None => {
                self.sizes.push(0);
                (self.sizes.len() as u32 - 1, 0)
            }
        };
        self.partials.array = Some((id, len + padded));
        self.sizes[id as usize] = u64::from(len + padded) * 4;
        let bytes = u64::from(elements.next_multiple_of(4)) * 4;
        (Array { buf: Buf::Tensor(id), offset_bytes: u64::from(len) * 4, bytes }, len)
    }

    /// Registers that the sum of chunks of `elements` numbers is a part of the gradient of `target`. With `rows`
    /// the sum belongs to some columns of `target` only.
    pub(super) fn reduction(&mut self, chunks: Chunks, elements: u32, target: Param, rows: Option<Rows>) {
        let rows = rows.filter(|rows| rows.len < rows.pitch);
        let Chunks { first, count, stride } = chunks;
        self.partials.reductions.push(reduce::Task { first, chunks: count, stride, elements, target, rows });
    }

    /// Adds the partial sums to the accumulated gradient if many are collected.
    pub(super) fn flush_if_many(&mut self) {
        if self.partials.array.is_some_and(|(_, elements)| elements > FLUSH_ELEMENTS) {
            self.flush();
        }
    }

    /// Adds the collected partial sums to the accumulated gradient.
    pub(super) fn flush(&mut self) {
        let tasks = std::mem::take(&mut self.partials.reductions);
        if let Some((id, elements)) = self.partials.array.take() {
            let partial = Array { buf: Buf::Tensor(id), offset_bytes: 0, bytes: u64::from(elements) * 4 };
            let buf = if self.request.mode == Mode::Train { Buf::Grad } else { Buf::MixGrad };
            self.launches.extend(reduce::accumulate_into(buf, partial, &tasks));
        }
    }
}
