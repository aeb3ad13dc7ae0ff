//! Training, evaluating and using small final networks on a few images.

use std::sync::{Arc, OnceLock};

use parsec_nas::config::TrainConfig;
use parsec_nas::data::{self, Dataset, Images, LoadOptions, Normalisation};
use parsec_nas::gpu::Gpu;
use parsec_nas::network::Net;
use parsec_nas::reference::network::{Batch, Tensors as Numbers};
use parsec_nas::space::{Genotype, Paths, read_genotype};
use parsec_nas::train::weights::{Prefixes, Weights};
use parsec_nas::train::{Settings, Training, network_spec};
use toml::{Table, Value};

use super::replay::{numbers, open};

mod augment;
mod cli;
mod config;
mod schedule;
mod steps;
mod weights;

/// A genotype with all kinds of operations. One of them is a skip of stride 2.
const GENOTYPE: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 0), ('avg_pool_3x3', 2), ('sep_conv_5x5', 1), ('max_pool_3x3', 3), ('skip_connect', 0), ('skip_connect', 0)], normal_concat=[2, 3, 4, 5], reduce=[('skip_connect', 0), ('dil_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_3x3', 2), ('skip_connect', 3), ('avg_pool_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], reduce_concat=[2, 3, 4, 5])";

fn genotype() -> Genotype {
    read_genotype(GENOTYPE).unwrap()
}

/// The middle 16x16 pixels of a few embedded images: 48 for training, 20 held out.
fn dataset() -> Arc<Dataset> {
    static DATA: OnceLock<Arc<Dataset>> = OnceLock::new();
    let cut = |images: &Images, n: usize| {
        let rows = |i: usize| (0..16).map(move |y| i * 784 + (y + 6) * 28 + 6);
        let pixels = (0..n)
            .flat_map(rows)
            .flat_map(|at| images.bytes()[at..at + 16].to_vec())
            .collect::<Vec<u8>>()
            .into();
        Images { n, height: 16, width: 16, pixels, labels: images.labels[..n].to_vec(), ..images.clone() }
    };
    let load = || {
        let all = data::load("embedded", &LoadOptions::default()).unwrap();
        Arc::new(Dataset { train: cut(&all.train, 48), test: cut(&all.test, 20), ..all })
    };
    Arc::clone(DATA.get_or_init(load))
}

/// Three cells of four channels, batches of eight, six steps to an epoch, and no augmentation.
pub(super) fn config(changes: &[(&str, Value)]) -> TrainConfig {
    let mut flags: Table = [
        ("genotype", Value::from(GENOTYPE)),
        ("channels", 4.into()),
        ("batch", 8.into()),
        ("steps", 12.into()),
        ("lr", 0.05.into()),
        ("threads", 1.into()),
        ("crop_pad", 0.into()),
        ("flip", false.into()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect();
    flags.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    TrainConfig::resolve(None, None, &flags).unwrap()
}

fn settings(config: TrainConfig, normalisation: Normalisation) -> Settings {
    let space = config.space().unwrap();
    let alpha = space.parse(&genotype().to_string()).unwrap();
    Settings { config, space, alpha, normalisation }
}

pub(super) fn training(config: TrainConfig) -> Option<Training> {
    Some(training_on(open()?, config))
}

pub(super) fn training_on(gpu: Gpu, config: TrainConfig) -> Training {
    let dataset = dataset();
    let normalisation = Normalisation::of(&dataset.train);
    let settings = settings(config, normalisation);
    Training::new(settings, dataset, gpu).unwrap()
}

/// The same network for the oracle.
fn net(config: &TrainConfig) -> Arc<Net> {
    let Settings { config, space, alpha, .. } = settings(config.clone(), Normalisation::of(&dataset().train));
    Arc::new(network_spec(&config, &space, &dataset()).net(Paths::Child(&alpha)))
}

/// The weights for the oracle.
pub(super) fn in_f64(training: &mut Training, weights: &Weights) -> Numbers {
    let tensors = weights.to_tensors(training.network().layout(), Prefixes::PLAIN);
    let floats = tensors.keys().filter(|name| !name.ends_with("num_batches_tracked"));
    floats.map(|name| (name.clone(), (tensors[name].shape.clone(), numbers(&tensors, name)))).collect()
}

pub(super) fn batch_in_f64(batch: &data::Batch) -> Batch {
    let images: Vec<f64> = batch.images.iter().map(|x| f64::from(*x)).collect();
    let labels: Vec<usize> = batch.labels.iter().map(|l| *l as usize).collect();
    Batch::from_nchw([batch.n, batch.channels, batch.height, batch.width], &images, &labels)
}
