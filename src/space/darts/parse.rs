//! Genotype text → [`Genotype`], or an error with the place and the expected text.

use super::{CellArch, Genotype, N_NODES, N_SLOTS, Pair, Primitive};
use crate::space::ParseError;

type Parsed<T> = Result<T, ParseError>;

/// The fields in the order in which they are written.
const FIELDS: [&str; 4] = ["normal", "normal_concat", "reduce", "reduce_concat"];

/// See [`Genotype::parse`].
pub(super) fn parse(text: &str, primitives: &[Primitive]) -> Parsed<Genotype> {
    let mut p = Parser { text, at: 0, primitives };
    p.head()?;
    let (mut normal, mut reduce) = (None, None);
    let mut seen: Vec<&str> = Vec::new();
    loop {
        let start = p.skip_space();
        if p.take(')') {
            break;
        }
        let word = p.word();
        let Some(field) = FIELDS.into_iter().find(|f| *f == word && !seen.contains(f)) else {
            let rest: Vec<_> = FIELDS.into_iter().filter(|f| !seen.contains(f)).collect();
            let expected = if rest.is_empty() { "`)`".into() } else { format!("{}=", rest.join("= or ")) };
            return Err(p.error_at(start, expected));
        };
        seen.push(field);
        p.token('=')?;
        match field {
            "normal" => normal = Some(p.cell()?),
            "reduce" => reduce = Some(p.cell()?),
            _ => p.concat()?,
        }
        if !p.take(',') {
            p.token(')')?;
            break;
        }
    }
    if let Some(missing) = FIELDS.into_iter().find(|f| !seen.contains(f)) {
        // The error points at the bracket that closed too early.
        return Err(p.error_at(p.at.saturating_sub(1), format!("{missing}=[...] as well")));
    }
    let end = p.skip_space();
    match (normal, reduce) {
        (Some(normal), Some(reduce)) if end == text.len() => Ok(Genotype { normal, reduce }),
        _ => Err(p.error_at(end, "nothing after the genotype")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Primitives that the parser accepts besides the named ones.
    primitives: &'a [Primitive],
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Skips white space and returns the position of the next token.
    fn skip_space(&mut self) -> usize {
        self.at = self.text.len() - self.rest().trim_start().len();
        self.at
    }

    fn take(&mut self, c: char) -> bool {
        self.skip_space();
        let taken = self.rest().starts_with(c);
        if taken {
            self.at += c.len_utf8();
        }
        taken
    }

    fn token(&mut self, c: char) -> Parsed<()> {
        let start = self.skip_space();
        if self.take(c) { Ok(()) } else { Err(self.error_at(start, format!("`{c}`"))) }
    }

    /// Reads letters, digits and underscores. The result is empty if there are none.
    fn word(&mut self) -> &'a str {
        self.skip_space();
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn error_at(&self, offset: usize, expected: impl Into<String>) -> ParseError {
        ParseError::at(self.text, offset, expected)
    }

    /// Reads `Genotype(`, perhaps with `NAME =` in front.
    fn head(&mut self) -> Parsed<()> {
        let start = self.skip_space();
        let mut word = self.word();
        let mut at = start;
        if !word.is_empty() && self.take('=') {
            at = self.skip_space();
            word = self.word();
        }
        if word != "Genotype" {
            let mut error = self.error_at(at, "`Genotype(`");
            error.hint =
                format!("a genotype's text, a file that holds it, or {}", super::genotype::NAMES.join(", "));
            return Err(error);
        }
        self.token('(')
    }

    /// Opens a list or a tuple and returns the bracket that closes it.
    fn open(&mut self, expected: &str) -> Parsed<char> {
        let start = self.skip_space();
        if self.take('[') {
            Ok(']')
        } else if self.take('(') {
            Ok(')')
        } else {
            Err(self.error_at(start, expected))
        }
    }

    /// Goes to the next item of a list that `close` closes. The result is false at the end of the list.
    fn more(&mut self, close: char, first: bool) -> Parsed<bool> {
        if self.take(close) {
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        let start = self.skip_space();
        if !self.take(',') {
            return Err(self.error_at(start, format!("`,` or `{close}`")));
        }
        Ok(!self.take(close))
    }

    /// Reads the eight pairs of a cell.
    fn cell(&mut self) -> Parsed<CellArch> {
        let start = self.skip_space();
        let close = self.open("`[` and eight pairs")?;
        let mut pairs = Vec::new();
        while self.more(close, pairs.is_empty())? {
            let at = self.skip_space();
            let node = pairs.len() / N_SLOTS;
            if node == N_NODES {
                return Err(
                    self.error_at(at, "the end of the list after eight pairs, two for each of nodes 2 to 5")
                );
            }
            pairs.push(self.pair(node)?);
        }
        let nodes: Vec<_> =
            pairs.chunks_exact(N_SLOTS).filter_map(|c| <[Pair; N_SLOTS]>::try_from(c).ok()).collect();
        CellArch::try_from(nodes).map_err(|_| {
            let mut error = self.error_at(start, "eight pairs, two for each of nodes 2 to 5");
            error.found = format!("{} pairs", pairs.len());
            error
        })
    }

    /// Reads `('name', input)`. The input must be a node before `node`.
    fn pair(&mut self, node: usize) -> Parsed<Pair> {
        let close = self.open("a pair such as ('sep_conv_3x3', 0)")?;
        let primitive = self.primitive()?;
        self.token(',')?;
        let at = self.skip_space();
        let word = self.word();
        let expected = || format!("an input of node {}: 0 to {}", node + 2, node + 1);
        let input = word.parse().ok().filter(|input| *input < node + 2);
        let input = input.ok_or_else(|| self.error_at(at, expected()))?;
        self.take(',');
        self.token(close)?;
        Ok(Pair { input, primitive })
    }

    fn primitive(&mut self) -> Parsed<Primitive> {
        let start = self.skip_space();
        let quote = if self.take('\'') {
            '\''
        } else if self.take('"') {
            '"'
        } else {
            return Err(self.error_at(start, "the name of a primitive in quotes"));
        };
        let inside = self.at;
        let name = self.word();
        let own = self.primitives.iter().copied().find(|p| p.name() == name);
        let primitive = own.or_else(|| Primitive::from_name(name)).ok_or_else(|| {
            let mut error = self.error_at(inside, format!("a primitive: {}", Primitive::names()));
            error.hint = Primitive::nearest(name).map(|p| p.name().to_owned()).unwrap_or_default();
            error
        })?;
        // White space does not belong inside the quotes.
        if !self.rest().starts_with(quote) {
            return Err(self.error_at(self.at, format!("{quote} after the name")));
        }
        self.at += 1;
        Ok(primitive)
    }

    /// Reads `[2, 3, 4, 5]` or `range(2, 6)`: the only output of a cell in this space.
    fn concat(&mut self) -> Parsed<()> {
        let start = self.skip_space();
        let is_range = self.rest().starts_with("range");
        if is_range {
            self.word();
        }
        let close = self.open("[2, 3, 4, 5] or range(2, 6)")?;
        let mut nodes = Vec::new();
        while self.more(close, nodes.is_empty())? {
            let at = self.skip_space();
            let node = self.word().parse::<usize>().ok();
            nodes.push(node.ok_or_else(|| self.error_at(at, "the number of a node"))?);
        }
        let right: &[usize] = if is_range { &[2, 6] } else { &[2, 3, 4, 5] };
        if nodes == right {
            return Ok(());
        }
        let mut error =
            self.error_at(start, "[2, 3, 4, 5] or range(2, 6), the only output of cells in this space");
        let shown: String = self.text.get(start..self.at).unwrap_or("").chars().take(40).collect();
        error.found = format!("{shown}, which is not in the space");
        Err(error)
    }
}
