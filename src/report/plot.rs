//! Series of numbers over steps → line plots with axes, as SVG panels.

use super::svg::{Anchor, FAINT, GREY, INK, Svg, n};

/// One line of a plot. Points that are not finite leave a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points (x, y) in the order of drawing.
    pub points: Vec<(f64, f64)>,
    /// The way in which the points are drawn.
    pub style: Style,
}

/// The way in which the points of a series are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// A line through all points.
    #[default]
    Line,
    /// A faint line through all points, and over it a line through their moving mean.
    Smoothed,
    /// A line through all points, with a mark at each.
    Marked,
}

impl Series {
    /// A series that is drawn as a line.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, style: Style::Line }
    }

    /// The series in another style.
    pub fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }

    /// The points of the line that is read: the moving mean of a smoothed series, else all points.
    pub fn line(&self) -> Vec<(f64, f64)> {
        if self.style == Style::Smoothed { smoothed(&self.points) } else { self.points.clone() }
    }
}

/// A moving mean covers this part of the points.
const WINDOW: usize = 20;

/// The mean over a window around each point, which becomes narrower at the ends. A window has the same number of points on
/// both sides, so that a straight line stays as it is. Points that are not finite are left out.
pub fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = points.len() / (2 * WINDOW);
    let mut sums = vec![(0.0, 0usize)];
    for (_, y) in points {
        let (sum, n) = sums[sums.len() - 1];
        sums.push(if y.is_finite() { (sum + y, n + 1) } else { (sum, n) });
    }
    let mean = |(i, &(x, y)): (usize, &(f64, f64))| {
        let reach = half.min(i).min(points.len() - 1 - i);
        let (from, to) = (sums[i - reach], sums[i + reach + 1]);
        let mean = (to.0 - from.0) / (to.1 - from.1) as f64;
        (x, if y.is_finite() && reach > 0 { mean } else { y })
    };
    points.iter().enumerate().map(mean).collect()
}

/// A line has at most about this many points in a picture.
const MOST_POINTS: usize = 1200;

/// Of many points the lowest and the highest of each stretch, so that a line through them looks the same.
pub fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let mut thin = Vec::with_capacity(MOST_POINTS + 2);
    for points in points.chunks(stretch) {
        let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (points.iter().min_by(by_y), points.iter().max_by(by_y));
        let (Some(low), Some(high)) = (low, high) else { continue };
        let (first, second) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        thin.push(*first);
        thin.extend((first != second).then_some(*second));
    }
    thin
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

/// Width and height of a panel.
pub const SIZE: (f64, f64) = (460.0, 310.0);
/// Distances of the axes from the left, top, right and bottom of the panel.
pub const INSET: [f64; 4] = [68.0, 60.0, 18.0, 50.0];
/// Colours of the series, in order.
pub const COLOURS: [&str; 6] = ["#2f6fb7", "#d1722b", "#3c9155", "#8a5bb5", "#b8434e", "#66727f"];

impl Panel {
    /// The ranges of the two axes.
    pub fn axes(&self) -> [Axis; 2] {
        let points =
            || self.series.iter().flat_map(|s| &s.points).filter(|p| p.0.is_finite() && p.1.is_finite());
        [Axis::over(points().map(|p| p.0)), Axis::over(points().map(|p| p.1)).padded()]
    }
}

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
    let [x, y] = panel.axes();
    let at = axes(svg, [left, top, right, bottom], [x, y]);
    svg.text((left, 18.0), 13.0, Anchor::Start, INK, &panel.title);
    svg.text(((left + right) / 2.0, SIZE.1 - 16.0), 11.0, Anchor::Middle, GREY, &panel.x_label);
    svg.turned((16.0, (top + bottom) / 2.0), 11.0, Anchor::Middle, -90.0, &panel.y_label);
    // The faint lines are below all others.
    let with_colours = || panel.series.iter().zip(COLOURS.iter().cycle());
    for (series, colour) in with_colours().filter(|(series, _)| series.style == Style::Smoothed) {
        curve(svg, &series.points, at, colour, r#"stroke-width="1" stroke-opacity="0.28""#);
    }
    for (series, colour) in with_colours() {
        curve(svg, &series.line(), at, colour, r#"stroke-width="1.8""#);
        for point in series.points.iter().filter(|p| series.style == Style::Marked && p.1.is_finite()) {
            let (x, y) = at(*point);
            svg.line(&format!(r#"<circle cx="{}" cy="{}" r="2.6" fill="{colour}"/>"#, n(x), n(y)));
        }
    }
    legend(svg, panel);
}

/// Draws two axes with their ticks between `[left, top, right, bottom]`, and returns the place of a point.
pub(super) fn axes(
    svg: &mut Svg,
    [left, top, right, bottom]: [f64; 4],
    [x, y]: [Axis; 2],
) -> impl Fn((f64, f64)) -> (f64, f64) + Copy + use<> {
    let at = move |(px, py): (f64, f64)| {
        (left + x.share(px) * (right - left), bottom - y.share(py) * (bottom - top))
    };
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
    at
}

/// Draws the names of the series in the line below the title, from left to right. A single series has no name there.
fn legend(svg: &mut Svg, panel: &Panel) {
    if panel.series.len() < 2 {
        return;
    }
    // The width of a name is not known here. This estimate is more than enough for the bundled font.
    let width = |name: &str| 6.4 * name.chars().count() as f64 + 34.0;
    let all: f64 = panel.series.iter().map(|series| width(&series.name)).sum();
    // Names that are too long for the panel are drawn smaller.
    let scale = ((SIZE.0 - INSET[0] - 4.0) / all).min(1.0);
    let mut x = INSET[0];
    for (series, colour) in panel.series.iter().zip(COLOURS.iter().cycle()) {
        svg.path(&format!("M{} 40h{}", n(x), n(14.0 * scale)), colour, 2.5);
        svg.text((x + 19.0 * scale, 40.0), 11.0 * scale, Anchor::Start, GREY, &series.name);
        x += width(&series.name) * scale;
    }
}

fn curve(
    svg: &mut Svg,
    points: &[(f64, f64)],
    at: impl Fn((f64, f64)) -> (f64, f64),
    colour: &str,
    look: &str,
) {
    let mut d = String::new();
    let mut pen_down = false;
    for point in thinned(points) {
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
            r#"<path d="{d}" fill="none" stroke="{colour}" {look} stroke-linejoin="round" stroke-linecap="round"/>"#
        ));
    }
}

/// The range of an axis. It is never empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// The number at the lower end.
    pub low: f64,
    /// The number at the upper end.
    pub high: f64,
}

impl Axis {
    /// The range of the values. Without a value it is 0 to 1.
    pub fn over(values: impl Iterator<Item = f64>) -> Self {
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

    /// The range with a margin at both ends.
    pub fn padded(self) -> Self {
        let pad = 0.05 * (self.high - self.low);
        // If no number is negative, the axis does not begin below 0.
        let low = if self.low >= 0.0 { (self.low - pad).max(0.0) } else { self.low - pad };
        Self { low, high: self.high + pad }
    }

    /// Position of `value` on the axis: 0 at the lower end, 1 at the upper end.
    pub fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// About `n` round numbers: multiples of 1, 2 or 5 times a power of ten.
    pub fn ticks(&self, n: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / n as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough).unwrap_or(10.0);
        let first = (self.low / step).ceil();
        let ticks = (0..=2 * n).map(|i| (first + i as f64) * step);
        ticks.take_while(|t| *t <= self.high + 1e-9 * step).collect()
    }
}

/// The text of a tick's number. It is short and without the rounding errors of binary fractions.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        format!("{value:.0e}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').replace('-', "−")
    }
}
