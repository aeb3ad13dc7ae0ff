//! Settings → the search space that they name.

use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use super::keys;
use crate::space::{self, Space, SpaceSettings, StemKind, text_of};
use crate::{Error, Result};

/// The space that the settings in `table` name. The table is the table of a run or of a command's flags. Settings of
/// the space may be missing, and settings that belong to no space are ignored. Without the key `space` the result is
/// the space to which the architecture in `text` belongs.
///
/// # Errors
/// [`Error::Usage`] for settings that the space refuses.
pub fn space_of(table: &Table, text: Option<&str>) -> Result<Arc<dyn Space>> {
    let named = table.get("space").and_then(Value::as_str);
    let name = named.unwrap_or_else(|| text.map_or("darts", space::space_of));
    check_own(table, name)?;
    let words =
        |key: &str| table.get(key).map(keys::items).transpose().map_err(|e| Error::usage(key, e, "", ""));
    let number = |key: &str| table.get(key).and_then(|v| usize::try_from(v.as_integer()?).ok());
    let primitives = match words("primitives")? {
        Some(names) => {
            super::types::parse_primitives(&names).map_err(|e| Error::usage("`primitives`", e, "", ""))?
        }
        None => Vec::new(),
    };
    let stages = match words("stages")? {
        Some(list) => {
            let parsed: Option<Vec<usize>> = list.iter().map(|n| n.parse().ok()).collect();
            let expected = "numbers of layers, separated by commas";
            Some(parsed.ok_or_else(|| Error::usage("`stages`", expected, list.join(","), "--stages 2,3,3"))?)
        }
        None => None,
    };
    let imagenet = table.get("stem").and_then(Value::as_str) == Some("imagenet");
    let auxiliary =
        table.get("auxiliary").is_some_and(|v| v.as_bool() == Some(true) || v.as_float() > Some(0.0));
    let settings = SpaceSettings {
        layers: number("layers").unwrap_or(8),
        stem: imagenet.then_some(StemKind::ImageNet),
        auxiliary,
        primitives,
        stages,
        choices: words("choices")?,
        head: number("head"),
    };
    space::space(name, &settings)
}

/// Stages and choices of a chain for the resolved form, including default values.
pub(super) fn of_chain(space: &dyn Space) -> (Option<Vec<usize>>, Option<Vec<String>>) {
    let settings = space.settings();
    let list = |key: &str| settings.iter().find(|(k, _)| *k == key).map(|(_, list)| list.split(','));
    let stages = list("stages").map(|list| list.filter_map(|n| n.parse().ok()).collect());
    (stages, list("choices").map(|list| list.map(str::to_owned).collect()))
}

/// Refuses settings that only another space has.
pub(super) fn check_own(table: &Table, name: &str) -> Result<()> {
    for (key, value) in table {
        if let Some(other) = space::owner(key, name) {
            let expected = format!("nothing with the space {name}");
            let try_this = format!("leave it out, or --space {other}");
            return Err(Error::usage(format!("`{key}`"), expected, value.to_string(), try_this));
        }
    }
    Ok(())
}

/// The text of the architecture that `arg` names, and the settings of its space. If `arg` names the folder of a run,
/// these are the settings of the run, overridden by those in `given`.
///
/// # Errors
/// The errors of [`text_of`]. [`Error::File`] for a folder without an architecture.
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
    // A file that cannot be read is treated as empty, because old runs must be readable too.
    let config = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
    let config: Table = config.parse().unwrap_or_default();
    let keys = ["space", "stages", "choices", "head", "layers", "stem"];
    let mut settings: Table = config.into_iter().filter(|(key, _)| keys.contains(&key.as_str())).collect();
    settings.extend(given.clone());
    Ok((text_of(&file.to_string_lossy())?, settings))
}
