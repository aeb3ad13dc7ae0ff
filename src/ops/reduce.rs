//! Weight gradients of a child → the accumulated gradient, scaled by the child's weight.

use super::{Array, Param, WORKGROUP, cover, dispatch};
use crate::kernel::{Buf, Dispatch, Range};

/// Partial sums of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// First element in the partial sums.
    pub first: u32,
    /// Chunks to add up.
    pub chunks: u32,
    /// Elements from one chunk to the next.
    pub stride: u32,
    /// Elements of the parameter (padded as in v).
    pub elements: u32,
    /// The parameter.
    pub target: Param,
}

/// grad\[target\] += scalars\[0\] · Σ_chunks partial, for parameters whose partial sums lie in one array.
pub fn accumulate(partial: Array, tasks: &[Task]) -> Vec<Dispatch> {
    let scalars = Range { buf: Buf::Scalars, offset_bytes: 0, len_bytes: 256 };
    let one = |tasks: &[Task]| {
        let targets: Vec<Param> = tasks.iter().map(|t| t.target).collect();
        let (grad, base) = cover(Buf::Grad, &targets);
        let mut params: Vec<u32> = tasks
            .iter()
            .flat_map(|t| [t.first, t.elements, t.chunks, t.stride, t.target.offset - base, 0, 0, 0])
            .collect();
        params.resize(8 * super::MAX_TASKS, 0);
        let largest = tasks.iter().map(|t| t.elements).max().unwrap_or(0);
        let bindings = vec![("partial", partial.range()), ("grad", grad), ("scalars", scalars)];
        let grid = [largest.div_ceil(WORKGROUP), tasks.len() as u32, 1];
        dispatch("reduce", "accumulate", vec![], bindings, params, grid)
    };
    tasks.chunks(super::MAX_TASKS).map(one).collect()
}
