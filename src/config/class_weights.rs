//! Weights of the classes in the loss: `none`, `balanced` or a list, and the data → one number per class.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::data::Dataset;
use crate::{Error, Result};

/// Weight w_c of each class: an example of class c adds w_c times its log-likelihood to the mean over a batch. The mean
/// is over all N examples of the batch. (PyTorch's `CrossEntropyLoss(weight=w)` divides by the sum of the examples'
/// weights instead.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Form", try_from = "Form")]
pub enum ClassWeights {
    /// 1 for every class.
    #[default]
    None,
    /// n / (K n_c) for a class with n_c of the n training images, as in scikit-learn. The mean over the training images
    /// is 1. A search counts the images of both data splits.
    Balanced,
    /// These weights, in the order of the classes.
    List(Vec<f64>),
}

/// The form in a file: a word or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Word(String),
    List(Vec<f64>),
}

impl From<ClassWeights> for Form {
    fn from(weights: ClassWeights) -> Self {
        match weights {
            ClassWeights::None => Self::Word("none".into()),
            ClassWeights::Balanced => Self::Word("balanced".into()),
            ClassWeights::List(list) => Self::List(list),
        }
    }
}

impl TryFrom<Form> for ClassWeights {
    type Error = String;

    fn try_from(form: Form) -> std::result::Result<Self, String> {
        match form {
            Form::Word(text) => text.parse(),
            Form::List(list) if list.iter().all(is_weight) => Ok(Self::List(list)),
            Form::List(_) => Err(Self::expected()),
        }
    }
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s.trim() {
            "none" => Ok(Self::None),
            "balanced" => Ok(Self::Balanced),
            list => {
                let number = |part: &str| part.trim().parse().ok().filter(is_weight);
                let list = list.split(',').map(number).collect::<Option<_>>();
                list.map(Self::List).ok_or_else(Self::expected)
            }
        }
    }
}

/// Whether a number can be a weight. NaN cannot.
fn is_weight(x: &f64) -> bool {
    (1e-6..=1e6).contains(x)
}

impl ClassWeights {
    /// Description of the allowed values.
    pub fn expected() -> String {
        "none, balanced, or one number from 0.000001 to 1000000 for each class, separated by commas".into()
    }

    /// The setting as a value of a TOML table.
    pub(super) fn into_value(self) -> Value {
        match Form::from(self) {
            Form::Word(word) => word.into(),
            Form::List(list) => list.into(),
        }
    }

    /// The weight of each class of `dataset`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the number of weights is not the number of classes, or if balanced weights are wanted and a
    /// class has no training image.
    pub fn of(&self, dataset: &Dataset) -> Result<Vec<f64>> {
        let names = &dataset.class_names;
        match self {
            Self::None => Ok(vec![1.0; names.len()]),
            Self::Balanced => {
                let counts = counts(dataset);
                if let Some(class) = counts.iter().position(|n| *n == 0) {
                    let expected = "training images of every class";
                    let found = format!("none of `{}`", names[class]);
                    let try_this = "images of this class, or one number per class";
                    return Err(Error::usage("`class_weights` balanced", expected, found, try_this));
                }
                let all = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
                Ok(counts.into_iter().map(|n| all / n as f64).collect())
            }
            Self::List(list) if list.len() == names.len() => Ok(list.clone()),
            Self::List(list) => {
                let s = |n: usize| if n == 1 { "" } else { "s" };
                let expected = format!("{} weight{}, for {}", names.len(), s(names.len()), shown(names));
                let found = format!("{} number{}", list.len(), s(list.len()));
                Err(Error::usage("`class_weights`", expected, found, "--class-weights balanced"))
            }
        }
    }

    /// One line about the smallest and the largest weight. `None` if there are no weights.
    ///
    /// # Errors
    /// The errors of [`Self::of`].
    pub fn line(&self, dataset: &Dataset) -> Result<Option<String>> {
        let weights = self.of(dataset)?;
        let by_weight = |a: &usize, b: &usize| weights[*a].total_cmp(&weights[*b]);
        let classes = || 0..weights.len();
        let (Some(least), Some(most)) = (classes().min_by(by_weight), classes().max_by(by_weight)) else {
            return Ok(None);
        };
        let counts = counts(dataset);
        let class = |c: usize| {
            let (n, images) = (counts[c], if counts[c] == 1 { "image" } else { "images" });
            format!("{} ({}, {n} {images})", short(weights[c]), dataset.class_names[c])
        };
        let line = format!("class weights: {} to {}", class(least), class(most));
        Ok((*self != Self::None).then_some(line))
    }
}

/// Number of training images of each class.
fn counts(dataset: &Dataset) -> Vec<usize> {
    let mut counts = vec![0; dataset.class_names.len()];
    for label in &dataset.train.labels {
        if let Some(n) = counts.get_mut(usize::from(*label)) {
            *n += 1;
        }
    }
    counts
}

/// Names of classes for a message. Of many only the first and the last are shown.
fn shown(names: &[String]) -> String {
    match names {
        [first, second, third, .., last] if names.len() > 20 => {
            format!("{first}, {second}, {third}, ..., {last}")
        }
        _ => names.join(", "),
    }
}

/// A number with three digits.
fn short(x: f64) -> String {
    format!("{x:.2e}").parse().map_or_else(|_| x.to_string(), |x: f64| x.to_string())
}
