//! SGD with momentum and weight decay, as in PyTorch.

/// Settings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Factor of the old momentum.
    pub momentum: f64,
    /// Factor of the weights that are added to the gradient. This part is not clipped.
    pub weight_decay: f64,
}

/// `buf = momentum·buf + clip·g + weight_decay·v`, then `v −= lr·buf`.
pub fn step(v: &mut [f64], buf: &mut [f64], g: &[f64], clip: f64, sgd: Sgd) {
    for ((v, buf), g) in v.iter_mut().zip(buf).zip(g) {
        *buf = sgd.momentum * *buf + clip * g + sgd.weight_decay * *v;
        *v -= sgd.lr * *buf;
    }
}
