//! Records → pictures and text: drawings of architectures, the prior as a heat map, curves, summaries. The SVG is
//! the same for the same input, and the PNG is made from the SVG.
//!
//! The functions return their results. The caller writes them to files.

pub mod cells;
pub mod chain;
pub mod comparison;
pub mod confusion;
pub mod course;
pub mod curves;
pub mod doubts;
mod flow;
pub mod heatmap;
pub mod history;
mod layout;
mod order;
pub mod page;
pub mod paired;
pub mod plot;
pub mod png;
pub mod rank;
pub mod scatter;
pub mod summary;
mod svg;
pub mod tensorboard;
pub mod trust;

use crate::space::{Alpha, Diagram, Space};

/// Draws architectures below each other, each with a caption, which may be empty.
pub fn architectures_svg(space: &dyn Space, rows: &[(String, Alpha)]) -> String {
    let (mut cells, mut chains) = (Vec::new(), Vec::new());
    for (caption, alpha) in rows {
        match space.diagram(alpha) {
            Diagram::Cells(genotype) => cells.push((caption.clone(), *genotype)),
            Diagram::Chain(links) => chains.push((caption.clone(), links)),
        }
    }
    if chains.is_empty() { sheet_svg(&cells) } else { chains_svg(&chains) }
}

/// Draws one architecture.
pub fn architecture_svg(space: &dyn Space, alpha: &Alpha) -> String {
    architectures_svg(space, &[(String::new(), alpha.clone())])
}

/// One architecture as a DOT graph.
pub fn architecture_dot(space: &dyn Space, alpha: &Alpha) -> String {
    match space.diagram(alpha) {
        Diagram::Cells(genotype) => cells_dot(&genotype),
        Diagram::Chain(links) => chain_dot(&links),
    }
}

pub use cells::{cells_dot, cells_svg, sheet_svg};
pub use chain::{chain_dot, chains_svg};
pub use confusion::{confusion_svg, confusion_text};
pub use course::course_svg;
pub use curves::metrics_svg;
pub use flow::flow_svg;
pub use heatmap::{mixed_svg, prior_svg, probabilities_svg};
pub use history::History;
pub use layout::{Arrow, Item, ItemKind, Layout, layout};
pub use plot::{Panel, Series, panels_svg};
pub use png::{pixels, png};
pub use scatter::children_svg;
