//! Probes of an adapter → launches of `probe.wgsl` and `fill.wgsl`.

use super::{Array, launch};
use crate::kernel::{Launch, Params};

fn params(x: Array, rounds: u32, a: f32, b: f32) -> Params {
    let n_quads = (x.bytes / 16) as u32;
    Params::new().set("n_quads", n_quads).set("rounds", rounds).float("a", a).float("b", b)
}

/// `groups` workgroups of 64 invocations. Each invocation does 96·`rounds` multiply-adds of quads and writes a quad
/// to `out`.
pub fn arithmetic(out: Array, groups: u32, rounds: u32) -> Launch {
    let flops = u64::from(groups) * 64 * u64::from(rounds) * 8 * 12 * 8;
    let words = params(out, rounds, 0.5, 1.0);
    Launch {
        flops,
        ..launch("probe", "arithmetic", vec![], vec![("out", out.range())], words, [groups, 1, 1])
    }
}

/// out = x.
pub fn copy(x: Array, out: Array) -> Launch {
    let groups = (x.bytes as u32 / 16).div_ceil(256);
    let across = groups.min(32_768);
    let grid = [across, groups.div_ceil(across), 1];
    let bindings = vec![("x", x.range()), ("out", out.range())];
    launch("probe", "copy", vec![], bindings, params(x, across, 0.0, 0.0), grid)
}

/// `groups` workgroups whose invocations load 16 quads of x each, at distances of `apart` quads. The number of
/// quads of x must be a power of two.
pub fn load(x: Array, out: Array, groups: u32, apart: u32) -> Launch {
    let bindings = vec![("x", x.range()), ("out", out.range())];
    launch("probe", "load", vec![], bindings, params(x, apart, 0.0, 0.0), [groups, 1, 1])
}

/// Parameters of `fill.wgsl`: the number of quads and their value.
pub fn fill_params(n_quads: u32, value: f32) -> Params {
    Params::new().set("n_quads", n_quads).float("value", value)
}

/// One workgroup that does nothing.
pub fn empty(out: Array) -> Launch {
    launch("fill", "fill", vec![], vec![("y", out.range())], fill_params(0, 0.0), [1, 1, 1])
}
