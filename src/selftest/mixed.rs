//! The mixed network (Eq. 2) against the f64 reference: logits, every gradient of the weights, and the gradient of
//! the factors. It runs with several sets of weights, as children do.

use std::sync::Arc;

use super::child::{CLOSE, Open, load};
use super::distance::{distance, gradient_distance};
use super::draw::{Draw, draw};
use super::run::Outcome;
use super::setup::Setup;
use crate::Result;
use crate::gpu::{Child, Network};
use crate::graph::{Extent, Layout, Lowering, Mode};
use crate::kernel::Buf;
use crate::network::Net;
use crate::reference::network::{self, FACTORS, evaluate};
use crate::space::{Darts, NetworkKind, NetworkSpec, Paths, Primitive, StemKind};

/// Number of sets of weights.
const N_DRAWS: u64 = 3;

/// A mixed network of three cells over all primitives.
#[derive(Debug)]
pub struct Mixed {
    channels: usize,
    side: usize,
    batch: usize,
}

impl Mixed {
    /// The network that is tested.
    pub const CASE: Self = Self { channels: 4, side: 8, batch: 3 };

    fn spec(&self) -> NetworkSpec {
        // The order differs from that of the DARTS code, because factors follow the order of the user's
        // list.
        let mut primitives = Primitive::ALL.to_vec();
        primitives.rotate_left(3);
        NetworkSpec {
            space: Arc::new(Darts::over(&primitives).stacked(3, StemKind::Cifar)),
            kind: NetworkKind::Search,
            in_channels: 3,
            height: self.side,
            width: self.side,
            n_classes: 5,
            channels: self.channels,
        }
    }

    /// Runs the network, fused and unfused.
    pub fn run(&self, open: Open<'_>, outcome: &mut Outcome) -> Result<()> {
        let spec = self.spec();
        let net = Arc::new(spec.net(Paths::All));
        let params = spec.parent_params();
        let draws: Vec<(Draw, Vec<f64>)> = (0..N_DRAWS)
            .map(|i| {
                let draw = draw(&spec, &params, self.batch, false, 40 + i);
                let factors = Setup::new(&format!("factors {i}")).noise(net.n_factors as u32);
                // The factors are as large as those of a softmax over eight, and some are near 0.
                (draw, factors.iter().map(|f| f64::from((0.125 * (1.0 + f)) as f32)).collect())
            })
            .collect();
        for fuse in [true, false] {
            let form = if fuse { "fused" } else { "plain" };
            let lowering = Lowering { fuse, ..Lowering::default() };
            let layout = Layout::new(params.clone())?;
            let mut network = Network::new(open()?, spec.image(), layout, lowering)?;
            network.reserve([&net], Mode::Train, self.batch as u32, Extent::Whole)?;
            network.reserve([&net], Mode::Factors, self.batch as u32, Extent::Whole)?;
            let (mut logits, mut weights, mut factors) = (0.0f64, Vec::new(), Vec::new());
            for (draw, given) in &draws {
                let want = self.reference(&net, draw, given)?;
                let mut run = |mode| self.pass(&mut network, &net, draw, given, mode);
                let (train, gradient, none) = run(Mode::Train)?;
                let (again, zeros, dfactors) = run(Mode::Factors)?;
                if run(Mode::Likelihood)?.0 != train || train != again {
                    outcome.problems.push(format!("{form}: the modes give other logits"));
                }
                let untouched = none.iter().chain(zeros.values().flatten()).all(|g| *g == 0.0);
                if !untouched || run(Mode::Factors)?.2 != dfactors {
                    outcome
                        .problems
                        .push(format!("{form}: a gradient that was not asked for, or other bits"));
                }
                logits = logits.max(distance(&train, &want.logits));
                let of_weights = want.grads.iter().filter(|(name, _)| *name != FACTORS);
                let of_weights = of_weights.map(|(name, (_, g))| (name, g.clone())).collect();
                weights.push(gradient_distance(&gradient, &of_weights));
                factors.push(distance(&dfactors, &want.grads[FACTORS].1));
            }
            outcome.measured(&format!("{form}: logits"), logits, CLOSE);
            outcome.measured_all(&format!("{form}: gradient"), weights);
            outcome.measured_all(&format!("{form}: gradient of the factors"), factors);
        }
        Ok(())
    }

    fn reference(&self, net: &Net, draw: &Draw, factors: &[f64]) -> Result<network::Outcome> {
        let mut weights = draw.weights.clone();
        weights.insert(FACTORS.into(), (vec![factors.len()], factors.to_vec()));
        evaluate(net, &weights, &draw.batch(&self.spec()), network::Mode::Train, true)
    }

    /// Logits, gradients by name, gradient of the factors.
    #[allow(clippy::type_complexity)]
    fn pass(
        &self,
        network: &mut Network,
        net: &Arc<Net>,
        draw: &Draw,
        factors: &[f64],
        mode: Mode,
    ) -> Result<(Vec<f32>, std::collections::BTreeMap<String, Vec<f32>>, Vec<f32>)> {
        load(network, draw)?;
        network.upload(0, &draw.images_f32(), &draw.labels_u32())?;
        let factors: Vec<f32> = factors.iter().map(|f| *f as f32).collect();
        network.upload_factors(&factors, 0)?;
        network.run(Child::new(net, mode, 0))?;
        let (logits, grad) = (network.logits(0, 0)?, network.read_all(Buf::Grad)?);
        let dfactors = network.take_factor_gradient(factors.len())?;
        let named = network.layout().trained().map(|(name, e)| (name.to_owned(), e.unpack(&grad)));
        Ok((logits, named.collect(), dfactors))
    }
}
