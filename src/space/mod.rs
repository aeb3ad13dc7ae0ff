//! Search spaces: the slots of π, architectures α as text and as networks, and the prior π over them.
//!
//! A space is one file (or folder) that implements [`Space`], and one line of [`SPACES`]. Everything else works on its
//! slots and on the networks that it builds.

pub mod chain;
pub mod darts;
mod mixture;
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
pub use darts::{StemKind, genotype, primitive};
pub use mixture::Mixture;
pub use prior::Prior;
pub use spec::{NetworkKind, NetworkSpec};
pub use text::{ParseError, read_architecture, read_genotype, text_of};

/// An architecture: one choice per slot of its space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Alpha(pub Vec<u16>);

/// Which paths of the search parent a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths<'a> {
    /// Those of one architecture (Eq. 1).
    Child(&'a Alpha),
    /// All, each with a factor (Eq. 2).
    All,
}

/// Where one choice is made: one categorical distribution of π.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Position of its group in [`Space::groups`].
    pub group: usize,
    /// Choices.
    pub n_choices: usize,
}

/// A tensor of a checkpoint or a trace: some numbers of a list, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The last parts of its name.
    pub name: String,
    /// Its axes.
    pub shape: Vec<usize>,
}

/// Operations of one group of slots of an architecture, by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Identities.
    pub skips: usize,
    /// Pools.
    pub pools: usize,
    /// All operations.
    pub of: usize,
}

/// What a drawing shows of an architecture.
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
    /// What it is.
    pub name: String,
    /// How its maps change: channels relative to the first layer, and whether it halves.
    pub widening: usize,
    /// Whether it has stride 2.
    pub halves: bool,
    /// Its expansion and kernel side; none for an identity or a layer outside of the space.
    pub block: Option<(usize, usize)>,
}

/// A search space.
pub trait Space: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// What tells it from others of its name: configuration keys with their values.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// The slots of π, in order.
    fn slots(&self) -> &[Slot];

    /// Names of the groups of slots, for which entropies are told apart.
    fn groups(&self) -> &[&'static str];

    /// A choice for people.
    fn choice_name(&self, slot: usize, choice: usize) -> String;

    /// A slot for people.
    fn slot_name(&self, slot: usize) -> String;

    /// A name by which other settings of the space have the same slot, where they have it.
    fn slot_key(&self, slot: usize) -> String {
        format!("{} {}", self.groups()[self.slots()[slot].group], self.slot_name(slot))
    }

    /// Whether a choice passes its input on as it is.
    fn is_skip(&self, slot: usize, choice: usize) -> bool;

    /// The tensors of π's logits, one slot after the other.
    fn prior_tables(&self) -> Vec<Table>;

    /// The axes of an architecture's choices in a trace.
    fn alpha_shape(&self) -> Vec<usize> {
        vec![self.slots().len()]
    }

    /// The sets of paths over which the deterministic method has a softmax each, as slots of its own.
    fn mixture(&self) -> &[Slot] {
        self.slots()
    }

    /// The tensors of the deterministic method's logits.
    fn mixture_tables(&self) -> Vec<Table> {
        self.prior_tables()
    }

    /// The architecture that the deterministic method reads from the factors of all paths.
    fn decode(&self, factors: &[f64]) -> Alpha;

    /// An architecture as text.
    fn print(&self, alpha: &Alpha) -> String;

    /// The architecture that `text` says.
    ///
    /// # Errors
    /// Where the text departs from the form, or describes something outside the space.
    fn parse(&self, text: &str) -> std::result::Result<Alpha, ParseError>;

    /// A published architecture by name, upper or lower case.
    fn named(&self, _name: &str) -> Option<Alpha> {
        None
    }

    /// The same network in one form: what is computed alike has equal forms.
    fn canonical(&self, alpha: &Alpha) -> Alpha {
        alpha.clone()
    }

    /// Architectures of which one needs as much memory as any.
    fn largest(&self) -> Vec<Alpha>;

    /// What one group of an architecture's slots consists of.
    fn tally(&self, alpha: &Alpha, group: usize) -> Tally;

    /// What a drawing of an architecture shows.
    fn diagram(&self, alpha: &Alpha) -> Diagram;

    /// How many cells or layers lie behind each other.
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

    /// The same space with or without an auxiliary head, where it can have one.
    fn auxiliary(&self, _on: bool) -> Option<Arc<dyn Space>> {
        None
    }

    /// The space of those paths of a search parent that have a tensor among `names`, where paths may be missing.
    fn of_tensors(&self, _names: &mut dyn Iterator<Item = &str>) -> Option<Arc<dyn Space>> {
        None
    }

    /// The tensor whose second axis are the channels of the images.
    fn first_weight(&self) -> &'static str {
        "stem.0.weight"
    }
}

/// Spaces are the same if their settings are.
impl PartialEq for dyn Space {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.settings() == other.settings()
    }
}

impl dyn Space + '_ {
    /// Numbers per slot, summed by group, with the names of the groups.
    pub fn by_group(&self, per_group: &[f64]) -> ByGroup<f64> {
        self.groups().iter().map(|name| (*name).to_owned()).zip(per_group.iter().copied()).collect()
    }

    /// What each group of an architecture has of something.
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

/// Something for each group of slots, by its name.
pub type ByGroup<T> = BTreeMap<String, T>;

/// What a configuration says of a space; which of it counts is the space's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpaceSettings {
    /// Cells of the DARTS space.
    pub layers: usize,
    /// What stands before the first cell.
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

/// A space that can be asked for by name.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The settings that only it has.
    pub keys: &'static [&'static str],
    /// Whether a text is one of its architectures, as far as a glance says.
    pub claims: fn(&str) -> bool,
    /// The space of some settings.
    pub build: fn(&SpaceSettings) -> Result<Arc<dyn Space>>,
}

/// The spaces that can be asked for.
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

/// The name of the space that `text` is an architecture of: the first one, where nothing tells.
pub fn space_of(text: &str) -> &'static str {
    SPACES.iter().find(|entry| (entry.claims)(text)).unwrap_or(&SPACES[0]).name
}

/// The other space that has a setting which the space called `name` has not.
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
