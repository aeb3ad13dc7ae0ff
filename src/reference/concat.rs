//! Concatenation along channels, and the inverse, which takes a range of channels.

use super::T4;

/// `parts` with the same N, H and W → all their channels in order.
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

/// Channels `first..first + count` of `x`. If `x` is the gradient of a concatenation, the result is the gradient of
/// the part in these channels.
pub fn slice(x: &T4, first: usize, count: usize) -> T4 {
    let m = x.per_channel();
    T4 { c: count, data: x.data[first * m..(first + count) * m].to_vec(), ..*x }
}

/// Gradient of `x` from the gradient `dy` of the channels of `x` from `first` on. The other channels are zero.
pub fn slice_backward(x: &T4, first: usize, dy: &T4) -> T4 {
    let m = x.per_channel();
    let mut dx = x.zeros_like();
    dx.data[first * m..(first + dy.c) * m].copy_from_slice(&dy.data);
    dx
}
