//! Series of numbers over steps → line plots with axes, as SVG panels.

use super::svg::{Anchor, FAINT, GREY, INK, Svg, n};

/// One line of a plot. Points that are not finite leave a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points (x, y) in the order of drawing.
    pub points: Vec<(f64, f64)>,
}

/// One plot with its own axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Heading.
    pub title: String,
    /// Label of the horizontal axis, with its unit.
    pub x_label: String,
    /// Label of the vertical axis, with its unit.
    pub y_label: String,
    /// The lines of the plot.
    pub series: Vec<Series>,
}

const SIZE: (f64, f64) = (460.0, 290.0);
/// Distances of the axes from the left, top, right and bottom of the panel.
const INSET: [f64; 4] = [68.0, 40.0, 18.0, 50.0];
pub(super) const COLOURS: [&str; 6] = ["#2f6fb7", "#d1722b", "#3c9155", "#8a5bb5", "#b8434e", "#66727f"];

/// Panels in rows of two.
pub fn panels_svg(panels: &[Panel]) -> String {
    let n_columns = panels.len().clamp(1, 2);
    let n_rows = panels.len().div_ceil(n_columns).max(1);
    let mut svg = Svg::new(SIZE.0 * n_columns as f64, SIZE.1 * n_rows as f64);
    for (i, panel) in panels.iter().enumerate() {
        let at = (SIZE.0 * (i % n_columns) as f64, SIZE.1 * (i / n_columns) as f64);
        svg.line(&format!(r#"<g transform="translate({} {})">"#, n(at.0), n(at.1)));
        draw(&mut svg, panel);
        svg.line("</g>");
    }
    svg.finish()
}

fn draw(svg: &mut Svg, panel: &Panel) {
    let [left, top, right, bottom] = [INSET[0], INSET[1], SIZE.0 - INSET[2], SIZE.1 - INSET[3]];
    let points =
        || panel.series.iter().flat_map(|s| &s.points).filter(|p| p.0.is_finite() && p.1.is_finite());
    let x = Axis::over(points().map(|p| p.0));
    let y = Axis::over(points().map(|p| p.1)).padded();
    let at =
        |(px, py): (f64, f64)| (left + x.share(px) * (right - left), bottom - y.share(py) * (bottom - top));
    for tick in y.ticks(6) {
        let (_, ty) = at((x.low, tick));
        svg.path(&format!("M{} {}H{}", n(left), n(ty), n(right)), FAINT, 1.0);
        svg.text((left - 7.0, ty), 11.0, Anchor::End, GREY, &number(tick));
    }
    for tick in x.ticks(6) {
        let (tx, _) = at((tick, y.low));
        svg.path(&format!("M{} {}v5", n(tx), n(bottom)), GREY, 1.0);
        svg.text((tx, bottom + 14.0), 11.0, Anchor::Middle, GREY, &number(tick));
    }
    svg.path(&format!("M{} {}V{}H{}", n(left), n(top), n(bottom), n(right)), GREY, 1.0);
    svg.text((left, 18.0), 13.0, Anchor::Start, INK, &panel.title);
    svg.text(((left + right) / 2.0, SIZE.1 - 16.0), 11.0, Anchor::Middle, GREY, &panel.x_label);
    svg.turned((16.0, (top + bottom) / 2.0), 11.0, Anchor::Middle, -90.0, &panel.y_label);
    for (series, colour) in panel.series.iter().zip(COLOURS.iter().cycle()) {
        curve(svg, &series.points, at, colour);
    }
    if panel.series.len() > 1 {
        legend(svg, panel, right);
    }
}

/// Draws the names above the axes, from the right end to the left.
fn legend(svg: &mut Svg, panel: &Panel, right: f64) {
    let mut x = right;
    for (i, series) in panel.series.iter().enumerate().rev() {
        let colour = COLOURS[i % COLOURS.len()];
        svg.text((x, 18.0), 11.0, Anchor::End, GREY, &series.name);
        // The width of a name is not known here. This estimate is more than enough for the bundled font.
        x -= 6.4 * series.name.chars().count() as f64 + 6.0;
        svg.path(&format!("M{} 18h14", n(x - 14.0)), colour, 2.5);
        x -= 28.0;
    }
}

fn curve(svg: &mut Svg, points: &[(f64, f64)], at: impl Fn((f64, f64)) -> (f64, f64), colour: &str) {
    let mut d = String::new();
    let mut pen_down = false;
    for &point in points {
        if !(point.0.is_finite() && point.1.is_finite()) {
            pen_down = false;
            continue;
        }
        let (x, y) = at(point);
        d += &format!("{}{} {}", if pen_down { "L" } else { "M" }, n(x), n(y));
        // A line of length 0 with round ends shows a point without neighbours.
        d += if pen_down { "" } else { "h0" };
        pen_down = true;
    }
    if !d.is_empty() {
        svg.line(&format!(
            r#"<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round" stroke-linecap="round"/>"#
        ));
    }
}

/// The range of an axis. It is never empty.
pub(super) struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    pub(super) fn over(values: impl Iterator<Item = f64>) -> Self {
        // Differences of larger numbers could overflow.
        let values = values.map(|v| v.clamp(-1e100, 1e100));
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            Self { low: 0.0, high: 1.0 }
        } else if high - low <= 1e-9 * low.abs().max(1e-9) {
            let around = 0.5 * low.abs().max(1.0);
            Self { low: low - around, high: high + around }
        } else {
            Self { low, high }
        }
    }

    pub(super) fn padded(self) -> Self {
        let pad = 0.05 * (self.high - self.low);
        // If no number is negative, the axis does not begin below 0.
        let low = if self.low >= 0.0 { (self.low - pad).max(0.0) } else { self.low - pad };
        Self { low, high: self.high + pad }
    }

    /// Position of `value` on the axis: 0 at the lower end, 1 at the upper end.
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// About `n` round numbers: multiples of 1, 2 or 5 times a power of ten.
    pub(super) fn ticks(&self, n: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / n as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough).unwrap_or(10.0);
        let first = (self.low / step).ceil();
        let ticks = (0..=2 * n).map(|i| (first + i as f64) * step);
        ticks.take_while(|t| *t <= self.high + 1e-9 * step).collect()
    }
}

/// The text of a tick's number. It is short and without the rounding errors of binary fractions.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        format!("{value:.0e}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').replace('-', "−")
    }
}
