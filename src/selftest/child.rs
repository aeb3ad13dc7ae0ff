//! Whole children, and steps of Algorithm 1 with these children, against the f64 reference.
//!
//! A ReLU or a max pool whose inputs are nearly equal may decide one way in f32 and another way in f64 (a flip).
//! Then a gradient differs by some thousandths although every kernel is right. So each child runs with several sets
//! of weights: most of them must agree to the accuracy of f32, and none may differ by more than a flip can cause.

use crate::host::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cases::name;
use super::distance::{distance, gradient_distance};
use super::draw::{Draw, draw};
use super::mixed::Mixed;
use super::run::{Found, Outcome};
use crate::Result;
use crate::gpu::{Child, Gpu, Network, Update};
use crate::graph::{Layout, Lowering, Mode};
use crate::kernel::Buf;
use crate::network::Net;
use crate::ops::Tuning;
use crate::reference::adam::Adam;
use crate::reference::network::{self, Tensors};
use crate::reference::search_step::{Settings, State, importance_weights, search_step};
use crate::reference::sgd::Sgd;
use crate::space::chain::Choice;
use crate::space::{
    Alpha, CellArch, Chain, Darts, Genotype, NetworkKind, NetworkSpec, Pair, Paths, Primitive, Space,
    StemKind,
};

/// Makes buffers on the adapter under test.
pub type Open<'a> = &'a dyn Fn() -> Result<Gpu>;

/// Largest relative error without a flip: agreement to the accuracy of f32 through some 60 layers.
pub(super) const CLOSE: f64 = 1e-4;
/// Largest relative error that a flip of a ReLU or a maximum can cause in a small network's gradient.
const FLIPPED: f64 = 1e-2;
/// Number of sets of weights per child.
const N_DRAWS: u64 = 3;

/// Cells with every primitive in both cells, both strides, and a pair drawn twice.
pub fn everything() -> Genotype {
    use Primitive::{
        AvgPool3x3 as A, DilConv3x3 as D3, DilConv5x5 as D5, MaxPool3x3 as M, SepConv3x3 as S3,
        SepConv5x5 as S5, SkipConnect as I,
    };
    Genotype {
        normal: cell([(S3, 0), (M, 1), (A, 0), (I, 2), (D5, 1), (D5, 1), (S5, 4), (D3, 0)]),
        reduce: cell([(S5, 0), (M, 1), (I, 1), (D3, 2), (A, 1), (D5, 0), (S3, 1), (I, 3)]),
    }
}

/// Cells with the remaining primitives that a reduction cell can have, and a node of zeros.
pub fn the_rest() -> Genotype {
    use Primitive::{
        AvgPool3x3 as A, DilConv3x3 as D3, DilConv5x5 as D5, MaxPool3x3 as M, None as Z, SepConv3x3 as S3,
        SepConv5x5 as S5, SkipConnect as I,
    };
    Genotype {
        normal: cell([(Z, 0), (Z, 1), (M, 2), (I, 0), (A, 3), (I, 1), (S3, 2), (D3, 4)]),
        reduce: cell([(D5, 0), (D3, 1), (I, 0), (I, 0), (M, 2), (A, 3), (S3, 0), (S5, 2)]),
    }
}

fn cell(pairs: [(Primitive, usize); 8]) -> CellArch {
    let pair = |(primitive, input)| Pair { input, primitive };
    std::array::from_fn(|node| [pair(pairs[2 * node]), pair(pairs[2 * node + 1])])
}

/// A network to be tested. All fields are in its name.
#[derive(Clone, Copy, Debug)]
struct Whole {
    network: NetworkKind,
    of: Of,
    channels: usize,
    side: usize,
    batch: usize,
    drop_path: bool,
    forms: Forms,
}

/// The cells or the chain of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// Cells with [`everything`].
    Everything,
    /// Cells with [`the_rest`].
    TheRest,
    /// Cells with [`the_rest`], behind the stem of ImageNet.
    ImageNet,
    /// A chain with identities and kernels of all sides.
    Chain,
}

impl Of {
    fn space(self) -> Result<(Arc<dyn Space>, Alpha)> {
        if self == Self::Chain {
            let choices = [(1, 3), (3, 5), (2, 7)].map(|(e, k)| Choice::Block { e, k });
            let choices = [&[Choice::Identity], &choices[..]].concat();
            return Ok((Arc::new(Chain::over(&[3, 3], &choices, Some(24))), Alpha(vec![0, 1, 2, 3, 0, 2])));
        }
        let stem = if self == Self::ImageNet { StemKind::ImageNet } else { StemKind::Cifar };
        let space = Darts::all().stacked(3, stem);
        let genotype = if self == Self::Everything { everything() } else { the_rest() };
        let alpha = space.alpha(&genotype)?;
        Ok((Arc::new(space), alpha))
    }
}

/// The forms of the kernels that run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Forms {
    /// The fixed choice for this adapter.
    Own,
    /// The fixed choice for a class of adapters.
    Software,
    Integrated,
    Discrete,
}

impl Forms {
    fn lowering(self, gpu: &Gpu) -> Lowering {
        let tuning = match self {
            Self::Own => return gpu.lowering(),
            Self::Software => Tuning::SOFTWARE,
            Self::Integrated => Tuning::INTEGRATED,
            Self::Discrete => Tuning::DISCRETE,
        };
        Lowering { tuning, ..Lowering::default() }
    }
}

#[derive(Debug)]
struct Steps {
    channels: usize,
    side: usize,
    batch: usize,
    steps: u64,
}

/// Results of a child.
#[derive(Clone, Debug, PartialEq)]
struct Got {
    log_likelihood: Vec<f32>,
    logits: Vec<f32>,
    gradient: BTreeMap<String, Vec<f32>>,
    running: BTreeMap<String, Vec<f32>>,
}

/// Runs the cases that `wanted` accepts.
///
/// # Errors
/// The errors of [`Gpu`]. Wrong results are in [`Outcome::problems`].
pub fn run(open: Open<'_>, wanted: &dyn Fn(&str) -> bool, seen: &mut dyn FnMut(Outcome)) -> Result<()> {
    let search = Whole {
        network: NetworkKind::Search,
        of: Of::Everything,
        channels: 4,
        side: 8,
        batch: 5,
        drop_path: false,
        forms: Forms::Own,
    };
    let last = Whole { network: NetworkKind::Final, drop_path: true, ..search };
    let list = [
        search,
        Whole { of: Of::TheRest, channels: 6, side: 12, batch: 3, ..search },
        last,
        Whole { of: Of::ImageNet, side: 64, batch: 2, ..last },
        // Sides of 15, 8 and 4 pixels.
        Whole { of: Of::Chain, channels: 5, side: 15, batch: 4, ..search },
        Whole { of: Of::Chain, channels: 4, side: 12, batch: 4, ..last },
        // The sizes of CIFAR.
        Whole { channels: 16, side: 32, batch: 2, ..search },
        // The forms of each class of adapters, which other machines run.
        Whole { channels: 10, side: 16, batch: 3, forms: Forms::Software, ..search },
        Whole { channels: 10, side: 16, batch: 3, forms: Forms::Integrated, ..search },
        Whole { channels: 10, side: 16, batch: 3, forms: Forms::Discrete, ..search },
    ];
    for whole in list {
        let name = name(&whole);
        if wanted(&name) {
            seen(timed(name, |outcome| whole.run(open, outcome))?);
        }
    }
    let name = name(&Mixed::CASE);
    if wanted(&name) {
        seen(timed(name, |outcome| Mixed::CASE.run(open, outcome))?);
    }
    let steps = Steps { channels: 4, side: 8, batch: 6, steps: 3 };
    let name = super::cases::name(&steps);
    if wanted(&name) {
        seen(timed(name, |outcome| steps.run(open, outcome))?);
    }
    Ok(())
}

fn timed(case: String, work: impl FnOnce(&mut Outcome) -> Result<()>) -> Result<Outcome> {
    let started = Instant::now();
    let mut outcome = Outcome { case, ..Outcome::default() };
    work(&mut outcome)?;
    outcome.seconds = started.elapsed().as_secs_f64();
    Ok(outcome)
}

impl Outcome {
    /// Records an error, and a problem if the error is too large.
    pub(super) fn measured(&mut self, what: &str, error: f64, tolerance: f64) {
        // A NaN is too large as well.
        if error.is_nan() || error > tolerance {
            self.problems.push(format!("{what}: relative error {error:.1e}, accepted {tolerance:.1e}"));
        }
        let error = if error.is_nan() { f64::INFINITY } else { error };
        self.found.push(Found { kernel: what.into(), error, tolerance });
    }

    /// Records the errors of several sets of weights. The median must be close, and the worst may be a flip at
    /// most.
    pub(super) fn measured_all(&mut self, what: &str, mut errors: Vec<f64>) {
        errors.sort_by(f64::total_cmp);
        self.measured(&format!("{what} (median)"), errors[errors.len() / 2], CLOSE);
        self.measured(&format!("{what} (worst)"), errors[errors.len() - 1], FLIPPED);
    }
}

impl Whole {
    fn spec(&self, space: &Arc<dyn Space>) -> NetworkSpec {
        let spec = NetworkSpec {
            space: Arc::clone(space),
            kind: self.network,
            in_channels: 3,
            height: self.side,
            width: self.side,
            n_classes: 5,
            channels: self.channels,
        };
        spec.with_auxiliary(self.network == NetworkKind::Final)
    }

    fn run(&self, open: Open<'_>, outcome: &mut Outcome) -> Result<()> {
        let (space, alpha) = self.of.space()?;
        let spec = self.spec(&space);
        let net = Arc::new(spec.net(Paths::Child(&alpha)));
        let params = net.params();
        let draws: Vec<Draw> =
            (0..N_DRAWS).map(|i| draw(&spec, &params, self.batch, self.drop_path, i)).collect();
        let mut both = Vec::new();
        for fuse in [true, false] {
            let layout = Layout::new(params.clone())?;
            let gpu = open()?;
            let lowering = Lowering { fuse, ..self.forms.lowering(&gpu) };
            let mut network = Network::new(gpu, spec.image(), layout, lowering)?;
            let form = if fuse { "fused" } else { "plain" };
            let mut train = Vec::new();
            for draw in &draws {
                train.push(forward_backward(&mut network, &net, draw, Mode::Train)?);
            }
            if forward_backward(&mut network, &net, &draws[0], Mode::Train)? != train[0] {
                outcome.problems.push(format!("{form}: a second run gives other bits"));
            }
            let likelihood = forward_backward(&mut network, &net, &draws[0], Mode::Likelihood)?;
            if likelihood.logits != train[0].logits {
                outcome.problems.push(format!("{form}: the forward pass alone gives other bits"));
            }
            self.against_reference(form, &spec, &net, &draws, &train, outcome)?;
            if self.network == NetworkKind::Final {
                let got = forward_backward(&mut network, &net, &draws[0], Mode::Evaluate)?;
                let want = reference(&spec, &net, &draws[0], network::Mode::Eval)?;
                outcome.measured(
                    &format!("{form}: logits, evaluation"),
                    distance(&got.logits, &want.logits),
                    CLOSE,
                );
            }
            both.push(train);
        }
        let pairs = both[0].iter().zip(&both[1]);
        let between = pairs.map(|(fused, plain)| {
            let plain =
                plain.gradient.iter().map(|(name, g)| (name, g.iter().map(|v| f64::from(*v)).collect()));
            gradient_distance(&fused.gradient, &plain.collect())
        });
        outcome.measured_all("gradient, fused and plain", between.collect());
        Ok(())
    }

    fn against_reference(
        &self,
        form: &str,
        spec: &NetworkSpec,
        net: &Net,
        draws: &[Draw],
        got: &[Got],
        outcome: &mut Outcome,
    ) -> Result<()> {
        let (mut gradients, mut logits, mut running) = (Vec::new(), 0.0f64, 0.0f64);
        for (draw, got) in draws.iter().zip(got) {
            let want = reference(spec, net, draw, network::Mode::Train)?;
            logits = logits.max(distance(&got.logits, &want.logits));
            logits = logits.max(distance(&got.log_likelihood, &want.log_likelihood));
            let grads = want.grads.iter().map(|(name, (_, g))| (name, g.clone())).collect();
            gradients.push(gradient_distance(&got.gradient, &grads));
            for (name, (_, values)) in &want.running {
                running = running.max(got.running.get(name).map_or(f64::INFINITY, |g| distance(g, values)));
            }
        }
        outcome.measured(&format!("{form}: logits"), logits, CLOSE);
        outcome.measured_all(&format!("{form}: gradient"), gradients);
        if self.network == NetworkKind::Final {
            outcome.measured(&format!("{form}: running statistics"), running, CLOSE);
        }
        Ok(())
    }
}

impl Steps {
    fn run(&self, open: Open<'_>, outcome: &mut Outcome) -> Result<()> {
        let whole = Whole {
            network: NetworkKind::Search,
            of: Of::Everything,
            channels: self.channels,
            side: self.side,
            batch: self.batch,
            drop_path: false,
            forms: Forms::Own,
        };
        let (space, _) = whole.of.space()?;
        let spec = whole.spec(&space);
        let params = spec.parent_params();
        let sgd = Sgd { lr: 0.05, momentum: 0.9, weight_decay: 3e-4 };
        let mut mixed = everything();
        mixed.normal = the_rest().normal;
        let children = children(&spec, &[everything(), the_rest(), mixed, everything()])?;
        let zeros: Vec<Vec<f64>> =
            Darts::all().slots().iter().map(|slot| vec![0.0; slot.n_choices]).collect();
        let first = draw(&spec, &params, self.batch, false, 10);
        let mut state = State {
            v: first.weights.clone(),
            momentum: Tensors::new(),
            pi: zeros.clone(),
            adam_m: zeros.clone(),
            adam_v: zeros,
            step: 0,
        };
        let settings = Settings {
            sgd,
            // This norm is small enough that the gradient is clipped.
            max_norm: 1.0,
            adam: Adam { lr: 0.03, betas: (0.5, 0.999), eps: 1e-8 },
            beta: 1.0,
            baseline_mean: false,
            micro_batch: None,
        };
        let literal: Vec<_> = children.iter().map(|(alpha, net)| (alpha.clone(), Net::clone(net))).collect();
        let gpu = open()?;
        let lowering = gpu.lowering();
        let mut network = Network::new(gpu, spec.image(), Layout::new(params.clone())?, lowering)?;
        load(&mut network, &first)?;
        let (mut likelihood, mut later, mut norm) = (0.0f64, 0.0f64, 0.0f64);
        for step in 0..self.steps {
            let batches = [0, 1].map(|input| draw(&spec, &[], self.batch, false, 20 + 2 * step + input));
            let [search, train] = batches.each_ref().map(|d| d.batch(&spec));
            for (input, draw) in [0, 1].into_iter().zip(&batches) {
                network.upload(input, &draw.images_f32(), &draw.labels_u32())?;
            }
            let (after, record) = search_step(&literal, &state, &search, &train, &settings)?;
            let got = passes(&mut network, &children)?;
            let Sgd { lr, momentum, weight_decay } = sgd;
            network.step(Update { lr, momentum, weight_decay, max_norm: settings.max_norm })?;
            let got: Vec<f32> = got.iter().map(|l| *l as f32).collect();
            let error = distance(&got, &record.log_likelihood);
            if step == 0 {
                likelihood = error;
            } else {
                // From the second step on, the weights have moved along a gradient that may have a flip.
                later = later.max(if error.is_nan() { f64::INFINITY } else { error });
            }
            norm = norm.max((network.clip()?.norm / record.norm - 1.0).abs());
            state = after;
        }
        let [of_v, of_momentum] = off(&mut network, &first, &state)?;
        outcome.measured("steps: log-likelihoods", likelihood, CLOSE);
        outcome.measured("steps: later log-likelihoods", later, FLIPPED);
        outcome.measured("steps: norm of the gradient", norm, FLIPPED);
        outcome.measured("steps: v", of_v, FLIPPED);
        outcome.measured("steps: momentum", of_momentum, FLIPPED);
        Ok(())
    }
}

/// The children of `genotypes`: the numbers of their choices, and their networks.
fn children(spec: &NetworkSpec, genotypes: &[Genotype]) -> Result<Vec<(Vec<usize>, Arc<Net>)>> {
    let child = |genotype: &Genotype| {
        let alpha = Darts::all().alpha(genotype)?;
        let choices = alpha.0.iter().map(|choice| usize::from(*choice)).collect();
        Ok((choices, Arc::new(spec.net(Paths::Child(&alpha)))))
    };
    genotypes.iter().map(child).collect()
}

/// Returns the log-likelihoods of the children, and adds up their weighted gradients.
fn passes(network: &mut Network, children: &[(Vec<usize>, Arc<Net>)]) -> Result<Vec<f64>> {
    let mut got = Vec::new();
    for (_, net) in children {
        network.run(Child::new(net, Mode::Likelihood, 0))?;
        got.push(network.last_result(0)?.sum());
    }
    for ((_, net), weight) in children.iter().zip(importance_weights(&got, 1.0)) {
        network.set_child_weight(weight)?;
        network.run(Child::new(net, Mode::Train, 1))?;
    }
    Ok(got)
}

/// The errors of v and of momentum. The error of v is relative to its change, the error of momentum to its size.
fn off(network: &mut Network, first: &Draw, state: &State) -> Result<[f64; 2]> {
    let (v, momentum) = (network.read_all(Buf::V)?, network.read_all(Buf::Momentum)?);
    let mut errors = [0.0; 4];
    for (name, entry) in network.layout().trained() {
        let (before, want) = (&first.weights[name].1, &state.v[name].1);
        for (i, got) in entry.unpack(&v).iter().enumerate() {
            errors[0] += (f64::from(*got) - want[i]).powi(2);
            errors[1] += (want[i] - before[i]).powi(2);
        }
        for (got, want) in entry.unpack(&momentum).iter().zip(&state.momentum[name].1) {
            errors[2] += (f64::from(*got) - want).powi(2);
            errors[3] += want.powi(2);
        }
    }
    Ok([(errors[0] / errors[1]).sqrt(), (errors[2] / errors[3]).sqrt()])
}

fn reference(spec: &NetworkSpec, net: &Net, draw: &Draw, mode: network::Mode) -> Result<network::Outcome> {
    network::evaluate(net, &draw.weights, &draw.batch(spec), mode, mode == network::Mode::Train)
}

/// Loads weights and running statistics onto the adapter. The gradient is set to zero.
pub(super) fn load(network: &mut Network, draw: &Draw) -> Result<()> {
    let layout = network.layout();
    let (mut v, mut state) = (vec![0f32; layout.v_len as usize], vec![0f32; layout.state_len as usize]);
    let values = |name: &str| -> Vec<f32> { draw.weights[name].1.iter().map(|x| *x as f32).collect() };
    layout.trained().for_each(|(name, entry)| entry.pack(&values(name), &mut v));
    layout.running().for_each(|(name, entry)| entry.pack(&values(name), &mut state));
    network.write_all(Buf::V, &v)?;
    network.write_all(Buf::State, &state)?;
    network.write_all(Buf::Grad, &vec![0.0; v.len()])
}

fn forward_backward(network: &mut Network, net: &Arc<Net>, draw: &Draw, mode: Mode) -> Result<Got> {
    load(network, draw)?;
    network.upload(0, &draw.images_f32(), &draw.labels_u32())?;
    // Evaluation has no drop-path.
    let drop_path = mode != Mode::Evaluate && draw.drop_path.is_some();
    if let Some(factors) = &draw.drop_path {
        network.upload_drop_path(&factors.iter().map(|f| *f as f32).collect::<Vec<f32>>())?;
    }
    network.run(Child { drop_path, ..Child::new(net, mode, 0) })?;
    let (log_likelihood, logits) = (network.last_result(0)?.log_likelihood, network.logits(0, 0)?);
    let (grad, state) = (network.read_all(Buf::Grad)?, network.read_all(Buf::State)?);
    let layout = network.layout();
    let gradient = layout.trained().map(|(name, entry)| (name.to_owned(), entry.unpack(&grad))).collect();
    let running = layout.running().map(|(name, entry)| (name.to_owned(), entry.unpack(&state))).collect();
    Ok(Got { log_likelihood, logits, gradient, running })
}
