//! The chain ("macro") space: a chain of layers in stages, each an identity or a MobileNetV2 block `mbE_kK`.
//!
//! Stem: conv 3x3 in → W, BN, ReLU. The first layer of a stage has stride 2 and doubles the channels. Head: conv 1x1 C
//! → H, BN, ReLU, global average pool, linear. Source: NAS-Bench-Macro (Su et al., CVPR 2021). Each layer is a slot of
//! π. In a search only the stem's batch norm has parameters, and each choice of a layer has its own weights.

use std::fmt;
use std::sync::Arc;

use super::spec::in_range;
use super::{
    Alpha, Diagram, Entry, Link, NetworkKind, NetworkSpec, ParseError, Paths, Slot, Space, SpaceSettings,
    Table, Tally, claimed_by_other,
};
use crate::error::{Error, Result};
use crate::network::{Builder, Net, Term, Window};

/// The entry of this space in the list of spaces.
pub const ENTRY: Entry = Entry {
    name: "macro",
    keys: &["stages", "choices", "head"],
    claims: |text| {
        let text = text.trim();
        let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_digits || text.split(',').any(|word| word.trim().starts_with("mb") || word.trim() == "identity")
    },
    find: |_| None,
    build: |settings| Ok(Arc::new(Chain::of(settings)?)),
};

/// Layers of each stage in the published benchmark.
pub const STAGES: [usize; 3] = [2, 3, 3];
/// The choices of each layer in the published benchmark.
pub const CHOICES: [Choice; 3] =
    [Choice::Identity, Choice::Block { e: 3, k: 3 }, Choice::Block { e: 6, k: 5 }];
/// Factor of the default number of channels of the head: this number times W, the channels of the stem.
const HEAD: usize = 40;

/// Hint of the error for a text that describes no architecture of the space.
const OTHER: &str =
    "a run folder, which knows its choices; --choices with all that it names; --space darts for cells";

/// A choice of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// No operation where the shape stays; conv 1x1 of stride 2 and BN in the first layer of a stage.
    Identity,
    /// conv 1x1 c → h = e·c, BN, ReLU; depthwise k x k, BN, ReLU; conv 1x1 h → c', BN. Where the shape stays, the input
    /// of the block is added. With e = 1 there is no first convolution.
    Block {
        /// Expansion, 1 to 8.
        e: usize,
        /// Side of the depthwise kernel: 3, 5 or 7.
        k: usize,
    },
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Block { e, k } => write!(f, "mb{e}_k{k}"),
        }
    }
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "identity" {
            return Ok(Self::Identity);
        }
        let numbers = text.strip_prefix("mb").and_then(|rest| rest.split_once("_k"));
        let parsed = numbers.and_then(|(e, k)| Some((e.parse().ok()?, k.parse().ok()?)));
        match parsed {
            // Each block has one spelling.
            Some((e @ 1..=8, k @ (3 | 5 | 7))) if text == format!("mb{e}_k{k}") => Ok(Self::Block { e, k }),
            _ => Err("identity, or mbE_kK with an expansion E of 1 to 8 and a kernel K of 3, 5 or 7".into()),
        }
    }
}

/// A chain of stages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    stages: Vec<usize>,
    choices: Vec<Choice>,
    head: Option<usize>,
    slots: Vec<Slot>,
}

impl Default for Chain {
    /// The chain of the published benchmark.
    fn default() -> Self {
        Self::over(&STAGES, &CHOICES, None)
    }
}

/// A layer's place in the chain.
#[derive(Clone, Copy)]
struct Place {
    /// Position among all layers, from 0.
    index: usize,
    /// Whether the layer is the first of its stage.
    first: bool,
    /// Channels of the layer's output.
    c: usize,
}

impl Chain {
    /// A chain with `stages[i]` layers in stage i. Each layer is one of `choices`. `head` is the number of channels of
    /// the head.
    pub fn over(stages: &[usize], choices: &[Choice], head: Option<usize>) -> Self {
        let slot = Slot { group: 0, n_choices: choices.len() };
        let slots = vec![slot; stages.iter().sum()];
        Self { stages: stages.to_vec(), choices: choices.to_vec(), head, slots }
    }

    fn of(settings: &SpaceSettings) -> Result<Self> {
        let stages = settings.stages.clone().unwrap_or_else(|| STAGES.to_vec());
        let most = 64;
        let is_long = |n: &usize| *n == 0 || *n > most;
        let refused = stages.is_empty() || stages.len() > 8 || stages.iter().any(is_long);
        if refused || stages.iter().sum::<usize>() > most {
            let expected = format!("1 to 8 stages of at least one layer, {most} layers in all");
            return Err(Error::usage("`stages`", expected, format!("{stages:?}"), "--stages 2,3,3"));
        }
        let choices = match &settings.choices {
            Some(names) => choices(names)?,
            None => CHOICES.to_vec(),
        };
        if let Some(head) = settings.head {
            in_range("`head`", head, 1, 16_384)?;
        }
        Ok(Self::over(&stages, &choices, settings.head))
    }

    /// The choices of a layer, in order.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// Layers of each stage.
    pub fn stages(&self) -> &[usize] {
        &self.stages
    }

    /// Channels of the head.
    fn head(&self, spec: &NetworkSpec) -> usize {
        self.head.unwrap_or(HEAD * spec.channels)
    }

    /// The layers, where the stem has `w` channels.
    fn places(&self, w: usize) -> Vec<Place> {
        let mut places = Vec::new();
        let mut c = w;
        for &n in &self.stages {
            c *= 2;
            let before = places.len();
            places.extend((0..n).map(|i| Place { index: before + i, first: i == 0, c }));
        }
        places
    }

    fn choice(&self, slot: usize, alpha: &Alpha) -> Choice {
        let at = alpha.0.get(slot).map_or(0, |choice| usize::from(*choice));
        self.choices[at.min(self.choices.len() - 1)]
    }
}

/// The choices with these names: at least one, each once.
fn choices(names: &[String]) -> Result<Vec<Choice>> {
    let mut list = Vec::new();
    let try_this = "--choices identity,mb3_k3,mb6_k5";
    let wrong = |expected: String, found: String| Err(Error::usage("`choices`", expected, found, try_this));
    for name in names {
        match name.parse::<Choice>() {
            Ok(choice) if list.contains(&choice) => {
                return wrong("each choice once".into(), format!("{name} twice"));
            }
            Ok(choice) => list.push(choice),
            Err(expected) => return wrong(expected, format!("{name:?}")),
        }
    }
    if list.is_empty() {
        return wrong("at least one choice".into(), "none".into());
    }
    Ok(list)
}

/// A network that is being built.
struct Layers<'s> {
    b: Builder,
    affine: bool,
    chain: &'s Chain,
}

impl Layers<'_> {
    /// Adds one choice of a layer behind `x`, with names that begin with `prefix`, and returns the result: `x` itself
    /// if the choice computes nothing. The second value says whether `x` is to be added to the result.
    fn choice(&mut self, x: usize, place: Place, choice: Choice, prefix: &str) -> (usize, bool) {
        let (b, affine) = (&mut self.b, self.affine);
        let stride = if place.first { 2 } else { 1 };
        let keeps = !place.first && b.shape(x).c == place.c;
        match choice {
            Choice::Identity if keeps => (x, false),
            Choice::Identity => {
                let y =
                    b.conv(format!("{prefix}.downsample.0"), x, place.c, Window { stride, ..Window::POINT });
                (b.norm(format!("{prefix}.downsample.1"), y, affine), false)
            }
            Choice::Block { e, k } => {
                let h = e * b.shape(x).c;
                let (mut y, mut at) = (x, 0);
                let mut name = |n: usize| {
                    at += n;
                    format!("{prefix}.conv.{}", at - n)
                };
                if e > 1 {
                    y = b.conv(name(1), y, h, Window::POINT);
                    y = b.norm(name(2), y, affine);
                    y = b.relu(y);
                }
                y = b.depthwise(name(1), y, Window::same(k, stride, 1));
                y = b.norm(name(2), y, affine);
                y = b.relu(y);
                y = b.conv(name(1), y, place.c, Window::POINT);
                (b.norm(name(1), y, affine), keeps)
            }
        }
    }

    /// A layer of an architecture.
    fn layer(&mut self, x: usize, place: Place, choice: Choice, prefix: &str) -> usize {
        let (y, adds) = self.choice(x, place, choice, prefix);
        if !adds {
            return self.b.joint(y);
        }
        let term = Term { times: 1, drop: None, factor: None };
        let shape = self.b.shape(y);
        self.b.sum(format!("{prefix}.sum"), vec![(y, term), (x, term)], shape)
    }

    /// A layer with all its choices, each multiplied by its factor.
    fn mixed_layer(&mut self, x: usize, place: Place) -> usize {
        let n = self.chain.choices.len();
        let mut terms = Vec::new();
        for (p, &choice) in self.chain.choices.iter().enumerate() {
            let y = self.layer(x, place, choice, &format!("features.{}.{p}", place.index));
            terms.push((y, Term { times: 1, drop: None, factor: Some(place.index * n + p) }));
        }
        let shape = self.b.shape(terms[0].0);
        self.b.sum(format!("features.{}", place.index), terms, shape)
    }
}

impl Space for Chain {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let join = |list: Vec<String>| list.join(",");
        let mut settings = vec![
            ("stages", join(self.stages.iter().map(ToString::to_string).collect())),
            ("choices", join(self.choices.iter().map(ToString::to_string).collect())),
        ];
        settings.extend(self.head.map(|head| ("head", head.to_string())));
        settings
    }

    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn groups(&self) -> &[&'static str] {
        &["layers"]
    }

    fn choice_name(&self, _slot: usize, choice: usize) -> String {
        self.choices.get(choice).map(ToString::to_string).unwrap_or_default()
    }

    fn slot_name(&self, slot: usize) -> String {
        format!("layer {slot}")
    }

    /// The stage, and the position of the layer in the stage.
    fn slot_key(&self, slot: usize) -> String {
        let mut place = slot;
        for (stage, n) in self.stages.iter().enumerate() {
            if place < *n {
                return format!("stage {stage} layer {place}");
            }
            place -= n;
        }
        self.slot_name(slot)
    }

    /// An identity that changes the shape is no skip, because that identity is a convolution.
    fn is_skip(&self, slot: usize, choice: usize) -> bool {
        let is_first = self.places(1).get(slot).is_none_or(|place| place.first);
        !is_first && self.choices.get(choice) == Some(&Choice::Identity)
    }

    fn prior_tables(&self) -> Vec<Table> {
        let table = |(i, slot): (usize, &Slot)| Table { name: i.to_string(), shape: vec![slot.n_choices] };
        self.slots.iter().enumerate().map(table).collect()
    }

    /// The choice with the largest factor in each layer. Among equal factors the earlier choice is taken.
    fn decode(&self, factors: &[f64]) -> Alpha {
        let best = |factors: &[f64]| {
            let mut best = 0;
            for (choice, factor) in factors.iter().enumerate() {
                if *factor > factors[best] {
                    best = choice;
                }
            }
            best as u16
        };
        Alpha(factors.chunks(self.choices.len()).map(best).collect())
    }

    fn print(&self, alpha: &Alpha) -> String {
        if self.choices.len() <= 10 {
            return alpha.0.iter().map(ToString::to_string).collect();
        }
        let names: Vec<String> =
            (0..alpha.0.len()).map(|slot| self.choice(slot, alpha).to_string()).collect();
        names.join(",")
    }

    fn parse(&self, text: &str) -> std::result::Result<Alpha, ParseError> {
        let trimmed = text.trim_end();
        let start = trimmed.len() - trimmed.trim_start().len();
        let body = &trimmed[start..];
        let mut alpha = Vec::new();
        let mut at = start;
        let list = || self.choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let hint = || match claimed_by_other(text, ENTRY.name) {
            Some(other) => format!("--space {other}, to which the text belongs, or no --space"),
            None => OTHER.into(),
        };
        if body.bytes().all(|b| b.is_ascii_digit()) && !body.is_empty() {
            for digit in body.bytes() {
                let choice = usize::from(digit - b'0');
                if choice >= self.choices.len() {
                    let expected = format!("digits from 0 to {} ({})", self.choices.len() - 1, list());
                    return Err(ParseError { hint: hint(), ..ParseError::at(text, at, expected) });
                }
                alpha.push(choice as u16);
                at += 1;
            }
        } else {
            for word in body.split(',') {
                let space = word.len() - word.trim_start().len();
                let choice = word.trim().parse::<Choice>().ok();
                let Some(choice) = choice.and_then(|c| self.choices.iter().position(|own| *own == c)) else {
                    let expected = format!("a choice: {}", list());
                    return Err(ParseError { hint: hint(), ..ParseError::at(text, at + space, expected) });
                };
                alpha.push(choice as u16);
                at += word.len() + 1;
            }
        }
        if alpha.len() != self.slots.len() {
            let mut error = ParseError::at(text, start, format!("{} layers", self.slots.len()));
            error.found = format!("{} layers", alpha.len());
            error.hint = format!("--stages whose layers are {} in all", alpha.len());
            return Err(error);
        }
        Ok(Alpha(alpha))
    }

    /// The widest block in every layer.
    fn largest(&self) -> Vec<Alpha> {
        let widest = (0..self.choices.len()).max_by_key(|i| self.choices[*i]).unwrap_or(0);
        vec![Alpha(vec![widest as u16; self.slots.len()])]
    }

    fn tally(&self, alpha: &Alpha, _group: usize) -> Tally {
        let choices = alpha.0.iter().enumerate();
        let skips = choices.filter(|(slot, choice)| self.is_skip(*slot, usize::from(**choice))).count();
        Tally { skips, pools: 0, of: self.slots.len() }
    }

    fn diagram(&self, alpha: &Alpha) -> Diagram {
        let link = |place: &Place| {
            let choice = self.choice(place.index, alpha);
            let block = if let Choice::Block { e, k } = choice { Some((e, k)) } else { None };
            Link { name: choice.to_string(), widening: place.c, halves: place.first, block }
        };
        Diagram::Chain(self.places(1).iter().map(link).collect())
    }

    fn check(&self, spec: &NetworkSpec) -> Result<()> {
        in_range("image height", spec.height, 8, 512)?;
        in_range("image width", spec.width, 8, 512)?;
        in_range("channels of the last stage", spec.channels << self.stages.len(), 1, 16_384)?;
        in_range("`head`", self.head(spec), 1, 16_384)?;
        let expansions =
            self.choices.iter().filter_map(|c| if let Choice::Block { e, .. } = c { Some(*e) } else { None });
        let Some(expansion) = expansions.max() else { return Ok(()) };
        for place in self.places(spec.channels) {
            let h = expansion * place.c;
            in_range("channels inside a block", h, 1, 4_096)?;
            // Rows of weights are bound in parts that fit every adapter and begin at multiples of 256 bytes.
            let quads = h.div_ceil(4);
            if 4_096 / quads < 16 >> quads.trailing_zeros().min(4) {
                let expected = format!("a multiple of 16, since blocks have {h} channels inside");
                return Err(Error::usage("channels", expected, spec.channels.to_string(), ""));
            }
        }
        Ok(())
    }

    fn net(&self, paths: Paths<'_>, spec: &NetworkSpec) -> Net {
        let affine = spec.kind == NetworkKind::Final;
        let b = Builder::new(spec.image(), affine);
        let mut layers = Layers { b, affine, chain: self };
        let b = &mut layers.b;
        let stem = b.conv("stem.0", 0, spec.channels, Window::same(3, 1, 1));
        let stem = b.norm("stem.1", stem, true);
        let stem = b.relu(stem);
        let mut x = b.joint(stem);
        for place in self.places(spec.channels) {
            layers.b.next_block();
            let choice = |alpha| self.choice(place.index, alpha);
            let i = place.index;
            x = layers.chosen(|layers| match paths {
                Paths::Child(alpha) if affine => {
                    layers.layer(x, place, choice(alpha), &format!("features.{i}"))
                }
                Paths::Child(alpha) => {
                    let p = alpha.0.get(i).copied().unwrap_or(0);
                    layers.layer(x, place, choice(alpha), &format!("features.{i}.{p}"))
                }
                Paths::All => layers.mixed_layer(x, place),
            });
        }
        let mut b = layers.b;
        b.next_block();
        let y = b.conv("out.0", x, self.head(spec), Window::POINT);
        let y = b.norm("out.1", y, affine);
        let y = b.relu(y);
        let y = b.global_pool("global_pooling", y);
        let logits = b.linear("classifier", y, spec.n_classes);
        let mut net = b.finish(logits, None);
        if paths == Paths::All {
            net.n_factors = self.slots.iter().map(|slot| slot.n_choices).sum();
        }
        net
    }
}

impl Layers<'_> {
    /// Marks the layers that `add` adds as part of the chosen architecture.
    fn chosen<T>(&mut self, add: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.b.set_chosen(true);
        let added = add(self);
        self.b.set_chosen(before);
        added
    }
}
