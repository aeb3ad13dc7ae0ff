//! π after several steps → one small picture per slot: the probability of each kind of choice over the steps.

use super::plot::number;
use super::svg::{Anchor, FAINT, GREY, INK, Svg, n};
use crate::space::prior::PerSlot;
use crate::space::{Alpha, N_SLOTS, Space};

/// π after one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Number of steps done; 0 is the start.
    pub step: u64,
    /// Probabilities by slot and choice.
    pub probabilities: PerSlot,
}

impl Point {
    /// The most probable architecture. Among choices of equal probability the lowest index is taken.
    pub fn mode(&self) -> Alpha {
        let best = |p: &Vec<f64>| {
            let by_p = |a: &usize, b: &usize| p[*a].total_cmp(&p[*b]).then(b.cmp(a));
            (0..p.len()).max_by(by_p).unwrap_or(0) as u16
        };
        Alpha(self.probabilities.iter().map(best).collect())
    }

    /// Entropy of π, nats.
    pub fn entropy(&self) -> f64 {
        let terms = self.probabilities.iter().flatten().filter(|p| **p > 0.0);
        terms.map(|p| -p * p.ln()).sum()
    }
}

/// Extent of a slot's picture, without its title.
const AREA: (f64, f64) = (196.0, 84.0);
const GAP: (f64, f64) = (22.0, 44.0);
const BORDER: f64 = 20.0;
const HEAD: f64 = 26.0;
/// Pictures in a row.
const N_COLUMNS: usize = 2 * N_SLOTS;
/// Colours of the kinds of choices.
pub(super) const COLOURS: [&str; 10] = [
    "#c9d1d9", "#2f6fb7", "#d1722b", "#3c9155", "#8a5bb5", "#b8434e", "#e0b13c", "#4fa6b8", "#a0765b",
    "#66727f",
];

/// The kind of a choice: its name without the input that it reads.
pub(super) fn kind(space: &dyn Space, slot: usize, choice: usize) -> String {
    let name = space.choice_name(slot, choice);
    name.split('(').next().unwrap_or_default().to_owned()
}

/// All kinds of choices of a space, in the order of their first appearance.
pub(super) fn kinds(space: &dyn Space) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for (slot, of) in space.slots().iter().enumerate() {
        for choice in 0..of.n_choices {
            let kind = kind(space, slot, choice);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    kinds
}

/// Draws the course of π. In cells the choices that differ only in their input are one area.
pub fn course_svg(space: &dyn Space, course: &[Point]) -> String {
    let kinds = kinds(space);
    let groups: Vec<Vec<usize>> = (0..space.groups().len())
        .map(|group| (0..space.slots().len()).filter(|slot| space.slots()[*slot].group == group).collect())
        .collect();
    let width = 2.0 * BORDER + N_COLUMNS as f64 * (AREA.0 + GAP.0) - GAP.0;
    let per_line = ((width - 2.0 * BORDER) / 130.0).floor() as usize;
    let legend = 22.0 * kinds.len().div_ceil(per_line.max(1)) as f64;
    let rows: usize = groups.iter().map(|slots| slots.len().div_ceil(N_COLUMNS)).sum();
    let height = 2.0 * BORDER + legend + HEAD * groups.len() as f64 + (AREA.1 + GAP.1) * rows as f64 + 6.0;
    let mut svg = Svg::new(width, height);
    for (i, kind) in kinds.iter().enumerate() {
        let at = (BORDER + 130.0 * (i % per_line) as f64, BORDER + 22.0 * (i / per_line) as f64);
        svg.rect([at.0, at.1 - 6.0, 12.0, 12.0], 2.0, COLOURS[i % COLOURS.len()], "none");
        svg.text((at.0 + 18.0, at.1), 11.0, Anchor::Start, GREY, kind);
    }
    let mut y = BORDER + legend;
    for (group, slots) in groups.iter().enumerate() {
        svg.text((BORDER, y + 6.0), 13.0, Anchor::Start, INK, space.groups()[group]);
        y += HEAD;
        for row in slots.chunks(N_COLUMNS) {
            for (i, slot) in row.iter().enumerate() {
                area(&mut svg, space, course, *slot, &kinds, (BORDER + i as f64 * (AREA.0 + GAP.0), y));
            }
            y += AREA.1 + GAP.1;
        }
    }
    svg.finish()
}

/// The picture of a slot with its upper left corner at `at`.
fn area(svg: &mut Svg, space: &dyn Space, course: &[Point], slot: usize, kinds: &[String], at: (f64, f64)) {
    let (Some(first), Some(last)) = (course.first(), course.last()) else { return };
    let span = (last.step - first.step).max(1) as f64;
    let x = |point: &Point| at.0 + AREA.0 * (point.step - first.step) as f64 / span;
    let top = at.1 + 14.0;
    let of_choice: Vec<usize> = (0..space.slots()[slot].n_choices)
        .map(|choice| kinds.iter().position(|name| *name == kind(space, slot, choice)).unwrap_or(0))
        .collect();
    let share = |point: &Point, of: usize| -> f64 {
        let probabilities = point.probabilities[slot].iter().zip(&of_choice);
        probabilities.filter(|(_, kind)| **kind == of).map(|(p, _)| p).sum()
    };
    // Lower edge of the area of each point.
    let mut below = vec![0.0; course.len()];
    for of in 0..kinds.len() {
        if !of_choice.contains(&of) {
            continue;
        }
        let above: Vec<f64> = course.iter().zip(&below).map(|(point, low)| low + share(point, of)).collect();
        let y = |level: f64| top + AREA.1 * (1.0 - level.clamp(0.0, 1.0));
        let corner = |(point, level): (&Point, &f64)| format!("{} {}", n(x(point)), n(y(*level)));
        let upper: Vec<String> = course.iter().zip(&above).map(corner).collect();
        let lower: Vec<String> = course.iter().zip(&below).rev().map(corner).collect();
        let d = format!("M{}L{}Z", upper.join("L"), lower.join("L"));
        let colour = COLOURS[of % COLOURS.len()];
        svg.line(&format!(
            "<path d=\"{d}\" fill=\"{colour}\" stroke=\"#ffffff\" stroke-width=\"0.6\"><title>{}</title></path>",
            super::svg::escape(&kinds[of])
        ));
        below = above;
    }
    svg.rect([at.0, top, AREA.0, AREA.1], 0.0, "none", FAINT);
    let best = (0..space.slots()[slot].n_choices)
        .max_by(|a, b| last.probabilities[slot][*a].total_cmp(&last.probabilities[slot][*b]))
        .unwrap_or(0);
    let end = format!("{} {:.0} %", space.choice_name(slot, best), 100.0 * last.probabilities[slot][best]);
    svg.text((at.0, at.1 + 4.0), 10.0, Anchor::Start, GREY, &space.slot_name(slot));
    svg.text((at.0 + AREA.0, at.1 + 4.0), 10.0, Anchor::End, INK, &end);
    svg.text((at.0, top + AREA.1 + 9.0), 9.0, Anchor::Start, GREY, &number(first.step as f64));
    svg.text((at.0 + AREA.0, top + AREA.1 + 9.0), 9.0, Anchor::End, GREY, &number(last.step as f64));
    // The mark of a replay. A page moves it.
    svg.line(&format!(
        "<rect data-replay-mark=\"\" data-left=\"{}\" data-width=\"{}\" x=\"{}\" y=\"{}\" width=\"1.5\" height=\"{}\" \
         fill=\"{INK}\" fill-opacity=\"0.6\"/>",
        n(at.0),
        n(AREA.0),
        n(at.0 + AREA.0),
        n(top),
        n(AREA.1)
    ));
}
