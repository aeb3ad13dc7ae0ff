//! Values by the names of a shader's `Params` → the words of its uniform.
//!
//! The place of a member is defined by the shader's struct only. A launch must name every member and no other name.
//! Any mismatch is an error that is found before the launch runs.

use super::reflect::Kernel;

/// A value of a member, in 32-bit words.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    One(u32),
    /// A `Map`.
    Eight([u32; 8]),
    /// The first rows of an array. The other rows are zeros.
    Rows(Vec<u32>),
}

impl Value {
    fn words(&self) -> &[u32] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Eight(words) => words,
            Self::Rows(words) => words,
        }
    }
}

/// The parameters of a launch, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Vec<(&'static str, Value)>);

/// A member of a shader's `Params`, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Name of the member.
    pub name: String,
    /// First word of the member.
    pub first: usize,
    /// Number of words of the member.
    pub len: usize,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name` to the number `word`.
    pub fn set(mut self, name: &'static str, word: u32) -> Self {
        self.0.push((name, Value::One(word)));
        self
    }

    /// Sets `name` to the number `x`.
    pub fn float(self, name: &'static str, x: f32) -> Self {
        self.set(name, x.to_bits())
    }

    /// Sets `name`, a `Map`, to these words.
    pub fn map(mut self, name: &'static str, words: [u32; 8]) -> Self {
        self.0.push((name, Value::Eight(words)));
        self
    }

    /// Sets the first rows of the array `name`. The other rows are zeros.
    pub fn rows<const N: usize>(
        mut self,
        name: &'static str,
        rows: impl IntoIterator<Item = [u32; N]>,
    ) -> Self {
        self.0.push((name, Value::Rows(rows.into_iter().flatten().collect())));
        self
    }

    /// The words of `name`, or `None` if `name` is not set.
    pub fn get(&self, name: &str) -> Option<&[u32]> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| value.words())
    }

    /// The words of `name`, to be changed. Tests use this to see what a wrong parameter does.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [u32]> {
        let (_, value) = self.0.iter_mut().find(|(n, _)| *n == name)?;
        Some(match value {
            Value::One(word) => std::slice::from_mut(word),
            Value::Eight(words) => words,
            Value::Rows(words) => words,
        })
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words of the uniform of `kernel`.
    ///
    /// Errors: a message that names the member that is missing, unknown, set twice or too long.
    pub fn pack(&self, kernel: &Kernel) -> Result<Vec<u32>, String> {
        let members = &kernel.params;
        let mut words = vec![0; kernel.params_words];
        let mut is_set = vec![false; members.len()];
        for (i, (name, value)) in self.0.iter().enumerate() {
            // Parameters are mostly given in the shader's order.
            let at = if members.get(i).is_some_and(|m| m.name == *name) {
                i
            } else {
                members.iter().position(|m| m.name == *name).ok_or_else(|| {
                    let there: Vec<_> = members.iter().map(|m| m.name.as_str()).collect();
                    format!("params has no {name}; it has {}", there.join(", "))
                })?
            };
            let (member, given) = (&members[at], value.words());
            let fits = match value {
                Value::Rows(_) => given.len() <= member.len,
                _ => given.len() == member.len,
            };
            if !fits {
                return Err(format!("params.{name} has {} words, {} were given", member.len, given.len()));
            }
            if std::mem::replace(&mut is_set[at], true) {
                return Err(format!("params.{name} is set twice"));
            }
            words[member.first..member.first + given.len()].copy_from_slice(given);
        }
        match members.iter().zip(is_set).find(|(_, set)| !set) {
            Some((member, _)) => Err(format!("params.{} is not set", member.name)),
            None => Ok(words),
        }
    }
}
