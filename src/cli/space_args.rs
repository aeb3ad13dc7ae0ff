//! The flags that say which search space, and an architecture of it → both.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use toml::{Table, Value};

use super::Stem;
use crate::Result;
use crate::config::space::space_of;
use crate::error::Error;
use crate::space::{Alpha, Space, read_architecture, text_of};

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
/// Those of [`read_architecture`] and [`space_of`]; [`Error::File`] for a folder without an architecture.
pub fn architecture(arg: &str, given: &Table) -> Result<(Arc<dyn Space>, Alpha)> {
    let (text, settings) = source(arg, given)?;
    let space = space_of(&settings, Some(&text))?;
    let alpha = read_architecture(&*space, if Path::new(arg).is_dir() { &text } else { arg })?;
    Ok((space, alpha))
}

/// The text of the architecture that `arg` stands for, and the settings of its space.
pub fn source(arg: &str, given: &Table) -> Result<(String, Table)> {
    let folder = Path::new(arg);
    if !folder.is_dir() {
        return Ok((text_of(arg)?, given.clone()));
    }
    let file = folder.join("genotype.txt");
    if !file.is_file() {
        let try_this = "a run that has ended or was interrupted with Ctrl-C";
        return Err(Error::file(folder, None, "a run folder with genotype.txt", "none", try_this));
    }
    let mut settings = run_settings(folder);
    // Any primitive may be trained, whatever the search chose from.
    settings.remove("primitives");
    settings.extend(given.clone());
    Ok((text_of(&file.to_string_lossy())?, settings))
}

/// What the configuration of a run says of its space, read loosely, since old runs are to be read as well.
pub fn run_settings(folder: &Path) -> Table {
    let text = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
    let table: Table = text.parse().unwrap_or_default();
    let keys = ["space", "stages", "choices", "head", "layers", "stem", "primitives"];
    table.into_iter().filter(|(key, _)| keys.contains(&key.as_str())).collect()
}
