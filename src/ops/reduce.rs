//! Partial sums of a child's weight gradients → launches of `reduce.wgsl` that add them to the accumulated
//! gradient.

use super::{Array, BINDING_BYTES, Param, WORKGROUP, cover, launch};
use crate::kernel::{Buf, Launch, Params};

/// Partial sums of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// First element in the partial sums.
    pub first: u32,
    /// Number of chunks to add up.
    pub chunks: u32,
    /// Elements from one chunk to the next.
    pub stride: u32,
    /// Elements of the parameter (padded as in v).
    pub elements: u32,
    /// The parameter.
    pub target: Param,
    /// The columns of the parameter that the sums belong to, if they do not belong to all columns.
    pub rows: Option<Rows>,
}

/// Rows of sums that belong to some columns of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Elements of a row of sums.
    pub len: u32,
    /// Elements of a row of the parameter.
    pub pitch: u32,
    /// First column.
    pub column: u32,
}

/// grad\[target\] += Σ_chunks partial, for parameters whose partial sums are in one array.
pub fn accumulate(partial: Array, tasks: &[Task]) -> Vec<Launch> {
    accumulate_into(Buf::Grad, partial, tasks)
}

/// The same as [`accumulate`], for targets in the buffer `buf` instead of the gradient of v.
pub fn accumulate_into(buf: Buf, partial: Array, tasks: &[Task]) -> Vec<Launch> {
    let one = |tasks: &[Task]| {
        let targets: Vec<Param> = tasks.iter().map(|t| t.target).collect();
        let (grad, base) = cover(buf, &targets);
        let row = |t: &Task| {
            let rows = t.rows.unwrap_or(Rows { len: t.elements.max(1), pitch: 0, column: 0 });
            let first = t.target.offset - base + rows.column;
            [t.first, t.elements, t.chunks, t.stride, first, rows.len, rows.pitch, 0]
        };
        let params = Params::new().rows("tasks", tasks.iter().map(row));
        let largest = tasks.iter().map(|t| t.elements).max().unwrap_or(0);
        let bindings = vec![("partial", partial.range()), ("grad", grad)];
        let grid = [largest.div_ceil(WORKGROUP), tasks.len() as u32, 1];
        // Each partial sum is read. Each element of the gradient is read and written.
        let touched = |t: &Task| 4 * u64::from(t.elements) * u64::from(t.chunks + 2);
        let bytes = tasks.iter().map(touched).sum();
        Launch { bytes, ..launch("reduce", "accumulate", vec![], bindings, params, grid) }
    };
    let mut groups: Vec<&[Task]> = Vec::new();
    let mut rest = tasks;
    while !rest.is_empty() {
        let fits = |n: &usize| {
            let targets: Vec<Param> = rest[..*n].iter().map(|t| t.target).collect();
            cover(buf, &targets).0.len_bytes <= BINDING_BYTES
        };
        let most = rest.len().min(super::MAX_TASKS);
        let (group, others) = rest.split_at((1..=most).rev().find(fits).unwrap_or(1));
        groups.push(group);
        rest = others;
    }
    groups.into_iter().map(one).collect()
}
