//! SVG → PNG with the bundled font, so that the picture is the same on every machine.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

use crate::error::{Error, Result};

/// The font of all drawings.
pub const FONT: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-subset.ttf");

/// The picture as PNG at `scale` pixels per SVG pixel.
///
/// # Errors
/// The errors of [`pixels`].
pub fn png(svg: &str, scale: f32) -> Result<Vec<u8>> {
    pixels(svg, scale)?
        .encode_png()
        .map_err(|e| Error::usage("drawing", "a picture that can be encoded", e.to_string(), ""))
}

/// The picture at `scale` pixels per SVG pixel.
///
/// # Errors
/// [`Error::Usage`] if `svg` is no valid SVG, or if the picture would have no pixels or too many.
pub fn pixels(svg: &str, scale: f32) -> Result<Pixmap> {
    let tree = usvg::Tree::from_str(svg, &options())
        .map_err(|e| Error::usage("drawing", "valid SVG", e.to_string(), ""))?;
    let side = |length: f32| (length * scale).ceil() as u32;
    let (width, height) = (side(tree.size().width()), side(tree.size().height()));
    // A larger picture would take gigabytes of memory.
    let pixmap = Pixmap::new(width, height).filter(|_| width <= 30_000 && height <= 30_000);
    let mut pixmap = pixmap.ok_or_else(|| {
        let found = format!("{width}x{height}");
        Error::usage(
            "size of the picture in pixels",
            "1x1 to 30000x30000",
            found,
            "fewer rows or another scale",
        )
    })?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    Ok(pixmap)
}

/// Options of usvg for the layout of our texts: the bundled font for every family.
pub fn options() -> usvg::Options<'static> {
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    usvg::Options { font_family: "DejaVu Sans".into(), fontdb: Arc::new(fonts), ..Default::default() }
}
