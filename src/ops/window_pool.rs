//! The auxiliary head's average pool of relu(x) → launches of `window_pool.wgsl`.

use super::{Tensor, groups, launch};
use crate::kernel::{Launch, Params};

/// Windows of `window` pixels at every `stride` pixels, or adaptive windows if `window` is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowPool {
    /// Side of the window; 0 for adaptive windows.
    pub window: u32,
    /// Stride of fixed windows.
    pub stride: u32,
    /// The input \[C\]\[N\]\[H\]\[W\], read through ReLU.
    pub x: Tensor,
    /// The output \[C\]\[N\]\[OH\]\[OW\].
    pub y: Tensor,
}

impl WindowPool {
    fn overrides(&self) -> Vec<(&'static str, u32)> {
        vec![("WINDOW", self.window), ("S", self.stride)]
    }

    fn params(&self, accumulate: bool) -> Params {
        Params::new()
            .map("x", self.x.map.words())
            .map("y", self.y.map.words())
            .set("add", u32::from(accumulate))
    }

    /// Computes y from x.
    pub fn forward(&self) -> Launch {
        let bindings = vec![("x", self.x.range()), ("out", self.y.range())];
        let grid = [groups(self.y.map.quads()), self.y.channels, 1];
        launch("window_pool", "forward", self.overrides(), bindings, self.params(false), grid)
    }

    /// Writes dx, or adds to dx, from dy.
    pub fn backward(&self, dy: Tensor, dx: Tensor, accumulate: bool) -> Launch {
        let bindings = vec![("x", self.x.range()), ("dy", dy.range()), ("dx", dx.range())];
        let grid = [groups(self.x.map.quads()), self.x.channels, 1];
        launch("window_pool", "backward", self.overrides(), bindings, self.params(accumulate), grid)
    }
}
