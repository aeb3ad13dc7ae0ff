//! A network, its weights and a batch → logits, log-likelihoods, gradients, running statistics.
//!
//! Forward computes the layers of [`Net`] one after another and keeps every value. Backward goes through the layers
//! from the last to the first, and adds the gradients of each layer to the gradients of the layer's inputs. The
//! layers are the same as those on the device, but every number is computed independently of the device.

mod backward;
mod check;

use std::collections::BTreeMap;

use super::batch_norm::{self, Stats};
use super::{
    T4, Window, adaptive_pool, avg_pool, concat, conv, cross_entropy, depthwise, global_pool, linear,
    max_pool, mix, node_sum, pointwise, relu, subsample,
};
use crate::Result;
use crate::network::{self, Kind, Net};

/// Tensors by their PyTorch names: shape, and elements in C order.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// Name of the tensor with the factors of a mixed network.
pub const FACTORS: &str = "factors";

/// Weight of the auxiliary head's cross-entropy in the loss.
pub const AUX_WEIGHT: f64 = 0.4;

/// The statistics that a final network normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, drop-path, auxiliary head.
    Train,
    /// Running statistics, no drop-path, no auxiliary head. A search child uses batch statistics in this mode too.
    Eval,
}

/// The batch that a network reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[Cin][N][H][W]`.
    pub images: T4,
    /// `[N]`.
    pub labels: Vec<usize>,
    /// `[N]`, the weight of each example in the loss.
    pub weights: Vec<f64>,
    /// Drop-path masks `[N]` by row of the factors. The masks are already divided by the keep probability.
    pub drop_path: BTreeMap<usize, Vec<f64>>,
}

impl Batch {
    /// A batch without drop-path and with weights of 1 from images `[N][C][H][W]` and labels `[N]`.
    pub fn from_nchw(shape: [usize; 4], images: &[f64], labels: &[usize]) -> Self {
        let [n, c, h, w] = shape;
        let images = T4::from_nchw(n, c, h, w, images);
        Self { images, labels: labels.to_vec(), weights: vec![1.0; labels.len()], drop_path: BTreeMap::new() }
    }
}

/// Result of a forward pass, and of the backward pass if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `[N][classes]`.
    pub logits: Vec<f64>,
    /// `[N][classes]`, if there is an auxiliary head in training.
    pub aux_logits: Option<Vec<f64>>,
    /// `[N]`, in nats, of the classifier.
    pub log_likelihood: Vec<f64>,
    /// Mean cross-entropy with the weights of the examples, plus 0.4 times that of the auxiliary head. The mean is over
    /// N, not over the sum of the weights.
    pub loss: f64,
    /// Gradient of `loss` for every parameter. Empty without a backward pass.
    pub grads: Tensors,
    /// Running statistics after a training step of a final network, for the statistics that are given.
    pub running: Tensors,
}

/// Names and shapes of the tensors that have a gradient: the parameters of `net`, and [`FACTORS`] of a mixed
/// network.
pub fn parameter_shapes(net: &Net) -> BTreeMap<String, Vec<usize>> {
    let trained = net.params().into_iter().filter(|p| p.role.is_trained());
    let factors = (net.n_factors > 0).then(|| (FACTORS.to_owned(), vec![net.n_factors]));
    trained.map(|p| (p.name, p.shape)).chain(factors).collect()
}

/// Names and shapes of the running statistics of a final network's batch norms. A search child has none.
pub fn running_shapes(net: &Net) -> BTreeMap<String, Vec<usize>> {
    let is_running = |role| matches!(role, network::ParamRole::RunningMean | network::ParamRole::RunningVar);
    net.params().into_iter().filter(|p| is_running(p.role)).map(|p| (p.name, p.shape)).collect()
}

/// Runs `net` with `weights` on `batch`, forward and, with `want_gradient`, backward.
///
/// # Errors
/// A tensor that is needed but is missing or has another shape; a label that is no class; images of another shape;
/// a drop-path mask of another length.
pub fn evaluate(
    net: &Net,
    weights: &Tensors,
    batch: &Batch,
    mode: Mode,
    want_gradient: bool,
) -> Result<Outcome> {
    let run = Run { net, weights, batch, mode };
    run.check()?;
    let tape = run.forward();

    let logits = &tape.values[net.logits];
    let aux_logits = net.auxiliary_logits.filter(|_| mode == Mode::Train).map(|l| &tape.values[l]);
    let log_likelihood = cross_entropy::log_likelihood(logits, &batch.labels);
    let mean_ce = |z: &T4| {
        let found = cross_entropy::log_likelihood(z, &batch.labels);
        -found.iter().zip(&batch.weights).map(|(l, weight)| weight * l).sum::<f64>() / z.n as f64
    };
    Ok(Outcome {
        logits: logits.to_nchw(),
        aux_logits: aux_logits.map(T4::to_nchw),
        log_likelihood,
        loss: mean_ce(logits) + AUX_WEIGHT * aux_logits.map_or(0.0, mean_ce),
        grads: if want_gradient { run.backward(&tape) } else { Tensors::new() },
        running: run.running_after(&tape),
    })
}

struct Run<'a> {
    net: &'a Net,
    weights: &'a Tensors,
    batch: &'a Batch,
    mode: Mode,
}

/// The values of the forward pass that backward needs.
struct Tape {
    values: Vec<T4>,
    /// Statistics that each batch norm used, by layer.
    stats: BTreeMap<usize, Stats>,
    /// Winners of each max pool, by layer.
    winners: BTreeMap<usize, Vec<usize>>,
}

/// The window, in the type of the oracle's operations.
fn window(w: network::Window) -> Window {
    Window { k: w.k, stride: w.stride, pad: w.pad, dilation: w.dilation }
}

impl Run<'_> {
    /// The elements of a tensor. [`Self::check`] has checked that the tensor exists.
    fn param(&self, name: &str) -> &[f64] {
        &self.weights[name].1
    }

    /// The weights of a convolution or a linear layer.
    fn weight(&self, layer: &network::Layer) -> &[f64] {
        self.param(&format!("{}.weight", layer.name))
    }

    fn affine(&self, name: &str, affine: bool) -> Option<(&[f64], &[f64])> {
        affine.then(|| (self.param(&format!("{name}.weight")), self.param(&format!("{name}.bias"))))
    }

    /// The drop-path factor of each example of a term, if there is one.
    fn mask(&self, term: &network::Term) -> Option<&[f64]> {
        let row = term.drop.filter(|_| self.mode == Mode::Train)?;
        self.batch.drop_path.get(&row).map(Vec::as_slice)
    }

    /// Whether a layer runs. The auxiliary head runs in training only.
    fn runs(&self, layer: &network::Layer) -> bool {
        self.mode == Mode::Train || !layer.auxiliary
    }

    fn forward(&self) -> Tape {
        let mut tape = Tape { values: Vec::new(), stats: BTreeMap::new(), winners: BTreeMap::new() };
        for (l, layer) in self.net.layers.iter().enumerate() {
            let y = if self.runs(layer) { self.layer(l, layer, &mut tape) } else { T4::zeros(0, 0, 0, 0) };
            tape.values.push(y);
        }
        tape
    }

    /// The value of layer `l`, from the values of earlier layers.
    // This function is long, because each kind of layer has an arm.
    fn layer(&self, l: usize, layer: &network::Layer, tape: &mut Tape) -> T4 {
        let input = |i: usize| &tape.values[layer.inputs[i]];
        match &layer.kind {
            Kind::Images => self.batch.images.clone(),
            Kind::Relu => relu::forward(input(0)),
            Kind::Conv(w) if w.k == 1 && w.stride == 1 => {
                pointwise::forward(input(0), self.weight(layer), layer.shape.c)
            }
            Kind::Conv(w) => conv::forward(input(0), self.weight(layer), layer.shape.c, window(*w)),
            Kind::Depthwise(w) => depthwise::forward(input(0), self.weight(layer), window(*w)),
            Kind::FactorizedReduce => {
                let x = input(0);
                let both = subsample::forward(x);
                let halves = [1, 2].map(|i| {
                    let half = concat::slice(&both, (i - 1) * x.c, x.c);
                    let weight = self.param(&format!("{}.conv_{i}.weight", layer.name));
                    pointwise::forward(&half, weight, layer.shape.c / 2)
                });
                concat::forward(&halves.each_ref())
            }
            Kind::MaxPool(w) => {
                let (y, winners) = max_pool::forward(input(0), w.stride);
                tape.winners.insert(l, winners);
                y
            }
            Kind::AvgPool(w) => avg_pool::forward(input(0), window(*w)),
            Kind::PoolTo2x2 { window: Some(stride) } => avg_pool::forward(input(0), five(*stride)),
            Kind::PoolTo2x2 { window: None } => adaptive_pool::forward(input(0)),
            Kind::Norm { affine, running } => {
                let stats = if *running && self.mode == Mode::Eval {
                    let running = |part: &str| self.param(&format!("{}.running_{part}", layer.name)).to_vec();
                    Stats { mean: running("mean"), var: running("var") }
                } else {
                    batch_norm::statistics(input(0))
                };
                let y = batch_norm::forward(input(0), &stats, self.affine(&layer.name, *affine));
                tape.stats.insert(l, stats);
                y
            }
            Kind::Sum(terms) if terms.iter().any(|t| t.factor.is_some()) => {
                let factors = self.param(FACTORS);
                let factor = |t: &network::Term| t.factor.map_or(1.0, |f| factors[f]);
                let terms: Vec<_> = (0..).zip(terms).map(|(i, t)| (input(i), factor(t))).collect();
                mix::forward(&terms)
            }
            Kind::Sum(terms) => {
                let shape = layer.shape;
                let mut y = T4::zeros(shape.c, self.batch.images.n, shape.h, shape.w);
                for (i, term) in (0..).zip(terms) {
                    for _ in 0..term.times {
                        y = node_sum::forward(&y, input(i), [None, self.mask(term)]);
                    }
                }
                y
            }
            Kind::Concat => concat::forward(&(0..layer.inputs.len()).map(input).collect::<Vec<_>>()),
            Kind::GlobalPool => global_pool::forward(input(0)),
            Kind::Linear => {
                let bias = self.param(&format!("{}.bias", layer.name));
                linear::forward(input(0), self.weight(layer), bias)
            }
        }
    }

    /// Running statistics after a training step, and the count of batches if it is given.
    fn running_after(&self, tape: &Tape) -> Tensors {
        let mut after = Tensors::new();
        if self.mode == Mode::Eval {
            return after;
        }
        for (l, layer) in self.net.layers.iter().enumerate() {
            let Kind::Norm { running: true, .. } = layer.kind else {
                continue;
            };
            let name = &layer.name;
            let names = ["mean", "var"].map(|part| format!("{name}.running_{part}"));
            if let [Some((_, mean)), Some((_, var))] = names.each_ref().map(|n| self.weights.get(n)) {
                let running = Stats { mean: mean.clone(), var: var.clone() };
                let count = tape.values[layer.inputs[0]].per_channel();
                let new = batch_norm::update_running(&running, &tape.stats[&l], count);
                let [mean_name, var_name] = names;
                after.insert(mean_name, (vec![layer.shape.c], new.mean));
                after.insert(var_name, (vec![layer.shape.c], new.var));
            }
            let count_name = format!("{name}.num_batches_tracked");
            if let Some((shape, count)) = self.weights.get(&count_name) {
                after.insert(count_name, (shape.clone(), count.iter().map(|n| n + 1.0).collect()));
            }
        }
        after
    }
}

/// The auxiliary head's 5x5 window.
fn five(stride: usize) -> Window {
    Window { k: 5, stride, pad: 0, dilation: 1 }
}
