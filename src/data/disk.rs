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
    /// Shows the bytes `[C][H][W]` of the images at `members` with their index in `members`, in the order of their files.
    pub(super) fn each(
        &self,
        members: &[usize],
        image_len: usize,
        see: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<()> {
        let mut out = vec![0; image_len];
        let mut missing = Vec::new();
        for (i, member) in members.iter().enumerate() {
            let (kept_at, at) = self.positions[*member];
            match self.kept.as_ref().and_then(|kept| kept.read(kept_at as usize, image_len, &mut out)) {
                Some(()) => see(i, &out),
                None => missing.push((at, i)),
            }
        }
        missing.sort_unstable();
        let mut result = Ok(());
        // An image may be wanted twice; `Encoded::read` wants ascending positions.
        while !missing.is_empty() {
            let (now, later): (Vec<_>, Vec<_>) =
                missing.iter().enumerate().partition(|(k, (at, _))| *k == 0 || missing[k - 1].0 != *at);
            let now: Vec<(u32, usize)> = now.into_iter().map(|(_, wanted)| *wanted).collect();
            let positions: Vec<u32> = now.iter().map(|(at, _)| *at).collect();
            self.encoded.read(&positions, &mut |k, bytes| {
                let (at, i) = now[k];
                let path = self.encoded.path(at as usize);
                match bytes.and_then(|bytes| decode_into(&path, bytes, self.form, &mut out)) {
                    Ok(()) => see(i, &out),
                    Err(e) if result.is_ok() => result = Err(e),
                    Err(_) => {}
                }
            });
            missing = later.into_iter().map(|(_, wanted)| *wanted).collect();
        }
        result
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
