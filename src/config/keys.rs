//! A key and a TOML value → the value in its canonical form, or what was expected instead.
//!
//! [`KEYS`] is the one list of what can be configured in a search and in which range;
//! [`super::train::KEYS`] is that of a training.

use toml::Value;

use super::types::{self, Baseline, Draws, Memory, Method, Samples, Temper, TrainWeights};
use crate::{Error, Result};

/// What a key may hold. Ranges include both ends unless said otherwise.
#[derive(Clone, Copy)]
pub enum Kind {
    /// An integer in a range.
    Int(i64, i64),
    /// An even integer in a range.
    Even(i64, i64),
    /// A number in a range.
    Float(f64, f64),
    /// A number above 0 and at most this.
    Positive(f64),
    /// `true` or `false`.
    Bool,
    /// An integer, or `auto:LAMBDA`.
    Samples,
    /// Text, for which this says what was expected if it is wrong.
    Text(fn(&str) -> std::result::Result<(), String>),
    /// Names of primitives, as a list or separated by commas.
    Names,
    /// Words, as a list or separated by commas.
    Words,
    /// Integers in a range, as a list or separated by commas.
    Counts(i64, i64),
    /// One number per colour channel in a range, as a list or separated by commas.
    PerChannel(f64, f64),
}

/// One thing that can be configured.
pub struct Key {
    /// The flag's name in snake case.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
}

pub(super) const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// Every key of a search, in the order of [`super::Config`].
pub const KEYS: &[Key] = &[
    key("data", Kind::Text(types::check_data)),
    key("seed", Kind::Int(0, i64::MAX)),
    key("method", Kind::Text(|s| s.parse::<Method>().map(drop))),
    key("run", Kind::Text(|s| non_empty(s, "a folder"))),
    key("device", Kind::Text(|s| non_empty(s, "an index or a part of a device's name"))),
    key("space", Kind::Text(types::check_space)),
    key("stages", Kind::Counts(1, 64)),
    key("choices", Kind::Words),
    key("head", Kind::Int(1, 16_384)),
    key("layers", Kind::Int(3, 256)),
    key("channels", Kind::Even(2, 1024)),
    key("batch", Kind::Int(1, 32_768)),
    key("micro_batch", Kind::Int(1, 32_768)),
    key("samples", Kind::Samples),
    key("steps", Kind::Int(1, 1_000_000_000)),
    key("epochs", Kind::Int(1, 1_000_000)),
    key("lr", Kind::Positive(100.0)),
    key("lr_min", Kind::Float(0.0, 100.0)),
    key("momentum", Kind::Float(0.0, 0.9999)),
    key("weight_decay", Kind::Float(0.0, 1.0)),
    key("grad_clip", Kind::Positive(1e9)),
    key("prior_lr", Kind::Positive(100.0)),
    key("prior_beta1", Kind::Float(0.0, 0.999999)),
    key("prior_beta2", Kind::Float(0.0, 0.999999)),
    key("primitives", Kind::Names),
    key("temper", Kind::Text(|s| s.parse::<Temper>().map(drop))),
    key("baseline", Kind::Text(|s| s.parse::<Baseline>().map(drop))),
    key("paper", Kind::Bool),
    key("warmup", Kind::Float(0.0, 0.99)),
    key("train_weights", Kind::Text(|s| s.parse::<TrainWeights>().map(drop))),
    key("search_batch", Kind::Int(1, 1_048_576)),
    key("draws", Kind::Text(|s| s.parse::<Draws>().map(drop))),
    key("explore", Kind::Float(0.0, 0.99)),
    key("freeze_prior", Kind::Bool),
    key("warmup_epochs", Kind::Int(0, 1_000_000)),
    key("prior_from", Kind::Text(|s| non_empty(s, "a run folder"))),
    key("prior_temperature", Kind::Positive(1e6)),
    key("weights_from", Kind::Text(|s| non_empty(s, "a run folder or a safetensors file"))),
    key("max_skips", Kind::Int(0, 64)),
    key("patience", Kind::Int(0, 1_000_000_000)),
    key("drop_mass", Kind::Float(0.0, 0.5)),
    key("lanes", Kind::Int(1, 64)),
    key("trace_steps", Kind::Int(0, 1_000_000)),
    key("tune", Kind::Bool),
    key("reference", Kind::Bool),
    key("reference_kernels", Kind::Bool),
    key("memory", Kind::Text(|s| s.parse::<Memory>().map(drop))),
    key("search_fraction", Kind::Float(0.01, 0.99)),
    key("crop_pad", Kind::Int(0, 64)),
    key("flip", Kind::Bool),
    key("size", Kind::Int(4, 512)),
    key("mean", Kind::PerChannel(-1e3, 1e3)),
    key("std", Kind::PerChannel(1e-6, 1e3)),
    key("threads", Kind::Int(0, 1024)),
    key("checkpoint_every", Kind::Int(0, 1_000_000_000)),
    key("keep_checkpoints", Kind::Int(1, 1_000_000)),
    key("eval_every", Kind::Int(0, 1_000_000_000)),
];

/// The canonical form of `value` for the key `name` of a search; errors call it `what`.
pub fn check(name: &str, value: &Value, what: &str) -> Result<Value> {
    check_in(KEYS, name, value, what)
}

/// The same for the key `name` among `keys`.
pub fn check_in(keys: &[Key], name: &str, value: &Value, what: &str) -> Result<Value> {
    let Some(key) = keys.iter().find(|k| k.name == name) else {
        let try_this = match nearest(name, keys.iter().map(|k| k.name)) {
            Some(near) => format!("`{near}`"),
            None => format!("one of {}", keys.iter().map(|k| k.name).collect::<Vec<_>>().join(", ")),
        };
        return Err(Error::usage(what, "the name of a setting", format!("`{name}`"), try_this));
    };
    key.kind.canonical(value).map_err(|expected| Error::usage(what, expected, value.to_string(), ""))
}

impl Kind {
    /// The value as it is stored, or what was expected.
    // Long: an arm for each kind of value.
    fn canonical(self, value: &Value) -> std::result::Result<Value, String> {
        match self {
            Self::Int(min, max) => match value.as_integer() {
                Some(i) if (min..=max).contains(&i) => Ok(value.clone()),
                _ => Err(format!("an integer from {min} to {max}")),
            },
            Self::Even(min, max) => match value.as_integer() {
                Some(i) if (min..=max).contains(&i) && i % 2 == 0 => Ok(value.clone()),
                _ => Err(format!("an even integer from {min} to {max}")),
            },
            Self::Float(min, max) => match number(value) {
                Some(x) if (min..=max).contains(&x) => Ok(Value::Float(x)),
                _ => Err(format!("a number from {min} to {max}")),
            },
            Self::Positive(max) => match number(value) {
                Some(x) if x > 0.0 && x <= max => Ok(Value::Float(x)),
                _ => Err(format!("a number above 0 and at most {max}")),
            },
            Self::Bool => match value.as_bool() {
                Some(b) => Ok(Value::Boolean(b)),
                None => Err("true or false".into()),
            },
            Self::Samples => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text.parse().map(Samples::to_value)
            }
            Self::Text(parse) => {
                // `temper = 0.5` and `device = 0` are as clear as their quoted forms.
                let text = match value {
                    Value::String(s) => s.clone(),
                    Value::Integer(_) | Value::Float(_) => value.to_string(),
                    _ => return Err("text in quotes".into()),
                };
                parse(&text).map(|()| Value::String(text))
            }
            Self::Names => {
                let primitives = types::parse_primitives(&items(value)?)?;
                Ok(Value::Array(primitives.iter().map(|p| Value::from(p.name())).collect()))
            }
            Self::Words => {
                let words = items(value)?;
                let empty = words.iter().any(String::is_empty);
                if empty { Err("words separated by commas".into()) } else { Ok(words.into()) }
            }
            Self::Counts(min, max) => {
                let expected = || format!("integers from {min} to {max}, separated by commas");
                let number = |s: &String| s.parse::<i64>().ok().filter(|n| (min..=max).contains(n));
                let list: Option<Vec<i64>> = items(value)?.iter().map(number).collect();
                list.map(Value::from).ok_or_else(expected)
            }
            Self::PerChannel(min, max) => {
                let expected = || format!("one number from {min} to {max} for each of 1 to 4 channels");
                let list: Vec<f64> = items(value)?
                    .iter()
                    .map(|s| s.parse().map_err(|_| expected()))
                    .collect::<std::result::Result<_, _>>()?;
                let fits = (1..=4).contains(&list.len()) && list.iter().all(|x| (min..=max).contains(x));
                if fits { Ok(list.into()) } else { Err(expected()) }
            }
        }
    }
}

/// The items of a list, given as a TOML array or as text separated by commas.
pub(super) fn items(value: &Value) -> std::result::Result<Vec<String>, String> {
    let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    match value {
        Value::String(s) => Ok(s.split(',').map(|part| part.trim().to_owned()).collect()),
        Value::Array(list) => Ok(list.iter().map(plain).collect()),
        Value::Float(_) | Value::Integer(_) => Ok(vec![value.to_string()]),
        _ => Err("a list, or text separated by commas".into()),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|i| i as f64))
}

pub(super) fn non_empty(s: &str, expected: &str) -> std::result::Result<(), String> {
    if s.is_empty() { Err(expected.into()) } else { Ok(()) }
}

/// The candidate closest to `word`, if one is close: at most a third of its letters differ, or it
/// begins with `word`.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .map(|c| (strsim::levenshtein(&word, c), c))
        .filter(|(d, c)| *d <= 1 + c.len().max(word.len()) / 3 || (word.len() > 2 && c.starts_with(&word)))
        .min()
        .map(|(_, c)| c)
}
