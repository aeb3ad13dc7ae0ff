//! π → the network as π has it: edges as thick as they are probable.
//!
//! A cell has an edge for each pair of an input and a node. The width of an edge is the expected number of the node's
//! operations that read this input, and its colour is the most probable operation. A chain has a row of boxes for each
//! layer, as dark as the choices are probable, and lines between the rows as thick as both ends are probable together.

use super::course::{COLOURS, kind, kinds};
use super::svg::{Anchor, GREY, INK, Svg, n};
use crate::space::prior::PerSlot;
use crate::space::{N_SLOTS, Space};

const BORDER: f64 = 20.0;
/// Extent of a cell.
const CELL: (f64, f64) = (470.0, 250.0);
/// Distance between the nodes of a cell.
const STEP: f64 = 88.0;
/// An edge or a line that is less probable is left out.
const LEAST: f64 = 0.02;
/// An edge that is more probable has the name of its operation.
const NAMED: f64 = 0.5;
/// An edge has the colour of its operation if that has more than this part of the edge. Otherwise it is grey.
const DECIDED: f64 = 0.3;
/// Extent of a choice of a layer, and the space between layers.
const BOX: (f64, f64) = (92.0, 20.0);
const BETWEEN: f64 = 22.0;

/// The drawing of `probabilities`, by slot and choice.
pub fn flow_svg(space: &dyn Space, probabilities: &PerSlot) -> String {
    if space.alpha_shape().len() > 1 { cells(space, probabilities) } else { chain(space, probabilities) }
}

fn cells(space: &dyn Space, probabilities: &PerSlot) -> String {
    let kinds = kinds(space);
    let groups = space.groups();
    let width = 2.0 * BORDER + CELL.0 * groups.len() as f64;
    let per_line = ((width - 2.0 * BORDER) / 150.0).floor().max(1.0) as usize;
    let legend = 20.0 * kinds.len().div_ceil(per_line) as f64;
    let mut svg = Svg::new(width, 2.0 * BORDER + CELL.1 + legend);
    for (group, name) in groups.iter().enumerate() {
        let slots: Vec<usize> =
            (0..space.slots().len()).filter(|slot| space.slots()[*slot].group == group).collect();
        let title = if *name == "reduce" { "reduction cell".to_owned() } else { format!("{name} cell") };
        let left = BORDER + CELL.0 * group as f64;
        svg.text((left, BORDER), 13.0, Anchor::Start, INK, &title);
        cell(&mut svg, space, probabilities, &slots, &kinds, left);
    }
    for (i, kind) in kinds.iter().enumerate() {
        let x = BORDER + 150.0 * (i % per_line) as f64;
        let y = BORDER + CELL.1 + 14.0 + 20.0 * (i / per_line) as f64;
        svg.path(&format!("M{} {}h16", n(x), n(y)), COLOURS[i % COLOURS.len()], 4.0);
        svg.text((x + 22.0, y), 11.0, Anchor::Start, GREY, kind);
    }
    svg.finish()
}

/// Draws one cell: its inputs, its nodes in a row, and an edge from each source to each later node.
fn cell(
    svg: &mut Svg,
    space: &dyn Space,
    probabilities: &PerSlot,
    slots: &[usize],
    kinds: &[String],
    left: f64,
) {
    let middle = BORDER + CELL.1 / 2.0 + 6.0;
    // The sources: the two inputs, then the nodes.
    let place = |source: usize| match source {
        0 => (left + 24.0, middle - 46.0),
        1 => (left + 24.0, middle + 46.0),
        node => (left + 24.0 + STEP * (node - 1) as f64, middle),
    };
    let n_nodes = slots.len() / N_SLOTS;
    for node in 0..n_nodes {
        let sources = node + 2;
        // By source and kind.
        let mut mass = vec![vec![0.0; kinds.len()]; sources];
        for slot in &slots[N_SLOTS * node..N_SLOTS * (node + 1)] {
            let per_source = space.slots()[*slot].n_choices / sources;
            for (choice, p) in probabilities[*slot].iter().enumerate() {
                let source = (choice / per_source.max(1)).min(sources - 1);
                let of = kinds.iter().position(|name| *name == kind(space, *slot, choice)).unwrap_or(0);
                mass[source][of] += p;
            }
        }
        for (source, by_kind) in mass.iter().enumerate() {
            edge(svg, [place(source), place(node + 2)], by_kind, kinds, source);
        }
    }
    for source in 0..n_nodes + 2 {
        let (x, y) = place(source);
        let name = match source {
            0 => "k−2".to_owned(),
            1 => "k−1".to_owned(),
            node => (node - 2).to_string(),
        };
        let (w, fill) = if source < 2 { (38.0, "#e6f4ea") } else { (26.0, "#e8f0fe") };
        svg.rect([x - w / 2.0, y - 12.0, w, 24.0], 6.0, fill, "#8fb2e3");
        svg.text((x, y), 11.0, Anchor::Middle, INK, &name);
    }
}

/// Draws an edge. Edges over other nodes are arcs, by turns above and below them.
fn edge(svg: &mut Svg, [from, to]: [(f64, f64); 2], by_kind: &[f64], kinds: &[String], source: usize) {
    let total: f64 = by_kind.iter().sum();
    if total < LEAST {
        return;
    }
    let best = (0..by_kind.len()).max_by(|a, b| by_kind[*a].total_cmp(&by_kind[*b])).unwrap_or(0);
    let over = ((to.0 - from.0) / STEP - 1.0).max(0.0);
    let side = if source == 0 || (source > 1 && source.is_multiple_of(2)) { -1.0 } else { 1.0 };
    let bend = side * over * 34.0;
    let (start, end) = ((from.0 + 14.0, from.1), (to.0 - 14.0, to.1));
    let (third, y) = ((end.0 - start.0) / 3.0, |y: f64| n(y + bend));
    let d = format!(
        "M{} {}C{} {} {} {} {} {}",
        n(start.0),
        n(start.1),
        n(start.0 + third),
        y(start.1),
        n(end.0 - third),
        y(end.1),
        n(end.0),
        n(end.1)
    );
    let (width, opacity) = (1.0 + 6.0 * total, (0.12 + 0.75 * total).min(0.9));
    let names: Vec<String> = (0..by_kind.len())
        .filter(|of| by_kind[*of] >= LEAST)
        .map(|of| format!("{} {:.0} %", kinds[of], 100.0 * by_kind[of]))
        .collect();
    svg.line(&format!(
        "<path d=\"{d}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\" \
         stroke-linecap=\"round\"><title>{}</title></path>",
        if by_kind[best] > DECIDED * total { COLOURS[best % COLOURS.len()] } else { GREY },
        n(width),
        n(opacity),
        super::svg::escape(&names.join(", "))
    ));
    if by_kind[best] > NAMED {
        // The middle of the curve: three quarters of the way to its control points.
        let at =
            ((start.0 + end.0) / 2.0, (start.1 + end.1) / 2.0 + 0.75 * bend + side * (4.0 + 3.0 * total));
        svg.text(at, 9.0, Anchor::Middle, INK, &kinds[best]);
    }
}

fn chain(space: &dyn Space, probabilities: &PerSlot) -> String {
    let kinds = kinds(space);
    let names = 64.0;
    let widest = space.slots().iter().map(|slot| slot.n_choices).max().unwrap_or(0);
    let width = 2.0 * BORDER + names + widest as f64 * (BOX.0 + 10.0);
    let row = BOX.1 + BETWEEN;
    let mut svg = Svg::new(width, 2.0 * BORDER + row * probabilities.len() as f64 - BETWEEN);
    let place = |slot: usize, choice: usize| {
        (BORDER + names + (BOX.0 + 10.0) * choice as f64, BORDER + row * slot as f64)
    };
    for (slot, pair) in probabilities.windows(2).enumerate() {
        for (a, p) in pair[0].iter().enumerate() {
            for (b, q) in pair[1].iter().enumerate().filter(|(_, q)| p * **q >= LEAST) {
                let ((x, y), (to_x, to_y)) = (place(slot, a), place(slot + 1, b));
                svg.line(&format!(
                    "<path d=\"M{} {}L{} {}\" stroke=\"#7f8c99\" stroke-width=\"{}\" stroke-opacity=\"{}\"/>",
                    n(x + BOX.0 / 2.0),
                    n(y + BOX.1),
                    n(to_x + BOX.0 / 2.0),
                    n(to_y),
                    n(0.5 + 6.0 * p * q),
                    n((0.2 + 0.7 * p * q).min(0.9))
                ));
            }
        }
    }
    for (slot, of_slot) in probabilities.iter().enumerate() {
        let (_, y) = place(slot, 0);
        svg.text((BORDER, y + BOX.1 / 2.0), 11.0, Anchor::Start, GREY, &space.slot_name(slot));
        for (choice, p) in of_slot.iter().enumerate() {
            let (x, y) = place(slot, choice);
            let name = space.choice_name(slot, choice);
            let colour = COLOURS[kinds.iter().position(|kind| *kind == name).unwrap_or(0) % COLOURS.len()];
            svg.line(&format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"5\" fill=\"{colour}\" fill-opacity=\"{}\" \
                 stroke=\"#c3ccd5\"/>",
                n(x),
                n(y),
                n(BOX.0),
                n(BOX.1),
                n((0.08 + 0.8 * p).min(0.9))
            ));
            let ink = if *p > 0.6 && colour != COLOURS[0] { "#ffffff" } else { INK };
            let text = format!("{name} {:.0} %", 100.0 * p);
            svg.text((x + BOX.0 / 2.0, y + BOX.1 / 2.0), 9.5, Anchor::Middle, ink, &text);
        }
    }
    svg.finish()
}
