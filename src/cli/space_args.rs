//! The flags that say which search space, and an architecture of it → both.

use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use super::Stem;
use super::flags::{Declared, Flags};
use crate::Result;
use crate::config::Network;
use crate::config::keys::Concern;
use crate::config::space::{source, space_of};
use crate::error::Error;
use crate::space::{Alpha, Space, read_architecture};

/// The search space; all commands that need one share these.
#[derive(Clone, Debug)]
pub struct OfSpace;

impl Declared for OfSpace {
    const CONCERNS: &'static [Concern] = &[Network::CONCERN];
    const BUT: &'static [&'static str] = &["layers", "channels"];
}

/// Their flags.
pub type SpaceArgs = Flags<OfSpace>;

impl SpaceArgs {
    /// The same with what says how cells are stacked.
    pub fn with_cells(&self, layers: Option<usize>, stem: Option<Stem>) -> Table {
        let mut table = self.table.clone();
        table.extend(layers.map(|layers| ("layers".to_owned(), Value::from(layers as i64))));
        table.extend(stem.map(|stem| {
            let name = if stem == Stem::Imagenet { "imagenet" } else { "cifar" };
            ("stem".to_owned(), Value::from(name))
        }));
        table
    }
}

/// What `arg` says of an architecture and its space: a run folder has its own; a name, a file or a text stands for itself.
/// Settings in `given` go before those of the run.
///
/// # Errors
/// Those of [`source`], [`space_of`] and [`read_architecture`].
pub fn architecture(arg: &str, given: &Table) -> Result<(Arc<dyn Space>, Alpha)> {
    let (text, settings) = source(arg, given)?;
    let space = space_of(&settings, Some(&text))?;
    let alpha = read_architecture(&*space, if Path::new(arg).is_dir() { &text } else { arg })?;
    Ok((space, alpha))
}

/// The same of a network trained elsewhere: cells do not say how many they are.
///
/// # Errors
/// Those of [`architecture`]; [`Error::Usage`] without their number.
pub fn elsewhere(arg: &str, given: &Table) -> Result<(Arc<dyn Space>, Alpha)> {
    let (space, alpha) = architecture(arg, given)?;
    if space.name() == "darts" && !given.contains_key("layers") && !Path::new(arg).is_dir() {
        return Err(Error::usage("--layers", "the number of cells", "none", "--layers 20"));
    }
    Ok((space, alpha))
}
