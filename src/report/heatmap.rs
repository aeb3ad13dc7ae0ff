//! π → one small map per slot: inputs down, primitives across, probability as colour and number.

use crate::space::{CellKind, N_NODES, N_SLOTS, Prior, Space};

use super::svg::{Anchor, GREY, INK, Svg};

/// Extent of one pair's field.
const FIELD: (f64, f64) = (32.0, 19.0);
const BORDER: f64 = 24.0;
/// Space for the names of inputs, of primitives, and for headings.
const INPUTS: f64 = 46.0;
const NAMES: f64 = 84.0;
const HEAD: f64 = 26.0;

/// The probabilities of all sixteen slots; the mode of each is framed.
pub fn prior_svg(space: &Space, prior: &Prior) -> String {
    let map_width = FIELD.0 * space.primitives().len() as f64;
    let column = INPUTS + map_width + 18.0;
    let kind_width = column * N_SLOTS as f64 + BORDER;
    let rows: f64 = (0..N_NODES).map(row_height).sum();
    let bottom = BORDER + 1.7 * HEAD + rows + NAMES + BORDER;
    let mut svg = Svg::new(BORDER + 2.0 * kind_width, bottom);
    let (probabilities, mode) = (prior.probabilities(), prior.mode());
    for kind in CellKind::ALL {
        let left = BORDER + kind.index() as f64 * kind_width;
        let title = format!("{} cell", if kind == CellKind::Normal { "normal" } else { "reduction" });
        svg.text((left + kind_width / 2.0, BORDER), 15.0, Anchor::Middle, INK, &title);
        for slot in 0..N_SLOTS {
            let x = left + slot as f64 * column + INPUTS;
            let heading = format!("slot {slot}");
            svg.text((x + map_width / 2.0, BORDER + HEAD), 12.0, Anchor::Middle, GREY, &heading);
            let mut y = BORDER + 1.7 * HEAD;
            for (node, p) in probabilities[kind.index()].iter().enumerate() {
                let n_pairs = space.n_pairs(node);
                let values = p.get(slot * n_pairs..).unwrap_or(&[]);
                let best = usize::from(mode.0[kind.index()][node][slot]);
                map(&mut svg, (x, y), space, node, &values[..n_pairs.min(values.len())], best);
                y += row_height(node);
            }
            for (p, primitive) in space.primitives().iter().enumerate() {
                let at = (x + FIELD.0 * (p as f64 + 0.5), y);
                svg.turned(at, 11.0, Anchor::End, -55.0, primitive.name());
            }
        }
    }
    let note = "probability of each pair in %, the most probable framed";
    svg.text((BORDER, bottom - 0.6 * BORDER), 11.0, Anchor::Start, GREY, note);
    svg.finish()
}

/// The factors of all paths of a mixed network, `[kind][edge][primitive]`.
pub fn mixture_svg(space: &Space, factors: &[f64]) -> String {
    let n_primitives = space.primitives().len();
    let map_width = FIELD.0 * n_primitives as f64;
    let kind_width = INPUTS + map_width + 18.0 + BORDER;
    let rows: f64 = (0..N_NODES).map(row_height).sum();
    let bottom = BORDER + HEAD + rows + NAMES + BORDER;
    let mut svg = Svg::new(BORDER + 2.0 * kind_width, bottom);
    let mut rest = factors;
    for kind in CellKind::ALL {
        let x = BORDER + kind.index() as f64 * kind_width + INPUTS;
        let title = format!("{} cell", if kind == CellKind::Normal { "normal" } else { "reduction" });
        svg.text((x + map_width / 2.0, BORDER), 15.0, Anchor::Middle, INK, &title);
        let mut y = BORDER + HEAD;
        for node in 0..N_NODES {
            let (values, others) = rest.split_at(rest.len().min(space.n_pairs(node)));
            rest = others;
            map(&mut svg, (x, y), space, node, values, usize::MAX);
            y += row_height(node);
        }
        for (p, primitive) in space.primitives().iter().enumerate() {
            let at = (x + FIELD.0 * (p as f64 + 0.5), y);
            svg.turned(at, 11.0, Anchor::End, -55.0, primitive.name());
        }
    }
    let note = "softmax over the primitives of each edge in %";
    svg.text((BORDER, bottom - 0.6 * BORDER), 11.0, Anchor::Start, GREY, note);
    svg.finish()
}

fn row_height(node: usize) -> f64 {
    FIELD.1 * (node + 2) as f64 + 14.0
}

fn map(svg: &mut Svg, (x, y): (f64, f64), space: &Space, node: usize, values: &[f64], best: usize) {
    let n_primitives = space.primitives().len();
    let place = |index: usize| {
        let (row, column) = (index / n_primitives, index % n_primitives);
        [x + FIELD.0 * column as f64, y + FIELD.1 * row as f64, FIELD.0, FIELD.1]
    };
    svg.turned(
        (x - INPUTS + 6.0, y + FIELD.1 * (node + 2) as f64 / 2.0),
        11.0,
        Anchor::Middle,
        -90.0,
        &format!("node {node}"),
    );
    for input in 0..node + 2 {
        let name = ["k−2", "k−1", "0", "1", "2"].get(input).copied().unwrap_or("");
        svg.text((x - 6.0, y + FIELD.1 * (input as f64 + 0.5)), 10.0, Anchor::End, GREY, name);
    }
    for (index, &p) in values.iter().enumerate() {
        let [left, top, w, h] = place(index);
        svg.rect([left, top, w, h], 0.0, &shade(p), "#ffffff");
        let ink = if p > 0.5 { "#ffffff" } else { INK };
        // Two decimals of a percent would not fit; one says enough.
        let text = if p >= 0.0995 { format!("{:.0}", 100.0 * p) } else { format!("{:.1}", 100.0 * p) };
        svg.text((left + w / 2.0, top + h / 2.0), 9.0, Anchor::Middle, ink, &text);
    }
    if best < values.len() {
        let [left, top, w, h] = place(best);
        svg.rect([left + 0.5, top + 0.5, w - 1.0, h - 1.0], 0.0, "none", "#d1722b");
    }
}

/// White at 0 to dark blue at 1; the root spreads the small ones.
fn shade(p: f64) -> String {
    let share = if p.is_finite() { p.clamp(0.0, 1.0).sqrt() } else { 0.0 };
    let mix = |from: f64, to: f64| (from + share * (to - from)).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(250.0, 20.0), mix(252.0, 74.0), mix(255.0, 140.0))
}
