//! Changes of a training image that make new pixel values: a part scaled back to the image's size, and random
//! brightness, contrast, saturation and hue. They work like torchvision's `RandomResizedCrop` and `ColorJitter`.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

/// Fraction of the area that is kept. The ratio of width to height is from 1 / `RATIO` to `RATIO`.
const AREA: std::ops::RangeInclusive<f64> = 0.08..=1.0;
const RATIO: f64 = 4.0 / 3.0;
/// Weights of red, green and blue in the grey value.
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Crop {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Crop {
    /// Draws a random area and ratio, at most ten times, until the rectangle fits the image. If none fits, the result
    /// is the largest part with an allowed ratio in the middle of the image.
    pub fn draw(rng: &mut impl Rng, height: usize, width: usize) -> Self {
        for _ in 0..10 {
            let area = (height * width) as f64 * rng.random_range(AREA);
            let ratio = rng.random_range(-RATIO.ln()..=RATIO.ln()).exp();
            let (h, w) = ((area / ratio).sqrt().round() as usize, (area * ratio).sqrt().round() as usize);
            if (1..=height).contains(&h) && (1..=width).contains(&w) {
                let mut place = |room: usize| rng.random_range(0..=room as u64) as usize;
                return Self { top: place(height - h), left: place(width - w), height: h, width: w };
            }
        }
        let (h, w) = (height as f64, width as f64);
        let (h, w) = (h.min(w * RATIO).round() as usize, w.min(h * RATIO).round() as usize);
        Self { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }

    /// `pixels` `[C][H][W]` → the crop, scaled to `[C][H][W]` with bilinear interpolation; values from 0 to 1.
    pub fn apply(&self, pixels: &[u8], channels: usize, width: usize, out: &mut [f32]) {
        let area = pixels.len() / channels;
        let height = area / width;
        let rows: Vec<_> = (0..height).map(|y| taps(y, height, self.top, self.height)).collect();
        let columns: Vec<_> = (0..width).map(|x| taps(x, width, self.left, self.width)).collect();
        for (plane, out) in pixels.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
            for (row, &(y0, y1, fy)) in out.chunks_exact_mut(width).zip(&rows) {
                for (value, &(x0, x1, fx)) in row.iter_mut().zip(&columns) {
                    let at = |y: usize, x: usize| f32::from(plane[y * width + x]) / 255.0;
                    let upper = at(y0, x0) + fx * (at(y0, x1) - at(y0, x0));
                    let lower = at(y1, x0) + fx * (at(y1, x1) - at(y1, x0));
                    *value = upper + fy * (lower - upper);
                }
            }
        }
    }
}

/// The two inputs between which output `i` of `n` is located when `len` inputs from `first` are scaled to `n`, and the
/// position between the two (0 = at the first input, 1 = at the second).
fn taps(i: usize, n: usize, first: usize, len: usize) -> (usize, usize, f32) {
    let at = ((i as f32 + 0.5) * len as f32 / n as f32 - 0.5).clamp(0.0, (len - 1) as f32);
    let whole = at as usize;
    (first + whole, first + (whole + 1).min(len - 1), at - whole as f32)
}

/// Factors of brightness, contrast and saturation, a turn of the hue, and the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Jitter {
    factors: [f32; 3],
    /// The turn of the hue, as a fraction of the colour circle. 0 skips the hue.
    hue: f32,
    order: [usize; 4],
}

impl Jitter {
    /// Factors from 1 − `strength` to 1 + `strength`, a turn from −`hue` to `hue`.
    pub fn draw(rng: &mut impl Rng, strength: f32, hue: f32) -> Self {
        let mut factor = || rng.random_range(1.0 - strength..=1.0 + strength);
        let factors = [factor(), factor(), factor()];
        let mut order = [0, 1, 2, 3];
        let mut turn = 0.0;
        // The hue draws numbers only if it is on, so that the other numbers do not depend on it when it is off.
        if hue > 0.0 {
            turn = rng.random_range(-hue..=hue);
            order.shuffle(rng);
        } else {
            order[..3].shuffle(rng);
        }
        Self { factors, hue: turn, order }
    }

    /// Changes an image `[C][H·W]` whose values are from 0 to 1. The results are from 0 to 1 too.
    pub fn apply(&self, channels: usize, image: &mut [f32]) {
        let area = image.len() / channels;
        for which in self.order {
            let factor = self.factors.get(which).copied().unwrap_or(1.0);
            let blend = |value: &mut f32, other: f32| {
                *value = (factor * *value + (1.0 - factor) * other).clamp(0.0, 1.0);
            };
            match which {
                0 => image.iter_mut().for_each(|value| blend(value, 0.0)),
                1 => {
                    let mean = (0..area).map(|i| f64::from(grey(image, area, i))).sum::<f64>() / area as f64;
                    image.iter_mut().for_each(|value| blend(value, mean as f32));
                }
                2 if channels == 3 => {
                    for i in 0..area {
                        let grey = grey(image, area, i);
                        (0..channels).for_each(|c| blend(&mut image[c * area + i], grey));
                    }
                }
                3 if channels == 3 && self.hue != 0.0 => {
                    for i in 0..area {
                        let [r, g, b] = turned([0, 1, 2].map(|c| image[c * area + i]), self.hue);
                        (image[i], image[area + i], image[2 * area + i]) = (r, g, b);
                    }
                }
                // Grey images have neither saturation nor hue.
                _ => {}
            }
        }
    }
}

/// A colour (red, green, blue) whose hue is moved by `turn` of the colour circle. The largest and the smallest value of
/// the colour stay the same.
fn turned(rgb: [f32; 3], turn: f32) -> [f32; 3] {
    let [r, g, b] = rgb;
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = max - min;
    if chroma == 0.0 {
        return rgb;
    }
    // The hue is in sixths of the circle: red at 0, green at 2, blue at 4.
    let hue = match max {
        _ if max == r => (g - b) / chroma,
        _ if max == g => 2.0 + (b - r) / chroma,
        _ => 4.0 + (r - g) / chroma,
    };
    [0.0, 2.0, 4.0].map(|at| {
        // Distance between the hue and the channel's own hue, at most half a circle. The channel is full up to one
        // sixth of the circle and has the smallest value from two sixths on.
        let apart = (hue + 6.0 * turn - at + 3.0).rem_euclid(6.0) - 3.0;
        min + chroma * (2.0 - apart.abs()).clamp(0.0, 1.0)
    })
}

/// Grey value of pixel `i`.
fn grey(image: &[f32], area: usize, i: usize) -> f32 {
    if image.len() == 3 * area {
        GREY.iter().enumerate().map(|(c, weight)| weight * image[c * area + i]).sum()
    } else {
        image[i]
    }
}
