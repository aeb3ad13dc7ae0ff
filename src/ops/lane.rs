//! Sums over lanes by a tree that depends on nothing but the number of lanes → launches of `lane.wgsl`.
//!
//! Children are dealt out to lanes by their index. The gradients of a lane are added in order, and the sums of the
//! lanes are added by a fixed tree: ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)). So the sum does not depend on where
//! lanes are computed.

use super::{WORKGROUP, groups, launch};
use crate::kernel::{Buf, Launch, Params, Range};

/// Level of the partial sum that holds the gradient of earlier parts of the batch while another part is added up.
pub const EARLIER: u8 = u8::MAX;

/// Launches that follow when `gradient` holds the complete sum of lane `lane`. The partial sums that the lane
/// completes are added, lower levels first. The result is then stored as a partial sum for later lanes; after the
/// last lane the result stays in `gradient`. Partial sums lie at `offset` in the buffers of their levels.
pub fn close(lane: usize, is_last: bool, gradient: Range, offset: u64, piece_bytes: u64) -> Vec<Launch> {
    // The levels work like the bits of a binary counter: level j holds a partial sum if bit j of `lane` is set.
    let levels = if is_last { usize::BITS } else { lane.trailing_ones() };
    let taken = (0..levels).filter(|j| lane >> j & 1 == 1);
    let mut out: Vec<Launch> =
        taken.flat_map(|j| pieces("add", gradient, Buf::Lanes(j as u8), offset, piece_bytes)).collect();
    if !is_last {
        out.extend(put(gradient, levels as u8, offset, piece_bytes));
    }
    out
}

/// Moves `gradient` to the partial sum of `level`, and clears `gradient`.
pub fn put(gradient: Range, level: u8, offset: u64, piece_bytes: u64) -> Vec<Launch> {
    pieces("put", gradient, Buf::Lanes(level), offset, piece_bytes)
}

/// `gradient` = partial sum of `level` + `gradient`, in this order.
pub fn add(gradient: Range, level: u8, offset: u64, piece_bytes: u64) -> Vec<Launch> {
    pieces("add", gradient, Buf::Lanes(level), offset, piece_bytes)
}

fn pieces(entry: &'static str, gradient: Range, sum: Buf, offset: u64, piece_bytes: u64) -> Vec<Launch> {
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
            Launch {
                flops: u64::from(4 * quads),
                ..launch("lane", entry, vec![], bindings, params, [groups(quads), 1, 1])
            }
        })
        .collect()
}
