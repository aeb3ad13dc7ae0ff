//! How long recorded dispatches take.

use std::time::Instant;

use super::device::Gpu;
use super::record::Recorded;
use crate::Result;

impl Gpu {
    /// Wall-clock seconds of `repeats` runs (at least one) of `recorded`, submission and wait included, in
    /// ascending order. One more run before them is not counted: drivers compile at the first launch.
    pub fn times(&mut self, recorded: &Recorded, repeats: usize) -> Result<Vec<f64>> {
        self.submit(recorded)?;
        self.wait()?;
        let mut secs = Vec::with_capacity(repeats.max(1));
        for _ in 0..repeats.max(1) {
            let start = Instant::now();
            self.submit(recorded)?;
            self.wait()?;
            secs.push(start.elapsed().as_secs_f64());
        }
        secs.sort_by(f64::total_cmp);
        Ok(secs)
    }
}
