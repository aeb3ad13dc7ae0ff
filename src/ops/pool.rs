//! 3x3 pools → launches of `pool.wgsl`.

use super::depthwise::by_source;
use super::{Array, GradView, Tensor, Tuning, View, blocks_bytes, groups, launch};
use crate::kernel::{Launch, Params};

/// One pool of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// First channel of x.
    pub source: u32,
    /// First channel of y.
    pub target: u32,
    /// First channel of the gradient tensor that holds this output's gradient.
    pub dz: u32,
    /// First drop-path factor of this output.
    pub drop: u32,
}

/// Pools of the same kind and stride, each of a block of x.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// True for max, false for average.
    pub max: bool,
    /// Stride, 1 or 2.
    pub stride: u32,
    /// Channels of each pool.
    pub channels: u32,
    /// The input.
    pub x: View,
    /// The output.
    pub y: Tensor,
    /// Taps of the maxima, u32 \[T·C\]\[quads\] (max pools only).
    pub index: Option<Array>,
    /// The pools.
    pub tasks: Vec<Task>,
}

impl Pool {
    /// Bytes of `index` for `channels` channels of all tasks together, with a map like that of y.
    pub fn index_bytes(y: Tensor, channels: u32) -> u64 {
        u64::from(y.map.pitch()) * 4 * u64::from(channels)
    }

    fn overrides(&self, rows: u32) -> Vec<(&'static str, u32)> {
        let mut o = self.x.overrides();
        o.retain(|(name, _)| *name != "RAGGED");
        let ragged = self.x.x.map.ragged() | self.y.map.ragged();
        o.extend([("MAX", u32::from(self.max)), ("S", self.stride), ("R", rows), ("RAGGED", ragged)]);
        o
    }

    fn params(&self, tiles: u32, row_tiles: u32) -> Params {
        Params::new()
            .map("x", self.x.x.map.words())
            .map("y", self.y.map.words())
            .set("tiles", tiles)
            .set("row_tiles", row_tiles)
    }

    fn index_range(&self) -> crate::kernel::Range {
        self.index.map_or_else(|| self.y.range(), Array::range)
    }

    /// Computes y, and the taps of the maxima, from x.
    pub fn forward(&self, tuning: &Tuning) -> Launch {
        let rows = tuning.pool_rows.min(self.y.map.h.next_power_of_two());
        let row_tiles = self.y.map.h.div_ceil(rows);
        let tiles = self.y.map.n * row_tiles * self.y.map.wq();
        let params = self
            .params(tiles, row_tiles)
            .rows(
                "tasks",
                self.tasks.iter().zip(0..).map(|(t, i)| [t.source, t.target, i * self.channels, 0]),
            )
            .rows::<4>("sources", []);
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("out", self.y.range()),
            ("index", self.index_range()),
        ];
        let grid = [groups(tiles), self.channels, self.tasks.len() as u32];
        let outputs = blocks_bytes(self.y, self.channels, self.tasks.iter().map(|t| t.target));
        Launch {
            flops: self.flops(),
            bytes: blocks_bytes(self.x.x, self.channels, self.sources()) + outputs + self.taps_bytes(),
            ..launch("pool", "forward", self.overrides(rows), bindings, params, grid)
        }
    }

    fn sources(&self) -> impl Iterator<Item = u32> + Clone {
        self.tasks.iter().map(|t| t.source)
    }

    /// Bytes of the taps. A tap is one byte per output.
    fn taps_bytes(&self) -> u64 {
        self.index.map_or(0, |index| index.bytes)
    }

    fn flops(&self) -> u64 {
        9 * u64::from(self.channels) * self.tasks.len() as u64 * u64::from(self.y.map.count())
    }

    /// Writes dx, or adds to dx, for each source block.
    pub fn backward(
        &self,
        g: &GradView,
        dx: Tensor,
        accumulate: impl Fn(u32) -> bool,
        tuning: &Tuning,
    ) -> Launch {
        let strided = self.stride == 2;
        let rows = tuning.pool_rows.min(self.x.x.map.h.next_power_of_two()).max(if strided { 2 } else { 1 });
        let row_tiles = self.x.x.map.h.div_ceil(rows);
        let tiles = self.x.x.map.n * row_tiles * self.y.map.wq();
        let (sources, tasks) = by_source(
            self.tasks
                .iter()
                .enumerate()
                .map(|(i, t)| (t.source, [t.dz, t.target, i as u32 * self.channels, t.drop])),
        );
        let params = self
            .params(tiles, row_tiles)
            .rows("tasks", tasks)
            .rows("sources", sources.iter().map(|&[s, f, c]| [s, f, c, u32::from(accumulate(s))]));
        let mut overrides = self.overrides(rows);
        overrides.extend(g.overrides());
        let bindings = vec![
            ("y", self.y.range()),
            ("index", self.index_range()),
            ("dz", g.dz.range()),
            ("grad_coefs", g.coefs_range()),
            ("dx", dx.range()),
            ("drop", g.drop_range()),
        ];
        let grid = [groups(tiles), self.channels, sources.len() as u32];
        // The gradient of a pool does not depend on x.
        let dx = View { relu: false, ..self.x }.gradient_bytes(self.channels, self.sources(), accumulate);
        let dy = g.bytes(self.y, self.channels, self.tasks.iter().map(|t| (t.dz, t.target)));
        Launch {
            flops: self.flops(),
            bytes: dy + self.taps_bytes() + dx,
            ..launch("pool", "backward", overrides, bindings, params, grid)
        }
    }
}
