//! Labelled images as bytes, in memory or on disk.

use std::borrow::Cow;
use std::sync::Arc;

use super::disk::Disk;
use crate::error::Result;

/// Labelled images as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// Number of images N.
    pub n: usize,
    /// Channels C.
    pub channels: usize,
    /// Rows H.
    pub height: usize,
    /// Columns W.
    pub width: usize,
    /// `[N][C][H][W]`, 0 = black, 255 = full.
    pub pixels: Pixels,
    /// `[N]`, below the number of classes.
    pub labels: Vec<u16>,
}

/// The pixels of images.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// `[N][C][H][W]`.
    Memory(Vec<u8>),
    /// Pixels that are read or decoded when they are used.
    Disk(Arc<Disk>),
}

impl Default for Pixels {
    fn default() -> Self {
        Self::Memory(vec![])
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(pixels: Vec<u8>) -> Self {
        Self::Memory(pixels)
    }
}

impl PartialEq for Pixels {
    /// Pixels on disk are equal only to themselves.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory(a), Self::Memory(b)) => a == b,
            (Self::Disk(a), Self::Disk(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for Pixels {}

/// Sum and sum of squares of the bytes of a channel.
pub(super) type Moments = (u64, u64);

impl Images {
    /// Bytes of one image: C·H·W.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The bytes `[N][C][H][W]` of images in memory. Empty if they are on disk.
    pub fn bytes(&self) -> &[u8] {
        match &self.pixels {
            Pixels::Memory(pixels) => pixels,
            Pixels::Disk(_) => &[],
        }
    }

    /// The bytes `[C][H][W]` of image `i`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::File`] if the image is on disk and can no longer be read.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let len = self.image_len();
        match &self.pixels {
            Pixels::Memory(pixels) => Ok(Cow::Borrowed(&pixels[i * len..(i + 1) * len])),
            Pixels::Disk(disk) => {
                let mut out = vec![];
                disk.each(&[i], len, &mut |_, pixels| out = pixels.to_vec())?;
                Ok(Cow::Owned(out))
            }
        }
    }

    /// Shows the bytes `[C][H][W]` of the images at `members` with their index in `members`. The order is that in which
    /// the images can be read best.
    ///
    /// # Errors
    /// The errors of [`Self::image`].
    pub(super) fn each(&self, members: &[usize], see: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        match &self.pixels {
            Pixels::Memory(_) => {
                for (i, member) in members.iter().enumerate() {
                    see(i, &self.image(*member)?);
                }
                Ok(())
            }
            Pixels::Disk(disk) => disk.each(members, self.image_len(), see),
        }
    }

    /// Sum and sum of squares of the bytes of every channel, over all images.
    pub(super) fn moments(&self) -> Vec<Moments> {
        match &self.pixels {
            Pixels::Memory(pixels) => {
                let mut moments = vec![(0, 0); self.channels];
                add_moments(&mut moments, pixels, self.height * self.width);
                moments
            }
            Pixels::Disk(disk) => disk.moments().to_vec(),
        }
    }
}

/// Adds the bytes of images `[N][C][area]` to the moments of their channels.
pub(super) fn add_moments(moments: &mut [Moments], pixels: &[u8], area: usize) {
    let n_channels = moments.len();
    for (i, plane) in pixels.chunks_exact(area.max(1)).enumerate() {
        let (sum, squares) = &mut moments[i % n_channels];
        for &pixel in plane {
            *sum += u64::from(pixel);
            *squares += u64::from(pixel) * u64::from(pixel);
        }
    }
}
