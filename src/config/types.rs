//! The settings with words: their allowed values, parsing and printing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use toml::Value;

use crate::data;
use crate::space::Primitive;

/// Checks that `text` names data. The error is the expected form. Only the form is checked; the files are checked when
/// they are read. A second line says what to try.
pub fn check_data(text: &str) -> Result<(), String> {
    text.parse::<data::Spec>().map(drop).map_err(|e| match e {
        crate::Error::Usage { expected, try_this, .. } => format!("{expected}\n{try_this}"),
        e => e.to_string(),
    })
}

/// Checks that `text` names a space. The error is the expected form.
pub fn check_space(text: &str) -> Result<(), String> {
    let names = crate::space::names();
    if names.contains(&text) { Ok(()) } else { Err(names.join(" or ")) }
}

/// Number K of architectures that a step draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Plain", try_from = "Plain")]
pub enum Samples {
    /// The same number at every step.
    Fixed(u32),
    /// λ times the entropy of π in nats, rounded, within [`Self::AUTO`]. The number falls as π sharpens.
    Auto(f64),
}

impl Samples {
    /// Largest fixed number of children.
    const MOST: u32 = 4096;
    /// Smallest and largest number of children if the entropy decides.
    pub const AUTO: (u32, u32) = (2, 64);

    /// Description of the allowed values.
    pub fn expected() -> String {
        format!("an integer from 1 to {}, or auto:LAMBDA with a number above 0 and at most 1000", Self::MOST)
    }

    /// K of a step at whose beginning π has this entropy, in nats over all slots.
    pub fn count(self, entropy: f64) -> u32 {
        match self {
            Self::Fixed(k) => k,
            // A float that is too large becomes the largest integer.
            Self::Auto(lambda) => ((lambda * entropy).round() as u32).clamp(Self::AUTO.0, Self::AUTO.1),
        }
    }

    /// The largest target for the effective sample size of a step with K children. With automatic K the target is
    /// at most K/2: with K all weights would be equal, and nothing would be learnt.
    pub fn largest_ess(self, k: u32) -> f64 {
        match self {
            Self::Fixed(_) => f64::from(k),
            Self::Auto(_) => 0.5 * f64::from(k),
        }
    }

    /// The setting as a value of a TOML table.
    pub fn to_value(self) -> Value {
        match self {
            Self::Fixed(k) => Value::from(k),
            Self::Auto(_) => Value::from(self.to_string()),
        }
    }
}

impl FromStr for Samples {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = match s.strip_prefix("auto:") {
            Some(lambda) => lambda.parse().ok().filter(|l| *l > 0.0 && *l <= 1000.0).map(Self::Auto),
            None => s.parse().ok().filter(|k| (1..=Self::MOST).contains(k)).map(Self::Fixed),
        };
        found.ok_or_else(Self::expected)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(k) => write!(f, "{k}"),
            Self::Auto(lambda) => write!(f, "auto:{lambda}"),
        }
    }
}

/// A setting that is an integer or text in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Plain {
    Count(u32),
    Text(String),
}

/// Implements the conversions of settings that are an integer or text in a file.
macro_rules! plain {
    ($($name:ident: $number:ident;)+) => { $(
        impl From<$name> for Plain {
            fn from(value: $name) -> Self {
                match value {
                    $name::$number(n) => n.into(),
                    _ => Self::Text(value.to_string()),
                }
            }
        }

        impl TryFrom<Plain> for $name {
            type Error = String;

            fn try_from(plain: Plain) -> Result<Self, String> {
                match plain {
                    Plain::Count(n) => n.to_string().parse(),
                    Plain::Text(text) => text.parse(),
                }
            }
        }
    )+ };
}

impl From<u32> for Plain {
    fn from(n: u32) -> Self {
        Self::Count(n)
    }
}

impl From<f64> for Plain {
    fn from(x: f64) -> Self {
        Self::Text(x.to_string())
    }
}

plain! { Samples: Fixed; Every: Steps; Temper: Beta; }

/// Interval between repetitions of an action in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Plain", try_from = "Plain")]
pub enum Every {
    /// At the end of the run only.
    End,
    /// At the end of every epoch.
    Epoch,
    /// After this number of steps.
    Steps(u32),
}

impl Every {
    /// Description of the allowed values.
    pub const EXPECTED: &str = "end, epoch, or a number of steps";

    /// Number of steps between two times, where an epoch has `per_epoch` steps. `None` if the action happens at the end
    /// only.
    pub fn steps(self, per_epoch: u64) -> Option<u64> {
        match self {
            Self::End => None,
            Self::Epoch => Some(per_epoch.max(1)),
            Self::Steps(n) => Some(n.into()),
        }
    }

    /// Whether the action is due after `step` steps. The end of the run is not considered.
    pub fn is_due(self, step: u64, per_epoch: u64) -> bool {
        self.steps(per_epoch).is_some_and(|every| step.is_multiple_of(every))
    }

    /// The setting as a value of a TOML table.
    pub fn to_value(self) -> Value {
        match self {
            Self::Steps(n) => Value::from(n),
            _ => Value::from(self.to_string()),
        }
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "end" => Ok(Self::End),
            "epoch" => Ok(Self::Epoch),
            _ => {
                let number = s.parse().ok().filter(|n| (1..=1_000_000_000).contains(n));
                number.map(Self::Steps).ok_or_else(|| Self::EXPECTED.to_owned())
            }
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("end"),
            Self::Epoch => f.write_str("epoch"),
            Self::Steps(n) => write!(f, "{n}"),
        }
    }
}

/// Tempering of the importance weights: ω̃ ∝ ω^β.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Plain", try_from = "Plain")]
pub enum Temper {
    /// β = 1: the paper's algorithm.
    None,
    /// A fixed β.
    Beta(f64),
    /// The β that gives this effective sample size.
    Ess(f64),
}

impl Temper {
    /// The tempering of a step with `k` children. A target size is limited to the largest size that `k` children can
    /// have.
    pub fn within(self, samples: Samples, k: usize) -> Self {
        match self {
            Self::Ess(target) => Self::Ess(target.min(samples.largest_ess(k as u32))),
            other => other,
        }
    }
}

impl FromStr for Temper {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let number = |text: &str, min: f64, max: f64| {
            text.parse().ok().filter(|x| (min..=max).contains(x)).ok_or_else(|| {
                "none, an exponent from 0 to 10, or ess:TARGET with a target of at least 1".to_owned()
            })
        };
        match s.strip_prefix("ess:") {
            Some(target) => number(target, 1.0, 4096.0).map(Self::Ess),
            None if s == "none" => Ok(Self::None),
            None => number(s, 0.0, 10.0).map(Self::Beta),
        }
    }
}

impl fmt::Display for Temper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Beta(beta) => write!(f, "{beta}"),
            Self::Ess(target) => write!(f, "ess:{target}"),
        }
    }
}

/// Defines settings whose values are a few words.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ })+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$about])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The allowed words.
            pub const WORDS: &[&str] = &[$($word),+];
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(s: &str) -> Result<Self, String> {
                match s {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(one_of(Self::WORDS)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }
    )+ };
}

words! {
    /// Number that is subtracted from the importance weights in the gradient of the prior.
    Baseline {
        /// Nothing: the paper's estimator.
        #[default]
        None = "none",
        /// The mean 1/K of the weights.
        Mean = "mean",
    }
    /// The result of a search that draws from a prior.
    Choose {
        /// The most probable architecture of the prior, as in the paper.
        #[default]
        Mode = "mode",
        /// The best architecture according to the likelihoods of all children.
        Evidence = "evidence",
    }
    /// Method of a search.
    Method {
        /// Algorithm 1.
        #[default]
        Parsec = "parsec",
        /// All paths at once, weighted by a softmax (Eq. 2).
        Darts = "darts",
        /// A prior that never moves. The result is a draw from it.
        Random = "random",
        /// A prior that never moves, and weights that all children train equally. The result is the best child seen.
        RandomSearch = "random_search",
    }
    /// Activations of a child's forward pass that are kept for its backward pass.
    Memory {
        /// Nearly all activations.
        #[default]
        Normal = "normal",
        /// Only activations that are costly to compute again: about half the memory, somewhat more time.
        Low = "low",
    }
    /// Weight of each child in the gradient of v, once the prior moves.
    TrainWeights {
        /// The importance weight of the child, as in the paper.
        #[default]
        Importance = "importance",
        /// 1/K.
        Uniform = "uniform",
    }
    /// The fall of the learning rate of a training.
    Schedule {
        /// Half a cosine over all steps.
        #[default]
        Cosine = "cosine",
        /// A constant factor from epoch to epoch.
        Exponential = "exponential",
    }
    /// The first layers of a network of cells.
    Stem {
        /// One convolution at full size.
        #[default]
        Cifar = "cifar",
        /// Three convolutions of stride 2.
        Imagenet = "imagenet",
    }
    /// The way in which the children of a step are drawn from the prior. The distribution of a single child is always
    /// the same.
    Draws {
        /// Each child independently, as in the paper.
        #[default]
        Independent = "independent",
        /// Children spread evenly over the choices of each slot.
        Stratified = "stratified",
    }
}

/// `a, b or c`.
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.join(""),
    }
}

/// The primitives with these `names`: each once, and at least one other than `none`. `all` means all eight.
pub fn parse_primitives(names: &[String]) -> Result<Vec<Primitive>, String> {
    if names == ["all"] {
        return Ok(Primitive::ALL.to_vec());
    }
    let known = || Primitive::ALL.map(Primitive::name).join(", ");
    let mut list = Vec::new();
    for name in names {
        let primitive =
            Primitive::from_name(name).ok_or_else(|| format!("all, or names among {}", known()))?;
        if list.contains(&primitive) {
            return Err(format!("each primitive once ({name} is there twice)"));
        }
        list.push(primitive);
    }
    if list.iter().all(|p| *p == Primitive::None) {
        return Err(format!("at least one primitive that computes something, among {}", known()));
    }
    Ok(list)
}

impl Serialize for Primitive {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Primitive {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        Self::from_name(&name).ok_or_else(|| de::Error::custom(format!("no primitive `{name}`")))
    }
}
