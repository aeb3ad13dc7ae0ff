//! The amount of work that one submission may hold, estimated from the times of earlier submissions.
//!
//! Windows resets a GPU that works about 2 s on one submission, and a desktop stutters long before that. Work is
//! measured in units, where a unit is one flop at the adapter's measured mix. The rate in units per second starts
//! low, and follows the measurements.

use crate::host::Instant;

/// Time that a submission should take. Estimates are off by up to a factor of two, and 0.2 s is the longest
/// acceptable time.
const TARGET_SECS: f64 = 0.1;
/// Initial rate. Every adapter is faster, so the first submissions are short rather than long.
const FIRST_RATE: f64 = 2e9;
/// Number of flops that cost as much as one byte of memory traffic: 2.5 on lavapipe, 20 on a large GPU.
const UNITS_PER_BYTE: f64 = 8.0;
/// Cost of a launch itself: tens of microseconds at the first rate.
const UNITS_PER_LAUNCH: f64 = 1e5;

/// Work of one launch in units.
pub fn units(flops: u64, bytes: u64) -> f64 {
    flops as f64 + UNITS_PER_BYTE * bytes as f64 + UNITS_PER_LAUNCH
}

/// The measured rate.
#[derive(Debug)]
pub struct Pace {
    rate: f64,
    /// Work that was submitted since `since` and is known to be done.
    done: f64,
    since: Instant,
}

impl Pace {
    pub fn new() -> Self {
        Self { rate: FIRST_RATE, done: 0.0, since: Instant::now() }
    }

    /// The most units that one submission should hold.
    pub fn budget(&self) -> f64 {
        self.rate * TARGET_SECS
    }

    /// Records that the idle adapter gets work now.
    pub fn started(&mut self) {
        (self.done, self.since) = (0.0, Instant::now());
    }

    /// Records that the oldest submission, of `units`, is done. `waited` says whether the host had to wait for the
    /// submission. If the host waited, the submission ended just now. Otherwise the elapsed time is only an upper
    /// bound, which may raise the rate but never lowers the rate.
    pub fn finished(&mut self, units: f64, waited: bool) {
        self.done += units;
        let elapsed = self.since.elapsed().as_secs_f64().max(1e-3);
        let measured = self.done / elapsed;
        if waited {
            // The rate rises by at most a factor of four at a time: launches of different kinds differ that much.
            self.rate = (0.5 * self.rate + 0.5 * measured).clamp(FIRST_RATE * 0.01, 4.0 * self.rate);
            self.started();
        } else {
            self.rate = self.rate.max(measured.min(4.0 * self.rate));
        }
    }
}
