//! A network's description and genotype → the list of its layers, in the order of the forward pass.
//!
//! A layer names the earlier layers it reads by their position in the list, and its parameters by the
//! names and shapes of the reference implementation's files. Backward goes through the same list from the
//! end. Written from the definition of the networks alone, apart from the graph that the device runs.

mod build;
mod chains;

use super::Window;

pub(super) use build::build;

/// The tensor of a mixed network's factors, `[kinds · edges · primitives]`.
pub const FACTORS: &str = "factors";

/// Which of the two networks of a genotype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A child of the search parent: shared weights, batch norms without parameters, always with batch
    /// statistics, a batch norm after every pool.
    Search,
    /// The network that is trained by itself.
    Final,
}

/// What stands before the first cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// One 3x3 convolution at full size.
    Cifar,
    /// Three 3x3 convolutions of stride 2.
    ImageNet,
}

/// A network but for its genotype and weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Search child or final network.
    pub kind: Kind,
    /// The stem; the auxiliary head is the one that belongs to it.
    pub stem: Stem,
    /// Cells.
    pub layers: usize,
    /// C of the first cell.
    pub channels: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Outputs.
    pub classes: usize,
    /// Whether the auxiliary head is there (0.4 times its cross-entropy is added to the loss).
    pub auxiliary: bool,
}

/// One layer; `usize`s named `x` are positions of earlier layers.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::reference) enum Layer {
    /// The batch itself; always layer 0.
    Images,
    Relu {
        x: usize,
    },
    Conv {
        x: usize,
        weight: String,
        ci: usize,
        co: usize,
        win: Window,
    },
    Depthwise {
        x: usize,
        weight: String,
        c: usize,
        win: Window,
    },
    Pointwise {
        x: usize,
        weight: String,
        ci: usize,
        co: usize,
    },
    Subsample {
        x: usize,
    },
    Slice {
        x: usize,
        first: usize,
        count: usize,
    },
    MaxPool {
        x: usize,
        stride: usize,
    },
    AvgPool {
        x: usize,
        win: Window,
    },
    /// The auxiliary head's pool: 5x5 without pad on maps of the preset's side, else adaptive to 2x2.
    AuxPool {
        x: usize,
        side: usize,
        stride: usize,
    },
    /// `name` is the prefix of its five tensors; in the search only the stem's are affine.
    BatchNorm {
        x: usize,
        name: String,
        c: usize,
        affine: bool,
    },
    /// Node sum; a term that may be dropped carries its (cell, op).
    Sum {
        terms: [usize; 2],
        drop: [Option<(usize, usize)>; 2],
    },
    /// Node sum of a mixed cell: layers, each with the number of its factor in the tensor [`FACTORS`].
    Mix {
        terms: Vec<(usize, usize)>,
        n_factors: usize,
    },
    Concat {
        parts: Vec<usize>,
    },
    /// `none`: zeros.
    Zero {
        x: usize,
        stride: usize,
    },
    GlobalPool {
        x: usize,
    },
    Linear {
        x: usize,
        name: String,
        features: usize,
        classes: usize,
    },
}

impl Layer {
    /// Names and shapes of the parameters that have a gradient.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Conv { weight, ci, co, win, .. } => vec![(weight.clone(), vec![*co, *ci, win.k, win.k])],
            Self::Depthwise { weight, c, win, .. } => vec![(weight.clone(), vec![*c, 1, win.k, win.k])],
            Self::Pointwise { weight, ci, co, .. } => vec![(weight.clone(), vec![*co, *ci, 1, 1])],
            Self::BatchNorm { name, c, affine: true, .. } => {
                vec![(format!("{name}.weight"), vec![*c]), (format!("{name}.bias"), vec![*c])]
            }
            Self::Linear { name, features, classes, .. } => {
                vec![
                    (format!("{name}.weight"), vec![*classes, *features]),
                    (format!("{name}.bias"), vec![*classes]),
                ]
            }
            Self::Mix { n_factors, .. } => vec![(FACTORS.to_owned(), vec![*n_factors])],
            _ => Vec::new(),
        }
    }
}

/// The layers of a network and where its outputs are.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::reference) struct Layers {
    /// In the order of the forward pass.
    pub list: Vec<Layer>,
    /// The layer that holds the logits.
    pub logits: usize,
    /// The layer that holds the auxiliary head's logits.
    pub aux_logits: Option<usize>,
}
