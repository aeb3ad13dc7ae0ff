//! The plain data of a network's structure.

use crate::space::{CellKind, N_NODES};

/// Which of the two networks over the same cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkKind {
    /// The over-parameterised parent and its children: batch norms without affine in the cells, a batch
    /// norm after each pool.
    Search,
    /// The network of one genotype: affine batch norms with running statistics, none after pools.
    Final,
}

/// What stands before the first cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StemKind {
    /// One 3x3 convolution to 3C channels at full size; it feeds both inputs of cell 0.
    Cifar,
    /// Three 3x3 convolutions of stride 2: cell 0 gets maps of a quarter and of an eighth of the size.
    ImageNet,
}

/// A network, except for its genotype.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkSpec {
    /// Search parent or final network.
    pub kind: NetworkKind,
    /// What stands before the first cell.
    pub stem: StemKind,
    /// Channels of the images.
    pub in_channels: usize,
    /// Height of the images in pixels.
    pub height: usize,
    /// Width of the images in pixels.
    pub width: usize,
    /// Number of classes.
    pub n_classes: usize,
    /// Number of cells L.
    pub layers: usize,
    /// Channels C of the first cell's nodes.
    pub channels: usize,
    /// Whether there is an auxiliary head (final network only).
    pub auxiliary: bool,
}

/// One cell: its channels and the sizes of its inputs and its output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CellSpec {
    /// Position in the network, from 0.
    pub index: usize,
    /// Normal or reduction.
    pub kind: CellKind,
    /// Whether the cell before it is a reduction: then preprocess0 is a FactorizedReduce.
    pub prev_reduction: bool,
    /// Channels of the output of cell k-2.
    pub c_prev_prev: usize,
    /// Channels of the output of cell k-1.
    pub c_prev: usize,
    /// Channels of each node; the output has four times as many.
    pub c: usize,
    /// Height of the output of cell k-2.
    pub h_prev_prev: usize,
    /// Width of the output of cell k-2.
    pub w_prev_prev: usize,
    /// Height of the output of cell k-1, and of both preprocessed inputs.
    pub h_prev: usize,
    /// Width of the output of cell k-1, and of both preprocessed inputs.
    pub w_prev: usize,
    /// Height of nodes 2..=5 and of the output.
    pub h: usize,
    /// Width of nodes 2..=5 and of the output.
    pub w: usize,
}

impl CellSpec {
    /// Channels of the output: nodes 2..=5 side by side.
    pub fn c_out(&self) -> usize {
        N_NODES * self.c
    }
}
