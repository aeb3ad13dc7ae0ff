//! The weights of a child, side by side → dispatches of `pack.wgsl`.

use super::{Param, WORKGROUP, cover, dispatch};
use crate::kernel::{Buf, Dispatch};

const MAX_COPIES: usize = 256;

/// Copies parameters of v to their places in `Packed`: (from, to), lengths alike.
pub fn copy(copies: &[(Param, Param)]) -> Vec<Dispatch> {
    let one = |copies: &[(Param, Param)]| {
        let sources: Vec<Param> = copies.iter().map(|c| c.0).collect();
        let targets: Vec<Param> = copies.iter().map(|c| c.1).collect();
        let ((v, v_first), (packed, packed_first)) = (cover(Buf::V, &sources), cover(Buf::Packed, &targets));
        let task = |(from, to): &(Param, Param)| {
            [(from.offset - v_first) / 4, (to.offset - packed_first) / 4, from.len / 4, 0]
        };
        let mut params: Vec<u32> = copies.iter().flat_map(task).collect();
        params.resize(4 * MAX_COPIES, 0);
        let largest = copies.iter().map(|c| c.0.len / 4).max().unwrap_or(0);
        let grid = [largest.div_ceil(WORKGROUP), copies.len() as u32, 1];
        dispatch("pack", "copy", vec![], vec![("v", v), ("packed", packed)], params, grid)
    };
    // Alike sizes together, so that few workgroups have nothing to do.
    let mut sorted = copies.to_vec();
    sorted.sort_by_key(|c| (c.0.len, c.0.offset));
    let groups = sorted.chunk_by(|a, b| b.0.len < 4 * a.0.len.max(256));
    groups.flat_map(|group| group.chunks(MAX_COPIES)).map(one).collect()
}
