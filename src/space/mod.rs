//! Search spaces: the slots of π, architectures α as text and as networks, and the prior π over them.
//!
//! A space is one file (or folder) that implements [`Space`], and one line of [`SPACES`]. All other code works on the
//! slots of a space and on the networks that the space builds.

pub mod chain;
pub mod darts;
mod excerpt;
mod literal;
mod mixed;
pub mod prior;
mod spec;
mod text;
pub mod transfer;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::network::{Net, ParamSpec};

pub use chain::Chain;
pub use darts::{
    CellArch, CellKind, Darts, Genotype, N_EDGES, N_KINDS, N_NODES, N_SLOTS, Pair, Primitive, edge,
};
pub use darts::{StemKind, genotype, primitive, published};
pub use excerpt::Found;
pub use mixed::MixedAlpha;
pub use prior::Prior;
pub use spec::{NetworkKind, NetworkSpec};
pub use text::{ParseError, read_architecture, read_genotype, remark, text_of};

/// An architecture: one choice per slot of its space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Alpha(pub Vec<u16>);

/// The paths of the search parent that a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths<'a> {
    /// The paths of one architecture (Eq. 1).
    Child(&'a Alpha),
    /// All paths, each with a factor (Eq. 2).
    All,
}

/// The place of one choice: one categorical distribution of π.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Position of the slot's group in [`Space::groups`].
    pub group: usize,
    /// Number of choices.
    pub n_choices: usize,
}

/// A tensor of a checkpoint or a trace. It holds consecutive numbers of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The last parts of the tensor's name.
    pub name: String,
    /// The lengths of the tensor's axes.
    pub shape: Vec<usize>,
}

/// Numbers of identities, of pools and of all operations in one group of slots of an architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of identities.
    pub skips: usize,
    /// Number of pools.
    pub pools: usize,
    /// Number of all operations.
    pub of: usize,
}

/// The content of a drawing of an architecture.
#[derive(Clone, Debug, PartialEq)]
pub enum Diagram {
    /// The two cells of the DARTS space.
    Cells(Box<Genotype>),
    /// A chain of layers.
    Chain(Vec<Link>),
}

/// A layer of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Name of the layer's choice.
    pub name: String,
    /// Channels of the layer's output as a multiple of the channels of the stem.
    pub widening: usize,
    /// Whether the layer has stride 2.
    pub halves: bool,
    /// Expansion and kernel side of the layer's block. `None` for an identity or a layer outside the space.
    pub block: Option<(usize, usize)>,
}

/// A search space.
pub trait Space: Debug + Send + Sync {
    /// Name of the space.
    fn name(&self) -> &'static str;

    /// The settings that distinguish the space from others with the same name: configuration keys with their values.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// The slots of π, in order.
    fn slots(&self) -> &[Slot];

    /// Names of the groups of slots. Entropies are reported for each group.
    fn groups(&self) -> &[&'static str];

    /// Name of a choice in output for people.
    fn choice_name(&self, slot: usize, choice: usize) -> String;

    /// Name of a slot in output for people.
    fn slot_name(&self, slot: usize) -> String;

    /// A name that the slot also has in the same space with other settings, if that space has the slot.
    fn slot_key(&self, slot: usize) -> String {
        format!("{} {}", self.groups()[self.slots()[slot].group], self.slot_name(slot))
    }

    /// Names of the kinds to which the choice belongs. Choices of the same kind are expected to have similar effects.
    fn kin(&self, slot: usize, choice: usize) -> Vec<String> {
        vec![self.choice_name(slot, choice)]
    }

    /// Pairs of slots in which equal choices are the same operation, drawn twice.
    fn twins(&self) -> Vec<[usize; 2]> {
        Vec::new()
    }

    /// Whether a choice returns its input unchanged.
    fn is_skip(&self, slot: usize, choice: usize) -> bool;

    /// The tensors of π's logits, in the order of the slots.
    fn prior_tables(&self) -> Vec<Table>;

    /// The axes of an architecture's choices in a trace.
    fn alpha_shape(&self) -> Vec<usize> {
        vec![self.slots().len()]
    }

    /// The sets of paths, as slots. The deterministic method has one softmax over each set.
    fn mixed_slots(&self) -> &[Slot] {
        self.slots()
    }

    /// The tensors of the deterministic method's logits.
    fn mixed_tables(&self) -> Vec<Table> {
        self.prior_tables()
    }

    /// The architecture that the deterministic method reads from the factors of all paths.
    fn decode(&self, factors: &[f64]) -> Alpha;

    /// An architecture as text.
    fn print(&self, alpha: &Alpha) -> String;

    /// The architecture that `text` describes.
    ///
    /// # Errors
    /// The place where the text departs from the form or describes something outside the space.
    fn parse(&self, text: &str) -> std::result::Result<Alpha, ParseError>;

    /// A published architecture by name, upper or lower case.
    fn named(&self, _name: &str) -> Option<Alpha> {
        None
    }

    /// The canonical form of an architecture. Architectures that compute the same network have the same canonical form.
    fn canonical(&self, alpha: &Alpha) -> Alpha {
        alpha.clone()
    }

    /// A few architectures. One of them needs as much memory as any architecture of the space.
    fn largest(&self) -> Vec<Alpha>;

    /// Numbers of identities, of pools and of all operations in one group of slots.
    fn tally(&self, alpha: &Alpha, group: usize) -> Tally;

    /// The content of a drawing of an architecture.
    fn diagram(&self, alpha: &Alpha) -> Diagram;

    /// Number of cells or layers that follow each other.
    fn depth(&self) -> usize {
        self.slots().len()
    }

    /// Refuses sizes that cannot be built, before anything runs.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value.
    fn check(&self, spec: &NetworkSpec) -> Result<()>;

    /// The layers of a network of `spec`.
    fn net(&self, paths: Paths<'_>, spec: &NetworkSpec) -> Net;

    /// Every named tensor of the search parent.
    fn parent_params(&self, spec: &NetworkSpec) -> Vec<ParamSpec> {
        self.net(Paths::All, spec).params()
    }

    /// The same space with or without an auxiliary head. `None` if the space has no such head.
    fn auxiliary(&self, _on: bool) -> Option<Arc<dyn Space>> {
        None
    }

    /// The space that has only the paths of a search parent with a tensor among `names`. `None` if no path may be
    /// missing.
    fn of_tensors(&self, _names: &mut dyn Iterator<Item = &str>) -> Option<Arc<dyn Space>> {
        None
    }

    /// The tensor whose second axis is the channels of the images.
    fn first_weight(&self) -> &'static str {
        "stem.0.weight"
    }
}

/// Two spaces are the same if their names and settings are the same.
impl PartialEq for dyn Space {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.settings() == other.settings()
    }
}

impl dyn Space + '_ {
    /// `per_group`, one number for each group of slots, by the names of the groups.
    pub fn by_group(&self, per_group: &[f64]) -> ByGroup<f64> {
        self.groups().iter().map(|name| (*name).to_owned()).zip(per_group.iter().copied()).collect()
    }

    /// One number of the [`Tally`] of each group, by the names of the groups.
    pub fn tallies(&self, alpha: &Alpha, what: impl Fn(Tally) -> usize) -> ByGroup<usize> {
        let of = |(g, name): (usize, &&str)| ((*name).to_owned(), what(self.tally(alpha, g)));
        self.groups().iter().enumerate().map(of).collect()
    }

    /// Whether every choice of `alpha` is in the space.
    pub fn contains(&self, alpha: &Alpha) -> bool {
        let slots = self.slots();
        slots.len() == alpha.0.len() && slots.iter().zip(&alpha.0).all(|(s, c)| usize::from(*c) < s.n_choices)
    }
}

/// One value for each group of slots, by the name of the group.
pub type ByGroup<T> = BTreeMap<String, T>;

/// The settings of a space in a configuration. Each space uses the settings that it knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpaceSettings {
    /// Number of cells of the DARTS space.
    pub layers: usize,
    /// The layers before the first cell.
    pub stem: Option<StemKind>,
    /// Whether there is an auxiliary head.
    pub auxiliary: bool,
    /// The primitives of the DARTS space.
    pub primitives: Vec<Primitive>,
    /// Layers of each stage of a chain.
    pub stages: Option<Vec<usize>>,
    /// Choices of each layer of a chain.
    pub choices: Option<Vec<String>>,
    /// Channels of a chain's head.
    pub head: Option<usize>,
}

/// A space that a configuration can name.
pub struct Entry {
    /// Name of the space.
    pub name: &'static str,
    /// The settings that only this space has.
    pub keys: &'static [&'static str],
    /// Whether a text probably describes an architecture of the space. The answer is a guess.
    pub claims: fn(&str) -> bool,
    /// Finds the last architecture of the space in a text with other content. `None` if no form of an architecture is
    /// recognised.
    pub find: fn(&str) -> Option<Found>,
    /// Builds the space with some settings.
    pub build: fn(&SpaceSettings) -> Result<Arc<dyn Space>>,
}

/// The spaces that a configuration can name.
pub const SPACES: &[Entry] = &[darts::ENTRY, chain::ENTRY];

/// The space called `name` with these settings.
///
/// # Errors
/// [`Error::Usage`] for an unknown name, or settings that the space refuses.
pub fn space(name: &str, settings: &SpaceSettings) -> Result<Arc<dyn Space>> {
    match SPACES.iter().find(|entry| entry.name == name) {
        Some(entry) => (entry.build)(settings),
        None => Err(Error::usage("space", names().join(" or "), name, "--space macro")),
    }
}

/// The name of the space to which the architecture in `text` belongs. The first space if no space claims the text.
pub fn space_of(text: &str) -> &'static str {
    SPACES.iter().find(|entry| (entry.claims)(text)).unwrap_or(&SPACES[0]).name
}

/// The space to which the architecture in `text` belongs, if it is another one than the space called `name`.
fn claimed_by_other(text: &str, name: &str) -> Option<&'static str> {
    SPACES.iter().find(|entry| entry.name != name && (entry.claims)(text)).map(|entry| entry.name)
}

/// Another space that has the setting `key`, if the space called `name` does not have it.
pub fn owner(key: &str, name: &str) -> Option<&'static str> {
    let has = |entry: &&Entry| entry.keys.contains(&key);
    let owners = || SPACES.iter().filter(has);
    owners()
        .find(|entry| entry.name != name)
        .filter(|_| owners().all(|entry| entry.name != name))
        .map(|entry| entry.name)
}

/// The names of all spaces.
pub fn names() -> Vec<&'static str> {
    SPACES.iter().map(|entry| entry.name).collect()
}
