//! Textures that replace buffers, with the same quads, for kernels that read through textures.
//!
//! Some adapters load from textures several times faster than from buffers (software adapters, which load from
//! buffers lane by lane, and some mobile GPUs). Kernels still write buffers. Before a kernel reads a range that was
//! written in the meantime, the rows of the range are copied to the texture. Loads give the same bits either way.
//! The textures are storage textures, because a sampled texture costs software adapters a look-up of mip levels per
//! load.

use std::collections::BTreeMap;

use crate::kernel::specialise::TEXTURE_WIDTH;
use crate::kernel::{Buf, Range};

/// Bytes of a row of texels.
pub(super) const ROW_BYTES: u64 = TEXTURE_WIDTH as u64 * 16;

/// The texture of one buffer.
#[derive(Debug)]
pub(super) struct Mirror {
    pub texture: wgpu::Texture,
    pub view: wgpu::TextureView,
}

/// Rows to copy from a buffer to its texture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub buf: Buf,
    pub first_row: u32,
    pub n_rows: u32,
}

/// The rows that are the same in texture and buffer at the present point of a list of launches.
#[derive(Default)]
pub(super) struct Fresh(BTreeMap<Buf, Vec<bool>>);

fn rows(range: &Range) -> std::ops::Range<usize> {
    let end = range.offset_bytes + range.len_bytes;
    (range.offset_bytes / ROW_BYTES) as usize..end.div_ceil(ROW_BYTES) as usize
}

impl Fresh {
    /// Records that the range of the buffer was written.
    pub fn written(&mut self, range: &Range) {
        if let Some(fresh) = self.0.get_mut(&range.buf) {
            let len = fresh.len();
            let rows = rows(range);
            fresh[rows.start.min(len)..rows.end.min(len)].fill(false);
        }
    }

    /// Records that the range of the texture will be read, and adds the copies that are needed first to `copies`.
    pub fn read(&mut self, range: &Range, copies: &mut Vec<Copy>) {
        let fresh = self.0.entry(range.buf).or_default();
        let rows = rows(range);
        fresh.resize(fresh.len().max(rows.end), false);
        let mut row = rows.start;
        while row < rows.end {
            let stale = fresh[row..rows.end].iter().take_while(|f| !**f).count();
            if stale > 0 {
                copies.push(Copy { buf: range.buf, first_row: row as u32, n_rows: stale as u32 });
                fresh[row..row + stale].fill(true);
            }
            row += stale.max(1);
        }
    }
}
