//! A genotype ↔ its text in the form that DARTS users exchange; named genotypes; what an argument means.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};

use super::parse::{ParseError, parse};
use super::{CellArch, CellKind, Genotype, Pair, Primitive};

/// Longer files are no genotypes.
const MAX_FILE_BYTES: u64 = 1 << 20;

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
    /// Pairs 2i and 2i+1 feed node i+2. Accepted besides: `range(2, 6)`, double quotes, any white space,
    /// tuples for lists and lists for pairs, commas after the last item, another order of the fields and
    /// `NAME =` in front.
    ///
    /// # Errors
    /// Where the text departs from that, or describes a cell outside the space.
    pub fn parse(text: &str) -> std::result::Result<Self, ParseError> {
        parse(text)
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

/// The DARTS form, on one line.
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

/// Names that [`named`] knows.
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

/// What a user means by `arg`: a name out of [`NAMES`], a file that holds a genotype, or its text.
///
/// # Errors
/// [`Error::Usage`] for a text that is no genotype, [`Error::File`] for such a file, [`Error::Io`] for a
/// file that cannot be read.
pub fn read_genotype(arg: &str) -> Result<Genotype> {
    if let Some(genotype) = named(arg.trim()) {
        return Ok(genotype);
    }
    let path = Path::new(arg);
    if path.is_file() || (!path.exists() && looks_like_path(arg)) {
        return read_file(path);
    }
    if path.is_dir() {
        let found = "a folder";
        return Err(Error::file(path, None, "a file that holds a genotype", found, "its genotype.txt"));
    }
    Genotype::parse(arg).map_err(|e| {
        let place = format!("{}, at line {}, column {}", e.found, e.line, e.column);
        Error::usage("genotype", e.expected, place, e.hint)
    })
}

/// A word with a dot or a separator and nothing of a genotype's punctuation is a path that does not
/// exist, not a text that does not parse.
fn looks_like_path(arg: &str) -> bool {
    let text = |c: char| c.is_control() || "()[]'\"=,".contains(c);
    arg.contains(['/', '\\', '.']) && !arg.contains(text)
}

fn read_file(path: &Path) -> Result<Genotype> {
    let n_bytes = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
    let expected = "the text of a genotype";
    if n_bytes > MAX_FILE_BYTES {
        let found = format!("{n_bytes} bytes");
        return Err(Error::file(path, None, expected, found, "a file such as a run's genotype.txt"));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to() as u64;
        Error::file(path, Some(offset), expected, "bytes that are not UTF-8", "")
    })?;
    Genotype::parse(&text).map_err(|e| {
        let place = format!("{}, at line {}, column {}", e.found, e.line, e.column);
        Error::file(path, Some(e.offset as u64), e.expected, place, e.hint)
    })
}
