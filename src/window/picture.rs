//! A drawing as SVG → a texture of just the size at which it is shown. The work is on a thread of its own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egui::{Color32, ColorImage, Image, Response, TextureHandle, TextureOptions, Ui, Vec2, vec2};

use super::task::guarded;
use crate::host::{Instant, thread};
use crate::report::pixels;

/// No side of a texture has more pixels: every adapter has textures of this size.
const MOST: f32 = 4096.0;

/// A drawing is at most so many times its natural size.
const LARGEST: f32 = 1.6;
/// Drawing takes at most this part of the time of one core.
const SHARE: u32 = 40;

/// The last drawing, and whether another one is being made.
#[derive(Default)]
struct Drawn {
    /// What the texture shows.
    key: u64,
    texture: Option<TextureHandle>,
    /// Extent in pixels of the SVG.
    extent: Vec2,
    is_busy: bool,
    /// End of the last drawing, and the time that it took.
    last: Option<(Instant, Duration)>,
    error: Option<String>,
}

/// A drawing that changes over time.
#[derive(Default)]
pub struct Picture(Arc<Mutex<Drawn>>);

impl Picture {
    /// Shows the drawing that `draw` makes, `width` points wide, but not much larger than its natural size. `of` says what
    /// it is made of: it is drawn again if `of` changes. Until then the former drawing is shown. A drawing that changes with
    /// a run is drawn less often, and shown by the next frame within `wait`. A user who turns it does not wait: zero.
    pub fn show(
        &self,
        ui: &mut Ui,
        name: &str,
        of: impl Hash,
        (width, wait): (f32, Duration),
        draw: impl FnOnce() -> String + Send + 'static,
    ) -> Response {
        let (dark, scale) = (ui.visuals().dark_mode, ui.pixels_per_point());
        let mut hasher = DefaultHasher::new();
        (of, dark, width.round() as i32, (100.0 * scale) as i32).hash(&mut hasher);
        let key = hasher.finish();
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest =
            drawn.last.map_or(Duration::ZERO, |(end, took)| (took * SHARE).saturating_sub(end.elapsed()));
        if drawn.key != key && !drawn.is_busy && !wait.is_zero() && !rest.is_zero() {
            ui.ctx().request_repaint_after(rest);
        } else if drawn.key != key && !drawn.is_busy {
            drawn.is_busy = true;
            let (shared, context, name) = (Arc::clone(&self.0), ui.ctx().clone(), name.to_owned());
            thread::spawn(move || {
                let started = Instant::now();
                let image = guarded(|| Ok(rasterise(&draw(), (width * scale, scale), dark)));
                let image = image.unwrap_or_else(|error| Err(error.to_string()));
                let mut drawn = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let is_first = drawn.texture.is_none();
                drawn.is_busy = false;
                drawn.last = Some((Instant::now(), started.elapsed()));
                drawn.key = key;
                match image {
                    Ok((image, extent)) => {
                        drawn.texture = Some(context.load_texture(name, image, TextureOptions::LINEAR));
                        drawn.extent = extent;
                        drawn.error = None;
                    }
                    Err(error) => drawn.error = Some(error),
                }
                drop(drawn);
                context.request_repaint_after(if is_first { Duration::ZERO } else { wait });
            });
        }
        if let Some(error) = &drawn.error {
            return ui.colored_label(ui.visuals().error_fg_color, error);
        }
        let Some(texture) = &drawn.texture else { return ui.weak("drawing …") };
        let shown = drawn.extent * (width / drawn.extent.x).min(LARGEST);
        ui.add(Image::new((texture.id(), shown)).alt_text(name))
    }
}

/// The pixels of `svg` at a width of at most `width` pixels, `density` of them in a point, and its extent.
fn rasterise(svg: &str, (width, density): (f32, f32), dark: bool) -> Result<(ColorImage, Vec2), String> {
    let extent = extent_of(svg).ok_or("a drawing without an extent")?;
    // A drawing is sharp on a screen with many pixels, and not larger than it is meant to be elsewhere.
    let scale = (width / extent.x).clamp(0.05, LARGEST * density).min(MOST / extent.x.max(extent.y));
    let picture = pixels(svg, scale).map_err(|e| e.to_string())?;
    let size = [picture.width() as usize, picture.height() as usize];
    let of = |p: &resvg::tiny_skia::PremultipliedColorU8| {
        let (r, g, b) = (p.red(), p.green(), p.blue());
        if dark { inverted(r, g, b) } else { Color32::from_rgb(r, g, b) }
    };
    let image = ColorImage::new(size, picture.pixels().iter().map(of).collect());
    Ok((image, extent))
}

/// The colour with its lightness turned over and the same hue: white becomes the dark background.
fn inverted(r: u8, g: u8, b: u8) -> Color32 {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    // Adding the same number to all parts keeps their differences, so the hue stays.
    let shift = 255 - i32::from(most) - i32::from(least);
    let part = |c: u8| {
        let c = (i32::from(c) + shift).clamp(0, 255) as f32;
        // The background of the dark theme is not black.
        (27.0 + c * (255.0 - 27.0) / 255.0) as u8
    };
    Color32::from_rgb(part(r), part(g), part(b))
}

/// Width and height of an SVG of `report`.
fn extent_of(svg: &str) -> Option<Vec2> {
    let number = |name: &str| -> Option<f32> {
        let rest = svg.split_once(&format!(" {name}=\""))?.1;
        rest.split_once('"')?.0.parse().ok()
    };
    Some(vec2(number("width")?, number("height")?))
}
