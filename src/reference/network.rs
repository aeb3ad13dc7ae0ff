//! A network, its genotype, its weights and a batch → logits, log-likelihoods, gradients, running statistics.
//!
//! Forward computes the layers of [`layers`] one after another and keeps every value;
//! backward goes through them from the end and adds each layer's gradients to those of what it read.

mod backward;
mod check;
pub mod mixed;

use std::collections::BTreeMap;

use super::batch_norm::{self, Stats};
use super::layers::{self, Kind, Layer, Layers, Net};
use super::{
    T4, Window, adaptive_pool, avg_pool, concat, conv, cross_entropy, depthwise, global_pool, linear,
    max_pool, mix, node_sum, pointwise, relu, subsample,
};
use crate::Result;
use crate::space::{Genotype, Paths};

/// Tensors by the names of the reference implementation's files: shape and elements in C order.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// Weight of the auxiliary head's cross-entropy in the loss.
pub const AUX_WEIGHT: f64 = 0.4;

/// Whether a final network normalises with the batch's or the running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, drop-path, auxiliary head.
    Train,
    /// Running statistics, neither drop-path nor auxiliary head. A search child has no such mode: its
    /// batch norms use batch statistics always.
    Eval,
}

/// A batch as it is fed to a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[Cin][N][H][W]`.
    pub images: T4,
    /// `[N]`.
    pub labels: Vec<usize>,
    /// Drop-path: for (cell, op), the mask `[N]` already divided by the keep probability.
    pub drop_path: BTreeMap<(usize, usize), Vec<f64>>,
}

impl Batch {
    /// A batch without drop-path from images `[N][C][H][W]` and labels `[N]`.
    pub fn from_nchw(shape: [usize; 4], images: &[f64], labels: &[usize]) -> Self {
        let [n, c, h, w] = shape;
        let images = T4::from_nchw(n, c, h, w, images);
        Self { images, labels: labels.to_vec(), drop_path: BTreeMap::new() }
    }
}

/// What a forward pass, and the backward pass if asked for, gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `[N][classes]`.
    pub logits: Vec<f64>,
    /// `[N][classes]`, with an auxiliary head in training.
    pub aux_logits: Option<Vec<f64>>,
    /// `[N]`, in nats, of the main head.
    pub log_likelihood: Vec<f64>,
    /// Mean cross-entropy, plus 0.4 times the auxiliary head's.
    pub loss: f64,
    /// Gradient of `loss` for every parameter used; empty if not asked for.
    pub grads: Tensors,
    /// Running statistics after a training step of a final network, for those given.
    pub running: Tensors,
}

/// Names and shapes of the parameters of `net` with `genotype` that have a gradient.
pub fn parameter_shapes(net: &Net, genotype: &Genotype) -> BTreeMap<String, Vec<usize>> {
    parameters(&layers::build(net, Paths::Child(genotype)))
}

/// Names and shapes of the running statistics of a final network's batch norms; a search child has none.
pub fn running_shapes(net: &Net, genotype: &Genotype) -> BTreeMap<String, Vec<usize>> {
    running_statistics(net, &layers::build(net, Paths::Child(genotype)))
}

fn parameters(layers: &Layers) -> BTreeMap<String, Vec<usize>> {
    layers.list.iter().flat_map(Layer::parameters).collect()
}

fn running_statistics(net: &Net, layers: &Layers) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    for layer in &layers.list {
        if let (Layer::BatchNorm { name, c, .. }, Kind::Final) = (layer, net.kind) {
            shapes.insert(format!("{name}.running_mean"), vec![*c]);
            shapes.insert(format!("{name}.running_var"), vec![*c]);
        }
    }
    shapes
}

/// Runs `net` with `genotype` and `weights` on `batch`, backward too if `want_gradient`.
///
/// # Errors
/// A genotype whose nodes read later ones; a tensor that is needed but missing or of another shape; a
/// label that is no class; sides that cannot be halved where the network halves them.
pub fn evaluate(
    net: &Net,
    genotype: &Genotype,
    weights: &Tensors,
    batch: &Batch,
    mode: Mode,
    want_gradient: bool,
) -> Result<Outcome> {
    check::check_genotype(genotype)?;
    evaluate_paths(net, Paths::Child(genotype), weights, batch, mode, want_gradient)
}

fn evaluate_paths(
    net: &Net,
    paths: Paths<'_>,
    weights: &Tensors,
    batch: &Batch,
    mode: Mode,
    want_gradient: bool,
) -> Result<Outcome> {
    let net = &Net { auxiliary: net.auxiliary && mode == Mode::Train, ..net.clone() };
    let layers = layers::build(net, paths);
    let run = Run { net, weights, batch, mode };
    run.check(&layers)?;
    let tape = run.forward(&layers);

    let logits = &tape.values[layers.logits];
    let aux_logits = layers.aux_logits.map(|l| &tape.values[l]);
    let log_likelihood = cross_entropy::log_likelihood(logits, &batch.labels);
    let mean_ce = |z: &T4| -cross_entropy::log_likelihood(z, &batch.labels).iter().sum::<f64>() / z.n as f64;
    Ok(Outcome {
        logits: logits.to_nchw(),
        aux_logits: aux_logits.map(T4::to_nchw),
        log_likelihood,
        loss: mean_ce(logits) + AUX_WEIGHT * aux_logits.map_or(0.0, mean_ce),
        grads: if want_gradient { run.backward(&layers, &tape) } else { Tensors::new() },
        running: run.running_after(&layers, &tape),
    })
}

struct Run<'a> {
    net: &'a Net,
    weights: &'a Tensors,
    batch: &'a Batch,
    mode: Mode,
}

/// Everything that backward needs of the forward pass.
struct Tape {
    values: Vec<T4>,
    /// Statistics that each batch norm used, by layer.
    stats: BTreeMap<usize, Stats>,
    /// Winners of each max pool, by layer.
    winners: BTreeMap<usize, Vec<usize>>,
}

impl Run<'_> {
    fn running_are_used(&self) -> bool {
        self.net.kind == Kind::Final && self.mode == Mode::Eval
    }

    /// The elements of a tensor that [`Self::check`] has seen.
    fn param(&self, name: &str) -> &[f64] {
        &self.weights[name].1
    }

    fn affine(&self, name: &str, affine: bool) -> Option<(&[f64], &[f64])> {
        affine.then(|| (self.param(&format!("{name}.weight")), self.param(&format!("{name}.bias"))))
    }

    fn factors(&self, drop: &[Option<(usize, usize)>; 2]) -> [Option<&[f64]>; 2] {
        let mask = |key: &(usize, usize)| match self.mode {
            Mode::Train => self.batch.drop_path.get(key).map(Vec::as_slice),
            Mode::Eval => None,
        };
        [drop[0].as_ref().and_then(mask), drop[1].as_ref().and_then(mask)]
    }

    fn forward(&self, layers: &Layers) -> Tape {
        let mut tape = Tape { values: Vec::new(), stats: BTreeMap::new(), winners: BTreeMap::new() };
        for (l, layer) in layers.list.iter().enumerate() {
            let value = |x: &usize| &tape.values[*x];
            let y = match layer {
                Layer::Images => self.batch.images.clone(),
                Layer::Relu { x } => relu::forward(value(x)),
                Layer::Conv { x, weight, co, win, .. } => {
                    conv::forward(value(x), self.param(weight), *co, *win)
                }
                Layer::Depthwise { x, weight, win, .. } => {
                    depthwise::forward(value(x), self.param(weight), *win)
                }
                Layer::Pointwise { x, weight, co, .. } => {
                    pointwise::forward(value(x), self.param(weight), *co)
                }
                Layer::Subsample { x } => subsample::forward(value(x)),
                Layer::Slice { x, first, count } => concat::slice(value(x), *first, *count),
                Layer::MaxPool { x, stride } => {
                    let (y, winners) = max_pool::forward(value(x), *stride);
                    tape.winners.insert(l, winners);
                    y
                }
                Layer::AvgPool { x, win } => avg_pool::forward(value(x), *win),
                Layer::AuxPool { x, side, stride } => match aux_window(value(x), *side, *stride) {
                    Some(win) => avg_pool::forward(value(x), win),
                    None => adaptive_pool::forward(value(x)),
                },
                Layer::BatchNorm { x, name, affine, .. } => {
                    let stats = if self.running_are_used() {
                        let running = |part: &str| self.param(&format!("{name}.running_{part}")).to_vec();
                        Stats { mean: running("mean"), var: running("var") }
                    } else {
                        batch_norm::statistics(value(x))
                    };
                    let y = batch_norm::forward(value(x), &stats, self.affine(name, *affine));
                    tape.stats.insert(l, stats);
                    y
                }
                Layer::Sum { terms: [a, b], drop } => {
                    node_sum::forward(value(a), value(b), self.factors(drop))
                }
                Layer::Mix { terms, .. } => {
                    let factors = self.param(layers::FACTORS);
                    let terms: Vec<_> = terms.iter().map(|(x, f)| (value(x), factors[*f])).collect();
                    mix::forward(&terms)
                }
                Layer::Concat { parts } => concat::forward(&parts.iter().map(value).collect::<Vec<_>>()),
                Layer::Zero { x, stride } => {
                    let x = value(x);
                    T4::zeros(x.c, x.n, x.h.div_ceil(*stride), x.w.div_ceil(*stride))
                }
                Layer::GlobalPool { x } => global_pool::forward(value(x)),
                Layer::Linear { x, name, .. } => {
                    let (w, b) = (self.param(&format!("{name}.weight")), self.param(&format!("{name}.bias")));
                    linear::forward(value(x), w, b)
                }
            };
            tape.values.push(y);
        }
        tape
    }

    /// Running statistics after a training step; the count of batches too, where it is given.
    fn running_after(&self, layers: &Layers, tape: &Tape) -> Tensors {
        let mut after = Tensors::new();
        if self.net.kind == Kind::Search || self.mode == Mode::Eval {
            return after;
        }
        for (l, layer) in layers.list.iter().enumerate() {
            let Layer::BatchNorm { x, name, c, .. } = layer else {
                continue;
            };
            let names = ["mean", "var"].map(|part| format!("{name}.running_{part}"));
            if let [Some((_, mean)), Some((_, var))] = names.each_ref().map(|n| self.weights.get(n)) {
                let running = Stats { mean: mean.clone(), var: var.clone() };
                let new =
                    batch_norm::update_running(&running, &tape.stats[&l], tape.values[*x].per_channel());
                let [mean_name, var_name] = names;
                after.insert(mean_name, (vec![*c], new.mean));
                after.insert(var_name, (vec![*c], new.var));
            }
            let count_name = format!("{name}.num_batches_tracked");
            if let Some((shape, count)) = self.weights.get(&count_name) {
                after.insert(count_name, (shape.clone(), count.iter().map(|n| n + 1.0).collect()));
            }
        }
        after
    }
}

/// The auxiliary head's 5x5 window on maps of the preset's side; none elsewhere.
fn aux_window(x: &T4, side: usize, stride: usize) -> Option<Window> {
    (x.h == side && x.w == side).then_some(Window { k: 5, stride, pad: 0, dilation: 1 })
}
