//! Changes of a training image that make new pixel values: a part scaled back to the image's size, and random
//! brightness, contrast and saturation. As torchvision's `RandomResizedCrop` and `ColorJitter` (without hue).

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

/// Part of the area that is kept, and ratio of width to height.
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
    /// Ten tries of a random area and ratio; if none fits the image, the largest part in its middle that has an
    /// allowed ratio.
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

    /// `pixels` `[C][H][W]` → this part of them, scaled to `[C][H][W]`, bilinear, as parts of full brightness.
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

/// The two inputs between which output `i` of `n` lies when `len` inputs from `first` are scaled to `n`, and how
/// far it is towards the second.
fn taps(i: usize, n: usize, first: usize, len: usize) -> (usize, usize, f32) {
    let at = ((i as f32 + 0.5) * len as f32 / n as f32 - 0.5).clamp(0.0, (len - 1) as f32);
    let whole = at as usize;
    (first + whole, first + (whole + 1).min(len - 1), at - whole as f32)
}

/// Factors of brightness, contrast and saturation, and the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Jitter {
    factors: [f32; 3],
    order: [usize; 3],
}

impl Jitter {
    /// Factors from 1 − `strength` to 1 + `strength`.
    pub fn draw(rng: &mut impl Rng, strength: f32) -> Self {
        let mut factor = || rng.random_range(1.0 - strength..=1.0 + strength);
        let factors = [factor(), factor(), factor()];
        let mut order = [0, 1, 2];
        order.shuffle(rng);
        Self { factors, order }
    }

    /// Changes an image `[C][H·W]` whose values are from 0 to 1, and stay there.
    pub fn apply(&self, channels: usize, image: &mut [f32]) {
        let area = image.len() / channels;
        for which in self.order {
            let factor = self.factors[which];
            let blend = |value: &mut f32, other: f32| {
                *value = (factor * *value + (1.0 - factor) * other).clamp(0.0, 1.0);
            };
            match which {
                0 => image.iter_mut().for_each(|value| blend(value, 0.0)),
                1 => {
                    let mean = (0..area).map(|i| f64::from(grey(image, area, i))).sum::<f64>() / area as f64;
                    image.iter_mut().for_each(|value| blend(value, mean as f32));
                }
                _ if channels == 3 => {
                    for i in 0..area {
                        let grey = grey(image, area, i);
                        (0..channels).for_each(|c| blend(&mut image[c * area + i], grey));
                    }
                }
                // Grey images have no saturation.
                _ => {}
            }
        }
    }
}

/// Grey value of pixel `i`.
fn grey(image: &[f32], area: usize, i: usize) -> f32 {
    if image.len() == 3 * area {
        GREY.iter().enumerate().map(|(c, weight)| weight * image[c * area + i]).sum()
    } else {
        image[i]
    }
}
