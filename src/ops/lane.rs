//! Sums over lanes: a tree that depends on the number of lanes alone → dispatches of `lane.wgsl`.
//!
//! Children are dealt out to lanes by their index; the gradients of a lane are added in order, and those of the lanes by
//! a fixed tree: ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)). So the sum does not depend on where lanes are computed.

use super::{WORKGROUP, dispatch, groups};
use crate::kernel::{Buf, Dispatch, Params, Range};

/// The partial sum that waits while all of another part of the batch is added up.
pub const EARLIER: u8 = u8::MAX;

/// What follows when lane `lane` of `gradient` is complete: the partial sums that it completes are added, the lower ones
/// first, and the result waits for the next ones; after the last lane it stays in `gradient`. Partial sums lie at
/// `offset` in the buffers of their level.
pub fn close(lane: usize, is_last: bool, gradient: Range, offset: u64, piece_bytes: u64) -> Vec<Dispatch> {
    // As a binary counter counts lanes: level j is taken if bit j of the number of the lane is set.
    let levels = if is_last { usize::BITS } else { lane.trailing_ones() };
    let taken = (0..levels).filter(|j| lane >> j & 1 == 1);
    let mut out: Vec<Dispatch> =
        taken.flat_map(|j| launch("add", gradient, Buf::Lanes(j as u8), offset, piece_bytes)).collect();
    if !is_last {
        out.extend(put(gradient, levels as u8, offset, piece_bytes));
    }
    out
}

/// `gradient` waits as the partial sum of `level`, and is zero.
pub fn put(gradient: Range, level: u8, offset: u64, piece_bytes: u64) -> Vec<Dispatch> {
    launch("put", gradient, Buf::Lanes(level), offset, piece_bytes)
}

/// The partial sum of `level` comes before what is in `gradient`.
pub fn add(gradient: Range, level: u8, offset: u64, piece_bytes: u64) -> Vec<Dispatch> {
    launch("add", gradient, Buf::Lanes(level), offset, piece_bytes)
}

fn launch(entry: &'static str, gradient: Range, sum: Buf, offset: u64, piece_bytes: u64) -> Vec<Dispatch> {
    let reach = u64::from(65_535 * WORKGROUP) * 16;
    let piece = piece_bytes.min(reach) / 256 * 256;
    let starts = (0..gradient.len_bytes).step_by(piece as usize);
    starts
        .map(|start| {
            let len_bytes = piece.min(gradient.len_bytes - start);
            let quads = (len_bytes / 16) as u32;
            let grad = Range { offset_bytes: gradient.offset_bytes + start, len_bytes, ..gradient };
            let sum = Range { buf: sum, offset_bytes: offset + start, len_bytes };
            let params = Params::new().set("quads", quads);
            let bindings = vec![("grad", grad), ("sum", sum)];
            Dispatch {
                flops: u64::from(4 * quads),
                ..dispatch("lane", entry, vec![], bindings, params, [groups(quads), 1, 1])
            }
        })
        .collect()
}
