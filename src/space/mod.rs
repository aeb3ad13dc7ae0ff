//! The search space: primitives, child architectures α, and the prior π over them.

pub mod primitive;

pub use primitive::Primitive;

/// Intermediate nodes of a cell (nodes 2..=5).
pub const N_NODES: usize = 4;
/// Terms summed by each node.
pub const N_SLOTS: usize = 2;

/// The two kinds of cells; each has one architecture for the whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellKind {
    /// Stride 1, channels kept.
    Normal,
    /// Stride 2 from the two input nodes, channels doubled.
    Reduce,
}

/// One term of a node: a primitive applied to an input node.
///
/// `input` is 0 for the output of cell k-2, 1 for cell k-1, 2..=4 for the intermediate nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Index of the input node, `0..node` where `node` is 2..=5.
    pub input: usize,
    /// The operation on it.
    pub primitive: Primitive,
}

/// The wiring of one cell: for nodes 2..=5, the two terms that are summed (Eq. 1).
pub type CellArch = [[Pair; N_SLOTS]; N_NODES];

/// The architecture of a network: one wiring per kind of cell. The output of a cell is always the
/// concatenation of nodes 2..=5.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Genotype {
    /// All cells of stride 1.
    pub normal: CellArch,
    /// The two reduction cells.
    pub reduce: CellArch,
}
