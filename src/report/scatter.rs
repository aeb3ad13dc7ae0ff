//! The children of a search → their multiply-adds against their likelihoods, as a picture.

use super::plot::{Axis, INSET, SIZE, axes};
use super::svg::{Anchor, GREY, INK, Svg, n};

/// A child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    /// Multiply-adds of the child's final network for one image, in millions.
    pub macs: f64,
    /// Mean log-likelihood on the search batch less the mean of the step, nats per image.
    pub advantage: f64,
    /// Fraction of the steps that were done, 0 to 1.
    pub time: f64,
}

/// Draws the children, dark ones late, and a line at the multiply-adds of the result.
pub fn children_svg(dots: &[Dot], result: Option<f64>) -> String {
    let [left, top, right, bottom] = [INSET[0], 40.0, 2.0 * SIZE.0 - INSET[2], SIZE.1 - INSET[3]];
    let mut svg = Svg::new(2.0 * SIZE.0, SIZE.1);
    let x = Axis::over(dots.iter().map(|dot| dot.macs).chain(result)).padded();
    let y = Axis::over(dots.iter().map(|dot| dot.advantage)).padded();
    let at = axes(&mut svg, [left, top, right, bottom], [x, y]);
    svg.text((left, 18.0), 13.0, Anchor::Start, INK, "Children: cost against likelihood");
    let label = "million multiply-adds of the final network, per image";
    svg.text(((left + right) / 2.0, SIZE.1 - 16.0), 11.0, Anchor::Middle, GREY, label);
    let label = "log-likelihood less the step's mean, nats/image";
    svg.turned((16.0, (top + bottom) / 2.0), 11.0, Anchor::Middle, -90.0, label);
    for dot in dots {
        let (cx, cy) = at((dot.macs, dot.advantage));
        let mix = |from: f64, to: f64| (from + dot.time.clamp(0.0, 1.0) * (to - from)).round() as u8;
        let (r, g, b) = (mix(190.0, 20.0), mix(210.0, 74.0), mix(235.0, 140.0));
        svg.line(&format!(
            r##"<circle cx="{}" cy="{}" r="2.4" fill="#{r:02x}{g:02x}{b:02x}" fill-opacity="0.7"/>"##,
            n(cx),
            n(cy)
        ));
    }
    if let Some(macs) = result {
        let (rx, _) = at((macs, y.low));
        svg.path(&format!("M{} {}V{}", n(rx), n(top), n(bottom)), "#d1722b", 1.5);
        let anchor = if rx > (left + right) / 2.0 { Anchor::End } else { Anchor::Start };
        let rx = if rx > (left + right) / 2.0 { rx - 5.0 } else { rx + 5.0 };
        svg.text((rx, top + 4.0), 11.0, anchor, "#a8561a", "the result");
    }
    svg.finish()
}
