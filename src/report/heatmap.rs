//! π → one small map per slot: one row per input, one column per primitive, the probability as colour and number.

use crate::space::prior::PerSlot;
use crate::space::{Alpha, N_NODES, N_SLOTS, Prior, Space};

use super::svg::{Anchor, GREY, INK, Svg};

/// Extent of the field of one choice.
const FIELD: (f64, f64) = (32.0, 19.0);
const BORDER: f64 = 24.0;
/// Space for the names of rows, for the names of columns, and for headings.
const INPUTS: f64 = 46.0;
const NAMES: f64 = 84.0;
const HEAD: f64 = 26.0;

/// One map: its rows and columns, and the number of each field.
struct Map<'a> {
    title: String,
    rows: Vec<String>,
    columns: Vec<String>,
    values: &'a [f64],
    /// The field with a frame.
    best: Option<usize>,
}

/// Maps below each other with the same columns.
struct Column<'a> {
    heading: String,
    maps: Vec<Map<'a>>,
}

/// Columns side by side, under the title of their group.
struct Group<'a> {
    title: String,
    columns: Vec<Column<'a>>,
}

/// The prior of all slots. The mode of each slot has a frame.
pub fn prior_svg(space: &dyn Space, prior: &Prior) -> String {
    probabilities_svg(space, &prior.probabilities(), &prior.mode())
}

/// The probabilities of all slots. The choice of `mode` has a frame in each slot.
pub fn probabilities_svg(space: &dyn Space, probabilities: &PerSlot, mode: &Alpha) -> String {
    let map = |slot: usize, title: String| {
        let (rows, columns) = names(space, slot);
        Map { title, rows, columns, values: &probabilities[slot], best: Some(usize::from(mode.0[slot])) }
    };
    let groups: Vec<Group<'_>> = (0..space.groups().len())
        .map(|group| {
            let slots: Vec<usize> =
                (0..space.slots().len()).filter(|s| space.slots()[*s].group == group).collect();
            let per_column = columns_of(space);
            let columns = (0..per_column).map(|at| Column {
                heading: if per_column > 1 { format!("slot {at}") } else { String::new() },
                maps: slots
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| i % per_column == at)
                    .map(|(i, slot)| map(*slot, row_title(space, i / per_column)))
                    .collect(),
            });
            Group { title: title(space, group), columns: columns.collect() }
        })
        .collect();
    draw(
        &groups,
        if columns_of(space) > 1 {
            "probability of each pair in %, the most probable framed"
        } else {
            "probability of each choice in %, the most probable framed"
        },
    )
}

/// The factors of all paths of a mixed network, in the order of [`Space::mixed_slots`].
pub fn mixed_svg(space: &dyn Space, factors: &[f64]) -> String {
    let mut rest = factors;
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (at, name) in space.groups().iter().enumerate() {
        let sets: Vec<usize> =
            space.mixed_slots().iter().filter(|s| s.group == at).map(|s| s.n_choices).collect();
        let (here, others) = rest.split_at(sets.iter().sum::<usize>().min(rest.len()));
        rest = others;
        let maps = if *name == "layers" { chain_maps(space, &sets, here) } else { cell_maps(space, here) };
        groups
            .push(Group { title: title(space, at), columns: vec![Column { heading: String::new(), maps }] });
    }
    let cells = columns_of(space) > 1;
    let of = if cells { "primitives of each edge" } else { "choices of each layer" };
    draw(&groups, &format!("softmax over the {of} in %"))
}

/// The edges of a cell, node by node.
fn cell_maps<'a>(space: &dyn Space, factors: &'a [f64]) -> Vec<Map<'a>> {
    let mut rest = factors;
    let mut maps = Vec::new();
    for node in 0..N_NODES {
        let (rows, columns) = names(space, node * N_SLOTS);
        let (values, others) = rest.split_at((rows.len() * columns.len()).min(rest.len()));
        rest = others;
        maps.push(Map { title: format!("node {node}"), rows, columns, values, best: None });
    }
    maps
}

/// The layers of a chain.
fn chain_maps<'a>(space: &dyn Space, sets: &[usize], factors: &'a [f64]) -> Vec<Map<'a>> {
    let mut rest = factors;
    let mut maps = Vec::new();
    for (slot, n) in sets.iter().enumerate() {
        let (rows, columns) = names(space, slot);
        let (values, others) = rest.split_at((*n).min(rest.len()));
        rest = others;
        maps.push(Map { title: row_title(space, slot), rows, columns, values, best: None });
    }
    maps
}

/// Number of slots beside each other: the two of a node in a space of cells, otherwise one.
fn columns_of(space: &dyn Space) -> usize {
    if space.alpha_shape().len() > 1 { N_SLOTS } else { 1 }
}

fn row_title(space: &dyn Space, row: usize) -> String {
    if columns_of(space) > 1 { format!("node {row}") } else { row.to_string() }
}

fn title(space: &dyn Space, group: usize) -> String {
    match space.groups()[group] {
        "normal" => "normal cell".into(),
        "reduce" => "reduction cell".into(),
        other => other.into(),
    }
}

/// Names of the rows and columns of a slot's map: inputs and primitives of pairs, or one row of choices.
fn names(space: &dyn Space, slot: usize) -> (Vec<String>, Vec<String>) {
    let choices: Vec<String> =
        (0..space.slots()[slot].n_choices).map(|c| space.choice_name(slot, c)).collect();
    let pairs: Option<Vec<(&str, &str)>> =
        choices.iter().map(|name| name.strip_suffix(')')?.split_once('(')).collect();
    let Some(pairs) = pairs else { return (vec![String::new()], choices) };
    let n = pairs.iter().take_while(|(_, input)| *input == pairs[0].1).count();
    let rows = pairs.iter().step_by(n).map(|(_, input)| input.replace('-', "−")).collect();
    (rows, pairs[..n].iter().map(|(primitive, _)| (*primitive).to_owned()).collect())
}

fn draw(groups: &[Group<'_>], note: &str) -> String {
    let n_columns = |column: &Column<'_>| column.maps.first().map_or(0, |map| map.columns.len());
    let map_width = |column: &Column<'_>| FIELD.0 * n_columns(column) as f64;
    let headed = groups.iter().flat_map(|g| &g.columns).any(|c| !c.heading.is_empty());
    let top = BORDER + if headed { 1.7 * HEAD } else { HEAD };
    let rows = |column: &Column<'_>| column.maps.iter().map(row_height).sum::<f64>();
    let width =
        |group: &Group<'_>| group.columns.iter().map(|c| INPUTS + map_width(c) + 18.0).sum::<f64>() + BORDER;
    let tallest = groups.iter().flat_map(|g| &g.columns).map(rows).fold(0.0, f64::max);
    let bottom = top + tallest + NAMES + BORDER;
    // The note below may be longer than the maps of a short chain are wide.
    let noted = 2.0 * BORDER + 5.8 * note.chars().count() as f64;
    let mut svg = Svg::new(noted.max(BORDER + groups.iter().map(width).sum::<f64>()), bottom);
    let mut left = BORDER;
    for group in groups {
        let middle = if headed {
            left + width(group) / 2.0
        } else {
            left + INPUTS + map_width(&group.columns[0]) / 2.0
        };
        svg.text((middle, BORDER), 15.0, Anchor::Middle, INK, &group.title);
        let mut x = left + INPUTS;
        for column in &group.columns {
            if headed {
                let at = (x + map_width(column) / 2.0, BORDER + HEAD);
                svg.text(at, 12.0, Anchor::Middle, GREY, &column.heading);
            }
            let mut y = top;
            for map in &column.maps {
                draw_map(&mut svg, (x, y), map);
                y += row_height(map);
            }
            for (p, name) in column.maps.first().iter().flat_map(|map| map.columns.iter().enumerate()) {
                let at = (x + FIELD.0 * (p as f64 + 0.5), y);
                svg.turned(at, 11.0, Anchor::End, -55.0, name);
            }
            x += map_width(column) + 18.0 + INPUTS;
        }
        left += width(group);
    }
    svg.text((BORDER, bottom - 0.6 * BORDER), 11.0, Anchor::Start, GREY, note);
    svg.finish()
}

fn row_height(map: &Map<'_>) -> f64 {
    FIELD.1 * map.rows.len() as f64 + 14.0
}

fn draw_map(svg: &mut Svg, (x, y): (f64, f64), map: &Map<'_>) {
    let n_columns = map.columns.len();
    let place = |index: usize| {
        let (row, column) = (index / n_columns, index % n_columns);
        [x + FIELD.0 * column as f64, y + FIELD.1 * row as f64, FIELD.0, FIELD.1]
    };
    let at = (x - INPUTS + 6.0, y + FIELD.1 * map.rows.len() as f64 / 2.0);
    svg.turned(at, 11.0, Anchor::Middle, -90.0, &map.title);
    for (i, name) in map.rows.iter().enumerate() {
        svg.text((x - 6.0, y + FIELD.1 * (i as f64 + 0.5)), 10.0, Anchor::End, GREY, name);
    }
    for (index, &p) in map.values.iter().enumerate() {
        let [left, top, w, h] = place(index);
        svg.rect([left, top, w, h], 0.0, &shade(p), "#ffffff");
        let ink = if p > 0.5 { "#ffffff" } else { INK };
        // Two decimals of a percent would not fit, and one is enough.
        let text = if p >= 0.0995 { format!("{:.0}", 100.0 * p) } else { format!("{:.1}", 100.0 * p) };
        svg.text((left + w / 2.0, top + h / 2.0), 9.0, Anchor::Middle, ink, &text);
    }
    if let Some(best) = map.best.filter(|best| *best < map.values.len()) {
        let [left, top, w, h] = place(best);
        svg.rect([left + 0.5, top + 0.5, w - 1.0, h - 1.0], 0.0, "none", "#d1722b");
    }
}

/// White at 0 to dark blue at 1. The square root makes small probabilities visible.
fn shade(p: f64) -> String {
    let share = if p.is_finite() { p.clamp(0.0, 1.0).sqrt() } else { 0.0 };
    let mix = |from: f64, to: f64| (from + share * (to - from)).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(250.0, 20.0), mix(252.0, 74.0), mix(255.0, 140.0))
}
