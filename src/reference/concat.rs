//! Concatenation along channels, and its inverse, a range of channels.

use super::T4;

/// `parts` of one N, H, W → all their channels in order.
pub fn forward(parts: &[&T4]) -> T4 {
    let (n, h, w) = parts.first().map_or((0, 0, 0), |p| (p.n, p.h, p.w));
    let mut y = T4 { c: 0, n, h, w, data: Vec::new() };
    for part in parts {
        assert_eq!((part.n, part.h, part.w), (n, h, w), "parts of one N, H, W");
        y.c += part.c;
        y.data.extend_from_slice(&part.data);
    }
    y
}

/// Channels `first..first + count` of `x`; of `dy`, the gradient of the part that stands there.
pub fn slice(x: &T4, first: usize, count: usize) -> T4 {
    let m = x.per_channel();
    T4 { c: count, data: x.data[first * m..(first + count) * m].to_vec(), ..*x }
}

/// Gradient of `x` from the gradient `dy` of its channels from `first` on: zero elsewhere.
pub fn slice_backward(x: &T4, first: usize, dy: &T4) -> T4 {
    let m = x.per_channel();
    let mut dx = x.zeros_like();
    dx.data[first * m..(first + dy.c) * m].copy_from_slice(&dy.data);
    dx
}
