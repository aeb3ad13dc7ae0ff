//! Single layers, and the chains of layers of which cells and heads are made (`op.1`, `op.2`, … are the
//! positions that name their parameters).

use super::{Kind, Layer};
use crate::reference::Window;

/// The position of a layer and its channels.
pub(super) type Out = (usize, usize);

/// The list so far.
pub(super) struct Builder {
    pub(super) kind: Kind,
    pub(super) list: Vec<Layer>,
}

impl Builder {
    pub(super) fn push(&mut self, layer: Layer) -> usize {
        self.list.push(layer);
        self.list.len() - 1
    }

    pub(super) fn relu(&mut self, (x, c): Out) -> Out {
        (self.push(Layer::Relu { x }), c)
    }

    pub(super) fn conv(&mut self, (x, ci): Out, co: usize, win: Window, name: &str) -> Out {
        (self.push(Layer::Conv { x, weight: format!("{name}.weight"), ci, co, win }), co)
    }

    pub(super) fn pointwise(&mut self, (x, ci): Out, co: usize, name: &str) -> Out {
        (self.push(Layer::Pointwise { x, weight: format!("{name}.weight"), ci, co }), co)
    }

    pub(super) fn depthwise(&mut self, (x, c): Out, win: Window, name: &str) -> Out {
        (self.push(Layer::Depthwise { x, weight: format!("{name}.weight"), c, win }), c)
    }

    pub(super) fn linear(&mut self, (x, features): Out, name: &str, classes: usize) -> usize {
        self.push(Layer::Linear { x, name: name.to_owned(), features, classes })
    }

    /// A batch norm that is affine in both networks: the stem's and the auxiliary head's.
    pub(super) fn affine_bn(&mut self, (x, c): Out, name: &str) -> Out {
        (self.push(Layer::BatchNorm { x, name: name.to_owned(), c, affine: true }), c)
    }

    /// A cell's batch norm: affine in the final network only.
    pub(super) fn cell_bn(&mut self, (x, c): Out, name: &str) -> Out {
        let affine = self.kind == Kind::Final;
        (self.push(Layer::BatchNorm { x, name: name.to_owned(), c, affine }), c)
    }

    /// The stems' 3x3 convolution, pad 1, and its batch norm.
    pub(super) fn conv_bn(&mut self, x: Out, co: usize, stride: usize, conv: &str, bn: &str) -> Out {
        let y = self.conv(x, co, Window { k: 3, stride, pad: 1, dilation: 1 }, conv);
        self.affine_bn(y, bn)
    }

    pub(super) fn relu_conv_bn(&mut self, x: Out, co: usize, name: &str) -> Out {
        let y = self.relu(x);
        let y = self.pointwise(y, co, &format!("{name}.op.1"));
        self.cell_bn(y, &format!("{name}.op.2"))
    }

    pub(super) fn factorized_reduce(&mut self, x: Out, co: usize, name: &str) -> Out {
        let (y, ci) = self.relu(x);
        let both = self.push(Layer::Subsample { x: y });
        let even = self.push(Layer::Slice { x: both, first: 0, count: ci });
        let odd = self.push(Layer::Slice { x: both, first: ci, count: ci });
        let (even, _) = self.pointwise((even, ci), co / 2, &format!("{name}.conv_1"));
        let (odd, _) = self.pointwise((odd, ci), co / 2, &format!("{name}.conv_2"));
        let y = self.push(Layer::Concat { parts: vec![even, odd] });
        self.cell_bn((y, co), &format!("{name}.bn"))
    }

    pub(super) fn bn_after_pool(&mut self, x: Out) -> Out {
        match self.kind {
            Kind::Search => self.cell_bn(x, ""),
            Kind::Final => x,
        }
    }

    pub(super) fn sep_conv(&mut self, x: Out, k: usize, stride: usize, name: &str) -> Out {
        let mut y = x;
        for (first, stride) in [(1, stride), (5, 1)] {
            y = self.relu(y);
            y = self.depthwise(
                y,
                Window { k, stride, pad: k / 2, dilation: 1 },
                &format!("{name}.op.{first}"),
            );
            y = self.pointwise(y, x.1, &format!("{name}.op.{}", first + 1));
            y = self.cell_bn(y, &format!("{name}.op.{}", first + 2));
        }
        y
    }

    pub(super) fn dil_conv(&mut self, x: Out, k: usize, stride: usize, name: &str) -> Out {
        let y = self.relu(x);
        let y = self.depthwise(y, Window { k, stride, pad: k - 1, dilation: 2 }, &format!("{name}.op.1"));
        let y = self.pointwise(y, x.1, &format!("{name}.op.2"));
        self.cell_bn(y, &format!("{name}.op.3"))
    }
}
