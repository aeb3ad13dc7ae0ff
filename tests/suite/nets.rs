//! The layers of a genotype's network, and of the mixed network over some primitives.

use std::sync::Arc;

use parsec_nas::graph::spec::{NetworkKind, NetworkSpec, StemKind};
use parsec_nas::network::Net;
use parsec_nas::space::{Genotype, Paths, Primitive};

pub fn child(spec: &NetworkSpec, genotype: &Genotype) -> Arc<Net> {
    Arc::new(spec.net(Paths::Child(genotype)))
}

pub fn mixed(spec: &NetworkSpec, primitives: &[Primitive]) -> Arc<Net> {
    Arc::new(spec.net(Paths::All(primitives)))
}

/// Three cells on small images of three channels.
pub fn small(kind: NetworkKind, channels: usize, side: usize) -> NetworkSpec {
    NetworkSpec {
        kind,
        stem: StemKind::Cifar,
        in_channels: 3,
        height: side,
        width: side,
        n_classes: 4,
        layers: 3,
        channels,
        auxiliary: false,
    }
}
