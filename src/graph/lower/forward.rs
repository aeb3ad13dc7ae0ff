//! The forward pass: stem, cells, heads.

use super::wide::Wide;
use super::{Builder, Extent, Mode, Step};
use crate::graph::spec::{NetworkKind, StemKind};
use crate::kernel::Buf;
use crate::ops::batch_norm::Norm;
use crate::ops::conv::Conv;
use crate::ops::{Map, Param, Part, Tensor, View};

impl Builder<'_> {
    pub(super) fn forward(&mut self) {
        let (spec, extent) = (self.request.spec, self.request.extent);
        if extent == Extent::Trunk {
            return self.trunk();
        }
        // A branch starts behind the stem, from the inputs of its cells.
        let (mut prev_prev, mut prev) = (extent == Extent::Whole).then(|| self.stem()).unzip();
        for cell in spec.cells() {
            let inputs = self.inputs(&cell, prev_prev.as_ref(), prev.as_ref());
            let z = self.cell(&cell, inputs);
            if spec.auxiliary && cell.index == spec.auxiliary_cell() && self.request.mode == Mode::Train {
                self.auxiliary_head(&z);
            }
            (prev_prev, prev) = (prev, Some(z));
        }
        if let Some(last) = prev {
            self.head(&last);
        }
    }

    /// What cell 0 takes.
    pub(super) fn stem(&mut self) -> (Wide, Wide) {
        match self.request.spec.stem {
            StemKind::Cifar => self.cifar_stem(),
            StemKind::ImageNet => self.imagenet_stem(),
        }
    }

    fn images(&self) -> Tensor {
        let spec = self.request.spec;
        let map = Map { n: self.request.batch, h: spec.height as u32, w: spec.width as u32 };
        Tensor { buf: Buf::Images(self.request.split), channels: spec.in_channels as u32, map }
    }

    /// conv 3x3 → BN, no ReLU; feeds both inputs of cell 0.
    fn cifar_stem(&mut self) -> (Wide, Wide) {
        let x = self.images().into();
        let y = self.stem_conv(&x, 3 * self.request.spec.channels as u32, 1, "stem.0.weight", "stem.1");
        (y.clone(), y)
    }

    /// stem0: conv s2, BN, ReLU, conv s2, BN; stem1: ReLU, conv s2, BN.
    fn imagenet_stem(&mut self) -> (Wide, Wide) {
        let c = self.request.spec.channels as u32;
        let x = self.images().into();
        let a = self.stem_conv(&x, c / 2, 2, "stem0.0.weight", "stem0.1");
        let b = self.stem_conv(&a, c, 2, "stem0.3.weight", "stem0.4");
        let d = self.stem_conv(&b, c, 2, "stem1.1.weight", "stem1.2");
        (b, d)
    }

    /// ReLU (but on the images) → conv 3x3 → BN.
    fn stem_conv(&mut self, x: &Wide, channels: u32, stride: u32, weight: &str, bn: &str) -> Wide {
        let y = self.wide(channels, 16, x.map().strided(stride));
        let images = matches!(x.at(0).0.buf, Buf::Images(_));
        let mut views = Vec::new();
        for (first, x) in x.parts() {
            views.push((first, self.view(x, &mut [0], x.channels, !images)));
        }
        self.conv(&views, &y, (3, stride, 1), weight, !images);
        self.norm_all(&y, bn);
        y
    }

    /// A convolution of views that follow each other in channels: into the tensors of y.
    pub(super) fn conv(
        &mut self,
        xs: &[(u32, View)],
        y: &Wide,
        (k, stride, pad): (u32, u32, u32),
        name: &str,
        data_gradient: bool,
    ) {
        let of = xs.iter().map(|(_, x)| x.x.channels).sum();
        let (w, v) = self.pack(&[name.to_owned()])[0];
        let row = w.len / y.channels();
        for (to, y) in y.parts() {
            let rows = |p: Param| Param { offset: p.offset + to * row, len: y.channels * row };
            for &(first, x) in xs {
                let part = Part { first, of };
                let op = Conv { k, stride, pad, x, part, y, w: rows(w), v: rows(v) };
                self.dispatches.extend(op.forward());
                self.tape.push(Step::Conv { op, data_gradient });
            }
        }
    }

    /// Batch norm called `name` over all channels of x, affine where the network has it.
    pub(super) fn norm_all(&mut self, x: &Wide, name: &str) {
        for (first, x) in x.parts() {
            let norm = self.norm_named(name).part(first, x.channels);
            self.norm(x, 0, x.channels, vec![norm]);
        }
    }

    /// What the batch norm called `name` is, from the parameters that exist.
    pub(super) fn norm_named(&self, name: &str) -> Norm {
        let layout = self.request.layout;
        let Some(gamma) = layout.get(&format!("{name}.weight")) else {
            return Norm::Plain;
        };
        let running = |what: &str| layout.get(&format!("{name}.running_{what}")).map(|e| e.param.offset);
        let running = match (self.request.spec.kind, running("mean"), running("var")) {
            (NetworkKind::Final, Some(mean), Some(var)) => Some([mean, var]),
            _ => None,
        };
        Norm::Affine { gamma: gamma.param, beta: self.param(&format!("{name}.bias")), running }
    }
}
