//! Global average pool, linear layer and cross-entropy → launches.

use super::{Array, Param, Tensor, Tuning, View, cover, groups, launch};
use crate::kernel::{Buf, Launch, Params, Range};

/// Classes that a workgroup of `forward_by_example` computes. The shader has the same constant.
const CLASSES: u32 = 16;

fn pool_params(x: Tensor, accumulate: bool, first: u32) -> Params {
    Params::new().map("x", x.map.words()).set("add", u32::from(accumulate)).set("first", first)
}

/// pooled\[C\]\[N\] = mean of view(x) over each image. Channel c of x is channel `first` + c of `pooled`.
pub fn global_pool(view: &View, pooled: Array, first: u32) -> Launch {
    let x = view.x;
    let grid = [groups(x.map.n), x.channels, 1];
    let bindings = vec![("x", x.range()), ("pooled", pooled.range()), ("coefs", view.coefs_range())];
    launch("global_pool", "forward", view.overrides(), bindings, pool_params(x, false, first), grid)
}

/// dx (+)= dpooled / (H·W), through ReLU if the view has one. dx is the gradient of norm(x) if the view has
/// coefficients, otherwise the gradient of x.
pub fn global_pool_backward(view: &View, dpooled: Array, dx: Tensor, accumulate: bool, first: u32) -> Launch {
    let grid = [groups(dx.map.quads()), dx.channels, 1];
    // Without ReLU, x is not read.
    let x = if view.relu { view.x } else { dx };
    let coefs = view.coefs_range();
    let bindings = vec![("dpooled", dpooled.range()), ("dx", dx.range()), ("x", x.range()), ("coefs", coefs)];
    let params = pool_params(dx, accumulate, first);
    let bytes = dx.bytes() * (1 + u64::from(accumulate) + u64::from(view.relu));
    Launch { bytes, ..launch("global_pool", "backward", view.overrides(), bindings, params, grid) }
}

/// y\[N\]\[K\] = x·Wᵀ + bias, with element (c, n) of x at c·`x_channel` + n·`x_example`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Examples.
    pub n: u32,
    /// Features.
    pub c: u32,
    /// Classes.
    pub k: u32,
    /// Distance of neighbouring channels in x.
    pub x_channel: u32,
    /// Distance of neighbouring examples in x.
    pub x_example: u32,
    /// Weights \[K\]\[C\].
    pub weight: Param,
    /// Bias \[K\].
    pub bias: Param,
}

impl Linear {
    fn params(&self, first: u32) -> Params {
        Params::new()
            .set("n", self.n)
            .set("c", self.c)
            .set("k", self.k)
            .set("x_channel", self.x_channel)
            .set("x_example", self.x_example)
            .set("weight", self.weight.offset - first)
            .set("bias", self.bias.offset - first)
    }

    fn weights(&self) -> (Range, u32) {
        cover(Buf::V, &[self.weight, self.bias])
    }

    fn flops(&self) -> u64 {
        2 * u64::from(self.n) * u64::from(self.c) * u64::from(self.k)
    }

    /// Computes logits from features.
    pub fn forward(&self, x: Range, y: Array, tuning: &Tuning) -> Launch {
        let (w, first) = self.weights();
        let bindings = vec![("x", x), ("w", w), ("y", y.range())];
        let (entry, grid) = match tuning.linear_by_example {
            0 => ("forward", [groups(self.n * self.k), 1, 1]),
            _ => ("forward_by_example", [self.n, self.k.div_ceil(CLASSES), 1]),
        };
        Launch { flops: self.flops(), ..launch("linear", entry, vec![], bindings, self.params(first), grid) }
    }

    /// Computes dx from dy.
    pub fn backward_data(&self, dy: Array, dx: Range) -> Launch {
        let (w, first) = self.weights();
        let bindings = vec![("w", w), ("dy", dy.range()), ("dx", dx)];
        let grid = [groups(self.n * self.c), 1, 1];
        Launch {
            flops: self.flops(),
            ..launch("linear", "backward_data", vec![], bindings, self.params(first), grid)
        }
    }

    /// Writes dW \[K\]\[C\] and then dbias \[K\] into `partial`.
    pub fn backward_weight(&self, x: Range, dy: Array, partial: Array) -> Launch {
        let bindings = vec![("x", x), ("dy", dy.range()), ("partial", partial.range())];
        let grid = [groups(self.k * self.c + self.k), 1, 1];
        let params = self.params(self.weights().1);
        Launch { flops: self.flops(), ..launch("linear", "backward_weight", vec![], bindings, params, grid) }
    }
}

fn loss_params(n: u32, k: u32, scale: f32, smoothing: f32) -> Params {
    Params::new().set("n", n).set("k", k).float("scale", scale).float("smoothing", smoothing)
}

/// Writes log-likelihood and correctness of each example, f32 \[2\]\[N\], into `result`. With `smoothing` ε the
/// log-likelihood is the smoothed one, (1-ε)·log p(y) + ε·mean_k log p(k).
pub fn cross_entropy(n: u32, k: u32, logits: Array, labels: Range, result: Range, smoothing: f32) -> Launch {
    let bindings = vec![("logits", logits.range()), ("labels", labels), ("result", result)];
    let params = loss_params(n, k, 0.0, smoothing);
    launch("cross_entropy", "forward", vec![], bindings, params, [groups(n), 1, 1])
}

/// What the loss of each example is computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    /// The label of each example, u32 \[N\].
    pub labels: Range,
    /// The weight of each class, f32 \[K\].
    pub class_weights: Range,
    /// ε of the label smoothing.
    pub smoothing: f32,
}

/// dlogits\[N\]\[K\] = ω̃ · scale · w_y · (softmax − (1-ε)·one-hot − ε/K), where ω̃ is the child's weight in `Scalars`
/// and w_y is the weight of the example's class.
pub fn cross_entropy_backward(
    n: u32,
    k: u32,
    logits: Array,
    targets: Targets,
    dlogits: Array,
    scale: f32,
) -> Launch {
    let Targets { labels, class_weights, smoothing } = targets;
    let scalars = Range { buf: Buf::Scalars, offset_bytes: 0, len_bytes: 256 };
    let bindings = vec![
        ("logits", logits.range()),
        ("labels", labels),
        ("dlogits", dlogits.range()),
        ("scalars", scalars),
        ("class_weights", class_weights),
    ];
    let params = loss_params(n, k, scale, smoothing);
    launch("cross_entropy", "backward", vec![], bindings, params, [groups(n), 1, 1])
}
