//! The declaration of a setting, and a TOML value → its canonical form, or the expected form in an error.

use toml::Value;

use super::class_weights::ClassWeights;
use super::types::{self, Every, Samples};
use crate::error::nearest;
use crate::{Error, Result};

/// Kind of the values of a setting. Ranges include both ends unless stated otherwise.
#[derive(Clone, Copy)]
pub enum Kind {
    /// An integer in a range.
    Int(i64, i64),
    /// An even integer in a range.
    Even(i64, i64),
    /// The size of images: an integer in a range for a square, or two for height and width, as a list or separated by a
    /// comma.
    Size(i64, i64),
    /// A number in a range.
    Float(f64, f64),
    /// A number above 0 and at most this number.
    Positive(f64),
    /// `true` or `false`.
    Bool,
    /// An integer, or `auto:LAMBDA`.
    Samples,
    /// `end`, `epoch` or a number of steps. Older files have 0 in place of a word.
    Every,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Any text that is not empty. The string is the expected text in the error.
    NonEmpty(&'static str),
    /// Text. The function returns the expected text if the value is wrong, and in a second line what to try.
    Text(fn(&str) -> std::result::Result<(), String>),
    /// Names of primitives, as a list or separated by commas.
    Names,
    /// Words, as a list or separated by commas.
    Words,
    /// Integers in a range, as a list or separated by commas.
    Counts(i64, i64),
    /// One number per colour channel in a range, as a list or separated by commas.
    PerChannel(f64, f64),
    /// `none`, `balanced`, or one number per class, as a list or separated by commas.
    ClassWeights,
}

/// A setting.
pub struct Key {
    /// Name of the setting in a file. The name of its flag has dashes.
    pub name: &'static str,
    /// Kind of its values.
    pub kind: Kind,
    /// Name of the flag's value in the help.
    pub value: &'static str,
    /// Description of the setting, for the help of its flag and the documents.
    pub help: &'static str,
    /// Value as TOML if neither the preset nor the user sets one.
    pub default: Option<&'static str>,
    /// Value as TOML in configurations that are older than the setting.
    pub was: Option<&'static str>,
}

/// Settings that belong together.
pub struct Concern {
    /// Subject of the settings.
    pub title: &'static str,
    /// The settings.
    pub keys: &'static [Key],
}

/// The settings of all concerns, in order.
pub fn keys(concerns: &'static [Concern]) -> impl Iterator<Item = &'static Key> {
    concerns.iter().flat_map(|concern| concern.keys)
}

/// The canonical form of `value` for the setting `name`. Errors name the setting `what`.
pub fn check(concerns: &'static [Concern], name: &str, value: &Value, what: &str) -> Result<Value> {
    let Some(key) = keys(concerns).find(|k| k.name == name) else {
        let names = || keys(concerns).map(|k| k.name);
        let try_this = match nearest(name, names()) {
            Some(near) => format!("`{near}`"),
            None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(Error::usage(what, "the name of a setting", format!("`{name}`"), try_this));
    };
    key.kind.canonical(value).map_err(|text| {
        let (expected, try_this) = text.split_once('\n').unwrap_or((&text, ""));
        Error::usage(what, expected, value.to_string(), try_this)
    })
}

impl Kind {
    /// Description of the allowed values. A text that can be wrong in many ways is explained in its error.
    pub fn expected(self) -> String {
        match self {
            Self::Int(min, max) => format!("an integer from {min} to {max}"),
            Self::Even(min, max) => format!("an even integer from {min} to {max}"),
            Self::Size(min, max) => {
                format!("an integer from {min} to {max}, or two, height and width, separated by a comma")
            }
            Self::Float(min, max) => format!("a number from {min} to {max}"),
            Self::Positive(max) => format!("a number above 0 and at most {max}"),
            Self::Bool => "true or false".into(),
            Self::Samples => Samples::expected(),
            Self::Every => Every::EXPECTED.into(),
            Self::Word(words) => types::one_of(words),
            Self::NonEmpty(expected) => expected.into(),
            Self::Text(_) => "text".into(),
            Self::Names => "names of primitives, separated by commas".into(),
            Self::Words => "words separated by commas".into(),
            Self::Counts(min, max) => format!("integers from {min} to {max}, separated by commas"),
            Self::PerChannel(min, max) => {
                format!("one number from {min} to {max} for each of 1 to 4 channels")
            }
            Self::ClassWeights => ClassWeights::expected(),
        }
    }

    /// The text of a user as a value of a TOML file. The value is checked later, together with the other settings.
    pub fn read(self, text: &str) -> Value {
        let number = match self {
            Self::Int(..) | Self::Even(..) | Self::Every => text.parse().ok().map(Value::Integer),
            Self::Float(..) | Self::Positive(_) => text.parse().ok().map(Value::Float),
            Self::Bool => text.parse().ok().map(Value::Boolean),
            _ => None,
        };
        number.unwrap_or_else(|| text.into())
    }

    /// The value in its stored form, or a description of the allowed values.
    fn canonical(self, value: &Value) -> std::result::Result<Value, String> {
        let text = || text(value).map_err(|_| self.expected());
        match self {
            Self::Samples => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                return text.parse().map(Samples::to_value);
            }
            Self::Text(parse) => {
                let text = text()?;
                return parse(&text).map(|()| Value::String(text));
            }
            Self::Names => {
                let primitives = types::parse_primitives(&items(value)?)?;
                return Ok(Value::Array(primitives.iter().map(|p| Value::from(p.name())).collect()));
            }
            _ => {}
        }
        let fitting = match self {
            Self::Int(min, max) => value.as_integer().filter(|i| (min..=max).contains(i)).map(Value::Integer),
            Self::Even(min, max) => {
                let even = |i: &i64| (min..=max).contains(i) && i % 2 == 0;
                value.as_integer().filter(even).map(Value::Integer)
            }
            Self::Size(min, max) => {
                let side = |s: &String| s.parse::<i64>().ok().filter(|n| (min..=max).contains(n));
                let sides: Option<Vec<i64>> = items(value).unwrap_or_default().iter().map(side).collect();
                match sides.as_deref() {
                    Some([side]) => Some(Value::Integer(*side)),
                    Some([height, width]) if height == width => Some(Value::Integer(*height)),
                    Some([height, width]) => Some(vec![*height, *width].into()),
                    _ => None,
                }
            }
            Self::Float(min, max) => number(value).filter(|x| (min..=max).contains(x)).map(Value::Float),
            Self::Positive(max) => number(value).filter(|x| *x > 0.0 && *x <= max).map(Value::Float),
            Self::Bool => value.as_bool().map(Value::Boolean),
            // The meaning of 0 depends on the kind of configuration.
            Self::Every if value.as_integer() == Some(0) => Some(value.clone()),
            Self::Every => text()?.parse().ok().map(Every::to_value),
            Self::Word(words) => {
                Some(text()?).filter(|text| words.contains(&text.as_str())).map(Value::String)
            }
            Self::NonEmpty(_) => Some(text()?).filter(|text| !text.is_empty()).map(Value::String),
            Self::Words => {
                Some(items(value)?).filter(|list| !list.iter().any(String::is_empty)).map(Value::from)
            }
            Self::Counts(min, max) => {
                let number = |s: &String| s.parse::<i64>().ok().filter(|n| (min..=max).contains(n));
                items(value)?.iter().map(number).collect::<Option<Vec<i64>>>().map(Value::from)
            }
            Self::PerChannel(min, max) => {
                let numbers = items(value)?.iter().map(|s| s.parse().ok()).collect::<Option<Vec<f64>>>();
                let fits = |list: &Vec<f64>| {
                    (1..=4).contains(&list.len()) && list.iter().all(|x| (min..=max).contains(x))
                };
                numbers.filter(fits).map(Value::from)
            }
            Self::ClassWeights => {
                items(value).ok().and_then(|list| list.join(",").parse().ok()).map(ClassWeights::into_value)
            }
            Self::Samples | Self::Text(_) | Self::Names => None,
        };
        fitting.ok_or_else(|| self.expected())
    }
}

/// The text of a value. `temper = 0.5` and `device = 0` are as clear as their quoted forms.
fn text(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::String(s) => Ok(s.clone()),
        Value::Integer(_) | Value::Float(_) => Ok(value.to_string()),
        _ => Err("text in quotes".into()),
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
