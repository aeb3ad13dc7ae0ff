//! Times of steps → the remaining time.

use std::collections::VecDeque;

/// Times of finished steps → an estimate of the remaining time.
///
/// The first step of a process and the steps in which kernels were compiled say little about the others and are left
/// out. While there are few steps, the estimate uses their median. Later it uses the mean of the recent steps, which
/// includes the occasional evaluations.
#[derive(Debug, Default)]
pub struct Estimate {
    /// Seconds per unit of work in the recent steps.
    recent: VecDeque<f64>,
    /// The same of the steps in which kernels were compiled. They are used as long as there is no other step.
    compiling: VecDeque<f64>,
    seen_first: bool,
    compiles: bool,
}

/// Number of steps that are remembered.
const RECENT: usize = 200;
/// With fewer steps than this the estimate uses the median.
const FEW: usize = 20;

impl Estimate {
    /// Records that kernels were compiled in the present step.
    pub fn compiled(&mut self) {
        self.compiles = true;
    }

    /// Records a step with this much `work` that took `secs`.
    pub fn finished(&mut self, secs: f64, work: f64) {
        let compiles = std::mem::take(&mut self.compiles);
        if !std::mem::replace(&mut self.seen_first, true) {
            return;
        }
        let steps = if compiles { &mut self.compiling } else { &mut self.recent };
        if steps.len() == RECENT {
            steps.pop_front();
        }
        steps.push_back(secs / work);
    }

    /// Estimated seconds for the remaining `work`. `None` until one step without compilation is done, or `FEW` steps
    /// with compilation.
    pub fn left(&self, work: f64) -> Option<f64> {
        let per_unit = match (self.recent.len(), self.compiling.len()) {
            (0, 0..FEW) => return None,
            (0, _) => median(&self.compiling),
            (1..FEW, _) => median(&self.recent),
            (n, _) => self.recent.iter().sum::<f64>() / n as f64,
        };
        Some(per_unit * work)
    }

    /// Whether the second step, the first that says something, is done.
    pub fn seen_second(&self) -> bool {
        !self.recent.is_empty() || !self.compiling.is_empty()
    }
}

/// The lower median.
fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
