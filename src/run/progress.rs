//! Where a run stands → a bar on a terminal, plain lines elsewhere; always on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Where a run stands after a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total: u64,
    /// Epochs begun, from 1; 0 if there are none.
    pub epoch: u64,
    /// What else is worth seeing, such as ("accuracy", 0.61).
    pub numbers: Vec<(&'static str, f64)>,
}

impl Progress {
    fn details(&self) -> String {
        let mut parts = vec![];
        if self.epoch > 0 {
            parts.push(format!("epoch {}", self.epoch));
        }
        parts.extend(self.numbers.iter().map(|(name, x)| format!("{name} {}", short(*x))));
        parts.join(", ")
    }
}

/// About three significant digits.
fn short(x: f64) -> String {
    match x.abs() {
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// A bar, or a line now and then.
    #[default]
    Normal,
    /// A line for every step.
    Verbose,
}

/// Shows progress.
pub struct Bar {
    shown: Shown,
}

enum Shown {
    Nothing,
    Terminal(ProgressBar),
    Lines { started: Instant, first_step: Option<u64>, last: Option<Instant>, every: Duration },
}

impl Bar {
    /// A bar if standard error is a terminal, lines (at most one in ten seconds, besides the first and
    /// the last) if not, a line for every step if `Verbose`, nothing if `Quiet`.
    pub fn new(verbosity: Verbosity) -> Self {
        let lines = |every| Shown::Lines { started: Instant::now(), first_step: None, last: None, every };
        let shown = match verbosity {
            Verbosity::Quiet => Shown::Nothing,
            Verbosity::Verbose => lines(Duration::ZERO),
            Verbosity::Normal if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::no_length();
                if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {eta} left  {msg}") {
                    bar.set_style(style);
                }
                Shown::Terminal(bar)
            }
            Verbosity::Normal => lines(Duration::from_secs(10)),
        };
        Self { shown }
    }

    /// Shows where the run stands.
    pub fn update(&mut self, progress: &Progress) {
        let Progress { step, total, .. } = *progress;
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Terminal(bar) => {
                if bar.length().is_none() {
                    // A resumed run starts in the middle: the time left is that of the steps from here.
                    bar.set_length(total);
                    bar.set_position(step.saturating_sub(1));
                    bar.reset_eta();
                }
                bar.set_position(step);
                bar.set_message(progress.details());
                if step >= total {
                    bar.finish();
                }
            }
            Shown::Lines { started, first_step, last, every } => {
                let before = *first_step.get_or_insert(step.saturating_sub(1));
                if step < total && last.is_some_and(|t| t.elapsed() < *every) {
                    return;
                }
                *last = Some(Instant::now());
                let per_step = started.elapsed().as_secs_f64() / (step - before).max(1) as f64;
                let left = clock(per_step * total.saturating_sub(step) as f64);
                eprintln!("step {step}/{total}, {left} left, {}", progress.details());
            }
        }
    }

    /// Leaves the bar as it stands, so that other lines can follow.
    pub fn close(&mut self) {
        if let Shown::Terminal(bar) = &self.shown
            && !bar.is_finished()
        {
            bar.abandon();
        }
    }
}

fn clock(secs: f64) -> String {
    let s = secs.round() as u64;
    if s >= 3600 { format!("{}h{:02}m", s / 3600, s / 60 % 60) } else { format!("{}m{:02}s", s / 60, s % 60) }
}
