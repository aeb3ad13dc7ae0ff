//! The TOML file of `parsec compare` → the compared methods and seeds, and the configurations of their runs.
//!
//! The file has `methods`, `seeds` and `data`, then the tables `[search]` and `[train]` with the keys of a search's and
//! of a training's own files. A table with the name of a method replaces settings of that method's searches. These
//! tables must not set `data`, nor the keys that differ from run to run: `method`, `seed`, `genotype` and `run`.
//! `table` and `key` name published numbers of architectures. The found architectures are then also compared by these
//! numbers. With `train = false` they are compared by these numbers only.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use toml::{Table, Value};

use super::keys::{self, Concern};
use super::{Config, Images, Method, Resolved, Session, Stem, TrainConfig, types};
use crate::error::nearest;
use crate::space::{self, Space, SpaceSettings, StemKind, owner};
use crate::{Error, Result};

const OF_A_SEARCH: [&str; 4] = ["data", "seed", "method", "run"];
const OF_A_TRAINING: [&str; 4] = ["data", "seed", "genotype", "run"];
const METHODS: [Method; 4] = [Method::Parsec, Method::Random, Method::RandomSearch, Method::Darts];
const TOP: [&str; 11] = [
    "methods",
    "seeds",
    "data",
    "table",
    "key",
    "search",
    "train",
    "parsec",
    "random",
    "random_search",
    "darts",
];
/// The word for [`Chooser::Largest`].
const LARGEST: &str = "largest";

/// The way in which an architecture is chosen: an entry of `methods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// A search by a method.
    Search(Method),
    /// No search: the architecture whose final network has the most multiply-adds.
    Largest,
}

impl FromStr for Chooser {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == LARGEST { Ok(Self::Largest) } else { s.parse().map(Self::Search) }
    }
}

impl fmt::Display for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Search(method) => method.fmt(f),
            Self::Largest => f.write_str(LARGEST),
        }
    }
}

/// The size of the final networks of a comparison.
#[derive(Clone, Debug)]
pub struct FinalSize {
    /// The choices of the searches, in networks of the final depth.
    pub space: Arc<dyn Space>,
    /// Channels of the first layers.
    pub channels: usize,
    /// How the images are read.
    pub images: Images,
    /// How the trainings run, or the searches if nothing is trained.
    pub session: Session,
}

/// The configuration of a comparison: every method is run with every seed.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareConfig {
    /// The methods, each once.
    pub methods: Vec<Chooser>,
    /// The seeds, each once. A seed is used for a search and for the training of the architecture that it found.
    pub seeds: Vec<u64>,
    /// The images of all searches and trainings.
    pub data: String,
    /// A file of published numbers.
    pub table: Option<PathBuf>,
    /// Name of the number in the table. `None` means the usual number.
    pub key: Option<String>,
    /// Settings of the searches, which override the preset that fits the data.
    search: Table,
    /// Settings of the searches by one method, which override `search`.
    of_method: Vec<(Method, Table)>,
    /// Settings of the trainings, which override their preset. `None` if nothing is trained.
    train: Option<Table>,
}

impl CompareConfig {
    /// Reads the file at `path`. `data` replaces the images that the file names.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the key. Every configuration of the later runs is checked.
    pub fn read(path: &Path, data: Option<&str>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let what = path.display().to_string();
        let mut table: Table = toml::from_str(&text)
            .map_err(|e| Error::usage(&what, "a TOML file", e.to_string().trim_end(), ""))?;
        if let Some(data) = data {
            table.insert("data".into(), data.into());
        }
        let config = Self::from_table(&table, &what)?;
        for chooser in &config.methods {
            if let Chooser::Search(method) = chooser {
                config.search_config(*method, config.seeds[0])?;
            }
        }
        if config.trains() {
            config.train_config("DARTS_V2", config.seeds[0])?;
        }
        config.final_size()?;
        Ok(config)
    }

    fn from_table(table: &Table, path: &str) -> Result<Self> {
        if let Some(name) = table.keys().find(|name| !TOP.contains(&name.as_str())) {
            let near = nearest(name, TOP.into_iter()).map_or(TOP.join(", "), |near| format!("`{near}`"));
            return Err(Error::usage(path, "a key of a comparison", format!("`{name}`"), near));
        }
        let wrong = |name: &str, expected: &str| {
            let found = table.get(name).map_or("nothing".to_owned(), Value::to_string);
            let (expected, try_this) = expected.split_once('\n').unwrap_or((expected, ""));
            Error::usage(format!("{path}: key `{name}`"), expected, found, try_this)
        };
        let methods = list(table, "methods", |v| v.as_str()?.parse().ok()).ok_or_else(|| {
            let names = METHODS.map(|method| method.to_string()).join(", ");
            wrong("methods", &format!("a list of {names} and {LARGEST}, each at most once"))
        })?;
        let seeds = list(table, "seeds", |v| u64::try_from(v.as_integer()?).ok())
            .ok_or_else(|| wrong("seeds", "a list of different integers from 0"))?;
        let data = table.get("data").map_or(Some("embedded"), Value::as_str).unwrap_or_default();
        types::check_data(data).map_err(|expected| wrong("data", &expected))?;
        let text = |name: &str, expected: &str| match table.get(name) {
            None => Ok(None),
            Some(value) => match value.as_str().filter(|text| !text.is_empty()) {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(wrong(name, expected)),
            },
        };
        let (numbers, key) =
            (text("table", "a JSON file in quotes")?, text("key", "the name of a number in quotes")?);
        if key.is_some() && numbers.is_none() {
            return Err(wrong("key", "a number of `table`, which is not set"));
        }
        let trains = table.get("train") != Some(&Value::Boolean(false));
        if !trains && numbers.is_none() {
            return Err(wrong(
                "train",
                "a table of settings, or false beside `table`, by which all is judged",
            ));
        }
        let part = |name: &str, concerns: &'static [Concern], own: &[&str]| match table.get(name) {
            None => Ok(Table::new()),
            Some(Value::Table(part)) => settings(part, concerns, own, &format!("{path}: [{name}]")),
            Some(_) => Err(wrong(name, "a table of settings")),
        };
        let of_method = METHODS.map(|method| {
            part(&method.to_string(), Config::CONCERNS, &OF_A_SEARCH).map(|settings| (method, settings))
        });
        Ok(Self {
            methods,
            seeds,
            data: data.to_owned(),
            table: numbers.map(PathBuf::from),
            key,
            search: part("search", Config::CONCERNS, &OF_A_SEARCH)?,
            of_method: of_method.into_iter().collect::<Result<_>>()?,
            train: trains.then(|| part("train", TrainConfig::CONCERNS, &OF_A_TRAINING)).transpose()?,
        })
    }

    /// Whether the found architectures are trained.
    pub fn trains(&self) -> bool {
        self.train.is_some()
    }

    /// The space of the searches, from the table `[search]`.
    pub fn space(&self) -> Result<Arc<dyn Space>> {
        self.shared_config()?.space()
    }

    /// The size of the final networks. It is the size in the trainings, or the size in the table `[search]` if nothing
    /// is trained.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that the space refuses.
    pub fn final_size(&self) -> Result<FinalSize> {
        let search = self.shared_config()?;
        if !self.trains() {
            return Ok(FinalSize {
                space: search.space()?,
                channels: search.network.channels,
                images: search.images,
                session: search.session,
            });
        }
        let train = self.train_config("DARTS_V2", self.seeds[0])?;
        let settings = SpaceSettings {
            layers: train.network.layers,
            stem: (train.architecture.stem == Stem::Imagenet).then_some(StemKind::ImageNet),
            primitives: search.algorithm.primitives,
            stages: search.network.stages,
            choices: search.network.choices,
            head: train.network.head,
            ..SpaceSettings::default()
        };
        let space = space::space(&search.network.space, &settings)?;
        Ok(FinalSize {
            space,
            channels: train.network.channels,
            images: train.images,
            session: train.session,
        })
    }

    /// The configuration of searches from `[search]`, independent of the method.
    fn shared_config(&self) -> Result<Config> {
        Config::resolve(None, &self.own(&self.search, self.seeds[0])?)
    }

    /// The configuration of the search by `method` with `seed`.
    pub fn search_config(&self, method: Method, seed: u64) -> Result<Config> {
        let mut settings = self.own(&self.search, seed)?;
        let of_method = self.of_method.iter().filter(|(m, _)| *m == method);
        settings.extend(of_method.flat_map(|(_, own)| own.clone()));
        settings.insert("method".into(), method.to_string().into());
        let config = Config::resolve(None, &settings)?;
        match (&config.prior.prior_from, method) {
            (Some(run), Method::Random) => {
                let expected = "nothing with `methods` random, which draws from the uniform prior";
                Err(Error::usage("`prior_from`", expected, run.display().to_string(), "leave one out"))
            }
            _ => Ok(config),
        }
    }

    /// The configuration of the training of `genotype` with `seed`.
    pub fn train_config(&self, genotype: &str, seed: u64) -> Result<TrainConfig> {
        let none = Table::new();
        let mut settings = self.own(self.train.as_ref().unwrap_or(&none), seed)?;
        // An architecture is trained in the space in which it was found.
        for (key, value) in &self.search {
            if key == "space" || owner(key, "darts").is_some() {
                settings.entry(key).or_insert(value.clone());
            }
        }
        settings.insert("genotype".into(), genotype.into());
        TrainConfig::resolve(None, None, &settings)
    }

    fn own(&self, part: &Table, seed: u64) -> Result<Table> {
        let seed = i64::try_from(seed)
            .map_err(|_| Error::usage("`seeds`", "integers below 2^63", seed.to_string(), ""))?;
        let mut settings = part.clone();
        settings.insert("data".into(), self.data.clone().into());
        settings.insert("seed".into(), seed.into());
        Ok(settings)
    }

    /// Every setting with its value, including presets, in the form of the file.
    pub fn resolved(&self) -> Result<Table> {
        let without = |mut table: Table, own: &[&str]| {
            own.iter().for_each(|name| drop(table.remove(*name)));
            Value::Table(table)
        };
        let mut search = self.shared_config()?.to_table()?;
        // Some settings are left out unless the file sets them, because their values may differ between methods: those
        // that follow from the length of the search, and the paper's settings, which some methods do not have.
        let varies =
            |key: &str| super::FOLLOWING.contains(&key) || super::PAPER.iter().any(|(name, _)| *name == key);
        search.retain(|key, _| !varies(key) || self.search.contains_key(key));
        let train = if self.trains() {
            let train = self.train_config("DARTS_V2", self.seeds[0])?;
            without(super::resolved::to_table(&train)?, &OF_A_TRAINING)
        } else {
            Value::Boolean(false)
        };
        let numbers = self.table.as_ref().map(|path| path.to_string_lossy().into_owned());
        let optional = [("table", numbers), ("key", self.key.clone())];
        let optional = optional.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.into())));
        let of_method = self.of_method.iter().filter(|(_, own)| !own.is_empty());
        let of_method = of_method.map(|(method, own)| (method.to_string(), Value::Table(own.clone())));
        Ok(Table::from_iter(of_method.chain(optional).chain([
            ("methods".to_owned(), self.methods.iter().map(Chooser::to_string).collect::<Vec<_>>().into()),
            ("seeds".to_owned(), self.seeds.iter().map(|s| *s as i64).collect::<Vec<_>>().into()),
            ("data".to_owned(), self.data.clone().into()),
            ("search".to_owned(), without(search, &OF_A_SEARCH)),
            ("train".to_owned(), train),
        ])))
    }

    /// The first setting of runs in both comparisons that differs from `was`: its name, its old value and its new
    /// value.
    pub fn first_difference(&self, was: &Self) -> Result<Option<[String; 3]>> {
        if was.trains() && !self.trains() {
            return Ok(Some(["train", "a table of settings", "false"].map(str::to_owned)));
        }
        // Methods and seeds of only one side are ignored, and their settings too. If the old comparison did not train,
        // there are no old settings of trainings to compare. A table of published numbers changes no run.
        let train = |of: &Self| if was.trains() { of.train.clone() } else { None };
        let of_both = |of: &Self| {
            let both = |m: &Method| {
                let chooser = Chooser::Search(*m);
                self.methods.contains(&chooser) && was.methods.contains(&chooser)
            };
            let of_method = of.of_method.iter().filter(|(m, _)| both(m)).cloned().collect();
            let (methods, seeds) = (self.methods.clone(), self.seeds.clone());
            let (table, key) = (None, None);
            Self { methods, seeds, of_method, table, key, train: train(of), ..of.clone() }
        };
        let (was, is) = (flat(&of_both(was).resolved()?), flat(&of_both(self).resolved()?));
        let value = |of: &[(String, String)], name: &str| {
            of.iter().find(|(n, _)| n == name).map_or("not set".to_owned(), |(_, value)| value.clone())
        };
        let names = was.iter().chain(&is).map(|(name, _)| name);
        let mut triples = names.map(|name| [name.clone(), value(&was, name), value(&is, name)]);
        Ok(triples.find(|[_, was, is]| was != is))
    }
}

/// The items of a list. `None` if the list is empty or has an item twice.
fn list<T: PartialEq>(table: &Table, name: &str, item: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<T> = table.get(name)?.as_array()?.iter().map(item).collect::<Option<_>>()?;
    let twice = items.iter().enumerate().any(|(i, item)| items[..i].contains(item));
    (!items.is_empty() && !twice).then_some(items)
}

/// The settings of one table. Each setting is checked by itself.
fn settings(part: &Table, concerns: &'static [Concern], own: &[&str], at: &str) -> Result<Table> {
    let mut out = Table::new();
    for (name, value) in part {
        let what = format!("{at} key `{name}`");
        if own.contains(&name.as_str()) {
            let expected = "settings that are the same for all runs";
            return Err(Error::usage(what, expected, format!("`{name}`"), "leave it out"));
        }
        out.insert(name.clone(), keys::check(concerns, name, value, &what)?);
    }
    Ok(out)
}

/// Every setting with its value. The name has the form `search.steps`.
fn flat(table: &Table) -> Vec<(String, String)> {
    let inner = |(name, value): (&String, &Value)| match value {
        Value::Table(part) => flat(part).into_iter().map(|(n, v)| (format!("{name}.{n}"), v)).collect(),
        value => vec![(name.clone(), value.to_string())],
    };
    table.iter().flat_map(inner).collect()
}
