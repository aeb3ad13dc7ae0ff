//! Records → pictures and text: drawings of cells, the prior as a heat map, curves, summaries. SVG is
//! the same for the same input, and PNG is made from it.
//!
//! Functions return what they made; writing it is the caller's business.

pub mod cells;
pub mod comparison;
pub mod confusion;
pub mod curves;
pub mod heatmap;
mod layout;
mod order;
pub mod plot;
pub mod png;
pub mod summary;
mod svg;

pub use cells::{cells_dot, cells_svg, sheet_svg};
pub use confusion::{confusion_svg, confusion_text};
pub use curves::metrics_svg;
pub use heatmap::{mixture_svg, prior_svg};
pub use layout::{Arrow, Item, ItemKind, Layout, layout};
pub use plot::{Panel, Series, panels_svg};
pub use png::png;
