//! The labels of a training part → the number of classes.
//!
//! Files of labels do not say how many classes there are, so a label beyond a gap is treated as damage.

use std::fmt::Display;
use std::path::PathBuf;

use crate::error::{Error, Result};

const HINT: &str = "check that this is the label file of the same data set, and copy it again";

/// A file of labels: its path, and the place of label `i` in its unpacked content, `start + step · i`.
pub(super) struct LabelFile {
    pub path: PathBuf,
    pub start: u64,
    pub step: u64,
}

/// Whether a highest label, of which only `n_present` values occur in all, is treated as damage: fewer than half of the
/// classes would have images.
pub(super) fn is_far(highest: usize, n_present: usize) -> bool {
    n_present * 2 < highest + 1
}

impl LabelFile {
    /// An error about label `i`.
    pub fn error(&self, i: usize, label: impl Display, expected: String) -> Error {
        let at = self.start + self.step * i as u64;
        Error::file(&self.path, Some(at), expected, format!("label {label} for image {i}"), HINT)
    }

    /// The number of classes of a training part: the highest label plus one. With 20 images per class or more, every
    /// class from 1 up to the highest must occur (some sets count from 1). With fewer images, at least half of the
    /// classes must occur.
    pub fn n_classes(&self, labels: &[u16]) -> Result<usize> {
        let highest = labels.iter().copied().max().map_or(0, usize::from);
        let mut first: Vec<Option<usize>> = vec![None; highest + 1];
        for (i, &label) in labels.iter().enumerate() {
            first[usize::from(label)].get_or_insert(i);
        }
        let n_present = first.iter().flatten().count();
        if n_present < 2 {
            let found = format!("label {highest} for all {} images", labels.len());
            let hint = "a data set with more classes; there is nothing to learn from this one";
            return Err(Error::file(
                &self.path,
                Some(self.start),
                "labels of at least two classes",
                found,
                hint,
            ));
        }
        let gap = (1..highest).any(|class| first[class].is_none());
        let plenty = labels.len() >= 20 * (highest + 1);
        if is_far(highest, n_present) || (plenty && gap) {
            let expected = format!("labels without gaps (only {n_present} values occur)");
            return Err(self.error(first[highest].unwrap_or(0), highest, expected));
        }
        Ok(highest + 1)
    }

    /// Checks the labels of another part than the training part. The training labels are `first` to `n_classes - 1`.
    pub fn check(&self, labels: &[u16], first: u16, n_classes: usize) -> Result<()> {
        let highest = n_classes.saturating_sub(1);
        if let Some(i) = labels.iter().position(|&label| usize::from(label) >= n_classes) {
            let expected = format!("a label below {n_classes}: the training labels end at {highest}");
            return Err(self.error(i, labels[i], expected));
        }
        if let Some(i) = labels.iter().position(|&label| label < first) {
            let expected = format!("a label from {first} on: the training labels are {first} to {highest}");
            return Err(self.error(i, labels[i], expected));
        }
        Ok(())
    }
}
