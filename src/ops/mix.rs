//! Node sums of mixed cells, where every path has its own factor → launches of `mix.wgsl`.

use super::{Array, MAX_TASKS, NO_COEFS, Tensor, chunked, groups, launch};
use crate::kernel::{Launch, Params};

/// One path into a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// First channel of the path's block of x.
    pub source: u32,
    /// Number of the path. The factors are \[number\]\[N\].
    pub number: u32,
}

/// Paths into one node whose values are blocks of one tensor, at most [`MAX_TASKS`].
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// The tensor.
    pub x: Tensor,
    /// Coefficients of the channels of x, where the terms are norm(x).
    pub coefs: Option<Array>,
    /// The tensor of nodes; same map as x.
    pub z: Tensor,
    /// First channel of the node.
    pub target: u32,
    /// Channels of the node and of each block.
    pub channels: u32,
    /// The paths.
    pub terms: Vec<Term>,
    /// Factors of all paths, f32 \[paths\]\[N\].
    pub factors: Array,
}

impl Mix {
    /// First channel of x that any term needs, and the number of channels from there on.
    fn block(&self) -> (u32, u32) {
        let first = self.terms.iter().map(|t| t.source).min().unwrap_or(0);
        let last = self.terms.iter().map(|t| t.source).max().unwrap_or(0);
        (first, last + self.channels - first)
    }

    /// (Rounds, chunks) into which each channel of each term is split.
    fn split(&self) -> (u32, u32) {
        chunked(self.x.map.quads(), self.channels * self.terms.len() as u32)
    }

    /// Number of partial sums per term that [`Self::backward_factors`] leaves next to each other.
    pub fn partials(&self) -> u32 {
        self.channels * self.split().1
    }

    fn params(&self, terms: &[Term], add: bool) -> Params {
        debug_assert!(terms.len() <= MAX_TASKS);
        let (first, _) = self.block();
        let (rounds, chunks) = self.split();
        Params::new()
            .map("x", self.x.map.words())
            .set("first", first)
            .set("terms", terms.len() as u32)
            .set("add", u32::from(add))
            .set("rounds", rounds)
            .set("chunks", chunks)
            .set("channels", self.channels)
    }

    fn launch(
        &self,
        entry: &'static str,
        bindings: Vec<(&'static str, crate::kernel::Range)>,
        params: Params,
        grid: [u32; 3],
    ) -> Launch {
        let overrides =
            vec![("NORM", u32::from(self.coefs.is_some())), ("RELU", 0), ("RAGGED", self.x.map.ragged())];
        let blocks = (self.terms.len() as u64 + 1) * u64::from(self.channels);
        Launch {
            flops: 4 * blocks * u64::from(self.x.map.count()),
            bytes: blocks * self.x.channel_bytes(),
            ..launch("mix", entry, overrides, bindings, params, grid)
        }
    }

    fn tasks(&self) -> impl Iterator<Item = [u32; 4]> {
        let (first, _) = self.block();
        self.terms.iter().map(move |t| [t.source - first, t.number * self.x.map.n, 0, 0])
    }

    /// z = the sum of the terms, or z += the sum of the terms with `add`.
    pub fn forward(&self, add: bool) -> Launch {
        let (first, count) = self.block();
        let bindings = vec![
            ("x", self.x.block(first, count)),
            ("coefs", self.coefs.map_or(NO_COEFS, Array::range)),
            ("factors", self.factors.range()),
            ("out", self.z.block(self.target, self.channels)),
        ];
        let grid = [groups(self.x.map.quads()), self.channels, 1];
        self.launch("forward", bindings, self.params(&self.terms, add).rows("tasks", self.tasks()), grid)
    }

    /// Partial sums of the gradients of the terms' factors, \[terms\]\[partials\]. All examples share a factor.
    pub fn backward_factors(&self, dz: Tensor, partial: Array) -> Launch {
        let (first, count) = self.block();
        let bindings = vec![
            ("x", self.x.block(first, count)),
            ("coefs", self.coefs.map_or(NO_COEFS, Array::range)),
            ("dz", dz.block(self.target, self.channels)),
            ("partial", partial.range()),
        ];
        let grid = [self.split().1, self.channels, self.terms.len() as u32];
        self.launch(
            "backward_factors",
            bindings,
            self.params(&self.terms, false).rows("tasks", self.tasks()),
            grid,
        )
    }

    /// dx (+)= factor · dz in the block of term `i`: the gradient of an identity.
    pub fn pass_back(&self, i: usize, dz: Tensor, dx: Tensor, add: bool) -> Launch {
        let term = self.terms[i];
        let bindings = vec![
            ("factors", self.factors.range()),
            ("dz", dz.block(self.target, self.channels)),
            ("dx", dx.block(term.source, self.channels)),
        ];
        let grid = [groups(self.x.map.quads()), self.channels, 1];
        let task = [0, term.number * self.x.map.n, 0, 0];
        let params = self.params(&self.terms, add).rows("tasks", [task]);
        self.launch("pass_back", bindings, params, grid)
    }
}
