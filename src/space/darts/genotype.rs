//! A genotype ↔ its text in the form that DARTS users exchange; published genotypes.

use std::fmt;

use super::parse::parse;
use super::{CellArch, CellKind, Genotype, Pair, Primitive};
use crate::space::ParseError;

impl Genotype {
    /// The wiring of one kind of cell.
    pub fn cell(&self, kind: CellKind) -> &CellArch {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduce => &self.reduce,
        }
    }

    /// Reads `Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...],
    /// reduce_concat=[2, 3, 4, 5])`.
    ///
    /// Pairs 2i and 2i+1 feed node i+2. The text may also have: `range(2, 6)`, double quotes, any white space,
    /// tuples for lists and lists for pairs, commas after the last item, another order of the fields, and
    /// `NAME =` in front.
    ///
    /// # Errors
    /// The place where the text departs from this form or describes a cell outside the space.
    pub fn parse(text: &str) -> std::result::Result<Self, ParseError> {
        parse(text, &[])
    }

    /// Number of identities among the eight terms of a kind of cell.
    pub fn n_skips(&self, kind: CellKind) -> usize {
        self.count(kind, |p| p == Primitive::SkipConnect)
    }

    /// Number of pools among the eight terms of a kind of cell.
    pub fn n_pools(&self, kind: CellKind) -> usize {
        self.count(kind, Primitive::is_pool)
    }

    fn count(&self, kind: CellKind, counted: impl Fn(Primitive) -> bool) -> usize {
        self.cell(kind).iter().flatten().filter(|pair| counted(pair.primitive)).count()
    }
}

/// The form that DARTS users exchange, on one line.
impl fmt::Display for Genotype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let pairs = |cell: &CellArch| {
            let pair = |p: &Pair| format!("('{}', {})", p.primitive.name(), p.input);
            cell.iter().flatten().map(pair).collect::<Vec<_>>().join(", ")
        };
        write!(
            f,
            "Genotype(normal=[{}], normal_concat=[2, 3, 4, 5], reduce=[{}], reduce_concat=[2, 3, 4, 5])",
            pairs(&self.normal),
            pairs(&self.reduce)
        )
    }
}

/// The names that [`named`] accepts.
pub const NAMES: [&str; 3] = ["DARTS_V1", "DARTS_V2", "PC_DARTS_CIFAR"];

/// A published genotype by name, upper or lower case.
pub fn named(name: &str) -> Option<Genotype> {
    use Primitive::SkipConnect as I;
    use Primitive::{AvgPool3x3 as A, DilConv3x3 as D, MaxPool3x3 as M, SepConv3x3 as S3, SepConv5x5 as S5};
    let (normal, reduce) = match name.to_ascii_uppercase().as_str() {
        "DARTS_V1" => (
            [(S3, 1), (S3, 0), (I, 0), (S3, 1), (I, 0), (S3, 1), (S3, 0), (I, 2)],
            [(M, 0), (M, 1), (I, 2), (M, 0), (M, 0), (I, 2), (I, 2), (A, 0)],
        ),
        "DARTS_V2" => (
            [(S3, 0), (S3, 1), (S3, 0), (S3, 1), (S3, 1), (I, 0), (I, 0), (D, 2)],
            [(M, 0), (M, 1), (I, 2), (M, 1), (M, 0), (I, 2), (I, 2), (M, 1)],
        ),
        "PC_DARTS_CIFAR" => (
            [(S3, 1), (I, 0), (S3, 0), (D, 1), (S5, 0), (S3, 1), (A, 0), (D, 1)],
            [(S5, 1), (M, 0), (S5, 1), (S5, 2), (S3, 0), (S3, 3), (S3, 1), (S3, 2)],
        ),
        _ => return None,
    };
    let cell = |terms: [(Primitive, usize); 8]| -> CellArch {
        let pair = |(primitive, input)| Pair { input, primitive };
        std::array::from_fn(|node| std::array::from_fn(|slot| pair(terms[2 * node + slot])))
    };
    Some(Genotype { normal: cell(normal), reduce: cell(reduce) })
}
