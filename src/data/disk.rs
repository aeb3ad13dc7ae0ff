//! Images that stay on disk: their scaled pixels in a kept file, or else their encoded files. Each image is read when it
//! is used.

use std::sync::Arc;

use super::cache::Kept;
use super::decode::{Form, decode_into};
use super::encoded::Encoded;
use super::images::Moments;
use crate::error::Result;

/// Images on disk.
#[derive(Debug)]
pub struct Disk {
    /// The scaled pixels. If there is no such file, or if it is damaged, images are decoded again.
    pub(super) kept: Option<Kept>,
    pub(super) encoded: Arc<dyn Encoded>,
    pub(super) form: Form,
    /// Of each image its position in the kept file, and its position in `encoded`.
    pub(super) positions: Vec<(u32, u32)>,
    pub(super) moments: Vec<Moments>,
}

impl Disk {
    /// The bytes `[C][H][W]` of image `i`.
    pub(super) fn image(&self, i: usize, image_len: usize) -> Result<Vec<u8>> {
        let (kept_at, at) = self.positions[i];
        let mut out = vec![0; image_len];
        let kept = self.kept.as_ref().and_then(|kept| kept.read(kept_at as usize, image_len, &mut out));
        if kept.is_none() {
            let mut result = Ok(());
            self.encoded.read(&[at], &mut |_, bytes| {
                let path = self.encoded.path(at as usize);
                result = bytes.and_then(|bytes| decode_into(&path, bytes, self.form, &mut out));
            });
            result?;
        }
        Ok(out)
    }

    /// Whether the scaled pixels are kept. Otherwise an image is decoded each time it is used.
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Sum and sum of squares of the bytes of every channel.
    pub(super) fn moments(&self) -> &[Moments] {
        &self.moments
    }
}
