//! Depthwise convolution → launches of `depthwise.wgsl`.
//!
//! y\[t\]\[c\]\[n\]\[i\]\[j\] = Σ_{u,v} w\[t\]\[c\]\[u\]\[v\] · view(x)\[src(t)+c\]\[n\]\[iS+uD−P\]\[jS+vD−P\],
//! P = D(K−1)/2.

use super::{
    Array, Map, Param, Tensor, Tuning, UNIFORM_BYTES, View, blocks_bytes, chunked, cover, groups, launch,
};
use crate::kernel::{Buf, Launch, Params, Range};

/// The shape of a depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Geometry {
    /// Kernel side, 3, 5 or 7.
    pub k: u32,
    /// Stride, 1 or 2.
    pub stride: u32,
    /// Dilation, 1 or 2. A kernel of side 7 has dilation 1: at dilation 2 its taps would lie outside of the quads
    /// beside a tile.
    pub dilation: u32,
}

/// One convolution of a block of x. The weights are \[C\]\[K·K padded to quads\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// First channel of x.
    pub source: u32,
    /// The weights in `Packed`.
    pub w: Param,
    /// The weights in v.
    pub v: Param,
}

/// A group of convolutions whose outputs lie side by side in y.
#[derive(Clone, Debug, PartialEq)]
pub struct Depthwise {
    /// Kernel, stride, dilation.
    pub geometry: Geometry,
    /// Channels of each convolution.
    pub channels: u32,
    /// The input, \[C..\]\[N\]\[H\]\[W\].
    pub x: View,
    /// The output, \[T·C\]\[N\]\[OH\]\[OW\].
    pub y: Tensor,
    /// The convolutions.
    pub tasks: Vec<Task>,
}

impl Depthwise {
    fn overrides(&self, rows: u32, quads: u32) -> Vec<(&'static str, u32)> {
        let g = self.geometry;
        let mut o = self.x.overrides();
        o.extend([("K", g.k), ("S", g.stride), ("D", g.dilation), ("R", rows), ("Q", quads)]);
        // One flag serves the maps of x and y.
        if self.y.map.ragged() == 1 {
            o.iter_mut().filter(|(n, _)| *n == "RAGGED").for_each(|(_, v)| *v = 1);
        }
        o
    }

    fn params(&self, (tiles, row_tiles, col_tiles): (u32, u32, u32), split: (u32, u32)) -> Params {
        let (rounds, chunks) = split;
        Params::new()
            .map("x", self.x.x.map.words())
            .map("y", self.y.map.words())
            .set("channels", self.channels)
            .set("tiles", tiles)
            .set("row_tiles", row_tiles)
            .set("rounds", rounds)
            .set("chunks", chunks)
            .set("elements", self.elements())
            .set("col_tiles", col_tiles)
    }

    /// Weights of one channel, padded.
    fn row(&self) -> u32 {
        (self.geometry.k * self.geometry.k).next_multiple_of(4)
    }

    /// Weights, padded, of all tasks.
    pub fn elements(&self) -> u32 {
        self.tasks.len() as u32 * self.channels * self.row()
    }

    fn parallel(&self) -> u32 {
        self.channels * self.tasks.len() as u32
    }

    fn weights(&self) -> Vec<Param> {
        self.tasks.iter().map(|t| t.w).collect()
    }

    fn sources(&self) -> impl Iterator<Item = u32> + Clone {
        self.tasks.iter().map(|t| t.source)
    }

    /// (Bytes of x, bytes of y or of the gradient of y) that a launch touches.
    fn bytes(&self) -> (u64, u64) {
        let y = self.y.channel_bytes() * u64::from(self.parallel());
        (blocks_bytes(self.x.x, self.channels, self.sources()), y)
    }

    /// The same convolutions in pieces whose weights fit a uniform binding. A piece has one task, and comes as
    /// (first channel of the piece in the task, index of the task, piece). If all weights fit, there is one piece
    /// with all tasks.
    fn pieces(&self) -> Vec<(u32, usize, Self)> {
        if cover(Buf::Packed, &self.weights()).0.len_bytes <= UNIFORM_BYTES {
            return vec![(0, 0, self.clone())];
        }
        // Sixteen rows of weights are a multiple of 256 bytes, and a binding may start there.
        let most = (UNIFORM_BYTES as u32 / (4 * self.row()) / 16 * 16).min(self.channels);
        let piece = |index: usize, first: u32| {
            let mut task = self.tasks[index];
            let channels = most.min(self.channels - first);
            task.source += first;
            task.w = Param { offset: task.w.offset + first * self.row(), len: channels * self.row() };
            (first, index, Self { channels, tasks: vec![task], ..self.clone() })
        };
        let starts = (0..self.channels).step_by(most as usize);
        (0..self.tasks.len()).flat_map(|i| starts.clone().map(move |first| piece(i, first))).collect()
    }

    fn flops(&self) -> u64 {
        let taps = self.channels * self.geometry.k * self.geometry.k;
        2 * u64::from(taps) * self.tasks.len() as u64 * u64::from(self.y.map.count())
    }

    fn rows(&self, wanted: u32) -> u32 {
        // A tile taller than the map wastes work.
        if self.y.map.h < wanted { wanted.min(self.y.map.h.next_power_of_two()) } else { wanted }
    }

    /// (tiles, tiles per image column, tiles per image row), then rows and quads of a tile, for a map like that of
    /// y.
    fn tiling(&self, tuning: &Tuning) -> ((u32, u32, u32), u32, u32) {
        let rows = self.rows(tuning.depthwise_rows);
        let Map { n, h, .. } = self.y.map;
        // A 7x7 kernel at stride 2 needs six quads of x for two quads of y, beside 49 sums or taps. With one quad
        // of y, lavapipe takes 0.45 ms instead of 0.61 ms forward and 0.94 ms instead of 1.29 ms for the weights'
        // gradient (48 channels, 16 images of 16x16), and GPUs need 24 registers less.
        let most = if (self.geometry.k, self.geometry.stride) == (7, 2) { 1 } else { u32::MAX };
        let quads = most.min(tuning.depthwise_quads).min(self.y.map.wq());
        let (row_tiles, col_tiles) = (h.div_ceil(rows), self.y.map.wq().div_ceil(quads));
        ((n * row_tiles * col_tiles, row_tiles, col_tiles), rows, quads)
    }

    /// Computes y from x.
    pub fn forward(&self, tuning: &Tuning) -> Vec<Launch> {
        let pieces = self.pieces();
        let y = |first: u32, index: usize, piece: &Self| {
            self.y.block(index as u32 * self.channels + first, piece.parallel())
        };
        pieces
            .iter()
            .map(|(first, index, piece)| piece.forward_piece(y(*first, *index, piece), tuning))
            .collect()
    }

    fn forward_piece(&self, y: Range, tuning: &Tuning) -> Launch {
        let (tiling, rows, quads) = self.tiling(tuning);
        let (w, first) = cover(Buf::Packed, &self.weights());
        let params = self
            .params(tiling, (0, 0))
            .rows("tasks", self.tasks.iter().map(|t| [t.source, (t.w.offset - first) / 4, 0, 0]))
            .rows::<4>("sources", []);
        let bindings = vec![("x", self.x.x.range()), ("coefs", self.x.coefs_range()), ("w", w), ("out", y)];
        let grid = [groups(tiling.0), self.channels, self.tasks.len() as u32];
        let (read, written) = self.bytes();
        Launch {
            flops: self.flops(),
            bytes: read + written + w.len_bytes,
            ..launch("depthwise", "forward", self.overrides(rows, quads), bindings, params, grid)
        }
    }

    /// Writes dx, or adds to dx, for each source block. `accumulate(source)` says whether the block already holds
    /// something.
    pub fn backward_data(
        &self,
        dy: Tensor,
        dx: Tensor,
        accumulate: impl Fn(u32) -> bool,
        tuning: &Tuning,
    ) -> Vec<Launch> {
        let mut written = Vec::new();
        let mut out = Vec::new();
        for (first, index, piece) in self.pieces() {
            // The source of a piece is the piece's own first channel in x. `accumulate` knows a block by the source
            // of its task.
            let add = |source: u32| written.contains(&source) || accumulate(source - first);
            let from = index as u32 * self.channels + first;
            out.push(piece.backward_data_piece(dy, from, dx, &add, tuning));
            written.extend(piece.sources());
        }
        out
    }

    /// The outputs of the piece are the channels of dy from `from` on.
    fn backward_data_piece(
        &self,
        dy: Tensor,
        from: u32,
        dx: Tensor,
        accumulate: &dyn Fn(u32) -> bool,
        tuning: &Tuning,
    ) -> Launch {
        let strided = self.geometry.stride == 2;
        let (mut tiling, mut rows, mut quads) = self.tiling(tuning);
        if strided {
            (rows, quads) = (rows.max(2), 1);
            let row_tiles = self.x.x.map.h.div_ceil(rows);
            tiling = (self.x.x.map.n * row_tiles * self.y.map.wq(), row_tiles, self.y.map.wq());
        }
        let (w, first) = cover(Buf::Packed, &self.weights());
        let (sources, tasks) = by_source(
            self.tasks
                .iter()
                .enumerate()
                .map(|(i, t)| (t.source, [from + i as u32 * self.channels, (t.w.offset - first) / 4, 0, 0])),
        );
        let params = self
            .params(tiling, (0, 0))
            .rows("tasks", tasks)
            .rows("sources", sources.iter().map(|&[s, f, c]| [s, f, c, u32::from(accumulate(s))]));
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("w", w),
            ("dy", dy.range()),
            ("dx", dx.range()),
        ];
        let grid = [groups(tiling.0), self.channels, sources.len() as u32];
        let gradient = self.x.gradient_bytes(self.channels, self.sources(), accumulate);
        Launch {
            flops: self.flops(),
            bytes: self.bytes().1 + gradient + w.len_bytes,
            ..launch("depthwise", "backward_data", self.overrides(rows, quads), bindings, params, grid)
        }
    }

    /// Chunks of partial sums that `backward_weight` leaves. Each chunk has `elements()` numbers.
    pub fn chunks(&self, tuning: &Tuning) -> u32 {
        chunked(self.tiling(tuning).0.0, self.parallel()).1
    }

    /// Partial sums of dw: \[chunks\]\[T\]\[C\]\[K·K padded to quads\].
    pub fn backward_weight(&self, dy: Tensor, partial: Array, tuning: &Tuning) -> Launch {
        let (tiling, rows, quads) = self.tiling(tuning);
        let (rounds, chunks) = chunked(tiling.0, self.parallel());
        let params = self
            .params(tiling, (rounds, chunks))
            .rows("tasks", self.tasks.iter().map(|t| [t.source, 0, 0, 0]))
            .rows::<4>("sources", []);
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("dy", dy.range()),
            ("partial", partial.range()),
        ];
        let grid = [chunks, self.channels, self.tasks.len() as u32];
        let (x, dy) = self.bytes();
        Launch {
            flops: self.flops(),
            bytes: x + dy + partial.bytes,
            ..launch("depthwise", "backward_weight", self.overrides(rows, quads), bindings, params, grid)
        }
    }
}

/// Groups tasks by their source. The result is ([source, first task, number of tasks] in order of first appearance,
/// tasks).
pub fn by_source(tasks: impl Iterator<Item = (u32, [u32; 4])>) -> (Vec<[u32; 3]>, Vec<[u32; 4]>) {
    let mut grouped: Vec<(u32, Vec<[u32; 4]>)> = Vec::new();
    for (source, entry) in tasks {
        match grouped.iter_mut().find(|(s, _)| *s == source) {
            Some((_, entries)) => entries.push(entry),
            None => grouped.push((source, vec![entry])),
        }
    }
    let mut sources = Vec::new();
    let mut entries = Vec::new();
    for (source, mut list) in grouped {
        sources.push([source, entries.len() as u32, list.len() as u32]);
        entries.append(&mut list);
    }
    (sources, entries)
}
