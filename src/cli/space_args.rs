//! The flags that say which search space, and an architecture of it → both.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use toml::{Table, Value};

use super::Stem;
use crate::Result;
use crate::config::space::{source, space_of};
use crate::error::Error;
use crate::space::{Alpha, Space, read_architecture};

/// The search space; all commands that need one share these.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub struct SpaceArgs {
    /// The search space: darts, cells of two kinds; macro, a chain of MobileNetV2 blocks. Default: that of the
    /// architecture or run, or darts
    #[arg(long, value_name = "darts|macro")]
    pub space: Option<String>,
    /// Layers of each stage of a chain, separated by commas (2,3,3)
    #[arg(long, value_name = "LIST")]
    pub stages: Option<String>,
    /// What each layer of a chain may be, separated by commas: identity, mbE_kK (identity,mb3_k3,mb6_k5)
    #[arg(long, value_name = "LIST")]
    pub choices: Option<String>,
    /// Channels of a chain's head; default: 40 times --channels
    #[arg(long, value_name = "H")]
    pub head: Option<u32>,
}

impl SpaceArgs {
    /// The flags that were given, as a table of settings.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        let texts = [("space", &self.space), ("stages", &self.stages), ("choices", &self.choices)];
        table.extend(
            texts.into_iter().filter_map(|(key, value)| Some((key.into(), Value::from(value.clone()?)))),
        );
        table.extend(self.head.map(|head| ("head".to_owned(), Value::from(head))));
        table
    }

    /// The same with what says how cells are stacked.
    pub fn with_cells(&self, layers: Option<usize>, stem: Option<Stem>) -> Table {
        let mut table = self.table();
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
