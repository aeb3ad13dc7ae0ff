//! Algorithm 1: the estimator against enumeration, and whole searches on small networks.

use std::sync::{Arc, OnceLock};

use crate::with;
use parsec_nas::config::{Config, Samples};
use parsec_nas::data::{self, Dataset, Images, LoadOptions, Normalisation};
use parsec_nas::files::tensors::Tensors;
use parsec_nas::graph::Lowering;
use parsec_nas::search::{Phases, Search, Settings, StepRecord};
use parsec_nas::space::{Darts, Genotype, Primitive, Prior, Space, StemKind};

use super::replay::open;

mod adaptive;
mod best;
mod darts;
mod draws;
mod ending;
mod estimator;
mod evidence;
mod failures;
mod importance;
mod lanes;
mod methods;
mod parts;
mod prior;
mod state;
mod steps;
mod trace;
mod transfer;

/// A few embedded images: 48 for training, 20 held out.
pub(super) fn dataset() -> Arc<Dataset> {
    static DATA: OnceLock<Arc<Dataset>> = OnceLock::new();
    let cut = |images: &Images, n: usize| Images {
        n,
        pixels: images.bytes()[..n * images.image_len()].to_vec().into(),
        labels: images.labels[..n].to_vec(),
        ..images.clone()
    };
    let load = || {
        let all = data::load("embedded", &LoadOptions::default()).unwrap();
        Arc::new(Dataset { train: cut(&all.train, 48), test: cut(&all.test, 20), ..all })
    };
    Arc::clone(DATA.get_or_init(load))
}

/// Three cells of four channels, three children, batches of eight: three steps to an epoch.
pub(super) fn config() -> Config {
    with(Config::paper().unwrap(), |c| {
        c.network.layers = 3;
        c.network.channels = 4;
        c.length.batch = 8;
        c.algorithm.samples = Samples::Fixed(3);
        c.length.steps = 4;
        c.session.threads = 1;
        c.sgd.lr = 0.025;
        c.prior.prior_lr = 0.03;
        c.algorithm.drop_mass = 1e-3;
        c.session.eval_every = parsec_nas::config::Every::Steps(50);
        c.session.checkpoint_every = parsec_nas::config::Every::Steps(50);
        c.algorithm.primitives = vec![Primitive::MaxPool3x3, Primitive::SkipConnect, Primitive::SepConv3x3];
    })
}

pub(super) fn search(config: Config) -> Option<Search> {
    let dataset = dataset();
    let lowering = Lowering { fuse: !config.session.reference_kernels, ..Lowering::default() };
    let settings = Settings::of(config, Normalisation::of(&dataset.train), lowering).unwrap();
    Some(Search::new(settings, dataset, open()?).unwrap())
}

/// A record without its times. All other numbers are reproducible.
fn timeless(record: StepRecord) -> StepRecord {
    StepRecord { seconds: Phases::default(), ..record }
}

pub(super) fn run(search: &mut Search, steps: usize) -> Vec<StepRecord> {
    (0..steps).map(|_| timeless(search.step().unwrap())).collect()
}

/// The numbers of all tensors whose names begin with a prefix, one tensor after another.
pub(super) fn all(state: &Tensors, prefix: &str) -> Vec<f64> {
    let names = state.keys().filter(|name| name.starts_with(prefix));
    names.flat_map(|name| super::replay::numbers(state, name)).collect()
}

pub(super) fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// A prior that draws one architecture most of the time.
pub(super) fn peaked(space: &dyn Space, height: f64) -> Prior {
    let mut prior = Prior::uniform(space);
    for (s, logits) in prior.logits.iter_mut().enumerate() {
        let (i, n) = (s / 2, logits.len());
        logits[if s % 2 == 0 { 5 * i + 1 } else { 3 * i + 2 } % n] = height;
    }
    prior
}

/// The DARTS space of a search.
fn cells(search: &Search) -> Darts {
    let config = search.config();
    Darts::over(&config.algorithm.primitives).stacked(config.network.layers, StemKind::Cifar)
}

/// The genotype with which the search would end now.
fn mode(search: &Search) -> Genotype {
    cells(search).genotype(&search.architecture())
}
