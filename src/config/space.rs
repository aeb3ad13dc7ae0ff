//! Settings → the search space that they ask for.

use std::sync::Arc;

use toml::{Table, Value};

use super::keys;
use crate::space::{self, Space, SpaceSettings, StemKind};
use crate::{Error, Result};

/// Keys that only one space takes, with its name.
const OWN: [(&str, &str); 8] = [
    ("layers", "darts"),
    ("stem", "darts"),
    ("primitives", "darts"),
    ("auxiliary", "darts"),
    ("drop_path", "darts"),
    ("stages", "macro"),
    ("choices", "macro"),
    ("head", "macro"),
];

/// The space of a table of settings, read loosely: those of a run or of a command's flags. Without the key `space` it is
/// the one that `text` is an architecture of.
///
/// # Errors
/// [`Error::Usage`] for settings that the space refuses.
pub fn space_of(table: &Table, text: Option<&str>) -> Result<Arc<dyn Space>> {
    let named = table.get("space").and_then(Value::as_str);
    let name = named.unwrap_or_else(|| text.map_or("darts", space::space_of));
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

/// Refuses what the user asked for and another space has.
pub(super) fn check_own(user: &Table, name: &str) -> Result<()> {
    for (key, of) in OWN.iter().filter(|(_, of)| *of != name) {
        if let Some(value) = user.get(*key) {
            let expected = format!("nothing with the space {name}");
            let try_this = format!("leave it out, or --space {of}");
            return Err(Error::usage(format!("`{key}`"), expected, value.to_string(), try_this));
        }
    }
    Ok(())
}
