//! Batches → the buffers that children read.

use bytemuck::cast_slice;

use super::network::Network;
use crate::error::Result;
use crate::kernel::Buf;
use crate::network::Shape;
use crate::ops::Map;

impl Network {
    /// Uploads a batch: images \[N\]\[C\]\[H\]\[W\] (normalised) and labels \[N\].
    pub fn upload(&mut self, split: u8, images: &[f32], labels: &[u32]) -> Result<()> {
        let n = labels.len();
        let Shape { c, h, w } = self.image;
        debug_assert_eq!(images.len(), n * c * h * w);
        let map = Map { n: n as u32, h: h as u32, w: w as u32 };
        let (row, pitch) = (map.wq() as usize * 4, map.pitch() as usize * 4);
        let mut padded = vec![0f32; c * pitch];
        for (i, line) in images.chunks_exact(w).enumerate() {
            let (image, rest) = (i / (c * h), i % (c * h));
            let (channel, y) = (rest / h, rest % h);
            let at = channel * pitch + (image * h + y) * row;
            padded[at..at + w].copy_from_slice(line);
        }
        let mut labels = labels.to_vec();
        labels.resize(n.next_multiple_of(4), 0);
        let classes = self.n_classes as u64;
        self.ensure(Buf::Images(split), padded.len() as u64 * 4)?;
        self.ensure(Buf::Labels(split), labels.len() as u64 * 4)?;
        self.ensure(Buf::Results, n as u64 * 8 + 16)?;
        for which in 0..=u8::from(self.layout.get("auxiliary_head.classifier.bias").is_some()) {
            self.ensure(Buf::Logits(which), n as u64 * classes * 4 + 16)?;
        }
        self.batches[usize::from(split)] = n as u32;
        self.gpu.write(Buf::Images(split), 0, cast_slice(&padded))?;
        self.gpu.write(Buf::Labels(split), 0, cast_slice(&labels))
    }

    /// Uploads drop-path factors, f32 [cells * 8]\[N\].
    pub fn upload_drop_path(&mut self, factors: &[f32]) -> Result<()> {
        let mut factors = factors.to_vec();
        factors.resize(factors.len().next_multiple_of(4), 0.0);
        self.ensure(Buf::DropPath, factors.len() as u64 * 4)?;
        self.gpu.write(Buf::DropPath, 0, cast_slice(&factors))
    }
}
