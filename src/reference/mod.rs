//! The oracle: every operation in f64 as plain nested loops, forward and backward. The kernels are compared with these
//! operations.
//!
//! Every loop follows its formula plainly, and nothing here knows the kernels, the plan or a device. [`network`]
//! composes the operations into whole networks, and [`search_step`] composes them into one step of Algorithm 1.
//! Operations panic if shapes do not agree, because that is a bug of the caller. [`network`] and [`search_step`]
//! check their arguments and return errors.

pub mod adam;
pub mod adaptive_pool;
pub mod avg_pool;
pub mod batch_norm;
pub mod clip;
pub mod concat;
pub mod conv;
pub mod cross_entropy;
pub mod depthwise;
pub mod global_pool;
pub mod linear;
pub mod max_pool;
pub mod mix;
pub mod network;
pub mod node_sum;
pub mod pointwise;
pub mod relu;
pub mod search_step;
pub mod sgd;
pub mod subsample;

/// A channel-major tensor `[C][N][H][W]` without padding between rows.
#[derive(Clone, Debug, PartialEq)]
pub struct T4 {
    /// Channels.
    pub c: usize,
    /// Examples of the batch.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// `c·n·h·w` elements, the column varying fastest.
    pub data: Vec<f64>,
}

impl T4 {
    /// All zeros.
    pub fn zeros(c: usize, n: usize, h: usize, w: usize) -> Self {
        Self { c, n, h, w, data: vec![0.0; c * n * h * w] }
    }

    /// All zeros, with the shape of `self`.
    pub fn zeros_like(&self) -> Self {
        Self::zeros(self.c, self.n, self.h, self.w)
    }

    /// Images `[N][C][H][W]` as a channel-major tensor.
    pub fn from_nchw(n: usize, c: usize, h: usize, w: usize, images: &[f64]) -> Self {
        assert_eq!(images.len(), n * c * h * w, "elements of [{n}][{c}][{h}][{w}]");
        let mut x = Self::zeros(c, n, h, w);
        for b in 0..n {
            for ch in 0..c {
                for i in 0..h {
                    for j in 0..w {
                        *x.at_mut(ch, b, i, j) = images[((b * c + ch) * h + i) * w + j];
                    }
                }
            }
        }
        x
    }

    /// The elements in the order `[N][C][H][W]`.
    pub fn to_nchw(&self) -> Vec<f64> {
        let mut images = Vec::with_capacity(self.data.len());
        for b in 0..self.n {
            for ch in 0..self.c {
                for i in 0..self.h {
                    for j in 0..self.w {
                        images.push(self.at(ch, b, i, j));
                    }
                }
            }
        }
        images
    }

    /// The position in `data` of channel `c`, example `n`, row `i`, column `j`.
    pub fn index(&self, c: usize, n: usize, i: usize, j: usize) -> usize {
        debug_assert!(c < self.c && n < self.n && i < self.h && j < self.w);
        ((c * self.n + n) * self.h + i) * self.w + j
    }

    /// The element of channel `c`, example `n`, row `i`, column `j`.
    pub fn at(&self, c: usize, n: usize, i: usize, j: usize) -> f64 {
        self.data[self.index(c, n, i, j)]
    }

    /// The element of channel `c`, example `n`, row `i`, column `j`, for writing.
    pub fn at_mut(&mut self, c: usize, n: usize, i: usize, j: usize) -> &mut f64 {
        let index = self.index(c, n, i, j);
        &mut self.data[index]
    }

    /// Elements of one channel: N·H·W.
    pub fn per_channel(&self) -> usize {
        self.n * self.h * self.w
    }

    /// `self += other`, element by element.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(
            (self.c, self.n, self.h, self.w),
            (other.c, other.n, other.h, other.w),
            "terms of one shape"
        );
        for (a, b) in self.data.iter_mut().zip(&other.data) {
            *a += b;
        }
    }
}

/// The square window of a convolution or pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side in taps.
    pub k: usize,
    /// Distance, in the input, of the windows of two neighbouring outputs.
    pub stride: usize,
    /// Zeros on each side of the input. In a pool, the padding has no elements.
    pub pad: usize,
    /// Distance, in the input, of two neighbouring taps.
    pub dilation: usize,
}

impl Window {
    /// Number of outputs along a side of `n` inputs.
    pub fn outputs(&self, n: usize) -> usize {
        (n + 2 * self.pad - self.dilation * (self.k - 1) - 1) / self.stride + 1
    }

    /// The input under tap `tap` of output `out` along a side of `n` inputs. `None` if the tap is in the padding.
    pub fn input(&self, out: usize, tap: usize, n: usize) -> Option<usize> {
        (out * self.stride + tap * self.dilation).checked_sub(self.pad).filter(|&i| i < n)
    }
}
