//! Networks over the DARTS space from their sizes: the networks of genotypes, and mixed networks.

use std::sync::Arc;

use parsec_nas::Result;
use parsec_nas::network::{Net, ParamSpec, Shape};
use parsec_nas::space::{Darts, Genotype, NetworkKind, NetworkSpec, Paths, Primitive, StemKind};

/// A network of cells without its genotype.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    pub kind: NetworkKind,
    pub stem: StemKind,
    pub in_channels: usize,
    pub height: usize,
    pub width: usize,
    pub n_classes: usize,
    pub layers: usize,
    pub channels: usize,
    pub auxiliary: bool,
}

/// A network of a given size.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// The network of a genotype.
    Child(&'a Genotype),
    /// The mixed network over some primitives.
    Mixed(&'a [Primitive]),
}

impl Cells {
    /// The space over some primitives, in networks of this size.
    pub fn space(&self, primitives: &[Primitive]) -> Darts {
        let mut space = Darts::over(primitives).stacked(self.layers, self.stem);
        space.auxiliary = self.auxiliary;
        space
    }

    /// The network over some primitives.
    pub fn over(&self, primitives: &[Primitive]) -> NetworkSpec {
        NetworkSpec {
            space: Arc::new(self.space(primitives)),
            kind: self.kind,
            in_channels: self.in_channels,
            height: self.height,
            width: self.width,
            n_classes: self.n_classes,
            channels: self.channels,
        }
    }

    /// The network over all primitives.
    pub fn spec(&self) -> NetworkSpec {
        self.over(&Primitive::ALL)
    }

    pub fn check(&self) -> Result<()> {
        self.spec().check()
    }

    pub fn image(&self) -> Shape {
        self.spec().image()
    }

    pub fn size_unit(&self) -> usize {
        self.space(&Primitive::ALL).size_unit()
    }

    pub fn net(&self, of: Of<'_>) -> Net {
        match of {
            Of::Child(genotype) => {
                let space = self.space(&Primitive::ALL);
                self.spec().net(Paths::Child(&space.alpha(genotype).unwrap()))
            }
            Of::Mixed(primitives) => self.over(primitives).net(Paths::All),
        }
    }

    /// Every tensor of the parent over some primitives, or of the genotype's final network.
    pub fn params(&self, genotype: Option<&Genotype>, primitives: &[Primitive]) -> Vec<ParamSpec> {
        match (self.kind, genotype) {
            (NetworkKind::Final, Some(genotype)) => self.child_params(genotype),
            _ => self.over(primitives).parent_params(),
        }
    }

    /// The tensors that a genotype's network uses.
    pub fn child_params(&self, genotype: &Genotype) -> Vec<ParamSpec> {
        self.net(Of::Child(genotype)).params()
    }

    /// Names of the trained tensors that a genotype's network uses.
    pub fn used_params(&self, genotype: &Genotype) -> Vec<String> {
        self.child_params(genotype).into_iter().filter(|p| p.role.is_trained()).map(|p| p.name).collect()
    }

    pub fn macs(&self, genotype: &Genotype) -> u64 {
        self.spec().macs(&self.space(&Primitive::ALL).alpha(genotype).unwrap())
    }

    pub fn child_parameter_count(&self, genotype: &Genotype) -> u64 {
        self.net(Of::Child(genotype)).parameter_count(false)
    }
}

pub fn child(cells: &Cells, genotype: &Genotype) -> Arc<Net> {
    Arc::new(cells.net(Of::Child(genotype)))
}

pub fn mixed(cells: &Cells, primitives: &[Primitive]) -> Arc<Net> {
    Arc::new(cells.net(Of::Mixed(primitives)))
}

/// A network of three cells for small images of three channels.
pub fn small(kind: NetworkKind, channels: usize, side: usize) -> Cells {
    Cells {
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
