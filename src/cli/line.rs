//! Progress of a run → one line for a terminal of any width, with the trend of its numbers.

use std::collections::BTreeMap;

use crate::run::Progress;

/// Numbers that have a trend, with their colours: accuracy, entropy, loss.
const TRENDS: [(&str, &str); 3] = [("accuracy", "32"), ("entropy", "33"), ("loss", "35")];
/// Colour of the bar.
const BAR: &str = "36";
/// The levels of a trend.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Cells of the bar and of a trend, from the richest line to the poorest.
const FORMS: [(usize, usize); 7] = [(32, 32), (24, 20), (20, 12), (12, 8), (8, 8), (0, 8), (0, 0)];

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Number of columns.
    pub columns: usize,
    /// Whether it shows colours.
    pub colours: bool,
    /// Whether it shows characters beyond ASCII.
    pub unicode: bool,
}

/// All values so far of the numbers that have a trend.
#[derive(Debug, Default)]
pub struct Trends(BTreeMap<&'static str, Vec<f64>>);

impl Trends {
    /// Adds the numbers of a step.
    pub fn add(&mut self, progress: &Progress) {
        for (name, x) in &progress.numbers {
            if let Some((name, _)) = TRENDS.iter().find(|(known, _)| known == name) {
                self.0.entry(name).or_default().push(*x);
            }
        }
    }

    /// The trend of a number in `n` characters. Each character is the mean over an equal part of the steps.
    fn spark(&self, name: &str, n: usize) -> String {
        let values = self.0.get(name).map_or(&[][..], Vec::as_slice);
        let n = n.min(values.len());
        let part = |i: usize| &values[i * values.len() / n..(i + 1) * values.len() / n];
        let mean = |values: &[f64]| {
            let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
            finite.iter().sum::<f64>() / finite.len() as f64
        };
        let means: Vec<f64> = (0..n).map(|i| mean(part(i))).collect();
        let ends = means.iter().filter(|x| x.is_finite());
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
        let level = |x: &f64| match (x - low) / (high - low) {
            share if share.is_finite() => LEVELS[((share * 7.0).round() as usize).min(7)],
            _ if x.is_finite() => LEVELS[3],
            _ => ' ',
        };
        means.iter().map(level).collect()
    }
}

/// The line after a step: `left` is the time left as text. It has at most one column less than the terminal, because some
/// terminals break a line that is full.
pub fn line(progress: &Progress, left: &str, trends: &Trends, terminal: Terminal) -> String {
    let most = terminal.columns.saturating_sub(1);
    let forms = FORMS.iter().filter(|(_, spark)| terminal.unicode || *spark == 0);
    let n_numbers = progress.numbers.len();
    let rich = forms.map(|(bar, spark)| (*bar, *spark, n_numbers, true));
    let poor = (0..n_numbers).rev().map(|n| (0, 0, n, false));
    for (bar, spark, n, epoch) in rich.chain(poor) {
        let (text, width) = compose(progress, left, trends, terminal, (bar, spark, n, epoch));
        if width <= most {
            return text;
        }
    }
    format!("{}/{}", progress.step, progress.total).chars().take(most).collect()
}

/// A line of a form, and its width.
fn compose(
    progress: &Progress,
    left: &str,
    trends: &Trends,
    terminal: Terminal,
    (bar, spark, n, epoch): (usize, usize, usize, bool),
) -> (String, usize) {
    let mut parts: Vec<String> = Vec::new();
    let mut width = 0;
    let mut add = |text: String, colour: Option<&str>, joined: bool| {
        width += text.chars().count() + if parts.is_empty() { 0 } else { 1 };
        let text = match colour.filter(|_| terminal.colours) {
            Some(colour) => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            None => text,
        };
        match parts.last_mut().filter(|_| joined) {
            Some(last) => *last = format!("{last} {text}"),
            None => parts.push(text),
        }
    };
    if bar > 0 {
        let done = (progress.step as f64 / progress.total.max(1) as f64).clamp(0.0, 1.0);
        let full = (done * bar as f64).floor() as usize;
        let [yes, no] = if terminal.unicode { ["█", "░"] } else { ["#", "-"] };
        add(format!("{}{}", yes.repeat(full), no.repeat(bar - full)), Some(BAR), false);
    }
    add(format!("{}/{}", progress.step, progress.total), None, false);
    if !left.is_empty() {
        add(format!("{left} left"), None, false);
    }
    if progress.epoch > 0 && epoch {
        add(format!("epoch {}", progress.epoch), None, false);
    }
    for (name, x) in progress.numbers.iter().take(n) {
        add(format!("{name} {}", short(*x)), None, false);
        let trend = TRENDS.iter().find(|(known, _)| known == name);
        if let Some((name, colour)) = trend.filter(|_| spark > 0) {
            let spark = trends.spark(name, spark);
            if !spark.is_empty() {
                add(spark, Some(colour), true);
            }
        }
    }
    (parts.join(" "), width)
}

/// About three significant digits.
pub fn short(x: f64) -> String {
    match x.abs() {
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

impl Terminal {
    /// The terminal of standard error. Colours are left out if `NO_COLOR` is set or the terminal is dumb.
    pub fn of_stderr() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (_, columns) = console::Term::stderr().size_checked().unwrap_or((24, 80));
        let dumb = set("TERM").is_some_and(|name| name == "dumb");
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_lowercase();
        Self {
            columns: usize::from(columns).max(1),
            colours: set("NO_COLOR").is_none() && !dumb,
            unicode: cfg!(windows) || locale.contains("utf-8") || locale.contains("utf8"),
        }
    }
}
