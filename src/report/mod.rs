//! Records → pictures: drawings of cells, the prior as a heat map, curves. SVG text, the same for the
//! same input, and PNG from it.
//!
//! Functions return the picture; writing it is the caller's business.

pub mod cells;
pub mod heatmap;
mod layout;
mod order;
pub mod plot;
pub mod png;
mod svg;

pub use cells::{cells_dot, cells_svg, sheet_svg};
pub use heatmap::prior_svg;
pub use layout::{Arrow, Item, ItemKind, Layout, layout};
pub use plot::{Panel, Series, panels_svg};
pub use png::png;
