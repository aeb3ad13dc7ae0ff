//! How much work one submission may hold, learnt from how long earlier ones took.
//!
//! Windows resets a GPU that works about 2 s on one submission, and a desktop stutters long before that.
//! Work is counted in units (a unit is one flop at the adapter's measured mix); the rate in units per second
//! starts low, and follows what was measured.

use crate::host::Instant;

/// Aimed at per submission; estimates are off by up to a factor of two, and 0.2 s is the most wanted.
const TARGET_SECS: f64 = 0.1;
/// Below what any adapter does, so that the first submissions are short rather than long.
const FIRST_RATE: f64 = 2e9;
/// One byte of memory traffic costs as much as this many flops; 2.5 on lavapipe, 20 on a large GPU.
const UNITS_PER_BYTE: f64 = 8.0;
/// The launch itself, tens of microseconds at the first rate.
const UNITS_PER_DISPATCH: f64 = 1e5;

/// Work of one dispatch in units.
pub fn units(flops: u64, bytes: u64) -> f64 {
    flops as f64 + UNITS_PER_BYTE * bytes as f64 + UNITS_PER_DISPATCH
}

/// The measured rate.
#[derive(Debug)]
pub struct Pace {
    rate: f64,
    /// The work submitted since `since` that is known to be done.
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

    /// The adapter is idle and gets work now.
    pub fn started(&mut self) {
        (self.done, self.since) = (0.0, Instant::now());
    }

    /// The oldest submission, of `units`, was found done; `waited` if the host had to wait for it, so
    /// that "now" is when it ended. Without that, the elapsed time is only an upper bound, which may
    /// raise the rate but says nothing against it.
    pub fn finished(&mut self, units: f64, waited: bool) {
        self.done += units;
        let elapsed = self.since.elapsed().as_secs_f64().max(1e-3);
        let measured = self.done / elapsed;
        if waited {
            // At most a factor of four up at a time: launches of different kinds differ that much.
            self.rate = (0.5 * self.rate + 0.5 * measured).clamp(FIRST_RATE * 0.01, 4.0 * self.rate);
            self.started();
        } else {
            self.rate = self.rate.max(measured.min(4.0 * self.rate));
        }
    }
}
