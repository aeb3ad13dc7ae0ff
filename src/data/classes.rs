//! The names of the classes of two data sets → how they fit each other.

/// How the classes of other data fit those of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classes {
    /// They are the same, in the same order, or one of the two is not known.
    Equal,
    /// They are the same in another order: the position in the training of each class of the data.
    Permuted(Vec<usize>),
    /// One of the two has numbers in place of names, so that only positions can be compared. The text has the first pairs.
    Numbered(String),
    /// The first pair of names that differ: that of the training, and that of the data.
    Other([String; 2]),
}

impl Classes {
    /// Compares `was`, the classes of a training, with `is`, as many classes of other data.
    pub fn of(was: &[String], is: &[String]) -> Self {
        let Some((a, b)) = was.iter().zip(is).find(|(a, b)| a != b) else { return Self::Equal };
        let place = |name: &String| was.iter().position(|class| class == name);
        if let Some(places) = is.iter().map(place).collect() {
            return Self::Permuted(places);
        }
        let is_numbered = |names: &[String]| names.iter().enumerate().all(|(i, name)| *name == i.to_string());
        if !is_numbered(was) && !is_numbered(is) {
            return Self::Other([a.clone(), b.clone()]);
        }
        let pairs: Vec<String> = was.iter().zip(is).take(3).map(|(a, b)| format!("{b} is {a}")).collect();
        Self::Numbered(pairs.join(", ") + if was.len() > 3 { ", ..." } else { "" })
    }
}
