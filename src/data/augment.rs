//! Bytes of an image → normalised numbers. The image is unchanged, or randomly shifted, mirrored and masked.
//!
//! The order of the steps is that of the DARTS code: crop (a window of the image with a border of black,
//! or a part of the image scaled back to the image's size), mirror, change the colours, normalise (the border too),
//! then cut out a square of zeros. [`super::colour`] has the steps that make new pixel values.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::Images;
use super::colour::{Crop, Jitter};
use crate::error::{Error, Result};

/// `(pixel/255 - mean[c]) / std[c]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Mean of pixel/255, one per channel.
    pub mean: Vec<f32>,
    /// Standard deviation of pixel/255, one per channel, above 0.
    pub std: Vec<f32>,
}

impl Normalisation {
    /// The mean and (biased) standard deviation of every channel over all pixels of `images`.
    ///
    /// The sums are integers and therefore exact. A channel with a single value has no spread; 1/255 is used instead.
    pub fn of(images: &Images) -> Self {
        let n = (images.n * images.height * images.width) as f64;
        let (mut mean, mut std) = (vec![], vec![]);
        for (sum, squares) in images.moments() {
            let m = sum as f64 / n;
            mean.push((m / 255.0) as f32);
            std.push(((squares as f64 / n - m * m).max(1.0).sqrt() / 255.0) as f32);
        }
        Self { mean, std }
    }

    /// The normalised value of every byte in every channel, `[C][256]`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is not one finite mean and one positive deviation per channel.
    pub(super) fn table(&self, channels: usize) -> Result<Vec<[f32; 256]>> {
        let usable =
            self.mean.iter().all(|m| m.is_finite()) && self.std.iter().all(|s| s.is_finite() && *s > 0.0);
        if self.mean.len() != channels || self.std.len() != channels || !usable {
            return Err(Error::usage(
                "the normalisation",
                format!("{channels} means and {channels} positive deviations, one per channel"),
                format!("mean {:?}, std {:?}", self.mean, self.std),
                "leave it out: it is computed from the training images",
            ));
        }
        let row = |(mean, std): (&f32, &f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
        Ok(self.mean.iter().zip(&self.std).map(row).collect())
    }
}

/// Random changes of a training image. [`Augment::NONE`] changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augment {
    /// Width of the black border on every side. A window of the image's size is cut from the result; 0 = no shift.
    pub crop_pad: usize,
    /// Mirror left to right with probability 1/2.
    pub flip: bool,
    /// Side of a square of zeros around a random pixel, cut at the image's edges; 0 = none.
    pub cutout: usize,
    /// Cut a rectangle of 8 to 100 % of the area, with sides in the ratio of 3/4 to 4/3, and scale it back
    /// to the image's size. There is no border then.
    pub resized_crop: bool,
    /// Strength s of the changes of brightness, contrast and saturation. Each is multiplied by a factor from 1 − s to 1
    /// + s; 0 = none.
    pub jitter: f32,
    /// Largest turn of the hue either way, in turns of the colour circle, up to 0.5; 0 = none.
    #[serde(default)]
    pub hue: f32,
}

impl Default for Augment {
    /// The augmentation of DARTS' search: pad 4, flip, no cutout.
    fn default() -> Self {
        Self { crop_pad: 4, flip: true, ..Self::NONE }
    }
}

impl Augment {
    /// No change of the image.
    pub const NONE: Self =
        Self { crop_pad: 0, flip: false, cutout: 0, resized_crop: false, jitter: 0.0, hue: 0.0 };

    /// Draws the change of one image of `height` x `width`.
    ///
    /// Shift, mirroring and cutout draw their numbers in a fixed order even when they are off, so that turning one off
    /// leaves the others unchanged.
    pub(super) fn draw(&self, rng: &mut impl Rng, height: usize, width: usize) -> Change {
        let pad = self.crop_pad as i64;
        let mut shift = || rng.random_range(-pad..=pad) as isize;
        let (dy, dx) = (shift(), shift());
        let flip = rng.random::<bool>() && self.flip;
        let mut range = |side: usize| {
            let centre = rng.random_range(0..side as u64) as usize;
            centre.saturating_sub(self.cutout / 2)..(centre + self.cutout / 2).min(side)
        };
        let (rows, columns) = (range(height), range(width));
        let cut = (self.cutout > 0).then_some((rows, columns));
        // Colours and crop are last, and draw numbers only if they are on.
        let colours = self.jitter > 0.0 || self.hue > 0.0;
        let jitter = colours.then(|| Jitter::draw(rng, self.jitter, self.hue));
        let crop = self.resized_crop.then(|| Crop::draw(rng, height, width));
        Change { dy, dx, flip, cut, crop, jitter }
    }
}

/// The change of one image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// Output row y is input row y + dy.
    dy: isize,
    /// Output column x is input column x + dx before mirroring.
    dx: isize,
    flip: bool,
    /// Rows and columns set to zero.
    cut: Option<(std::ops::Range<usize>, std::ops::Range<usize>)>,
    /// Replaces the shift.
    crop: Option<Crop>,
    jitter: Option<Jitter>,
}

impl Change {
    pub(super) const NONE: Self = Self { dy: 0, dx: 0, flip: false, cut: None, crop: None, jitter: None };

    /// `pixels` `[C][height][width]` → `out` of the same shape, normalised by `table` `[C][256]`.
    pub(super) fn apply(&self, pixels: &[u8], width: usize, table: &[[f32; 256]], out: &mut [f32]) {
        match (&self.crop, &self.jitter) {
            (None, None) => self.shift(pixels, width, table, out),
            (crop, jitter) => {
                match crop {
                    Some(crop) => crop.apply(pixels, table.len(), width, out),
                    None => self.shift(pixels, width, &vec![plain(); table.len()], out),
                }
                if let Some(jitter) = jitter {
                    jitter.apply(table.len(), out);
                }
                normalise(pixels.len() / table.len(), table, out);
            }
        }
        for (y, row) in out.chunks_exact_mut(width).enumerate() {
            if self.flip {
                row.reverse();
            }
            if let Some((rows, columns)) = &self.cut
                && rows.contains(&(y % (pixels.len() / table.len() / width)))
            {
                row[columns.clone()].fill(0.0);
            }
        }
    }

    /// The window shifted by (dy, dx). Every byte is replaced by its value in `table` `[C][256]`.
    fn shift(&self, pixels: &[u8], width: usize, table: &[[f32; 256]], out: &mut [f32]) {
        let area = pixels.len() / table.len();
        let height = area / width;
        // The output columns whose input column is inside the image.
        let first = (-self.dx).clamp(0, width as isize) as usize;
        let last = (width as isize - self.dx).clamp(first as isize, width as isize) as usize;
        let source = (first as isize + self.dx).clamp(0, width as isize) as usize;
        for ((plane, out), table) in pixels.chunks_exact(area).zip(out.chunks_exact_mut(area)).zip(table) {
            for (y, row) in out.chunks_exact_mut(width).enumerate() {
                row.fill(table[0]);
                let input_y = y as isize + self.dy;
                if (0..height as isize).contains(&input_y) {
                    let input = &plane[input_y as usize * width..][..width];
                    for (value, &pixel) in row[first..last].iter_mut().zip(&input[source..]) {
                        *value = table[usize::from(pixel)];
                    }
                }
            }
        }
    }
}

/// Values from 0 to 1 (full brightness) → the values of `table`, which is linear in the byte.
fn normalise(area: usize, table: &[[f32; 256]], out: &mut [f32]) {
    for (plane, table) in out.chunks_exact_mut(area).zip(table) {
        plane.iter_mut().for_each(|value| *value = table[0] + *value * (table[255] - table[0]));
    }
}

/// The value of every byte on a scale from 0 to 1 (full brightness).
fn plain() -> [f32; 256] {
    std::array::from_fn(|byte| byte as f32 / 255.0)
}
