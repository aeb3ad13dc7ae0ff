//! Dense convolution → launches of `conv.wgsl` (stems, auxiliary head).

use super::reduce::Rows;
use super::{Array, GradView, Param, Part, Tensor, UNIFORM_BYTES, View, chunked, cover, groups, launch};
use crate::kernel::{Buf, Launch, Params, Range};

/// y\[o\]\[n\]\[i\]\[j\] = Σ_{c,u,v} w\[o\]\[c\]\[u\]\[v\] · view(x)\[c\]\[n\]\[iS+u−P\]\[jS+v−P\].
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Kernel side, 2 or 3.
    pub k: u32,
    /// Stride, 1 or 2.
    pub stride: u32,
    /// Padding.
    pub pad: u32,
    /// The input, \[CI\]\[N\]\[H\]\[W\], or some of its channels.
    pub x: View,
    /// The input channels that x holds.
    pub part: Part,
    /// The output, \[CO\]\[N\]\[OH\]\[OW\].
    pub y: Tensor,
    /// The weights in `Packed`, \[CO\]\[CI·K·K padded to quads\].
    pub w: Param,
    /// The weights in v.
    pub v: Param,
}

impl Conv {
    /// Elements per row of the weights.
    fn row(&self) -> u32 {
        (self.part.of * self.k * self.k).next_multiple_of(4)
    }

    /// Elements per row of the gradient of x's part of the weights.
    fn part_row(&self) -> u32 {
        (self.x.x.channels * self.k * self.k).next_multiple_of(4)
    }

    /// Weights of x's part, padded.
    pub fn elements(&self) -> u32 {
        self.y.channels * self.part_row()
    }

    /// The place of the rows of that gradient in the parameter.
    pub fn rows(&self) -> Rows {
        Rows { len: self.part_row(), pitch: self.row(), column: self.part.first * self.k * self.k }
    }

    fn flops(&self) -> u64 {
        let weights = self.x.x.channels * self.y.channels * self.k * self.k;
        2 * u64::from(weights) * u64::from(self.y.map.count())
    }

    fn overrides(&self, tc: u32) -> Vec<(&'static str, u32)> {
        let mut o = self.x.overrides();
        o.retain(|(name, _)| *name != "RAGGED");
        let ragged = self.x.x.map.ragged() | self.y.map.ragged();
        o.extend([("K", self.k), ("S", self.stride), ("P", self.pad), ("TC", tc), ("RAGGED", ragged)]);
        o.push(self.part.overrides());
        o
    }

    fn params(&self, rounds: u32, accumulate: bool, first: u32) -> Params {
        Params::new()
            .map("x", self.x.x.map.words())
            .map("y", self.y.map.words())
            .set("ci", self.x.x.channels)
            .set("co", self.y.channels)
            .set("rounds", rounds)
            .set("add", u32::from(accumulate))
            .set("row", self.row())
            .set("first", first)
            .set("channel", self.part.first)
            .set("part", self.part_row())
    }

    /// The same convolution in pieces of output channels, so that the weights of a piece fit a uniform binding.
    /// Each piece comes with its first output channel.
    fn pieces(&self) -> Vec<(u32, Self)> {
        let most = UNIFORM_BYTES as u32 / (4 * self.row());
        // The weights of a piece start at a multiple of 256 bytes.
        let rows = if most >= self.y.channels { self.y.channels } else { (most / 16 * 16).max(16) };
        let piece = |first: u32| {
            let channels = rows.min(self.y.channels - first);
            let w = Param { offset: self.w.offset + first * self.row(), len: channels * self.row() };
            (first, Self { y: Tensor { channels, ..self.y }, w, ..self.clone() })
        };
        (0..self.y.channels).step_by(rows as usize).map(piece).collect()
    }

    /// Computes y from x.
    pub fn forward(&self) -> Vec<Launch> {
        self.pieces()
            .iter()
            .map(|(first, piece)| piece.forward_piece(self.y.block(*first, piece.y.channels)))
            .collect()
    }

    fn forward_piece(&self, y: Range) -> Launch {
        let tc = 8;
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("w", cover(Buf::Packed, &[self.w]).0),
            ("out", y),
        ];
        let grid = [groups(self.y.map.quads()), self.y.channels.div_ceil(tc), 1];
        let passes = if self.part.first > 0 { 2 } else { 1 };
        Launch {
            flops: self.flops(),
            bytes: self.x.x.bytes() + passes * y.len_bytes + u64::from(self.w.len) * 4,
            ..launch("conv", "forward", self.overrides(tc), bindings, self.params(0, false, 0), grid)
        }
    }

    /// Writes dx, or adds to dx, from dy.
    pub fn backward_data(&self, g: &GradView, dx: Tensor, accumulate: bool) -> Vec<Launch> {
        let one = |(first, piece): &(u32, Self)| {
            let y = self.y.block(*first, piece.y.channels);
            let dz = g.dz.block(*first, piece.y.channels);
            piece.backward_data_piece(g, (*first, y, dz), dx, accumulate || *first > 0)
        };
        self.pieces().iter().map(one).collect()
    }

    fn backward_data_piece(
        &self,
        g: &GradView,
        (first, y, dz): (u32, Range, Range),
        dx: Tensor,
        accumulate: bool,
    ) -> Launch {
        let mut overrides = self.overrides(4);
        overrides.extend(g.overrides());
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("w", cover(Buf::Packed, &[self.w]).0),
            ("y", y),
            ("dz", dz),
            ("grad_coefs", g.coefs_range()),
            ("dx", dx.range()),
        ];
        let grid = [groups(self.x.x.map.quads()), self.x.x.channels, 1];
        let dy = dz.len_bytes + if g.bn.is_some() { y.len_bytes } else { 0 };
        let gradient = self.x.gradient_bytes(self.x.x.channels, [0].into_iter(), |_| accumulate);
        Launch {
            flops: self.flops(),
            bytes: dy + gradient + u64::from(self.w.len) * 4,
            ..launch("conv", "backward_data", overrides, bindings, self.params(0, accumulate, first), grid)
        }
    }

    /// Chunks of partial sums that `backward_weight` leaves. Each chunk has `elements()` numbers.
    pub fn chunks(&self) -> u32 {
        chunked(self.y.map.quads(), self.y.channels.div_ceil(4) * self.x.x.channels).1
    }

    /// Partial sums of dw: \[chunks\]\[CO\]\[channels of x·K·K padded to quads\].
    pub fn backward_weight(&self, g: &GradView, partial: Array) -> Launch {
        let tc = 4;
        let (rounds, chunks) = chunked(self.y.map.quads(), self.y.channels.div_ceil(4) * self.x.x.channels);
        let mut overrides = self.overrides(tc);
        overrides.extend(g.overrides());
        let bindings = vec![
            ("x", self.x.x.range()),
            ("coefs", self.x.coefs_range()),
            ("y", self.y.range()),
            ("dz", g.dz.range()),
            ("grad_coefs", g.coefs_range()),
            ("partial", partial.range()),
        ];
        let grid = [chunks, self.y.channels.div_ceil(tc), self.x.x.channels];
        let dy = g.bytes(self.y, self.y.channels, [(0, 0)].into_iter());
        Launch {
            flops: self.flops(),
            bytes: self.x.x.bytes() + dy + partial.bytes,
            ..launch("conv", "backward_weight", overrides, bindings, self.params(rounds, false, 0), grid)
        }
    }
}
