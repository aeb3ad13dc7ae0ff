//! Random gradients in the form that kernels read, and their values by definition.

use super::setup::Setup;
use crate::ops::{GradView, Map, Tensor};
use crate::reference::T4;

/// How an op reads the gradient of `channels` channels of y, and the value of that gradient by definition.
#[derive(Debug)]
pub struct Gradient {
    /// The tensor y that the backward pass reads.
    pub y: Tensor,
    /// How the op reads the gradient.
    pub view: GradView,
    /// The values in `view.dz`, by channel.
    pub dz: T4,
    values: T4,
    coefs: Option<Vec<f64>>,
    factors: Option<Vec<f64>>,
}

impl Gradient {
    /// Random y, dz (with `dz_channels`), coefficients of batch norm's backward and drop-path factors.
    pub fn new(s: &mut Setup, channels: u32, dz_channels: u32, map: Map, bn: bool, drop: bool) -> Self {
        let (values, dz) = (s.noise_t4(channels, map), s.noise_t4(dz_channels, map));
        let coefs = bn.then(|| s.noise(4 * channels));
        let list = drop.then(|| s.drop_factors(4, map.n));
        let view = GradView {
            dz: s.input(&dz),
            bn: coefs.as_ref().map(|list| s.coefs(list)),
            drop: list.as_ref().map(|(array, _)| *array),
        };
        Self { y: s.input(&values), view, dz, values, coefs, factors: list.map(|(_, values)| values) }
    }

    /// a·f·dz + b·(y − mean) + c for `count` channels of y from `first` on. dz is read from channel `dz` on, and
    /// the factors are read from `drop` on.
    pub fn dy(&self, first: u32, count: u32, dz: u32, drop: u32) -> T4 {
        let mut out = crate::reference::concat::slice(&self.dz, dz as usize, count as usize);
        let (m, image) = (out.per_channel(), out.h * out.w);
        for (i, v) in out.data.iter_mut().enumerate() {
            let (c, n) = (first as usize + i / m, i % m / image);
            if let Some(factors) = &self.factors {
                *v *= factors[drop as usize + n];
            }
            if let Some(k) = self.coefs.as_ref().map(|k| &k[4 * c..4 * c + 4]) {
                *v = k[0] * *v + k[1] * (self.values.data[c * m + i % m] - k[3]) + k[2];
            }
        }
        out
    }
}
