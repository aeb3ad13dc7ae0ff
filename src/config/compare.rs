//! The TOML file of `parsec compare` → what is compared, and the configurations of its runs.
//!
//! `methods`, `seeds` and `data`, then the tables `[search]` and `[train]`, whose keys are those of a search's and
//! of a training's own files, and a table with the name of a method for what its searches have instead. What differs
//! from run to run is not theirs to say.

use std::path::Path;

use toml::{Table, Value};

use super::keys::{self, Key, nearest};
use super::{Config, Method, TrainConfig, train, types};
use crate::space::owner;
use crate::{Error, Result};

const OF_A_SEARCH: [&str; 4] = ["data", "seed", "method", "run"];
const OF_A_TRAINING: [&str; 4] = ["data", "seed", "genotype", "run"];
const METHODS: [Method; 3] = [Method::Parsec, Method::Random, Method::Darts];
const TOP: [&str; 8] = ["methods", "seeds", "data", "search", "train", "parsec", "random", "darts"];

/// What is compared: every method with every seed.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareConfig {
    /// The methods, each once.
    pub methods: Vec<Method>,
    /// The seeds, each once; of a search and of the training of what it found.
    pub seeds: Vec<u64>,
    /// The images of all searches and trainings.
    pub data: String,
    /// Settings of the searches, over the preset that fits the data.
    search: Table,
    /// Settings of the searches by one method, over those.
    of_method: Vec<(Method, Table)>,
    /// Settings of the trainings, over the preset likewise.
    train: Table,
}

impl CompareConfig {
    /// The file at `path`; `data` replaces what it says of the images.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the key; every configuration that the runs will have is checked.
    pub fn read(path: &Path, data: Option<&str>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let what = path.display().to_string();
        let mut table: Table = toml::from_str(&text)
            .map_err(|e| Error::usage(&what, "a TOML file", e.to_string().trim_end(), ""))?;
        if let Some(data) = data {
            table.insert("data".into(), data.into());
        }
        let config = Self::from_table(&table, &what)?;
        for &method in &config.methods {
            config.search_config(method, config.seeds[0])?;
        }
        config.train_config("DARTS_V2", config.seeds[0])?;
        Ok(config)
    }

    fn from_table(table: &Table, path: &str) -> Result<Self> {
        if let Some(name) = table.keys().find(|name| !TOP.contains(&name.as_str())) {
            let near = nearest(name, TOP.into_iter()).map_or(TOP.join(", "), |near| format!("`{near}`"));
            return Err(Error::usage(path, "a key of a comparison", format!("`{name}`"), near));
        }
        let wrong = |name: &str, expected: &str| {
            let found = table.get(name).map_or("nothing".to_owned(), Value::to_string);
            Error::usage(format!("{path}: key `{name}`"), expected, found, "")
        };
        let methods = list(table, "methods", |v| v.as_str()?.parse().ok())
            .ok_or_else(|| wrong("methods", "a list of parsec, random and darts, each at most once"))?;
        let seeds = list(table, "seeds", |v| u64::try_from(v.as_integer()?).ok())
            .ok_or_else(|| wrong("seeds", "a list of different integers from 0"))?;
        let data = table.get("data").map_or(Some("embedded"), Value::as_str).unwrap_or_default();
        types::check_data(data).map_err(|expected| wrong("data", &expected))?;
        let part = |name: &str, keys: &[Key], own: &[&str]| match table.get(name) {
            None => Ok(Table::new()),
            Some(Value::Table(part)) => settings(part, keys, own, &format!("{path}: [{name}]")),
            Some(_) => Err(wrong(name, "a table of settings")),
        };
        let of_method = METHODS.map(|method| {
            part(&method.to_string(), keys::KEYS, &OF_A_SEARCH).map(|settings| (method, settings))
        });
        Ok(Self {
            methods,
            seeds,
            data: data.to_owned(),
            search: part("search", keys::KEYS, &OF_A_SEARCH)?,
            of_method: of_method.into_iter().collect::<Result<_>>()?,
            train: part("train", train::KEYS, &OF_A_TRAINING)?,
        })
    }

    /// The configuration of the search by `method` with `seed`.
    pub fn search_config(&self, method: Method, seed: u64) -> Result<Config> {
        let mut settings = self.own(&self.search, seed)?;
        let of_method = self.of_method.iter().filter(|(m, _)| *m == method);
        settings.extend(of_method.flat_map(|(_, own)| own.clone()));
        settings.insert("method".into(), method.to_string().into());
        let config = Config::resolve(None, &settings)?;
        match (&config.prior_from, method) {
            (Some(run), Method::Random) => {
                let expected = "nothing with `methods` random, which draws from the uniform prior";
                Err(Error::usage("`prior_from`", expected, run.display().to_string(), "leave one out"))
            }
            _ => Ok(config),
        }
    }

    /// The configuration of the training of `genotype` with `seed`.
    pub fn train_config(&self, genotype: &str, seed: u64) -> Result<TrainConfig> {
        let mut settings = self.own(&self.train, seed)?;
        // What is found is trained as what it was searched as.
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

    /// Every setting with its value, presets included, in the form of the file.
    pub fn resolved(&self) -> Result<Table> {
        let without = |mut table: Table, own: &[&str]| {
            own.iter().for_each(|name| drop(table.remove(*name)));
            Value::Table(table)
        };
        let mut search = Config::resolve(None, &self.own(&self.search, self.seeds[0])?)?.to_table()?;
        // What follows from the length of a method's searches is not the same for all methods.
        search.retain(|key, _| !super::FOLLOWING.contains(&key) || self.search.contains_key(key));
        let train = super::resolved::to_table(&self.train_config("DARTS_V2", self.seeds[0])?)?;
        let of_method = self.of_method.iter().filter(|(_, own)| !own.is_empty());
        let of_method = of_method.map(|(method, own)| (method.to_string(), Value::Table(own.clone())));
        Ok(Table::from_iter(of_method.chain([
            ("methods".to_owned(), self.methods.iter().map(Method::to_string).collect::<Vec<_>>().into()),
            ("seeds".to_owned(), self.seeds.iter().map(|s| *s as i64).collect::<Vec<_>>().into()),
            ("data".to_owned(), self.data.clone().into()),
            ("search".to_owned(), without(search, &OF_A_SEARCH)),
            ("train".to_owned(), without(train, &OF_A_TRAINING)),
        ])))
    }

    /// The first setting of runs of both in which this differs from `was`: its name, what it was and what it is.
    pub fn first_difference(&self, was: &Self) -> Result<Option<[String; 3]>> {
        // Methods and seeds of one only are no difference, nor is what only they have.
        let of_both = |of: &Self| {
            let both = |m: &Method| self.methods.contains(m) && was.methods.contains(m);
            let of_method = of.of_method.iter().filter(|(m, _)| both(m)).cloned().collect();
            Self { methods: self.methods.clone(), seeds: self.seeds.clone(), of_method, ..of.clone() }
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

/// The items of a list that is neither empty nor names one twice.
fn list<T: PartialEq>(table: &Table, name: &str, item: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<T> = table.get(name)?.as_array()?.iter().map(item).collect::<Option<_>>()?;
    let twice = items.iter().enumerate().any(|(i, item)| items[..i].contains(item));
    (!items.is_empty() && !twice).then_some(items)
}

/// The settings of one table, each checked by itself.
fn settings(part: &Table, keys: &[Key], own: &[&str], at: &str) -> Result<Table> {
    let mut out = Table::new();
    for (name, value) in part {
        let what = format!("{at} key `{name}`");
        if own.contains(&name.as_str()) {
            let expected = "settings that are the same for all runs";
            return Err(Error::usage(what, expected, format!("`{name}`"), "leave it out"));
        }
        out.insert(name.clone(), keys::check_in(keys, name, value, &what)?);
    }
    Ok(out)
}

/// `search.steps` and its value, for every setting.
fn flat(table: &Table) -> Vec<(String, String)> {
    let inner = |(name, value): (&String, &Value)| match value {
        Value::Table(part) => flat(part).into_iter().map(|(n, v)| (format!("{name}.{n}"), v)).collect(),
        value => vec![(name.clone(), value.to_string())],
    };
    table.iter().flat_map(inner).collect()
}
