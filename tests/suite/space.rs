//! The space, the prior over it, and the counters.

use parsec_nas::graph::spec::{NetworkKind, NetworkSpec, StemKind};
use parsec_nas::space::genotype::named;
use parsec_nas::space::{Genotype, Primitive, Space};

fn spec(
    kind: NetworkKind,
    stem: StemKind,
    size: usize,
    n_classes: usize,
    layers: usize,
    channels: usize,
) -> NetworkSpec {
    NetworkSpec {
        kind,
        stem,
        in_channels: 3,
        height: size,
        width: size,
        n_classes,
        layers,
        channels,
        auxiliary: false,
    }
}

#[test]
fn counters_reproduce_published_networks() {
    let parent = spec(NetworkKind::Search, StemKind::Cifar, 32, 10, 8, 16);
    assert_eq!(parent.parameter_count(None, &Primitive::ALL), 1_930_618);
    assert_eq!(
        parent.parameter_count(None, Space::default().primitives()),
        1_930_618
    );
    let cifar = NetworkSpec {
        auxiliary: true,
        ..spec(NetworkKind::Final, StemKind::Cifar, 32, 10, 20, 36)
    };
    let count = |spec: &NetworkSpec, name: &str| spec.parameter_count(Some(&named(name).unwrap()), &[]);
    assert_eq!(count(&cifar, "DARTS_V2"), 3_349_342);
    assert_eq!(cifar.auxiliary_parameter_count(), 3_825_768 - 3_349_342);
    assert_eq!(count(&cifar, "DARTS_V1"), 3_169_414);
    assert_eq!(count(&cifar, "PC_DARTS_cifar"), 3_634_678);
    let imagenet = spec(NetworkKind::Final, StemKind::ImageNet, 224, 1000, 14, 48);
    assert_eq!(count(&imagenet, "DARTS_V2"), 4_718_752);
}

#[test]
fn named_genotypes_survive_their_text() {
    let v2 = named("DARTS_V2").unwrap();
    assert_eq!(Genotype::parse(&v2.to_string()).unwrap(), v2);
}
