//! The search space: primitives, child architectures α, and the prior π over them.
//!
//! Nodes are counted from 0 in code: `node` 0..4 is node 2..=5 of the cell, with `node + 2` inputs.
//! What an architecture computes is not said here.

pub mod genotype;
mod mixture;
mod parse;
pub mod primitive;
pub mod prior;

use crate::error::{Error, Result};

pub use genotype::read_genotype;
pub use mixture::Mixture;
pub use parse::ParseError;
pub use primitive::Primitive;
pub use prior::{PerNode, Prior};

/// Intermediate nodes of a cell (nodes 2..=5).
pub const N_NODES: usize = 4;
/// Terms summed by each node.
pub const N_SLOTS: usize = 2;
/// Kinds of cells.
pub const N_KINDS: usize = 2;
/// Edges of a cell: 2 + 3 + 4 + 5 inputs of nodes 2..=5.
pub const N_EDGES: usize = 14;

/// The two kinds of cells; each has one architecture for the whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellKind {
    /// Stride 1, channels kept.
    Normal,
    /// Stride 2 from the two input nodes, channels doubled.
    Reduce,
}

impl CellKind {
    /// Both kinds, in the order of every array over kinds.
    pub const ALL: [Self; N_KINDS] = [Self::Normal, Self::Reduce];

    /// Position in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name used in genotypes, traces and drawings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Reduce => "reduce",
        }
    }
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

/// Which paths of the search parent a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths<'a> {
    /// Those of one architecture (Eq. 1).
    Child(&'a Genotype),
    /// All, over these primitives, each with a factor (Eq. 2).
    All(&'a [Primitive]),
}

/// A child architecture as pair indices, `[kind][node][slot]`; what a pair index means is said by the
/// [`Space`] it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alpha(pub [[[u16; N_SLOTS]; N_NODES]; N_KINDS]);

/// Number `e` of the edge from `input` to `node` (0..4) in the parent's names: node 2's inputs 0, 1,
/// then node 3's 0, 1, 2, and so on.
pub fn edge(node: usize, input: usize) -> usize {
    // Nodes before this one have 2 + 3 + ... + (node + 1) inputs.
    node * (node + 3) / 2 + input
}

/// The primitives that a search chooses from, in the order of the user's list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Space {
    primitives: Vec<Primitive>,
}

impl Default for Space {
    /// The seven primitives without `none`.
    fn default() -> Self {
        Self { primitives: Primitive::ALL[1..].to_vec() }
    }
}

impl Space {
    /// The space over the primitives called `names`, in that order.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty list, an unknown name (with the nearest one) or a repeated one.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        let wrong = |found: String, try_this: String| {
            let expected = format!("different names out of {}", Primitive::names());
            Err(Error::usage("primitives", expected, found, try_this))
        };
        let mut primitives = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            let Some(primitive) = Primitive::from_name(name) else {
                let nearest = Primitive::nearest(name).map(|p| p.name().to_owned());
                return wrong(format!("{name:?}"), nearest.unwrap_or_default());
            };
            if primitives.contains(&primitive) {
                return wrong(format!("{name} twice"), "name it once".into());
            }
            primitives.push(primitive);
        }
        if primitives.is_empty() {
            return wrong("an empty list".into(), "leave the option out for the seven without none".into());
        }
        Ok(Self { primitives })
    }

    /// The primitives in the order of the list: position p of P gives the pair index `input·P + p`.
    pub fn primitives(&self) -> &[Primitive] {
        &self.primitives
    }

    /// Number of (input, primitive) pairs that a slot of `node` (0..4) chooses from.
    pub fn n_pairs(&self, node: usize) -> usize {
        (node + 2) * self.primitives.len()
    }

    /// The pair with number `index` (`0..n_pairs(node)`) of a slot of `node`; the remainder is taken of
    /// a larger number.
    pub fn pair(&self, node: usize, index: usize) -> Pair {
        let n_primitives = self.primitives.len();
        Pair { input: index / n_primitives % (node + 2), primitive: self.primitives[index % n_primitives] }
    }

    /// The number of `pair` among those of a slot of `node`, if it is in the space.
    pub fn index_of(&self, node: usize, pair: Pair) -> Option<usize> {
        let position = self.primitives.iter().position(|&p| p == pair.primitive)?;
        (pair.input < node + 2).then(|| pair.input * self.primitives.len() + position)
    }

    /// The genotype that `alpha` stands for.
    pub fn genotype(&self, alpha: &Alpha) -> Genotype {
        let cell = |kind: CellKind| {
            let nodes = alpha.0[kind.index()];
            std::array::from_fn(|node| nodes[node].map(|index| self.pair(node, usize::from(index))))
        };
        Genotype { normal: cell(CellKind::Normal), reduce: cell(CellKind::Reduce) }
    }

    /// The pair indices of `genotype`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it uses a primitive that is not in this space.
    pub fn alpha(&self, genotype: &Genotype) -> Result<Alpha> {
        let mut alpha = Alpha([[[0; N_SLOTS]; N_NODES]; N_KINDS]);
        for kind in CellKind::ALL {
            for (node, slots) in genotype.cell(kind).iter().enumerate() {
                for (slot, &pair) in slots.iter().enumerate() {
                    let index = self.index_of(node, pair).ok_or_else(|| {
                        let names: Vec<_> = self.primitives.iter().map(|p| p.name()).collect();
                        Error::usage(
                            "genotype",
                            format!("pairs of this space's primitives ({})", names.join(", ")),
                            format!(
                                "('{}', {}) at node {} of the {} cell",
                                pair.primitive.name(),
                                pair.input,
                                node + 2,
                                kind.name()
                            ),
                            format!("--primitives with {} in the list", pair.primitive.name()),
                        )
                    })?;
                    // At most 5 inputs times 8 primitives.
                    alpha.0[kind.index()][node][slot] = index as u16;
                }
            }
        }
        Ok(alpha)
    }
}
