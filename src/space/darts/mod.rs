//! The DARTS space: stacked cells of two kinds. Each node of a cell sums two operations on earlier nodes.
//!
//! Nodes are counted from 0 in code: `node` 0..4 is node 2..=5 of the cell, with `node + 2` inputs. A slot is one of
//! the two terms of a node. Its choices are pairs (input, primitive). The number of a pair is input·P + p, where p is
//! the position of the primitive in the list of P primitives.

mod find;
pub mod genotype;
mod net;
mod parse;
pub mod primitive;
pub mod published;

use std::sync::Arc;

use super::spec::in_range;
use super::{
    Alpha, Diagram, Entry, NetworkKind, NetworkSpec, ParseError, Paths, Slot, Space, SpaceSettings, Table,
    Tally,
};
use crate::error::{Error, Result};
use crate::network::{Net, ParamSpec};

pub use primitive::Primitive;

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

/// The layers before the first cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StemKind {
    /// One 3x3 convolution to 3C channels at full size; it feeds both inputs of cell 0.
    Cifar,
    /// Three 3x3 convolutions of stride 2: cell 0 gets maps of a quarter and of an eighth of the size.
    ImageNet,
}

/// Number `e` of the edge from `input` to `node` (0..4) in the parameter names of the search parent: first inputs 0, 1
/// of node 2, then inputs 0, 1, 2 of node 3, and so on.
pub fn edge(node: usize, input: usize) -> usize {
    // Nodes before this one have 2 + 3 + ... + (node + 1) inputs.
    node * (node + 3) / 2 + input
}

/// The entry of this space in the list of spaces.
pub const ENTRY: Entry = Entry {
    name: "darts",
    keys: &["layers", "stem", "primitives", "auxiliary", "drop_path"],
    claims: |text| {
        let name = text.trim();
        let is_name = genotype::named(name).is_some() || genotype::of_other_space(name).is_some();
        is_name || text.contains("Genotype") || name.starts_with('{')
    },
    find: find::find,
    build: |settings| Ok(Arc::new(Darts::of(settings)?)),
};

/// The space over some primitives, in the order of the user's list. Its networks have `layers` cells behind a stem.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Darts {
    /// Number L of cells.
    pub layers: usize,
    /// The layers before the first cell.
    pub stem: StemKind,
    /// Whether there is an auxiliary head (final networks only).
    pub auxiliary: bool,
    primitives: Vec<Primitive>,
    slots: Vec<Slot>,
    edges: Vec<Slot>,
}

impl Default for Darts {
    /// The seven primitives without `none`, in networks of eight cells.
    fn default() -> Self {
        Self::over(&Primitive::ALL[1..])
    }
}

impl Darts {
    /// The same space in networks of `layers` cells behind `stem`.
    #[must_use]
    pub fn stacked(self, layers: usize, stem: StemKind) -> Self {
        Self { layers, stem, ..self }
    }

    /// The space over these primitives.
    pub fn over(primitives: &[Primitive]) -> Self {
        let p = primitives.len();
        let slot =
            |s: usize| Slot { group: s / (N_NODES * N_SLOTS), n_choices: (s / N_SLOTS % N_NODES + 2) * p };
        Self {
            layers: 8,
            stem: StemKind::Cifar,
            auxiliary: false,
            primitives: primitives.to_vec(),
            slots: (0..N_KINDS * N_NODES * N_SLOTS).map(slot).collect(),
            edges: (0..N_KINDS * N_EDGES).map(|e| Slot { group: e / N_EDGES, n_choices: p }).collect(),
        }
    }

    /// The space over all eight primitives: every genotype is in it.
    pub fn all() -> Self {
        Self::over(&Primitive::ALL)
    }

    /// The space with the settings of a configuration.
    fn of(settings: &SpaceSettings) -> Result<Self> {
        let base =
            if settings.primitives.is_empty() { Self::all() } else { Self::over(&settings.primitives) };
        let stem = settings.stem.unwrap_or(StemKind::Cifar);
        Ok(Self { layers: settings.layers, stem, auxiliary: settings.auxiliary, ..base })
    }

    /// The primitives in the order of the list: position p of P gives the pair index `input·P + p`.
    pub fn primitives(&self) -> &[Primitive] {
        &self.primitives
    }

    /// Number of (input, primitive) pairs that a slot of `node` (0..4) chooses from.
    pub fn n_pairs(&self, node: usize) -> usize {
        (node + 2) * self.primitives.len()
    }

    /// The pair with number `index` (`0..n_pairs(node)`) of a slot of `node`. For a larger number the remainder is
    /// used.
    pub fn pair(&self, node: usize, index: usize) -> Pair {
        let n_primitives = self.primitives.len();
        Pair { input: index / n_primitives % (node + 2), primitive: self.primitives[index % n_primitives] }
    }

    /// The number of `pair` among the pairs of a slot of `node`, if the pair is in the space.
    pub fn index_of(&self, node: usize, pair: Pair) -> Option<usize> {
        let position = self.primitives.iter().position(|&p| p == pair.primitive)?;
        (pair.input < node + 2).then(|| pair.input * self.primitives.len() + position)
    }

    /// The genotype that `alpha` describes.
    pub fn genotype(&self, alpha: &Alpha) -> Genotype {
        let cell = |kind: CellKind| {
            std::array::from_fn(|node| {
                std::array::from_fn(|slot| {
                    let at = slot_at(kind, node, slot);
                    self.pair(node, alpha.0.get(at).map_or(0, |choice| usize::from(*choice)))
                })
            })
        };
        Genotype { normal: cell(CellKind::Normal), reduce: cell(CellKind::Reduce) }
    }

    /// The choices of `genotype`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the genotype uses a primitive that is not in this space.
    pub fn alpha(&self, genotype: &Genotype) -> Result<Alpha> {
        let mut alpha = Vec::new();
        for kind in CellKind::ALL {
            for (node, slots) in genotype.cell(kind).iter().enumerate() {
                for &pair in slots {
                    let index = self.index_of(node, pair).ok_or_else(|| {
                        let names: Vec<_> = self.primitives.iter().map(|p| p.name()).collect();
                        let name = pair.primitive.name();
                        let place = format!("node {} of the {} cell", node + 2, kind.name());
                        let mut found = format!("('{name}', {}) at {place}", pair.input);
                        let mut try_this = format!("--primitives with {name} in the list");
                        if pair.primitive == Primitive::None {
                            found += ", which computes nothing";
                            try_this = format!("another operation there, or {try_this}");
                        }
                        let expected = format!("pairs of this space's primitives ({})", names.join(", "));
                        Error::usage("genotype", expected, found, try_this)
                    })?;
                    // The index is below 5 inputs times the number of primitives.
                    alpha.push(index as u16);
                }
            }
        }
        Ok(Alpha(alpha))
    }

    /// Whether cell `index` is a reduction. The cells at L/3 and 2L/3 are reductions (one cell, if the two coincide).
    pub fn is_reduction(&self, index: usize) -> bool {
        index == self.layers / 3 || index == 2 * self.layers / 3
    }

    /// The network can be built for images whose sides are multiples of this number, because all halved maps then have
    /// even sides.
    pub fn size_unit(&self) -> usize {
        let n_reductions = (0..self.layers).filter(|&i| self.is_reduction(i)).count();
        (if self.stem == StemKind::ImageNet { 8 } else { 1 }) << n_reductions
    }

    /// Rows and columns of the maps that enter and leave a cell, for images of this size.
    fn sides(&self, (h, w): (usize, usize), cell: usize) -> (usize, usize) {
        let half = |(h, w): (usize, usize)| (h.div_ceil(2), w.div_ceil(2));
        let start = match self.stem {
            StemKind::Cifar => (h, w),
            StemKind::ImageNet => half(half(half((h, w)))),
        };
        (0..cell).filter(|i| self.is_reduction(*i)).fold(start, |side, _| half(side))
    }

    /// Maps must have even sides wherever they are halved.
    fn check_halving(&self, spec: &NetworkSpec) -> Result<()> {
        let is_even = |(h, w): (usize, usize)| h.is_multiple_of(2) && w.is_multiple_of(2);
        for index in 0..self.layers {
            // Behind a reduction, and behind the ImageNet stem, preprocess0 halves the output of cell k-2 too. Behind a
            // reduction that output has the extents with which the cell before was checked.
            let (h, w) = self.sides((spec.height, spec.width), index);
            let before = (index == 0 && self.stem == StemKind::ImageNet).then(|| {
                let half = |n: usize| n.div_ceil(2).div_ceil(2);
                (half(spec.height), half(spec.width))
            });
            let mut halved = before.into_iter().chain(self.is_reduction(index).then_some((h, w)));
            if let Some((h, w)) = halved.find(|side| !is_even(*side)) {
                let unit = self.size_unit();
                let fit = |side: usize| side.div_ceil(unit) * unit;
                return Err(Error::usage(
                    "image size",
                    format!("sides that are even wherever maps are halved (multiples of {unit} always are)"),
                    format!("{}x{} pixels, which arrive at cell {index} as {h}x{w}", spec.height, spec.width),
                    format!(
                        "resize or pad the images to {0}x{1} (of a folder: --size {0},{1})",
                        fit(spec.height),
                        fit(spec.width)
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Position of a slot in the list of all slots.
fn slot_at(kind: CellKind, node: usize, slot: usize) -> usize {
    (kind.index() * N_NODES + node) * N_SLOTS + slot
}

impl Space for Darts {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let names: Vec<_> = self.primitives.iter().map(|p| p.name()).collect();
        let stem = if self.stem == StemKind::Cifar { "cifar" } else { "imagenet" };
        vec![
            ("stem", stem.into()),
            ("layers", self.layers.to_string()),
            ("auxiliary", self.auxiliary.to_string()),
            ("primitives", names.join(",")),
        ]
    }

    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn groups(&self) -> &[&'static str] {
        &["normal", "reduce"]
    }

    fn choice_name(&self, slot: usize, choice: usize) -> String {
        let pair = self.pair(slot / N_SLOTS % N_NODES, choice);
        // The drawings name the input nodes in the same way.
        let input = ["k-2", "k-1", "0", "1", "2"][pair.input];
        format!("{}({input})", pair.primitive.name())
    }

    fn slot_name(&self, slot: usize) -> String {
        format!("node {} slot {}", slot / N_SLOTS % N_NODES, slot % N_SLOTS)
    }

    fn kin(&self, slot: usize, choice: usize) -> Vec<String> {
        let node = slot / N_SLOTS % N_NODES;
        let (pair, cell) = (self.pair(node, choice), self.groups()[self.slots[slot].group]);
        let primitive = pair.primitive.name();
        vec![
            format!("{cell} {primitive}"),
            format!("{cell} {node} {primitive}"),
            format!("{cell} {node} {}", pair.input),
            format!("{cell} {node} {choice}"),
        ]
    }

    fn twins(&self) -> Vec<[usize; 2]> {
        (0..self.slots.len()).step_by(N_SLOTS).map(|slot| [slot, slot + 1]).collect()
    }

    fn is_skip(&self, slot: usize, choice: usize) -> bool {
        self.pair(slot / N_SLOTS % N_NODES, choice).primitive == Primitive::SkipConnect
    }

    fn prior_tables(&self) -> Vec<Table> {
        let table = |kind: CellKind, node: usize| Table {
            name: format!("{}.{node}", kind.name()),
            shape: vec![N_SLOTS, self.n_pairs(node)],
        };
        CellKind::ALL.iter().flat_map(|kind| (0..N_NODES).map(move |node| table(*kind, node))).collect()
    }

    fn alpha_shape(&self) -> Vec<usize> {
        vec![N_KINDS, N_NODES, N_SLOTS]
    }

    fn mixed_slots(&self) -> &[Slot] {
        &self.edges
    }

    fn mixed_tables(&self) -> Vec<Table> {
        let shape = vec![N_EDGES, self.primitives.len()];
        CellKind::ALL.map(|kind| Table { name: kind.name().into(), shape: shape.clone() }).to_vec()
    }

    /// The architecture that the DARTS implementation derives. The factor of an edge is the largest factor of its
    /// primitives other than `none`. Each node gets the two edges with the largest factors, in the order of these
    /// factors, and on each edge the primitive that has this factor. Ties go to the earlier edge or primitive.
    fn decode(&self, factors: &[f64]) -> Alpha {
        let mut alpha = Vec::new();
        for kind in CellKind::ALL {
            for node in 0..N_NODES {
                let best = |input: usize| {
                    let at = (kind.index() * N_EDGES + edge(node, input)) * self.primitives.len();
                    let mut best = (f64::NEG_INFINITY, 0);
                    for (p, (factor, &primitive)) in factors[at..].iter().zip(&self.primitives).enumerate() {
                        if primitive != Primitive::None && *factor > best.0 {
                            best = (*factor, input * self.primitives.len() + p);
                        }
                    }
                    best
                };
                let mut edges: Vec<(f64, usize)> = (0..node + 2).map(best).collect();
                edges.sort_by(|a, b| b.0.total_cmp(&a.0));
                // Every node has at least two edges.
                alpha.extend(edges.iter().take(N_SLOTS).map(|(_, pair)| *pair as u16));
            }
        }
        Alpha(alpha)
    }

    fn print(&self, alpha: &Alpha) -> String {
        self.genotype(alpha).to_string()
    }

    fn parse(&self, text: &str) -> std::result::Result<Alpha, ParseError> {
        let genotype = parse::parse(text, &self.primitives)?;
        self.alpha(&genotype).map_err(|e| {
            let mut error = ParseError::at(text, 0, "a genotype of this space's primitives");
            if let Error::Usage { expected, found, try_this, .. } = e {
                (error.expected, error.found, error.hint) = (expected, found, try_this);
            }
            error
        })
    }

    fn named(&self, name: &str) -> Option<Alpha> {
        genotype::named(name).and_then(|genotype| self.alpha(&genotype).ok())
    }

    /// The two terms of each node in a fixed order: a + b = b + a to the last bit, and both orders use the same
    /// weights.
    fn canonical(&self, alpha: &Alpha) -> Alpha {
        let genotype = self.genotype(alpha);
        let mut sorted = genotype.clone();
        for slots in sorted.normal.iter_mut().chain(&mut sorted.reduce) {
            slots.sort();
        }
        self.alpha(&sorted).unwrap_or_else(|_| alpha.clone())
    }

    fn depth(&self) -> usize {
        self.layers
    }

    /// The primitive with the most memory on every edge, once in flat and once in deep cells.
    fn largest(&self) -> Vec<Alpha> {
        // Each convolution keeps a tensor for the backward pass. A max pool keeps the positions of its maxima.
        let rank = |p: &Primitive| (p.row().steps.len(), *p == Primitive::MaxPool3x3);
        let Some(&primitive) = self.primitives.iter().max_by_key(|p| rank(p)) else {
            return Vec::new();
        };
        let flat = std::array::from_fn(|_| [0, 1].map(|input| Pair { input, primitive }));
        let deep = std::array::from_fn(|node| [node, node + 1].map(|input| Pair { input, primitive }));
        let both = [Genotype { normal: flat, reduce: flat }, Genotype { normal: deep, reduce: deep }];
        both.iter().filter_map(|genotype| self.alpha(genotype).ok()).collect()
    }

    fn tally(&self, alpha: &Alpha, group: usize) -> Tally {
        let genotype = self.genotype(alpha);
        let kind = CellKind::ALL[group.min(N_KINDS - 1)];
        let of = N_NODES * N_SLOTS;
        Tally { skips: genotype.n_skips(kind), pools: genotype.n_pools(kind), of }
    }

    fn diagram(&self, alpha: &Alpha) -> Diagram {
        Diagram::Cells(Box::new(self.genotype(alpha)))
    }

    fn check(&self, spec: &NetworkSpec) -> Result<()> {
        in_range("layers", self.layers, 1, 256)?;
        if !spec.channels.is_multiple_of(2) {
            let try_this = format!("{} or {}", spec.channels - 1, spec.channels + 1);
            let expected = "an even number (a strided skip connection splits the channels in halves)";
            return Err(Error::usage("channels", expected, spec.channels.to_string(), try_this));
        }
        if self.auxiliary && spec.kind == NetworkKind::Search {
            let try_this = "leave it out, or choose the final network";
            return Err(Error::usage("auxiliary head", "a final network", "a search network", try_this));
        }
        self.check_halving(spec)
    }

    fn net(&self, paths: Paths<'_>, spec: &NetworkSpec) -> Net {
        self.build(paths, spec)
    }

    fn parent_params(&self, spec: &NetworkSpec) -> Vec<ParamSpec> {
        // The names follow the order of the DARTS implementation, whatever the order of the user's list.
        let mut primitives = self.primitives.clone();
        primitives.sort();
        let sorted = Self {
            layers: self.layers,
            stem: self.stem,
            auxiliary: self.auxiliary,
            ..Self::over(&primitives)
        };
        sorted.build(Paths::All, spec).params()
    }

    /// Primitives without parameters are absent from the result. This changes none of the tensors.
    fn of_tensors(&self, names: &mut dyn Iterator<Item = &str>) -> Option<Arc<dyn Space>> {
        // cells.I._ops.E._ops.P.…
        let index = |name: &str| name.split("._ops.").nth(2)?.split('.').next()?.parse::<usize>().ok();
        let found: Vec<usize> = names.filter_map(index).collect();
        let primitives: Vec<_> =
            self.primitives.iter().copied().filter(|p| found.contains(&p.index())).collect();
        let Self { layers, stem, auxiliary, .. } = *self;
        Some(Arc::new(Self { layers, stem, auxiliary, ..Self::over(&primitives) }))
    }

    fn auxiliary(&self, on: bool) -> Option<Arc<dyn Space>> {
        Some(Arc::new(Self { auxiliary: on, ..self.clone() }))
    }

    fn first_weight(&self) -> &'static str {
        match self.stem {
            StemKind::Cifar => "stem.0.weight",
            StemKind::ImageNet => "stem0.0.weight",
        }
    }
}
