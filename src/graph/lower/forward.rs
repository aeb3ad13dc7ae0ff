//! The forward pass: stem, cells, heads.

use super::{Builder, Mode, Step};
use crate::graph::spec::{NetworkKind, StemKind};
use crate::kernel::Buf;
use crate::ops::batch_norm::Norm;
use crate::ops::conv::Conv;
use crate::ops::{Map, Tensor, View};

impl Builder<'_> {
    pub(super) fn forward(&mut self) {
        let spec = self.request.spec;
        let (mut prev_prev, mut prev) = match spec.stem {
            StemKind::Cifar => self.cifar_stem(),
            StemKind::ImageNet => self.imagenet_stem(),
        };
        for cell in spec.cells() {
            let z = self.cell(&cell, prev_prev, prev);
            if spec.auxiliary && cell.index == spec.auxiliary_cell() && self.request.mode == Mode::Train {
                self.auxiliary_head(z);
            }
            (prev_prev, prev) = (prev, z);
        }
        self.head(prev);
    }

    fn images(&self) -> Tensor {
        let spec = self.request.spec;
        let map = Map { n: self.request.batch, h: spec.height as u32, w: spec.width as u32 };
        Tensor { buf: Buf::Images(self.request.split), channels: spec.in_channels as u32, map }
    }

    /// conv 3x3 → BN, no ReLU; feeds both inputs of cell 0.
    fn cifar_stem(&mut self) -> (Tensor, Tensor) {
        let x = View { x: self.images(), coefs: None, relu: false };
        let y = self.conv3x3(x, 3 * self.request.spec.channels as u32, 1, "stem.0.weight", false);
        self.norm_all(y, "stem.1");
        (y, y)
    }

    /// stem0: conv s2, BN, ReLU, conv s2, BN; stem1: ReLU, conv s2, BN.
    fn imagenet_stem(&mut self) -> (Tensor, Tensor) {
        let c = self.request.spec.channels as u32;
        let x = View { x: self.images(), coefs: None, relu: false };
        let a = self.conv3x3(x, c / 2, 2, "stem0.0.weight", false);
        self.norm_all(a, "stem0.1");
        let x = self.view(a, &mut [0], a.channels, true);
        let b = self.conv3x3(x, c, 2, "stem0.3.weight", true);
        self.norm_all(b, "stem0.4");
        let x = self.view(b, &mut [0], b.channels, true);
        let d = self.conv3x3(x, c, 2, "stem1.1.weight", true);
        self.norm_all(d, "stem1.2");
        (b, d)
    }

    fn conv3x3(&mut self, x: View, channels: u32, stride: u32, name: &str, data_gradient: bool) -> Tensor {
        self.conv(x, channels, (3, stride, 1), x.x.map.strided(stride), name, data_gradient)
    }

    pub(super) fn conv(
        &mut self,
        x: View,
        channels: u32,
        (k, stride, pad): (u32, u32, u32),
        map: Map,
        name: &str,
        data_gradient: bool,
    ) -> Tensor {
        let y = self.tensor(channels, map);
        let (w, v) = self.pack(&[name.to_owned()])[0];
        let op = Conv { k, stride, pad, x, y, w, v };
        self.dispatches.extend(op.forward());
        self.tape.push(Step::Conv { op, data_gradient });
        y
    }

    /// Batch norm called `name` over all channels of x, affine where the network has it.
    pub(super) fn norm_all(&mut self, x: Tensor, name: &str) {
        let norm = self.norm_named(name);
        self.norm(x, 0, x.channels, vec![norm]);
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
