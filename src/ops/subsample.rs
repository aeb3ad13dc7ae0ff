//! Every second row and column → launches of `subsample.wgsl`.
//!
//! y\[t\] has C channels: x at even rows and columns, which a 1x1 convolution of stride 2 reads. With two offsets,
//! y\[t\] has 2C channels: the same C channels, then x at odd rows and columns. These are the two half-resolution
//! inputs of FactorizedReduce.

use super::depthwise::by_source;
use super::{Tensor, View, blocks_bytes, groups, launch};
use crate::kernel::{Launch, Params};

/// Subsampling of several blocks of x.
#[derive(Clone, Debug, PartialEq)]
pub struct Subsample {
    /// Channels of each block of x.
    pub channels: u32,
    /// 1 for even places only, 2 for even places and then odd places.
    pub offsets: u32,
    /// The input. Height and width are even if there are two offsets.
    pub x: View,
    /// The output, \[T·offsets·C\]\[N\]\[⌈H/2⌉\]\[⌈W/2⌉\].
    pub y: Tensor,
    /// First channel of x of each task.
    pub sources: Vec<u32>,
}

impl Subsample {
    fn params(&self) -> Params {
        Params::new()
            .map("x", self.x.x.map.words())
            .map("y", self.y.map.words())
            .set("channels", self.channels)
    }

    /// `OFFSETS` is left out for two offsets, because 2 is the shader's default.
    fn overrides(&self) -> Vec<(&'static str, u32)> {
        let mut overrides = self.x.overrides();
        if self.offsets != 2 {
            overrides.push(("OFFSETS", self.offsets));
        }
        overrides
    }

    /// Computes y from x.
    pub fn forward(&self) -> Launch {
        let params =
            self.params().rows("tasks", self.sources.iter().map(|&s| [s, 0, 0, 0])).rows::<4>("sources", []);
        let bindings =
            vec![("x", self.x.x.range()), ("coefs", self.x.coefs_range()), ("out", self.y.range())];
        let grid = [groups(self.y.map.quads()), self.channels, self.sources.len() as u32];
        // With one offset, only every second row is read.
        let rows = u64::from(self.offsets * self.y.map.h);
        let x = blocks_bytes(self.x.x, self.channels, self.sources.iter().copied());
        let bytes = x * rows / u64::from(self.x.x.map.h) + self.y.bytes();
        Launch { bytes, ..launch("subsample", "forward", self.overrides(), bindings, params, grid) }
    }

    /// Writes dx, or adds to dx, for each source block.
    pub fn backward(&self, dy: Tensor, dx: Tensor, accumulate: impl Fn(u32) -> bool) -> Launch {
        let tasks = self
            .sources
            .iter()
            .enumerate()
            .map(|(i, &s)| (s, [i as u32 * self.offsets * self.channels, 0, 0, 0]));
        let (sources, tasks) = by_source(tasks);
        let params = self
            .params()
            .rows("tasks", tasks)
            .rows("sources", sources.iter().map(|&[s, f, c]| [s, f, c, u32::from(accumulate(s))]));
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("dy", dy.range()),
            ("dx", dx.range()),
        ];
        let grid = [groups(self.y.map.quads()), self.channels, sources.len() as u32];
        let gradient = self.x.gradient_bytes(self.channels, self.sources.iter().copied(), accumulate);
        let bytes = dy.bytes() + gradient;
        Launch { bytes, ..launch("subsample", "backward", self.overrides(), bindings, params, grid) }
    }
}
