//! Progress of a run → a bar on a terminal, plain lines elsewhere. The output is always on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use crate::host::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::line::{self, Terminal, Trends, short};
use super::ui::remark;
use crate::run::{Estimate, Progress};

fn terminal() -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// The display of the steps, whose line is composed for the width of the terminal.
fn stepping() -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    bar
}

fn details(progress: &Progress) -> String {
    let mut parts = vec![];
    if progress.epoch > 0 {
        parts.push(format!("epoch {}", progress.epoch));
    }
    parts.extend(progress.numbers.iter().map(|(name, x)| format!("{name} {}", short(*x))));
    parts.join(", ")
}

/// Amount of output on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// A bar, or a line from time to time.
    #[default]
    Normal,
    /// A line for every step.
    Verbose,
}

/// A display of progress.
pub struct Bar {
    shown: Shown,
    /// Name of the counted things.
    unit: &'static str,
    estimate: Estimate,
    trends: Trends,
    /// Whether the display is that of the steps.
    is_stepping: bool,
    /// Time at which the last step was done, or at which this display was made.
    last_step: Instant,
    /// Time at which the first image was read, and number of images read.
    reading: Option<(Instant, usize)>,
}

enum Shown {
    Nothing,
    Terminal(ProgressBar),
    Lines { last: Instant, every: Duration },
}

/// Whether the terminal cannot write over a line.
fn is_dumb() -> bool {
    std::env::var("TERM").is_ok_and(|name| name == "dumb")
}

/// Least time between two lines, except after the first step.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Least time between two lines with the number of compiled kernels.
const BETWEEN_COUNTS: Duration = Duration::from_secs(3);
/// A compilation that takes no longer than this is not reported.
const BRIEF: Duration = Duration::from_secs(2);

impl Bar {
    /// A bar if standard error is a terminal, otherwise lines (at most one in ten seconds, in addition to the first and
    /// the last). A line for every step if `Verbose`, nothing if `Quiet`.
    pub fn new(verbosity: Verbosity) -> Self {
        let lines = |every| Shown::Lines { last: Instant::now(), every };
        let shown = match verbosity {
            Verbosity::Quiet => Shown::Nothing,
            Verbosity::Verbose => lines(Duration::ZERO),
            Verbosity::Normal if std::io::stderr().is_terminal() && !is_dumb() => Shown::Terminal(terminal()),
            Verbosity::Normal => lines(BETWEEN_LINES),
        };
        Self {
            shown,
            unit: "step",
            estimate: Estimate::default(),
            trends: Trends::default(),
            is_stepping: false,
            last_step: Instant::now(),
            reading: None,
        }
    }

    /// Counts things with the name `unit` instead of steps.
    pub fn count(&mut self, unit: &'static str) {
        self.unit = unit;
    }

    /// Shows how many of the kernels known so far are compiled. The first step spends its time on compiling.
    pub fn compiling(&mut self, ready: usize, known: usize) {
        self.estimate.compiled();
        let text = format!("compiling kernels {ready}/{known}");
        match &mut self.shown {
            Shown::Terminal(bar) if self.last_step.elapsed() > BRIEF => bar.set_message(text),
            Shown::Lines { last, .. }
                if self.last_step.elapsed() > BRIEF && last.elapsed() > BETWEEN_COUNTS =>
            {
                *last = Instant::now();
                remark(&text);
            }
            _ => {}
        }
    }

    /// Shows how many images are decoded, if the decoding takes longer than a moment. The time left is estimated from
    /// the mean speed so far.
    pub fn reading(&mut self, done: usize, total: usize) {
        let (began, last_done) = *self.reading.get_or_insert((Instant::now(), 0));
        // The threads report in any order.
        if done <= last_done {
            return;
        }
        self.reading = Some((began, done));
        // The end of the reading is the beginning of the next part of the work.
        self.last_step = Instant::now();
        let secs = began.elapsed().as_secs_f64();
        let left = clock(secs / done.max(1) as f64 * (total - done.min(total)) as f64);
        match &mut self.shown {
            Shown::Terminal(bar) if began.elapsed() > BRIEF => {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.set_message(format!("images read, {left} left"));
                if done == total {
                    bar.finish_and_clear();
                    *bar = terminal();
                }
            }
            Shown::Lines { last, every }
                if began.elapsed() > BRIEF && (last.elapsed() >= (*every).max(BETWEEN_COUNTS)) =>
            {
                *last = Instant::now();
                remark(&format!("reading images {done}/{total}, {left} left"));
            }
            _ => {}
        }
    }

    /// Shows after `n` more images how many of them are done, if the work takes longer than a moment. The first batch,
    /// whose kernels are compiled, is left out of the estimate.
    pub fn images(&mut self, n: usize, done: usize, total: usize) {
        self.estimate.finished(self.last_step.elapsed().as_secs_f64(), n as f64);
        self.last_step = Instant::now();
        let (began, last_shown) = *self.reading.get_or_insert((Instant::now(), 0));
        let Some(left) = self.estimate.left((total - done.min(total)) as f64).map(clock) else { return };
        if began.elapsed() <= BRIEF {
            return;
        }
        match &mut self.shown {
            Shown::Terminal(bar) => {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.set_message(format!("images, {left} left"));
            }
            Shown::Lines { last, every } if last_shown == 0 || last.elapsed() >= *every => {
                *last = Instant::now();
                self.reading = Some((began, done));
                remark(&format!("image {done}/{total}, {left} left"));
            }
            _ => {}
        }
    }

    /// Prints a line on standard error, above the bar.
    pub fn say(&self, line: &str) {
        match &self.shown {
            Shown::Terminal(bar) => bar.suspend(|| remark(line)),
            _ => remark(line),
        }
    }

    /// Shows the progress of the run after a step.
    pub fn update(&mut self, progress: &Progress) {
        let Progress { step, total, .. } = *progress;
        let [work, left] = progress.work.unwrap_or([1.0, total.saturating_sub(step) as f64]);
        self.estimate.finished(self.last_step.elapsed().as_secs_f64(), work);
        self.last_step = Instant::now();
        let left = self.estimate.left(left).map_or(String::new(), clock);
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Terminal(bar) => {
                if !std::mem::replace(&mut self.is_stepping, true) {
                    bar.finish_and_clear();
                    *bar = stepping();
                }
                self.trends.add(progress);
                bar.set_length(total);
                bar.set_position(step);
                bar.set_message(line::line(progress, &left, &self.trends, Terminal::of_stderr()));
                if step >= total {
                    bar.finish();
                }
            }
            Shown::Lines { last, every } => {
                let is_first = !self.estimate.seen_second();
                if step < total && !is_first && last.elapsed() < *every {
                    return;
                }
                *last = Instant::now();
                let left = if left.is_empty() { left } else { format!("{left} left, ") };
                let line = format!("{} {step}/{total}, {left}{}", self.unit, details(progress));
                remark(line.trim_end_matches(", "));
            }
        }
    }

    /// Leaves the bar in its current state, so that other lines can follow.
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
