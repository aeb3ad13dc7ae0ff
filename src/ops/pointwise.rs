//! Pointwise convolution → launches of `pointwise.wgsl`.
//!
//! y\[dst(t)+o\]\[q\] = Σ_i w\[t\]\[o\]\[i\] · view(x)\[src(t)+i\]\[q\] over all positions q.

use super::reduce::Rows;
use super::{
    Array, GradView, Param, Part, Tensor, Tuning, UNIFORM_BYTES, View, WORKGROUP, blocks_bytes, chunked,
    cover, launch,
};
use crate::kernel::{Buf, Launch, Params};

/// One convolution of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// First channel of x.
    pub source: u32,
    /// First channel of y.
    pub target: u32,
    /// The weights in `Packed`, \[CO\]\[CI padded to quads\].
    pub w: Param,
    /// The weights in v.
    pub v: Param,
    /// First channel of the gradient tensor that holds this output's gradient.
    pub dz: u32,
    /// First drop-path factor of this output.
    pub drop: u32,
}

/// A group of convolutions of the same shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointwise {
    /// Number of input channels of each convolution that x holds.
    pub ci: u32,
    /// The input channels that x holds.
    pub part: Part,
    /// Output channels of each convolution.
    pub co: u32,
    /// The input.
    pub x: View,
    /// The output, with the map of x.
    pub y: Tensor,
    /// The convolutions.
    pub tasks: Vec<Task>,
}

impl Pointwise {
    fn ci4(&self) -> u32 {
        self.ci.div_ceil(4)
    }

    /// Quads per row of the weights.
    fn row4(&self) -> u32 {
        self.part.of.div_ceil(4)
    }

    /// The place, in the parameter, of the rows of the gradient of the weights of x's part.
    pub fn rows(&self) -> Rows {
        Rows { len: 4 * self.ci4(), pitch: 4 * self.row4(), column: self.part.first }
    }

    /// Weights of x's part, padded, of one task.
    pub fn per_task(&self) -> u32 {
        self.co * self.ci4() * 4
    }

    /// Weights of x's part, padded, of all tasks.
    pub fn elements(&self) -> u32 {
        self.per_task() * self.tasks.len() as u32
    }

    fn flops(&self) -> u64 {
        2 * u64::from(self.ci)
            * u64::from(self.co)
            * self.tasks.len() as u64
            * u64::from(self.x.x.map.count())
    }

    fn sources(&self) -> impl Iterator<Item = u32> + Clone {
        self.tasks.iter().map(|t| t.source)
    }

    /// Bytes that are read for the gradients of y.
    fn grad_bytes(&self, g: &GradView) -> u64 {
        g.bytes(self.y, self.co, self.tasks.iter().map(|t| (t.dz, t.target)))
    }

    fn params(&self, first: u32, rounds: u32, tile: u32, accumulate: &dyn Fn(u32) -> bool) -> Params {
        let in_tiles = self.ci.div_ceil(tile);
        let task = |t: &Task| {
            let w = (t.w.offset - first + self.part.first) / 4;
            [t.source, w, t.target, t.dz, u32::from(accumulate(t.source)), t.drop, 0, 0]
        };
        Params::new()
            .map("x", self.x.x.map.words())
            .set("ci", self.ci)
            .set("co", self.co)
            .set("ci4", self.ci4())
            .set("rounds", rounds)
            .set("elements", self.elements())
            .set("in_tiles", in_tiles)
            .set("per_task", self.per_task())
            .set("row4", self.row4())
            .rows("tasks", self.tasks.iter().map(task))
    }

    /// Channels per invocation: no more than there are channels. Only few different numbers occur, because each
    /// number is compiled.
    fn channels(wanted: u32, there: u32) -> u32 {
        if wanted <= there { wanted.max(4) } else { there.next_multiple_of(4).min(wanted).clamp(4, 16) }
    }

    fn grid(&self, tc: u32, tq: u32, rows: u32) -> [u32; 3] {
        [self.x.x.map.quads().div_ceil(WORKGROUP * tq), rows.div_ceil(tc), self.tasks.len() as u32]
    }

    fn weights(&self) -> Vec<Param> {
        self.tasks.iter().map(|t| t.w).collect()
    }

    /// The same convolutions in pieces of output channels, so that the weights of a piece fit a uniform binding.
    fn pieces(&self) -> Vec<Self> {
        let rows = UNIFORM_BYTES as u32 / (16 * self.row4());
        if cover(Buf::Packed, &self.weights()).0.len_bytes <= UNIFORM_BYTES {
            return vec![self.clone()];
        }
        // A piece starts at a multiple of 256 bytes. Only few different numbers of rows occur, because each number
        // is compiled.
        let aligned = 16 >> self.row4().trailing_zeros().min(4);
        let unit = [16, aligned.max(4), aligned].into_iter().find(|unit| *unit <= rows).unwrap_or(aligned);
        let rows = (rows / unit * unit).max(unit).min(self.co);
        let piece = |task: &Task, row: u32| {
            let mut task = *task;
            task.target += row;
            task.dz += row;
            task.w.offset += row * self.row4() * 4;
            let co = rows.min(self.co - row);
            task.w.len = co * self.row4() * 4;
            Self { co, tasks: vec![task], ..self.clone() }
        };
        let starts = (0..self.co).step_by(rows as usize);
        self.tasks.iter().flat_map(|task| starts.clone().map(move |row| piece(task, row))).collect()
    }

    /// Computes y from x.
    pub fn forward(&self, tuning: &Tuning) -> Vec<Launch> {
        self.pieces().iter().map(|piece| piece.forward_piece(tuning)).collect()
    }

    fn forward_piece(&self, tuning: &Tuning) -> Launch {
        let (w, first) = cover(Buf::Packed, &self.weights());
        let (tc, tq) = (Self::channels(tuning.pointwise_channels, self.co), tuning.pointwise_quads);
        let mut overrides = self.x.overrides();
        overrides.extend([("TC", tc), ("TQ", tq), ("U", tuning.unroll), self.part.overrides()]);
        let bindings =
            vec![("x", self.x.x.range()), ("coefs", self.x.coefs_range()), ("w", w), ("out", self.y.range())];
        let params = self.params(first, 0, 1, &|_| false);
        let outputs = blocks_bytes(self.y, self.co, self.tasks.iter().map(|t| t.target));
        let passes = if self.part.first > 0 { 2 } else { 1 };
        Launch {
            flops: self.flops(),
            bytes: blocks_bytes(self.x.x, self.ci, self.sources()) + passes * outputs + w.len_bytes,
            ..launch("pointwise", "forward", overrides, bindings, params, self.grid(tc, tq, self.co))
        }
    }

    /// dx (+)= Wᵀ dy. `accumulate(source)` says whether that block of dx already holds something.
    pub fn backward_data(
        &self,
        g: &GradView,
        dx: Tensor,
        accumulate: impl Fn(u32) -> bool,
        tuning: &Tuning,
    ) -> Vec<Launch> {
        let mut written = Vec::new();
        let mut out = Vec::new();
        for piece in self.pieces() {
            let add = |source| written.contains(&source) || accumulate(source);
            out.push(piece.backward_data_piece(g, dx, &add, tuning));
            written.extend(piece.tasks.iter().map(|t| t.source));
        }
        out
    }

    fn backward_data_piece(
        &self,
        g: &GradView,
        dx: Tensor,
        accumulate: &dyn Fn(u32) -> bool,
        tuning: &Tuning,
    ) -> Launch {
        let (w, first) = cover(Buf::Packed, &self.weights());
        let (tc, tq) = (Self::channels(tuning.pointwise_channels, self.ci), tuning.pointwise_quads);
        let mut overrides = self.x.overrides();
        overrides.extend(g.overrides());
        let adds = self.tasks.iter().any(|t| accumulate(t.source));
        // This pass loads one quad per unit of U (an output channel). Forward loads four (a quad of input
        // channels).
        let unroll = if tuning.unroll == 1 { 1 } else { (2 * tuning.unroll).min(16 / tq) };
        overrides.extend([("TC", tc), ("TQ", tq), ("U", unroll), ("ADD", u32::from(adds))]);
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("w", w),
            ("y", self.y.range()),
            ("dz", g.dz.range()),
            ("grad_coefs", g.coefs_range()),
            ("dx", dx.range()),
            ("drop", g.drop_range()),
        ];
        let params = self.params(first, 0, 1, accumulate);
        let dx = self.x.gradient_bytes(self.ci, self.sources(), accumulate);
        Launch {
            flops: self.flops(),
            bytes: self.grad_bytes(g) + dx + w.len_bytes,
            ..launch("pointwise", "backward_data", overrides, bindings, params, self.grid(tc, tq, self.ci))
        }
    }

    /// Workgroups per chunk of the weight gradient.
    fn weight_tiles(&self, tuning: &Tuning) -> u32 {
        let tile = tuning.weight_tile;
        self.co.div_ceil(tile) * self.ci.div_ceil(tile) * self.tasks.len() as u32
    }

    /// Chunks of partial sums that `backward_weight` leaves. Each chunk has `elements()` numbers.
    pub fn chunks(&self, tuning: &Tuning) -> u32 {
        chunked(self.x.x.map.quads(), self.weight_tiles(tuning)).1
    }

    /// Partial sums of dw: \[chunks\]\[T\]\[CO\]\[ci padded\].
    pub fn backward_weight(&self, g: &GradView, partial: Array, tuning: &Tuning) -> Launch {
        let (rounds, chunks) = chunked(self.x.x.map.quads(), self.weight_tiles(tuning));
        let tile = tuning.weight_tile;
        let first = self.weights().iter().map(|p| p.offset).min().unwrap_or(0);
        let mut overrides = self.x.overrides();
        overrides.extend(g.overrides());
        overrides.extend([("TO", tile), ("TI", tile)]);
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("y", self.y.range()),
            ("dz", g.dz.range()),
            ("grad_coefs", g.coefs_range()),
            ("partial", partial.range()),
            ("drop", g.drop_range()),
        ];
        let params = self.params(first, rounds, tile, &|_| false);
        let tiles = self.co.div_ceil(tile) * self.ci.div_ceil(tile);
        let grid = [chunks, tiles, self.tasks.len() as u32];
        Launch {
            flops: self.flops(),
            bytes: blocks_bytes(self.x.x, self.ci, self.sources()) + self.grad_bytes(g) + partial.bytes,
            ..launch("pointwise", "backward_weight", overrides, bindings, params, grid)
        }
    }
}
