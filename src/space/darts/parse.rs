//! Genotype text → [`Genotype`], or an error with the place and the expected text.

use super::genotype::{self, FIELDS};
use super::{CellArch, Genotype, N_NODES, N_SLOTS, Pair, Primitive};
use crate::space::{ParseError, claimed_by_other, literal};

type Parsed<T> = Result<T, ParseError>;

/// Fields that AutoDL-Projects writes besides [`FIELDS`]. They say nothing about a cell of this space.
const NO_CELLS: [&str; 2] = ["connectN", "connects"];

/// Hint for a cell of another size.
const SIZE: &str = "exactly two pairs for each of four nodes; the cells of NASNet, AmoebaNet, PNASNet and ENAS have five nodes";

/// See [`Genotype::parse`].
pub(super) fn parse(text: &str, primitives: &[Primitive]) -> Parsed<Genotype> {
    let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut p = Parser { text, at, primitives };
    let close = p.head()?;
    let (mut normal, mut reduce) = (None, None);
    let mut seen: Vec<&str> = Vec::new();
    while !p.take(close) {
        if let Some(field) = p.field(close, &seen)? {
            seen.push(field);
            match field {
                "normal" => normal = Some(p.cell(field)?),
                "reduce" => reduce = Some(p.cell(field)?),
                _ => p.concat()?,
            }
        }
        if !p.take(',') {
            p.token(close)?;
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

    /// Skips white space and comments and returns the position of the next token.
    fn skip_space(&mut self) -> usize {
        self.at = literal::token(self.text, self.at);
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

    /// Reads a name with the names of modules in front, as in `np.int64`, and returns its last part.
    fn name(&mut self) -> &'a str {
        let mut word = self.word();
        while self.rest().starts_with('.') && !word.starts_with(|c: char| c.is_ascii_digit()) {
            self.at += 1;
            word = self.word();
        }
        word
    }

    fn error_at(&self, offset: usize, expected: impl Into<String>) -> ParseError {
        ParseError::at(self.text, offset, expected)
    }

    /// Reads `Genotype(` or the bracket of a dictionary, perhaps with `NAME =` in front. Returns the bracket that closes
    /// the genotype.
    fn head(&mut self) -> Parsed<char> {
        let start = self.skip_space();
        let mut word = self.word();
        let mut at = start;
        if !word.is_empty() && self.take('=') {
            at = self.skip_space();
            word = self.word();
        }
        if word.is_empty() && self.take('{') {
            return Ok('}');
        }
        if word != "Genotype" {
            return Err(self.no_genotype(at));
        }
        self.token('(')?;
        Ok(')')
    }

    /// The error for a text that is no genotype: a name that is not known, or an architecture of another space.
    fn no_genotype(&self, at: usize) -> ParseError {
        let mut error = self.error_at(at, "`Genotype(`");
        let text = self.text.trim();
        let names = genotype::NAMES.join(", ");
        error.hint = format!("a genotype's text, a file that holds it, or {names}");
        if let Some((name, reason)) = genotype::of_other_space(text) {
            error.expected = "a genotype of this space".into();
            error.found = format!("{name}, which is not in the space: {reason}");
        } else if let Some(other) = claimed_by_other(text, super::ENTRY.name) {
            error.found += &format!(", an architecture of the space {other}");
            error.hint = format!("--space {other}, or no --space");
        } else if text.lines().nth(1).is_some() && !text.contains(FIELDS[0]) {
            error.found = "a text of several lines without a genotype".into();
        } else if let Some(name) = genotype::nearest(text) {
            error.hint = format!("{name}; the published names are {names}");
        }
        error
    }

    /// Reads the name of a field and the sign behind the name. Without a name the field is the first one that was not
    /// seen. `None` if the field says nothing about the cells. The value of such a field is passed over.
    fn field(&mut self, close: char, seen: &[&str]) -> Parsed<Option<&'static str>> {
        let start = self.skip_space();
        let rest: Vec<&'static str> = FIELDS.into_iter().filter(|f| !seen.contains(f)).collect();
        let is_object = close == '}';
        if !is_object && self.rest().starts_with(['[', '(']) && !rest.is_empty() {
            return Ok(rest.first().copied());
        }
        let (word, sign) = if is_object { (self.key(), ':') } else { (self.word(), '=') };
        let field = rest.iter().copied().find(|f| *f == word);
        let is_other = NO_CELLS.contains(&word) || is_object && !word.is_empty() && !FIELDS.contains(&word);
        if field.is_none() && !is_other {
            let expected = if rest.is_empty() {
                format!("`{close}`")
            } else {
                format!("{}{sign}", rest.join(&format!("{sign} or ")))
            };
            return Err(self.error_at(start, expected));
        }
        self.token(sign)?;
        if field.is_none() {
            self.at = literal::value_end(self.text, self.at);
        }
        Ok(field)
    }

    /// Reads a key in quotes. The result is empty if there is none.
    fn key(&mut self) -> &'a str {
        let start = self.skip_space();
        let Some(end) = literal::quoted_end(self.text, start) else { return "" };
        self.at = end;
        self.text.get(start + 1..end - 1).unwrap_or("")
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

    /// Reads the eight pairs of a cell, in one list or in a list for each node.
    fn cell(&mut self, kind: &str) -> Parsed<CellArch> {
        let start = self.skip_space();
        let close = self.open("`[` and eight pairs")?;
        let mut pairs = Vec::new();
        let mut first = true;
        if self.is_nested() {
            while self.more(close, std::mem::take(&mut first))? {
                self.node(kind, &mut pairs)?;
            }
        } else {
            while self.more(close, std::mem::take(&mut first))? {
                let at = self.skip_space();
                let node = pairs.len() / N_SLOTS;
                if node == N_NODES {
                    let expected = "the end of the list after eight pairs, two for each of nodes 2 to 5";
                    let error = ParseError { found: "a ninth pair".into(), ..self.error_at(at, expected) };
                    return Err(self.foreign(error));
                }
                pairs.push(self.pair(node)?);
            }
        }
        let nodes: Vec<_> =
            pairs.chunks_exact(N_SLOTS).filter_map(|c| <[Pair; N_SLOTS]>::try_from(c).ok()).collect();
        CellArch::try_from(nodes).map_err(|_| {
            let mut error = self.error_at(start, "eight pairs, two for each of nodes 2 to 5");
            error.found = format!("{} pairs in the {kind} cell", pairs.len());
            if pairs.len() % N_SLOTS == 1 {
                error.hint = "the missing pair; each node of this space sums exactly two".into();
            }
            error
        })
    }

    /// Whether the items of the list that begins here are lists of pairs.
    fn is_nested(&mut self) -> bool {
        let start = self.skip_space();
        let inner = self.rest().starts_with(['[', '(']) && {
            self.at += 1;
            self.skip_space();
            // A node without pairs is a mistake in the nested form.
            self.rest().starts_with(['[', '(', ']', ')'])
        };
        self.at = start;
        inner
    }

    /// Reads the list of the two pairs of a node.
    fn node(&mut self, kind: &str, pairs: &mut Vec<Pair>) -> Parsed<()> {
        let start = self.skip_space();
        let node = pairs.len() / N_SLOTS;
        if node == N_NODES {
            let error = ParseError {
                found: "a fifth node".into(),
                ..self.error_at(start, "the end of the list after four nodes, 2 to 5")
            };
            return Err(self.foreign(error));
        }
        let close = self.open("a list with the two pairs of a node")?;
        let mut n = 0;
        while self.more(close, n == 0)? {
            if n < N_SLOTS {
                pairs.push(self.pair(node)?);
            } else {
                self.at = literal::value_end(self.text, self.at);
            }
            n += 1;
        }
        if n == N_SLOTS {
            return Ok(());
        }
        let mut error = self.error_at(start, format!("two pairs for node {} of the {kind} cell", node + 2));
        error.found = if n == 1 { "one pair".into() } else { format!("{n} pairs") };
        error.hint = "each node of this space sums exactly two pairs".into();
        Err(error)
    }

    /// Completes `error`, which is about a cell of another form: adds a hint, and names operations that are not in this
    /// space.
    fn foreign(&self, mut error: ParseError) -> ParseError {
        error.hint = SIZE.into();
        let mut names: Vec<&str> = Vec::new();
        let (mut at, mut opened) = (self.at, false);
        while let Some(c) = self.text.get(at..).and_then(|rest| rest.chars().next()) {
            let quoted = literal::quoted_end(self.text, at);
            if let Some(name) = quoted.and_then(|end| self.text.get(at + 1..end - 1)).filter(|_| opened)
                && self.known(name).is_none()
                && !names.contains(&name)
                && names.len() < 3
                && (1..=24).contains(&name.len())
            {
                names.push(name);
            }
            opened = "[(".contains(c);
            at = literal::token(self.text, quoted.unwrap_or(at + c.len_utf8()));
        }
        if !names.is_empty() {
            error.found += &format!("; the genotype also has {}, not in this space", names.join(", "));
        }
        error
    }

    /// Reads `('name', input)`. The input must be a node before `node`.
    fn pair(&mut self, node: usize) -> Parsed<Pair> {
        let close = self.open("a pair such as ('sep_conv_3x3', 0)")?;
        let primitive = self.primitive()?;
        self.token(',')?;
        let at = self.skip_space();
        let input = self.number();
        let has_more = input.is_some() && self.take(',');
        if has_more && self.skip_space() < self.text.len() && !self.rest().starts_with(close) {
            self.weight()?;
            self.take(',');
        }
        let Some(input) = input.filter(|input| *input < node + 2) else {
            let mut error = self.error_at(at, format!("an input of node {}: 0 to {}", node + 2, node + 1));
            error.hint =
                "0 or 1 for the outputs of the two cells before, 2 to 4 for an earlier node of the cell"
                    .into();
            return Err(error);
        };
        self.token(close)?;
        Ok(Pair { input, primitive })
    }

    /// Passes over the weight that GDAS writes behind the input. FairDARTS writes (operation, node, input), which is
    /// refused. Only the decimal point of the weight distinguishes the two forms.
    fn weight(&mut self) -> Parsed<()> {
        let start = self.skip_space();
        let end = literal::value_end(self.text, start);
        let weight = self.text.get(start..end).unwrap_or("").trim();
        if weight.contains(['.', 'e']) {
            self.at = end;
            return Ok(());
        }
        let mut error = self.error_at(start, "the end of the pair, or a weight with a decimal point");
        error.hint =
            "(operation, input); in the form (operation, node, input) of FairDARTS, leave out the node"
                .into();
        Err(error)
    }

    /// Reads a whole number, perhaps as numpy prints it: `np.int64(0)`.
    fn number(&mut self) -> Option<usize> {
        let word = self.name();
        let bits = word.trim_start_matches('u').strip_prefix("int");
        if !bits.is_some_and(|bits| bits.bytes().all(|b| b.is_ascii_digit())) {
            return word.parse().ok();
        }
        let number = if self.take('(') { self.word().parse().ok() } else { None };
        number.filter(|_| self.take(')'))
    }

    fn primitive(&mut self) -> Parsed<Primitive> {
        let start = self.skip_space();
        let prefix = self.name();
        let is_wrapped = prefix == "str_" && self.take('(');
        let quote = if self.take('\'') {
            '\''
        } else if self.take('"') {
            '"'
        } else {
            return Err(self.error_at(start, "the name of a primitive in quotes"));
        };
        if !is_wrapped && !["", "u", "b"].contains(&prefix) {
            return Err(self.error_at(start, "the name of a primitive in quotes"));
        }
        let inside = self.at;
        let name = self.word();
        let primitive = self.known(name).ok_or_else(|| {
            let mut error = self.error_at(inside, format!("a primitive: {}", Primitive::names()));
            error.found += ", which is not in this space";
            error.hint = instead_of(name);
            error
        })?;
        // White space does not belong inside the quotes.
        if !self.rest().starts_with(quote) {
            return Err(self.error_at(self.at, format!("{quote} after the name")));
        }
        self.at += 1;
        if is_wrapped {
            self.token(')')?;
        }
        Ok(primitive)
    }

    fn known(&self, name: &str) -> Option<Primitive> {
        let own = self.primitives.iter().copied().find(|p| p.name() == name);
        own.or_else(|| Primitive::from_name(name))
    }

    /// Reads `[2, 3, 4, 5]`, `range(2, 6)` or `list(range(2, 6))`: the only output of a cell in this space.
    fn concat(&mut self) -> Parsed<()> {
        let start = self.skip_space();
        let mut word = self.name();
        let is_wrapped = ["list", "tuple"].contains(&word) && self.take('(');
        if is_wrapped {
            word = self.name();
        }
        let is_range = ["range", "arange"].contains(&word);
        if !is_range && !word.is_empty() {
            return Err(self.error_at(start, "[2, 3, 4, 5] or range(2, 6)"));
        }
        let close = self.open("[2, 3, 4, 5] or range(2, 6)")?;
        let (mut nodes, mut n) = ([0; N_NODES], 0);
        while self.more(close, n == 0)? {
            let at = self.skip_space();
            let node = self.number().ok_or_else(|| self.error_at(at, "the number of a node"))?;
            if let Some(place) = nodes.get_mut(n) {
                *place = node;
            }
            n += 1;
        }
        if is_wrapped {
            self.token(')')?;
        }
        let right: &[&[usize]] = if is_range { &[&[2, 6], &[2, 6, 1]] } else { &[&[2, 3, 4, 5]] };
        if nodes.get(..n).is_some_and(|nodes| right.contains(&nodes)) {
            return Ok(());
        }
        let mut error =
            self.error_at(start, "[2, 3, 4, 5] or range(2, 6), the only output of cells in this space");
        let shown: String = self.text.get(start..self.at).unwrap_or("").chars().take(40).collect();
        error.found = format!("{shown}, which is not in the space");
        error.hint =
            "a genotype whose cells put out all four nodes, which is what the network is built with".into();
        Err(error)
    }
}

/// Hint for the name of an operation that is not in this space.
fn instead_of(name: &str) -> String {
    if let Some(primitive) = Primitive::nearest(name) {
        return primitive.name().to_owned();
    }
    let same = match name {
        "identity" | "id" | "skip" => Some(Primitive::SkipConnect),
        "zero" | "zeroize" => Some(Primitive::None),
        _ => Primitive::nearest_of_kind(name),
    };
    same.map(|primitive| format!("{}, the nearest operation of this space", primitive.name()))
        .unwrap_or_default()
}
