//! The flags of a search space, and an architecture → the space and the architecture.

use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use super::flags::{Declared, Flags};
use super::{Stem, Ui};
use crate::Result;
use crate::config::Network;
use crate::config::keys::Concern;
use crate::config::space::{source, space_of};
use crate::error::Error;
use crate::space::{Alpha, Space, read_architecture, remark};

/// The search space. All commands that need a space share its flags.
#[derive(Clone, Debug)]
pub struct OfSpace;

impl Declared for OfSpace {
    const CONCERNS: &'static [Concern] = &[Network::CONCERN];
    const EXCLUDED: &'static [&'static str] = &["layers", "channels"];
}

/// The flags of the search space.
pub type SpaceArgs = Flags<OfSpace>;

impl SpaceArgs {
    /// The table of the flags, with the number of cells and the stem added.
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

/// The architecture that `arg` names, and its space. The folder of a run names its own space; otherwise `arg` is a
/// name, a file or a text. Settings in `given` override those of the run. If a text or file has several architectures,
/// `ui` says which one is read.
///
/// # Errors
/// The errors of [`source`], [`space_of`] and [`read_architecture`].
pub fn architecture(arg: &str, given: &Table, ui: &Ui) -> Result<(Arc<dyn Space>, Alpha)> {
    let (text, settings) = source(arg, given)?;
    remark(arg).iter().for_each(|remark| ui.warn(remark));
    let space = space_of(&settings, Some(&text))?;
    let alpha = read_architecture(&*space, if Path::new(arg).is_dir() { &text } else { arg })?;
    Ok((space, alpha))
}

/// Like [`architecture`], for a network that was trained elsewhere. For cells the number of layers must be given.
///
/// # Errors
/// The errors of [`architecture`]. [`Error::Usage`] if the number of cells is missing.
pub fn elsewhere(arg: &str, given: &Table, ui: &Ui) -> Result<(Arc<dyn Space>, Alpha)> {
    let (space, alpha) = architecture(arg, given, ui)?;
    if space.name() == "darts" && !given.contains_key("layers") && !Path::new(arg).is_dir() {
        return Err(Error::usage("--layers", "the number of cells", "none", "--layers 20"));
    }
    Ok((space, alpha))
}
