//! A network on its adapter → seconds per image.

use crate::host::Instant;

use serde::Serialize;

use super::Trained;
use crate::error::Result;

/// Least number of timed runs. There are more until they have taken `SECONDS` seconds, but at most 1000.
const RUNS: usize = 5;
const SECONDS: f64 = 1.0;

/// Times from images in memory to logits in memory, including the transfers to the adapter and back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Median seconds of one single image.
    pub latency_seconds: f64,
    /// Images per second in batches of `batch`, from the median time.
    pub images_per_second: f64,
    /// Images per batch.
    pub batch: usize,
}

impl Trained {
    /// Measures on black images. A run before the timed ones prepares plans and kernels.
    pub fn speed(&mut self, batch: usize) -> Result<Speed> {
        let latency_seconds = self.median_seconds(1)?;
        let seconds = self.median_seconds(batch)?;
        Ok(Speed { latency_seconds, images_per_second: batch as f64 / seconds, batch })
    }

    fn median_seconds(&mut self, batch: usize) -> Result<f64> {
        let images = vec![0f32; batch * self.image_len()];
        self.logits(&images)?;
        let (started, mut times) = (Instant::now(), Vec::new());
        while times.len() < RUNS || (started.elapsed().as_secs_f64() < SECONDS && times.len() < 1000) {
            let one = Instant::now();
            self.logits(&images)?;
            times.push(one.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }
}
