//! Node sums, and views that are stored as tensors → launches of `node.wgsl` and `apply.wgsl`.

use super::{Array, NO_COEFS, Tensor, View, groups, launch};
use crate::kernel::{Launch, Params};

/// One term of a node: a block of a tensor, normalised or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// The tensor.
    pub x: Tensor,
    /// First channel of the block.
    pub first: u32,
    /// Coefficients of the tensor's channels, where the term is norm(x).
    pub coefs: Option<Array>,
    /// Number of times that the term is added.
    pub scale: f32,
    /// Drop-path factors, and the index of this term's first factor.
    pub drop: Option<(Array, u32)>,
}

/// y\[first..first+channels\] = the sum of up to two terms. Without terms the sum is zero.
pub fn node(y: Tensor, first: u32, channels: u32, terms: &[Term]) -> Launch {
    let target = y.block(first, channels);
    let mode = |t: Option<&Term>| match t {
        None => 0,
        Some(t) if t.coefs.is_none() => 1,
        Some(_) => 2,
    };
    let (a, b) = (terms.first(), terms.get(1));
    // The binding of a missing term is not read.
    let block = |t: Option<&Term>| t.map_or(target, |t| t.x.block(t.first, channels));
    let coefs = |t: Option<&Term>| t.and_then(|t| t.coefs).map_or(NO_COEFS, Array::range);
    let drop = |t: Option<&Term>| t.and_then(|t| t.drop);
    let drops = drop(a).or(drop(b)).map_or(target, |(d, _)| d.range());
    let params = Params::new()
        .map("x", y.map.words())
        .set("drop_a", drop(a).map_or(0, |d| d.1))
        .set("drop_b", drop(b).map_or(0, |d| d.1))
        .float("scale_a", a.map_or(0.0, |t| t.scale))
        .float("scale_b", b.map_or(0.0, |t| t.scale))
        .set("first_a", a.map_or(0, |t| t.first))
        .set("first_b", b.map_or(0, |t| t.first));
    let overrides = vec![
        ("MODE_A", mode(a)),
        ("MODE_B", mode(b)),
        ("DROP_A", u32::from(drop(a).is_some())),
        ("DROP_B", u32::from(drop(b).is_some())),
    ];
    let bindings = vec![
        ("a", block(a)),
        ("b", block(b)),
        ("coefs_a", coefs(a)),
        ("coefs_b", coefs(b)),
        ("out", target),
        ("drop", drops),
    ];
    let grid = [groups(y.map.quads()), channels, 1];
    Launch {
        flops: 4 * u64::from(channels) * u64::from(y.map.count()),
        bytes: target.len_bytes * (1 + terms.len() as u64),
        ..launch("node", "forward", overrides, bindings, params, grid)
    }
}

fn apply_params(x: Tensor, accumulate: bool, scale: f32, first: u32) -> Params {
    Params::new()
        .map("x", x.map.words())
        .set("add", u32::from(accumulate))
        .float("scale", scale)
        .set("first", first)
}

/// y\[to..\] = view(x)\[from..\], `channels` channels.
pub fn apply(view: &View, from: u32, y: Tensor, to: u32, channels: u32) -> Launch {
    let x = view.x.block(from, channels);
    let bindings = vec![("x", x), ("coefs", view.coefs_range()), ("out", y.block(to, channels))];
    let grid = [groups(y.map.quads()), channels, 1];
    launch("apply", "forward", view.overrides(), bindings, apply_params(y, false, 1.0, from), grid)
}

/// Arguments of [`apply_backward`].
#[derive(Clone, Copy, Debug)]
pub struct ApplyBackward {
    /// First channel of x and dx.
    pub from: u32,
    /// First channel of dy.
    pub to: u32,
    /// Channels.
    pub channels: u32,
    /// Whether dx already holds something.
    pub accumulate: bool,
}

/// The gradient of [`apply`] for the channels in [`ApplyBackward`]: dx\[from..\] (+)= dy\[to..\] through ReLU.
pub fn apply_backward(view: &View, dy: Tensor, dx: Tensor, at: ApplyBackward) -> Launch {
    let x = view.x.block(at.from, at.channels);
    let bindings = vec![
        ("x", x),
        ("coefs", view.coefs_range()),
        ("dy", dy.block(at.to, at.channels)),
        ("dx", dx.block(at.from, at.channels)),
    ];
    let grid = [groups(dx.map.quads()), at.channels, 1];
    let params = apply_params(dx, at.accumulate, 1.0, at.from);
    let gradient = view.gradient_bytes(at.channels, [at.from].into_iter(), |_| at.accumulate);
    let bytes = dy.channel_bytes() * u64::from(at.channels) + gradient;
    Launch { bytes, ..launch("apply", "backward", view.overrides(), bindings, params, grid) }
}

/// dx\[to..\] (+)= scale · dy\[from..\]: the gradient of an identity.
pub fn pass_back(dy: Tensor, from: u32, dx: Tensor, to: u32, channels: u32, scale: f32, add: bool) -> Launch {
    let bindings = vec![("dy", dy.block(from, channels)), ("dx", dx.block(to, channels))];
    let grid = [groups(dx.map.quads()), channels, 1];
    let bytes = dx.channel_bytes() * u64::from(channels) * if add { 3 } else { 2 };
    Launch { bytes, ..launch("apply", "pass_back", vec![], bindings, apply_params(dx, add, scale, 0), grid) }
}

/// dx\[first..\] = 0.
pub fn clear(dx: Tensor, first: u32, channels: u32) -> Launch {
    let bindings = vec![("dx", dx.block(first, channels))];
    let grid = [groups(dx.map.quads()), channels, 1];
    launch("apply", "clear", vec![], bindings, apply_params(dx, false, 0.0, 0), grid)
}
