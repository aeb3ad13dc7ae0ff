//! A chain of layers → its drawing: one row of blocks per stage.

use super::svg::{Anchor, FAINT, GREY, INK, Svg, n};
use crate::space::Link;

const BORDER: f64 = 24.0;
const BLOCK: (f64, f64) = (74.0, 26.0);
const GAP: f64 = 18.0;
const ROW: f64 = 66.0;
const CAPTION: f64 = 28.0;
/// Width of the text about a stage, left of the stage's blocks.
const SAID: f64 = 124.0;

/// Fill and frame of a block: one colour per kernel side, stronger with the expansion.
fn tint(block: Option<(usize, usize)>) -> (&'static str, &'static str) {
    match block {
        None => ("#f3f4f6", "#8d99a6"),
        Some((_, 3)) => ("#e8f0fe", "#8fb2e3"),
        Some((_, 5)) => ("#f1e9fb", "#b79add"),
        Some(_) => ("#fdeadd", "#e0a577"),
    }
}

/// Stages of a chain. The first layer of each stage halves the map.
fn stages(links: &[Link]) -> Vec<&[Link]> {
    links.chunk_by(|_, next| !next.halves).collect()
}

/// Draws chains below each other, each with a caption, which may be empty.
pub fn chains_svg(rows: &[(String, Vec<Link>)]) -> String {
    let widest = rows.iter().flat_map(|(_, links)| stages(links)).map(<[Link]>::len).max().unwrap_or(0);
    let width = 2.0 * BORDER + SAID + widest as f64 * (BLOCK.0 + GAP) - GAP;
    let height = |(caption, links): &(String, Vec<Link>)| {
        let caption = if caption.is_empty() { 0.0 } else { CAPTION };
        caption + ROW * (stages(links).len() + 1) as f64 + BLOCK.1
    };
    let total: f64 = rows.iter().map(height).sum();
    // The space between chains is as large as the border.
    let between = BORDER * rows.len().saturating_sub(1) as f64;
    let mut svg = Svg::new(width, 2.0 * BORDER + total + between);
    let mut y = BORDER;
    for (caption, links) in rows {
        if !caption.is_empty() {
            svg.text((BORDER, y + 8.0), 12.0, Anchor::Start, GREY, caption);
            y += CAPTION;
        }
        y = chain(&mut svg, links, y) + BORDER;
    }
    svg.finish()
}

/// Draws one chain from `y` on and returns the lower end of the chain.
fn chain(svg: &mut Svg, links: &[Link], mut y: f64) -> f64 {
    let left = BORDER + SAID;
    let first = left + BLOCK.0 / 2.0;
    end(svg, left, y, "stem", "#e6f4ea", "#5b9a6f");
    // Start of the line from the row before.
    let mut from = first;
    for (at, stage) in stages(links).into_iter().enumerate() {
        turn(svg, from, first, y);
        y += ROW;
        let middle = y + BLOCK.1 / 2.0;
        svg.text((BORDER, middle - 7.0), 12.0, Anchor::Start, INK, &format!("stage {}", at + 1));
        let about = format!("{} x channels, 1/{} side", stage[0].widening, 2 << at);
        svg.text((BORDER, middle + 8.0), 10.0, Anchor::Start, GREY, &about);
        from = first + (stage.len() - 1) as f64 * (BLOCK.0 + GAP);
        svg.path(&format!("M{} {}H{}", n(first), n(middle), n(from)), FAINT, 2.0);
        for (i, link) in stage.iter().enumerate() {
            let x = left + i as f64 * (BLOCK.0 + GAP);
            let (fill, stroke) = tint(link.block);
            svg.rect([x, y, BLOCK.0, BLOCK.1], 6.0, fill, stroke);
            svg.text((x + BLOCK.0 / 2.0, middle), 12.0, Anchor::Middle, INK, &link.name);
        }
    }
    turn(svg, from, first, y);
    end(svg, left, y + ROW, "head", "#fdf3d8", "#b8923a");
    y + ROW + BLOCK.1
}

/// The line from the last block of a row at `y` to the first of the next.
fn turn(svg: &mut Svg, from: f64, to: f64, y: f64) {
    let (start, bend, end) = (y + BLOCK.1, y + (ROW + BLOCK.1) / 2.0, y + ROW);
    svg.path(&format!("M{} {}V{}H{}V{}", n(from), n(start), n(bend), n(to), n(end)), FAINT, 2.0);
}

fn end(svg: &mut Svg, x: f64, y: f64, name: &str, fill: &str, stroke: &str) {
    svg.rect([x, y, BLOCK.0, BLOCK.1], 6.0, fill, stroke);
    svg.text((x + BLOCK.0 / 2.0, y + BLOCK.1 / 2.0), 12.0, Anchor::Middle, INK, name);
}

/// A chain as a DOT graph.
pub fn chain_dot(links: &[Link]) -> String {
    let mut dot = String::from(
        "digraph chain {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=\"#e8f0fe\"];\n  stem [fillcolor=\"#e6f4ea\"];\n  head [fillcolor=\"#fdf3d8\"];\n",
    );
    let mut before = "stem".to_owned();
    for (i, link) in links.iter().enumerate() {
        let what = if link.halves { ", stride 2" } else { "" };
        dot += &format!("  layer{i} [label=\"{}{what}\"];\n  {before} -> layer{i};\n", link.name);
        before = format!("layer{i}");
    }
    dot + &format!("  {before} -> head;\n}}\n")
}
