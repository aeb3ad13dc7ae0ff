//! Genotypes → drawings of their two cells side by side, as SVG, and as DOT for graphviz.

use crate::space::{CellArch, CellKind, Genotype, Primitive};

use super::layout::{Arrow, Item, ItemKind, Layout, layout};
use super::svg::{Anchor, FAINT, GREY, INK, Svg, escape, n};

const BORDER: f64 = 24.0;
/// Height of a heading above the cells.
const HEAD: f64 = 34.0;
/// Distance between the two cells.
const BETWEEN: f64 = 56.0;

/// Both cells of one genotype.
pub fn cells_svg(genotype: &Genotype) -> String {
    sheet_svg(&[(String::new(), genotype.clone())])
}

/// A sheet of genotypes, one row each, with a caption (may be empty) above each row.
pub fn sheet_svg(rows: &[(String, Genotype)]) -> String {
    let layouts: Vec<[Layout; 2]> =
        rows.iter().map(|(_, genotype)| CellKind::ALL.map(|kind| layout(genotype.cell(kind)))).collect();
    let widest = |i: usize| layouts.iter().map(|pair| pair[i].width).fold(180.0, f64::max);
    let (left, right) = (widest(0), widest(1));
    let row_height = |(caption, pair): (&String, &[Layout; 2])| {
        let head = if caption.is_empty() { 0.0 } else { HEAD };
        (head, pair[0].height.max(pair[1].height))
    };
    let heights: Vec<_> = rows.iter().map(|(caption, _)| caption).zip(&layouts).map(row_height).collect();
    let total: f64 = heights.iter().map(|(head, height)| head + height + BORDER).sum();
    let mut svg = Svg::new(2.0 * BORDER + left + BETWEEN + right, BORDER + HEAD + total - 8.0);
    let columns = [(BORDER, left, "normal cell"), (BORDER + left + BETWEEN, right, "reduction cell")];
    for (x, width, title) in columns {
        svg.text((x + width / 2.0, BORDER), 15.0, Anchor::Middle, INK, title);
    }
    let bottom = HEAD + total;
    let middle = n(BORDER + left + BETWEEN / 2.0);
    svg.path(&format!("M{middle} {}V{}", n(BORDER / 2.0), n(bottom)), FAINT, 1.0);
    let mut y = BORDER + HEAD - 8.0;
    for (((caption, _), pair), (head, height)) in rows.iter().zip(&layouts).zip(heights) {
        if !caption.is_empty() {
            svg.text((BORDER, y + head / 2.0 - 4.0), 12.0, Anchor::Start, GREY, caption);
        }
        y += head;
        for (cell, (x, width, _)) in pair.iter().zip(columns) {
            draw(&mut svg, cell, x + (width - cell.width) / 2.0, y + (height - cell.height) / 2.0);
        }
        y += height + BORDER;
    }
    svg.finish()
}

fn draw(svg: &mut Svg, cell: &Layout, x: f64, y: f64) {
    svg.line(&format!(r#"<g transform="translate({} {})">"#, n(x), n(y)));
    for arrow in &cell.arrows {
        draw_arrow(svg, arrow);
    }
    for item in &cell.items {
        draw_item(svg, item);
    }
    svg.line("</g>");
}

fn draw_arrow(svg: &mut Svg, arrow: &Arrow) {
    let colour = if arrow.labelled { "#52606d" } else { "#a3b0bd" };
    let mut d = String::new();
    let last = arrow.points.len().saturating_sub(1);
    let mut from = (0.0, 0.0);
    for (i, &(x, y)) in arrow.points.iter().enumerate() {
        // The line ends inside the tip.
        let x = if i == last && arrow.tip { x - 5.0 } else { x };
        let middle = n((from.0 + x) / 2.0);
        if i == 0 {
            d = format!("M{} {}", n(x), n(y));
        } else if y == from.1 {
            d += &format!("H{}", n(x));
        } else {
            d += &format!("C{middle} {} {middle} {} {} {}", n(from.1), n(y), n(x), n(y));
        }
        from = (x, y);
    }
    svg.path(&d, colour, 1.4);
    if let (true, Some(&(x, y))) = (arrow.tip, arrow.points.last()) {
        let (x0, y0, y1) = (n(x - 8.0), n(y - 3.6), n(y + 3.6));
        svg.line(&format!(r#"<path d="M{x0} {y0}L{} {}L{x0} {y1}Z" fill="{colour}"/>"#, n(x), n(y)));
    }
}

fn draw_item(svg: &mut Svg, item: &Item) {
    let (fill, stroke) = match item.kind {
        ItemKind::Input(_) => ("#e6f4ea", "#5b9a6f"),
        ItemKind::Output => ("#fdf3d8", "#b8923a"),
        ItemKind::Node(_) => ("#dbe9fb", "#4a7fc1"),
        ItemKind::Label(primitive) => tint(primitive),
    };
    let radius = match item.kind {
        ItemKind::Node(_) => item.w / 2.0,
        ItemKind::Label(_) => item.h / 2.0,
        ItemKind::Input(_) | ItemKind::Output => 6.0,
    };
    svg.rect([item.x - item.w / 2.0, item.y - item.h / 2.0, item.w, item.h], radius, fill, stroke);
    let at = (item.x, item.y);
    let indexed = |index: &str| format!(r#"c<tspan dy="3.5" font-size="10">{}</tspan>"#, escape(index));
    match item.kind {
        ItemKind::Input(0) => svg.raw_text(at, 14.0, Anchor::Middle, INK, "", &indexed("k−2")),
        ItemKind::Input(_) => svg.raw_text(at, 14.0, Anchor::Middle, INK, "", &indexed("k−1")),
        ItemKind::Output => svg.raw_text(at, 14.0, Anchor::Middle, INK, "", &indexed("k")),
        ItemKind::Node(node) => svg.text(at, 14.0, Anchor::Middle, INK, &node.to_string()),
        ItemKind::Label(primitive) => svg.text(at, 12.0, Anchor::Middle, INK, primitive.name()),
    }
}

/// Fill and frame of a label: one colour per family of operations.
fn tint(primitive: Primitive) -> (&'static str, &'static str) {
    match primitive.dilation() {
        _ if primitive == Primitive::None => ("#f3f4f6", "#b4bcc5"),
        _ if primitive.is_pool() => ("#fdeadd", "#e0a577"),
        None => ("#f3f4f6", "#8d99a6"),
        Some(1) => ("#e8f0fe", "#8fb2e3"),
        Some(_) => ("#f1e9fb", "#b79add"),
    }
}

/// Both cells as two clusters of one DOT graph.
pub fn cells_dot(genotype: &Genotype) -> String {
    let mut dot = String::from(
        "digraph genotype {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=\"#dbe9fb\"];\n",
    );
    for kind in CellKind::ALL {
        dot += &cluster(kind, genotype.cell(kind));
    }
    dot + "}\n"
}

fn cluster(kind: CellKind, cell: &CellArch) -> String {
    let name = kind.name();
    let title = if kind == CellKind::Normal { "normal cell" } else { "reduction cell" };
    let vertex = |index: usize| match index {
        0 | 1 => format!("{name}_input_{index}"),
        _ => format!("{name}_node_{}", index - 2),
    };
    let mut dot = format!("  subgraph cluster_{name} {{\n    label=\"{title}\";\n");
    for (index, label) in ["c_{k-2}", "c_{k-1}", "0", "1", "2", "3"].into_iter().enumerate() {
        let colour = if index < 2 { ", fillcolor=\"#e6f4ea\"" } else { "" };
        dot += &format!("    {} [label=\"{label}\"{colour}];\n", vertex(index));
    }
    dot += &format!("    {name}_output [label=\"c_{{k}}\", fillcolor=\"#fdf3d8\"];\n");
    for (node, slots) in cell.iter().enumerate() {
        for pair in slots {
            let (from, to, label) = (vertex(pair.input), vertex(node + 2), pair.primitive.name());
            dot += &format!("    {from} -> {to} [label=\"{label}\"];\n");
        }
    }
    for node in 0..cell.len() {
        dot += &format!("    {} -> {name}_output;\n", vertex(node + 2));
    }
    dot + "  }\n"
}
