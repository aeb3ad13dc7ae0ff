//! The classifier and the auxiliary head.

use super::wide::Wide;
use super::{Builder, Features, Mode, Step};
use crate::graph::spec::StemKind;
use crate::kernel::{Buf, Range};
use crate::ops::head::{self, Linear};
use crate::ops::window_pool::WindowPool;
use crate::ops::{Array, Map, View};

/// The reference's weight of the auxiliary head's cross-entropy in the loss.
pub const AUXILIARY_WEIGHT: f32 = 0.4;

impl Builder<'_> {
    pub(super) fn labels(&self) -> Range {
        let len_bytes = (u64::from(self.request.batch) * 4).next_multiple_of(16);
        Range { buf: Buf::Labels(self.request.split), offset_bytes: 0, len_bytes }
    }

    /// Global average pool → linear → log-likelihoods.
    pub(super) fn head(&mut self, z: &Wide) {
        let n = self.request.batch;
        let pooled = self.array(u64::from(z.channels()) * u64::from(n) * 4);
        for (first, x) in z.parts() {
            self.push(head::global_pool(&View { x, coefs: None, relu: false }, pooled, first));
            self.tape.push(Step::GlobalPool { x, pooled, first });
        }
        let op = self.linear("classifier", z.channels(), n, 1);
        let logits = self.classify(op, Features::Pooled(pooled), 0, 1.0);
        let result =
            Range { buf: Buf::Results, offset_bytes: 0, len_bytes: (u64::from(n) * 8).next_multiple_of(16) };
        self.push(head::cross_entropy(n, op.k, logits, self.labels(), result, self.label_smoothing()));
    }

    /// Evaluation always asks for the plain likelihood.
    pub(super) fn label_smoothing(&self) -> f32 {
        if self.request.mode == Mode::Train { self.request.lowering.loss.label_smoothing } else { 0.0 }
    }

    fn linear(&self, name: &str, c: u32, x_channel: u32, x_example: u32) -> Linear {
        Linear {
            n: self.request.batch,
            c,
            k: self.request.spec.n_classes as u32,
            x_channel,
            x_example,
            weight: self.param(&format!("{name}.weight")),
            bias: self.param(&format!("{name}.bias")),
        }
    }

    /// Logits, and the tape of a cross-entropy with `weight`.
    fn classify(&mut self, op: Linear, x: Features, which: u8, weight: f32) -> Array {
        let bytes = (u64::from(op.n) * u64::from(op.k) * 4).next_multiple_of(16);
        let logits = Array { buf: Buf::Logits(which), offset_bytes: 0, bytes };
        let dlogits = self.array(bytes);
        let tuning = self.tuning();
        self.push(op.forward(features_range(x), logits, &tuning));
        self.tape.push(Step::Linear { op, x, dlogits });
        self.tape.push(Step::Loss { n: op.n, k: op.k, logits, dlogits, weight });
        logits
    }

    /// ReLU, average pool to 2x2, conv 1x1 → 128, BN, ReLU, conv 2x2 → 768, BN (CIFAR), ReLU, linear.
    pub(super) fn auxiliary_head(&mut self, z: &Wide) {
        let spec = self.request.spec;
        let Map { n, h, w } = z.map();
        let map = Map { n, h: 2, w: 2 };
        // The presets' maps are 8x8 (CIFAR) and 7x7 (ImageNet); any other size is pooled adaptively.
        let (window, stride) = match (spec.stem, h, w) {
            (StemKind::Cifar, 8, 8) => (5, 3),
            (StemKind::ImageNet, 7, 7) => (5, 2),
            _ => (0, 1),
        };
        let mut pooled = Vec::new();
        for (first, x) in z.parts() {
            let y = self.tensor(x.channels, map);
            let op = WindowPool { window, stride, x, y };
            self.push(op.forward());
            self.tape.push(Step::WindowPool(op));
            pooled.push((first, View { x: y, coefs: None, relu: false }));
        }
        let name = "auxiliary_head";
        let a = self.tensor(128, map);
        self.dense(&pooled, 128, a, 0, &format!("{name}.features.2.weight"));
        self.norm_all(&a.into(), &format!("{name}.features.3"));
        let x = self.view(a, &mut [0], a.channels, true);
        let point = Map { n, h: 1, w: 1 };
        let b = self.tensor(768, point);
        self.conv(&[(0, x)], &b.into(), (2, 1, 0), &format!("{name}.features.5.weight"), true);
        if spec.stem == StemKind::Cifar {
            self.norm_all(&b.into(), &format!("{name}.features.6"));
        }
        let seen = self.seen(b);
        let view = View { x: seen, coefs: self.coefs.get(&seen.buf).copied(), relu: true };
        let features = self.materialise(view, &[0], b.channels);
        let op = self.linear(&format!("{name}.classifier"), 768, point.pitch() * 4, 4);
        self.classify(op, Features::Maps(features), 1, self.request.lowering.loss.auxiliary);
    }
}

/// The range a linear layer reads (or whose gradient it writes).
pub(super) fn features_range(x: Features) -> Range {
    match x {
        Features::Pooled(array) => array.range(),
        Features::Maps(tensor) => tensor.range(),
    }
}
