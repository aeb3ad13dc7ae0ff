//! (layers, channels, image size, genotype) → the structure of a network as plain data: its cells with
//! their sizes, its parameters by name in the reference's registration order, and its counts.
//!
//! Nothing here knows how the network is evaluated.

mod net;
mod types;

use crate::error::{Error, Result};
use crate::network::Shape;
use crate::space::{CellKind, Genotype, N_NODES, N_SLOTS, Pair, Paths, Primitive, edge};

pub use crate::network::{ParamRole, ParamSpec};
pub use types::{CellSpec, NetworkKind, NetworkSpec, StemKind};

use net::edge_prefix;

impl NetworkSpec {
    /// Refuses what cannot be built, before anything runs.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value: a count out of range, odd channels, image sides that are odd
    /// where they must be halved, an auxiliary head on a search network.
    pub fn check(&self) -> Result<()> {
        // The upper ends keep every count inside 64 bits, and every loop of a kernel (over the pixels of an
        // image in the pools, over the classes in the cross-entropy) under the 65,535 iterations after which
        // some drivers stop silently.
        let ranges = [
            ("layers", self.layers, 1, 256),
            ("channels", self.channels, 2, 1024),
            ("channels of the images", self.in_channels, 1, 1024),
            ("image height", self.height, 1, 512),
            ("image width", self.width, 1, 512),
            ("classes", self.n_classes, 2, 20_000),
        ];
        for (what, value, least, most) in ranges {
            if value < least || value > most {
                return Err(Error::usage(what, format!("{least} to {most}"), value.to_string(), ""));
            }
        }
        if !self.channels.is_multiple_of(2) {
            let try_this = format!("{} or {}", self.channels - 1, self.channels + 1);
            let expected = "an even number (a strided skip connection splits the channels in halves)";
            return Err(Error::usage("channels", expected, self.channels.to_string(), try_this));
        }
        if self.auxiliary && self.kind == NetworkKind::Search {
            let try_this = "leave it out, or choose the final network";
            return Err(Error::usage("auxiliary head", "a final network", "a search network", try_this));
        }
        self.check_halving()
    }

    fn check_halving(&self) -> Result<()> {
        for cell in self.cells() {
            // After a reduction, preprocess0 halves the output of cell k-2 as well.
            let halved = [
                (cell.prev_reduction, cell.h_prev_prev, cell.w_prev_prev),
                (cell.kind == CellKind::Reduce, cell.h_prev, cell.w_prev),
            ];
            for (_, h, w) in halved.into_iter().filter(|&(halves, ..)| halves) {
                if h.is_multiple_of(2) && w.is_multiple_of(2) {
                    continue;
                }
                let unit = self.size_unit();
                let fit = |side: usize| side.div_ceil(unit) * unit;
                let (height, width, index) = (self.height, self.width, cell.index);
                return Err(Error::usage(
                    "image size",
                    format!("sides that are even wherever maps are halved (multiples of {unit} always are)"),
                    format!("{height}x{width} pixels, which arrive at cell {index} as {h}x{w}"),
                    format!("resize or pad the images to {}x{}", fit(height), fit(width)),
                ));
            }
        }
        Ok(())
    }

    /// The extents of an image.
    pub fn image(&self) -> Shape {
        Shape { c: self.in_channels, h: self.height, w: self.width }
    }

    /// Sides that are multiples of this can be halved wherever the network halves them.
    pub fn size_unit(&self) -> usize {
        let n_reductions = (0..self.layers).filter(|&i| self.is_reduction(i)).count();
        (if self.stem == StemKind::ImageNet { 8 } else { 1 }) << n_reductions
    }

    /// Whether cell `index` is a reduction: those at L/3 and 2L/3 are (one cell, if they coincide).
    pub fn is_reduction(&self, index: usize) -> bool {
        index == self.layers / 3 || index == 2 * self.layers / 3
    }

    /// Index of the cell whose output feeds the auxiliary head.
    pub fn auxiliary_cell(&self) -> usize {
        2 * self.layers / 3
    }

    /// The cells in order, with their channels and sizes.
    pub fn cells(&self) -> Vec<CellSpec> {
        let full = (self.height, self.width);
        let (mut c, mut prev_reduction) = (self.channels, self.stem == StemKind::ImageNet);
        let (mut c_prev_prev, mut c_prev, mut size_prev_prev, mut size_prev) = match self.stem {
            StemKind::Cifar => (3 * c, 3 * c, full, full),
            StemKind::ImageNet => {
                // Three 3x3 convolutions of stride 2, pad 1: each halves, rounded up.
                let half = |(h, w): (usize, usize)| (h.div_ceil(2), w.div_ceil(2));
                let quarter = half(half(full));
                let eighth = half(quarter);
                (c, c, quarter, eighth)
            }
        };
        let mut cells = Vec::with_capacity(self.layers);
        for index in 0..self.layers {
            let reduction = self.is_reduction(index);
            let mut size = size_prev;
            if reduction {
                c *= 2;
                size = (size.0 / 2, size.1 / 2);
            }
            cells.push(CellSpec {
                index,
                kind: if reduction { CellKind::Reduce } else { CellKind::Normal },
                prev_reduction,
                c_prev_prev,
                c_prev,
                c,
                h_prev_prev: size_prev_prev.0,
                w_prev_prev: size_prev_prev.1,
                h_prev: size_prev.0,
                w_prev: size_prev.1,
                h: size.0,
                w: size.1,
            });
            (c_prev_prev, c_prev) = (c_prev, N_NODES * c);
            (size_prev_prev, size_prev) = (size_prev, size);
            prev_reduction = reduction;
        }
        cells
    }

    /// Prefix of the names of the operation in (`node`, `slot`) of a cell; `node` is 0..4.
    ///
    /// In a search child it is that of the (edge, primitive), so that a pair drawn twice names one
    /// weight set; in a final network every slot has its own.
    pub fn op_prefix(&self, cell: usize, node: usize, slot: usize, pair: Pair) -> String {
        match self.kind {
            NetworkKind::Search => edge_prefix(cell, edge(node, pair.input), pair.primitive),
            NetworkKind::Final => format!("cells.{cell}._ops.{}", node * N_SLOTS + slot),
        }
    }

    /// Every named tensor. Search: of the whole parent over `primitives` (`genotype` is ignored).
    /// Final: of the genotype's network; there `primitives` is ignored.
    pub fn params(&self, genotype: Option<&Genotype>, primitives: &[Primitive]) -> Vec<ParamSpec> {
        match (self.kind, genotype) {
            (NetworkKind::Final, Some(genotype)) => self.child_params(genotype),
            _ => {
                // Names go by the reference's order, whatever that of the list.
                let mut primitives = primitives.to_vec();
                primitives.sort();
                self.net(Paths::All(&primitives)).params()
            }
        }
    }

    /// Names of the trained tensors that the genotype's network uses, each once. Of a search parent these are the ones
    /// its child uses.
    pub fn used_params(&self, genotype: &Genotype) -> Vec<String> {
        let trained = |p: ParamSpec| p.role.is_trained().then_some(p.name);
        self.child_params(genotype).into_iter().filter_map(trained).collect()
    }

    /// The named tensors of one child (search) or of the genotype's network (final), each once.
    pub fn child_params(&self, genotype: &Genotype) -> Vec<ParamSpec> {
        self.net(Paths::Child(genotype)).params()
    }

    /// Multiply-adds of the convolutions and linear layers for one image, auxiliary head left out (it
    /// does not run at inference). A pair drawn twice counts twice, as its node sums two terms.
    pub fn macs(&self, genotype: &Genotype) -> u64 {
        // In a final network every slot has an operation of its own.
        Self { kind: NetworkKind::Final, ..self.clone() }.net(Paths::Child(genotype)).macs()
    }

    /// Trained parameters, auxiliary head left out; arguments as for [`Self::params`].
    pub fn parameter_count(&self, genotype: Option<&Genotype>, primitives: &[Primitive]) -> u64 {
        count(&self.params(genotype, primitives), false)
    }

    /// Trained parameters of the auxiliary head, 0 without one.
    pub fn auxiliary_parameter_count(&self) -> u64 {
        self.net(Paths::All(&[])).parameter_count(true)
    }

    /// Trained parameters that the genotype's network uses, each once, auxiliary head left out.
    pub fn child_parameter_count(&self, genotype: &Genotype) -> u64 {
        count(&self.child_params(genotype), false)
    }
}

fn count(params: &[ParamSpec], auxiliary: bool) -> u64 {
    let counted = params.iter().filter(|p| p.role.is_trained() && p.auxiliary == auxiliary);
    counted.map(|p| p.len() as u64).sum()
}
