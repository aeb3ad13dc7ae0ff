//! The parts of a data set that were read, and the entries that were passed over → one line, and a record in a run's
//! manifest.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Kinds of entries that are passed over, in the plural. Files are counted by their extension, such as `.heic`.
pub(super) mod passed {
    pub const NOWHERE: &str = "links that lead nowhere";
    pub const LOOPS: &str = "links into a loop";
    pub const SPECIAL: &str = "special files";
    pub const NO_EXTENSION: &str = "files without an extension";
    pub const OUTSIDE: &str = "images outside of the class folders";
    pub const BAD: &str = "damaged images";
    pub const UNREADABLE: &str = "unreadable folders";
    pub const TWICE: &str = "links to files of the set";
    pub const NO_LABEL: &str = "images without a label";
    pub const NO_IMAGE: &str = "samples without an image";
    pub const NO_KEY: &str = ".json without label, cls, class or target";
    pub const HARD_LINKS: &str = "hard links to files that are not read";
    pub const ARRAYS: &str = "arrays that are not read";
    /// Before the names of shards that the names of others announce.
    pub const MISSING: &str = "missing: ";
    /// Between the name of a file or a folder and what it is beside.
    pub const BESIDE: &str = " beside ";

    /// The kinds in the singular.
    pub const SINGULAR: &[(&str, &str)] = &[
        (NOWHERE, "link that leads nowhere"),
        (LOOPS, "link into a loop"),
        (SPECIAL, "special file"),
        (NO_EXTENSION, "file without an extension"),
        (OUTSIDE, "image outside of the class folders"),
        (BAD, "damaged image"),
        (UNREADABLE, "unreadable folder"),
        (TWICE, "link to a file of the set"),
        (NO_LABEL, "image without a label"),
        (NO_IMAGE, "sample without an image"),
        (HARD_LINKS, "hard link to a file that is not read"),
        (ARRAYS, "array that is not read"),
    ];
}

/// The use of a part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The part on which networks are trained.
    Train,
    /// The held-out part: checkpoints and results are chosen by it. It is also reported if there is no part to report.
    HeldOut,
    /// The part that `eval` reports. Nothing is chosen by it.
    Report,
}

/// A part that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRead {
    /// The use of the part.
    pub role: Role,
    /// The place of the part's images, such as `val/`, without the path of the data on this machine.
    pub place: String,
    /// Number of images.
    pub n: usize,
    /// SHA-256 (hexadecimal) over the pixels and labels (little-endian) of this part.
    pub sha256: String,
}

/// The parts that were read, and the entries that were passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The parts that were read, in the order of [`Role`].
    pub parts: Vec<PartRead>,
    /// Number of classes.
    pub n_classes: usize,
    /// Channels of every image.
    pub channels: usize,
    /// Rows of every image.
    pub height: usize,
    /// Columns of every image.
    pub width: usize,
    /// Number of passed-over entries by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passed_over: BTreeMap<String, usize>,
}

impl Account {
    /// The part with this use.
    pub fn part(&self, role: Role) -> Option<&PartRead> {
        self.parts.iter().find(|part| part.role == role)
    }

    /// The passed-over entries as text: `70 .heic, 3 links that lead nowhere`. Empty if there are none.
    pub fn passed_over(&self) -> String {
        counted(&self.passed_over)
    }

    /// The places of the parts. The use of a part is added if the name does not show it.
    fn places(&self) -> String {
        let place = |part: &PartRead| match part.role {
            Role::HeldOut if self.part(Role::Report).is_some() => format!("{} (to choose by)", part.place),
            Role::Report if self.parts.len() > 1 => format!("{} (for eval)", part.place),
            _ => part.place.clone(),
        };
        let places: Vec<String> = self.parts.iter().map(place).filter(|place| !place.is_empty()).collect();
        match places.as_slice() {
            [] => String::new(),
            [one] => format!(", from {one}"),
            [train, held_out] if held_out.ends_with('/') => {
                format!(", from {train} and {held_out} ({held_out} both to choose by and to report)")
            }
            [train, held_out] => format!(", from {train}, {held_out} held out"),
            [first @ .., last] => format!(", from {} and {last}", first.join(", ")),
        }
    }
}

impl fmt::Display for Account {
    /// `5,012 + 1,250 images, 14 classes, 3 channels, 32x32, from ...; passed over: 70 .heic`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.parts.iter().map(|part| grouped(part.n)).collect();
        let s = |n: usize| if n == 1 { "" } else { "s" };
        let images = if counts == ["1"] { "image" } else { "images" };
        let Self { n_classes, channels, height, width, .. } = self;
        write!(
            f,
            "{} {images}, {} class{}, ",
            counts.join(" + "),
            grouped(*n_classes),
            if *n_classes == 1 { "" } else { "es" }
        )?;
        write!(f, "{channels} channel{}, {height}x{width}{}", s(*channels), self.places())?;
        match self.passed_over().as_str() {
            "" => Ok(()),
            passed_over => write!(f, "; passed over: {passed_over}"),
        }
    }
}

/// A number with a comma between thousands.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Passed-over entries as text: `70 .heic, 3 links that lead nowhere`.
pub(super) fn counted(passed_over: &BTreeMap<String, usize>) -> String {
    let text = |(kind, n): (&String, &usize)| {
        let singular = passed::SINGULAR.iter().find(|(plural, _)| *n == 1 && plural == kind);
        match singular {
            // A kind that is a name is shown without a number.
            None if kind.contains('/') || kind.contains(passed::BESIDE) => kind.clone(),
            None if kind.starts_with(passed::MISSING) => kind.clone(),
            None => format!("{} {kind}", grouped(*n)),
            Some((_, singular)) => format!("1 {singular}"),
        }
    };
    passed_over.iter().map(text).collect::<Vec<_>>().join(", ")
}
