//! Copies of a child's weights, side by side → launches of `pack.wgsl`.

use super::{BINDING_BYTES, Param, WORKGROUP, cover, launch};
use crate::kernel::{Buf, Launch, Params};

const MAX_COPIES: usize = 256;

/// Copies parameters of v to their places in `Packed`. A copy is (from, to), both of the same length.
pub fn copy(copies: &[(Param, Param)]) -> Vec<Launch> {
    let one = |copies: &[(Param, Param)]| {
        let sources: Vec<Param> = copies.iter().map(|c| c.0).collect();
        let targets: Vec<Param> = copies.iter().map(|c| c.1).collect();
        let ((v, v_first), (packed, packed_first)) = (cover(Buf::V, &sources), cover(Buf::Packed, &targets));
        let task = |(from, to): &(Param, Param)| {
            [(from.offset - v_first) / 4, (to.offset - packed_first) / 4, from.len / 4, 0]
        };
        let params = Params::new().rows("tasks", copies.iter().map(task));
        let largest = copies.iter().map(|c| c.0.len / 4).max().unwrap_or(0);
        let grid = [largest.div_ceil(WORKGROUP), copies.len() as u32, 1];
        // The ranges also cover gaps between the child's weights. The kernel does not touch the gaps, so they are
        // left out here.
        let bytes = copies.iter().map(|(from, _)| 2 * 4 * u64::from(from.len)).sum();
        let bindings = vec![("v", v), ("packed", packed)];
        Launch { bytes, ..launch("pack", "copy", vec![], bindings, params, grid) }
    };
    // The part of v that one launch reads must fit a binding.
    let mut sorted = copies.to_vec();
    sorted.sort_by_key(|c| c.0.offset);
    let mut out = Vec::new();
    while !sorted.is_empty() {
        let first = u64::from(sorted[0].0.offset);
        let fits = |c: &(Param, Param)| (u64::from(c.0.offset + c.0.len) - first) * 4 <= BINDING_BYTES - 256;
        let mut here: Vec<_> = sorted.drain(..sorted.iter().take_while(|c| fits(c)).count().max(1)).collect();
        // Similar sizes share a launch, so that few workgroups have nothing to do.
        here.sort_by_key(|c| (c.0.len, c.0.offset));
        let groups = here.chunk_by(|a, b| b.0.len < 4 * a.0.len.max(256));
        out.extend(groups.flat_map(|group| group.chunks(MAX_COPIES)).map(one));
    }
    out
}
