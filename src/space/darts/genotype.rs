//! A genotype ↔ its text in the form that DARTS users exchange; published genotypes.

use std::fmt;

use super::parse::parse;
use super::published::{OF_OTHER_SPACES, PUBLISHED};
use super::{CellArch, CellKind, Genotype, Pair, Primitive};
use crate::space::ParseError;

/// The fields in the order in which they are written.
pub(super) const FIELDS: [&str; 4] = ["normal", "normal_concat", "reduce", "reduce_concat"];

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
    /// tuples for lists and lists for pairs, commas after the last item, another order of the fields, `NAME =` in front,
    /// comments, a list of two pairs for each node, numbers of numpy, a weight behind an input, the fields `connectN` and
    /// `connects`, and the form of a dictionary or of JSON.
    ///
    /// Other content before or behind the genotype is an error here. [`read_genotype`](crate::space::read_genotype)
    /// passes over such content.
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

/// The names of [`PUBLISHED`], all of which [`named`] accepts.
pub const NAMES: [&str; PUBLISHED.len()] = {
    let mut names = [""; PUBLISHED.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = PUBLISHED[i].name;
        i += 1;
    }
    names
};

/// A published genotype by name, upper or lower case, with `-` or `_`.
pub fn named(name: &str) -> Option<Genotype> {
    let name = normal_form(name)?;
    let published = PUBLISHED.iter().find(|p| p.name == name || p.also.contains(&name.as_str()))?;
    Some(published.genotype())
}

/// The published name that is closest to `name`, if one is close.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = normal_form(name)?.to_lowercase();
    let lower = NAMES.map(str::to_lowercase);
    let close = crate::error::nearest(&name, lower.iter().map(String::as_str))?;
    NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(close))
}

/// A published architecture that is not in this space, with the reason.
pub(super) fn of_other_space(name: &str) -> Option<(&'static str, &'static str)> {
    let name = normal_form(name)?;
    OF_OTHER_SPACES.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name)).copied()
}

/// A name as [`PUBLISHED`] writes it. A longer text is no name.
fn normal_form(name: &str) -> Option<String> {
    (name.len() <= 40).then(|| name.to_ascii_uppercase().replace('-', "_"))
}
