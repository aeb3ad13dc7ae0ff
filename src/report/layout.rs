//! A cell → positions of its nodes, labels and arrows, from left to right.
//!
//! Nodes are in layers by their longest path from the inputs. Between two layers of nodes there is a layer of labels,
//! and an arrow that passes a layer has a place of its own in that layer. Therefore nothing can overlap: arrows bend
//! only between the layers and are flat inside them.

use crate::space::{CellArch, N_NODES, Primitive};

use super::order::Layered;

/// The thing that is drawn at an item's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// Output of cell k-2 (0) or k-1 (1).
    Input(usize),
    /// Intermediate node 0..4.
    Node(usize),
    /// Output of the cell.
    Output,
    /// The operation on an arrow.
    Label(Primitive),
}

/// A box with its middle at (`x`, `y`), in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Kind of the item.
    pub kind: ItemKind,
    /// Horizontal position of the middle.
    pub x: f64,
    /// Vertical position of the middle.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

/// A line through `points` that is flat at each point. A line into a node ends in a tip.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrow {
    /// The points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether the line ends in a tip.
    pub tip: bool,
    /// Whether the line carries an operation. The other lines lead to the output.
    pub labelled: bool,
}

/// A laid-out cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Nodes and labels.
    pub items: Vec<Item>,
    /// Lines between nodes and labels.
    pub arrows: Vec<Arrow>,
    /// Extent in pixels.
    pub width: f64,
    /// Extent in pixels.
    pub height: f64,
}

/// Distance between the boxes of a layer.
const MARGIN: f64 = 10.0;
/// Height of an arrow that passes a layer.
const PASS: f64 = 12.0;
const LABEL: (f64, f64) = (108.0, 22.0);

fn extent(kind: Option<ItemKind>) -> (f64, f64) {
    match kind {
        None => (0.0, 0.0),
        Some(ItemKind::Label(_)) => LABEL,
        Some(ItemKind::Node(_)) => (32.0, 32.0),
        Some(ItemKind::Input(_)) => (54.0, 30.0),
        Some(ItemKind::Output) => (46.0, 64.0),
    }
}

/// The graph while it is built. `None` is an arrow that passes a layer.
#[derive(Default)]
struct Draft {
    kinds: Vec<Option<ItemKind>>,
    layer: Vec<usize>,
    /// The items that each line passes, and whether the line is labelled.
    lines: Vec<(Vec<usize>, bool)>,
}

impl Draft {
    fn add(&mut self, kind: Option<ItemKind>, layer: usize) -> usize {
        self.kinds.push(kind);
        self.layer.push(layer);
        self.kinds.len() - 1
    }

    /// Adds a line between two items, with a place in each layer between them.
    fn join(&mut self, from: usize, to: usize, labelled: bool) {
        let mut line = vec![from];
        for layer in self.layer[from] + 1..self.layer[to] {
            line.push(self.add(None, layer));
        }
        line.push(to);
        self.lines.push((line, labelled));
    }
}

fn draft(cell: &CellArch) -> Draft {
    let mut rank = [0; N_NODES + 2];
    for (node, slots) in cell.iter().enumerate() {
        rank[node + 2] = 1 + slots.iter().map(|pair| rank[pair.input]).max().unwrap_or(0);
    }
    let mut d = Draft::default();
    let mut vertices: Vec<usize> = (0..2).map(|i| d.add(Some(ItemKind::Input(i)), 0)).collect();
    vertices.extend((0..N_NODES).map(|node| d.add(Some(ItemKind::Node(node)), 2 * rank[node + 2])));
    let last = rank.iter().max().copied().unwrap_or(0);
    let output = d.add(Some(ItemKind::Output), 2 * last + 1);
    for (node, slots) in cell.iter().enumerate() {
        for pair in slots {
            let label = d.add(Some(ItemKind::Label(pair.primitive)), 2 * rank[node + 2] - 1);
            d.join(vertices[pair.input], label, true);
            d.join(label, vertices[node + 2], true);
        }
    }
    for node in 0..N_NODES {
        d.join(vertices[node + 2], output, false);
    }
    d
}

/// Places all items and arrows. Equal cells get equal layouts.
pub fn layout(cell: &CellArch) -> Layout {
    let d = draft(cell);
    let n_layers = d.layer.iter().max().map_or(0, |l| l + 1);
    let mut graph = Layered {
        layers: (0..n_layers).map(|l| (0..d.kinds.len()).filter(|&i| d.layer[i] == l).collect()).collect(),
        links: Vec::new(),
        heights: d.kinds.iter().map(|&k| if k.is_none() { PASS } else { extent(k).1 + MARGIN }).collect(),
        weights: Vec::new(),
    };
    for (line, _) in &d.lines {
        for pair in line.windows(2) {
            let passing = pair.iter().filter(|&&i| d.kinds[i].is_none()).count();
            graph.links.push((pair[0], pair[1]));
            graph.weights.push([1.0, 2.0, 8.0][passing]);
        }
    }
    graph.reduce_crossings();
    let y = graph.place();
    let (lefts, rights) = columns(&d, &graph, &y);
    let height = (0..y.len()).map(|i| y[i] + graph.heights[i] / 2.0).fold(0.0, f64::max);
    let middle = |i: usize| (lefts[d.layer[i]] + rights[d.layer[i]]) / 2.0;
    let item = |(i, kind): (usize, &Option<ItemKind>)| {
        let (w, h) = extent(*kind);
        kind.map(|kind| Item { kind, x: middle(i), y: y[i], w, h })
    };
    let ports = ports(&d, &y);
    let arrows = d.lines.iter().zip(ports).map(|((line, labelled), port)| {
        let (from, to) = (line[0], line[line.len() - 1]);
        let mut points = vec![(middle(from) + extent(d.kinds[from]).0 / 2.0, y[from])];
        for &pass in &line[1..line.len() - 1] {
            points.push((lefts[d.layer[pass]], y[pass]));
            points.push((rights[d.layer[pass]], y[pass]));
        }
        points.push((middle(to) - extent(d.kinds[to]).0 / 2.0, y[to] + port));
        let tip = !matches!(d.kinds[to], Some(ItemKind::Label(_)));
        Arrow { points, tip, labelled: *labelled }
    });
    Layout {
        items: d.kinds.iter().enumerate().filter_map(item).collect(),
        arrows: arrows.collect(),
        width: rights.last().copied().unwrap_or(0.0),
        height,
    }
}

/// Left and right ends of each layer. A gap between layers grows with the heights that its lines climb.
fn columns(d: &Draft, graph: &Layered, y: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut lefts, mut rights, mut x) = (Vec::new(), Vec::new(), 0.0);
    for (l, layer) in graph.layers.iter().enumerate() {
        if l > 0 {
            let climbs = graph.links.iter().filter(|(a, _)| d.layer[*a] + 1 == l);
            let climb = climbs.map(|&(a, b)| (y[a] - y[b]).abs()).fold(0.0, f64::max);
            x += (0.45 * climb).clamp(30.0, 90.0);
        }
        lefts.push(x);
        x += layer.iter().map(|&i| extent(d.kinds[i]).0).fold(0.0, f64::max);
        rights.push(x);
    }
    (lefts, rights)
}

/// For each line the distance of its end from the middle of its last item, so that tips do not overlap.
fn ports(d: &Draft, y: &[f64]) -> Vec<f64> {
    let before = |line: &[usize]| y[line[line.len() - 2]];
    let port = |(this, (line, _)): (usize, &(Vec<usize>, bool))| {
        let to = line[line.len() - 1];
        let same: Vec<usize> = (0..d.lines.len()).filter(|&i| d.lines[i].0.last() == Some(&to)).collect();
        let above = |&&i: &&usize| {
            let other = before(&d.lines[i].0);
            other < before(line) || (other == before(line) && i < this)
        };
        let rank = same.iter().filter(above).count() as f64;
        12.0 * (rank - (same.len() - 1) as f64 / 2.0)
    };
    d.lines.iter().enumerate().map(port).collect()
}
