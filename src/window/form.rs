//! The settings of a new run, as texts → its configuration.

use std::collections::BTreeMap;

use egui::{ComboBox, RichText, TextEdit, Ui};
use toml::{Table, Value};

use super::driven::Job;
use crate::config::keys::{Concern, Key, keys};
use crate::config::{Config, Resolved, TrainConfig, to_table};
use crate::error::Result;

/// Kind of a new run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A search.
    #[default]
    Search,
    /// A training.
    Training,
}

/// Settings that belong together, with their meaning in plain words.
struct Choice {
    name: &'static str,
    words: &'static str,
    /// Names and values of settings.
    settings: &'static [(&'static str, &'static str)],
}

/// The lengths of a search.
const EFFORTS: &[Choice] = &[
    Choice {
        name: "The usual search",
        words: "For the embedded images a few minutes on any machine. For your own images 8 cells of 16 channels and 50 \
                passes over them: hours on a GPU.",
        settings: &[],
    },
    Choice {
        name: "A first look",
        words: "A small network and few steps. It shows whether the images are read well and how long a step takes. Its \
                result means little.",
        settings: &[("layers", "3"), ("channels", "8"), ("batch", "16"), ("steps", "60"), ("samples", "4")],
    },
    Choice {
        name: "An evening",
        words: "5 cells of 12 channels and 3,000 steps: long enough for the prior to decide on most data sets.",
        settings: &[("layers", "5"), ("channels", "12"), ("batch", "32"), ("steps", "3000")],
    },
    Choice {
        name: "The paper to the letter",
        words: "PARSEC as it was published: no warm-up, importance weights for the weights too, the most probable \
                architecture as the result.",
        settings: &[("paper", "true")],
    },
];

/// The presets of a training; the name is that of `--preset`.
const PRESETS: &[Choice] = &[
    Choice {
        name: "small",
        words: "A small network for small images: minutes on any machine.",
        settings: &[("preset", "small")],
    },
    Choice {
        name: "cifar",
        words: "20 cells of 36 channels and 600 passes over the images, as DARTS trains on CIFAR: a day on a large GPU.",
        settings: &[("preset", "cifar")],
    },
    Choice {
        name: "imagenet",
        words: "14 cells of 48 channels on images of 224 pixels, as DARTS trains on ImageNet: days on large GPUs.",
        settings: &[("preset", "imagenet")],
    },
];

/// Width of the names of the settings, points.
const NAMES: f32 = 88.0;

/// Settings that are shown first. The others are below "All settings".
const FIRST: [&[&str]; 2] = [
    &["data", "size", "space", "layers", "channels", "steps", "epochs", "max_skips", "seed"],
    &["genotype", "data", "size", "layers", "channels", "steps", "epochs", "seed"],
];

/// The settings of a new run.
pub struct Form {
    /// Kind of the run.
    pub kind: Kind,
    /// The chosen length or preset, by its place.
    choice: [usize; 2],
    /// Texts of the settings by kind of run. A setting without a text is that of the preset.
    values: [BTreeMap<&'static str, String>; 2],
    /// Names of the adapters.
    adapters: Vec<String>,
    /// The settings that were checked last, and what came of it.
    checked: Option<Checked>,
}

/// Settings that were checked.
struct Checked {
    kind: Kind,
    choice: usize,
    values: BTreeMap<&'static str, String>,
    error: Option<String>,
    /// All settings of the run, if there is no error.
    resolved: Table,
}

impl Form {
    /// A search of the embedded images.
    pub fn new() -> Self {
        let (kind, choice, values) = (Kind::Search, [0; 2], Default::default());
        let mut form = Self { kind, choice, values, adapters: vec![], checked: None };
        form.set("data", "embedded");
        form
    }

    /// Sets the names of the adapters, in the order of their indices.
    pub fn set_adapters(&mut self, names: Vec<String>) {
        self.adapters = names;
    }

    fn concerns(kind: Kind) -> &'static [Concern] {
        match kind {
            Kind::Search => <Config as Resolved>::CONCERNS,
            Kind::Training => <TrainConfig as Resolved>::CONCERNS,
        }
    }

    fn choices(kind: Kind) -> &'static [Choice] {
        if kind == Kind::Search { EFFORTS } else { PRESETS }
    }

    /// The text of a setting.
    pub fn get(&self, name: &str) -> &str {
        self.values[self.kind as usize].get(name).map_or("", String::as_str)
    }

    /// Sets a setting. An empty text leaves it to the preset.
    pub fn set(&mut self, name: &'static str, text: &str) {
        let values = &mut self.values[self.kind as usize];
        if text.is_empty() {
            values.remove(name);
        } else {
            values.insert(name, text.to_owned());
        }
    }

    /// Prepares a training of what the search in `run` found, with the images of the search.
    pub fn train(&mut self, run: &str, settings: &[(String, String)]) {
        self.kind = Kind::Training;
        self.set("genotype", run);
        for key in crate::config::Images::CONCERN.keys {
            let text = settings.iter().find(|(name, _)| name == key.name).map(|(_, text)| text.as_str());
            let text =
                text.filter(|_| matches!(key.name, "data" | "size" | "mean" | "std" | "skip_bad_images"));
            let is_list = key.name != "data";
            self.set(
                key.name,
                text.map_or("", |text| if is_list { text.trim_matches(['[', ']']) } else { text }),
            );
        }
        let is_embedded = self.get("data") == "embedded";
        self.choice[Kind::Training as usize] = usize::from(!is_embedded);
    }

    /// The run that the settings describe.
    ///
    /// # Errors
    /// The errors of the settings.
    pub fn job(&self) -> Result<Job> {
        let mut table = Table::new();
        for (name, text) in &self.values[self.kind as usize] {
            if let Some(key) = keys(Self::concerns(self.kind)).find(|key| key.name == *name) {
                table.insert((*name).to_owned(), key.kind.read(text.trim()));
            }
        }
        Ok(match self.kind {
            Kind::Search => Job::Search(Box::new(Config::resolve(None, &table)?)),
            Kind::Training => {
                let preset = PRESETS[self.choice[self.kind as usize]].name;
                let config = TrainConfig::resolve(Some(preset), None, &table)?;
                Job::Training(Box::new(config.with_architecture()?))
            }
        })
    }

    /// The error of the present settings. They are checked after each change.
    pub fn error(&mut self) -> Option<String> {
        let (kind, choice, values) =
            (self.kind, self.choice[self.kind as usize], &self.values[self.kind as usize]);
        let checked = self.checked.take();
        let is_checked = |was: &Checked| was.kind == kind && was.choice == choice && was.values == *values;
        let checked = checked.filter(is_checked).unwrap_or_else(|| {
            let job = self.job();
            let resolved = match &job {
                Ok(Job::Search(config)) => config.to_table(),
                Ok(Job::Training(config)) => to_table(&**config),
                _ => Ok(Table::new()),
            };
            let error = job.err().map(|e| e.to_string());
            Checked { kind, choice, values: values.clone(), error, resolved: resolved.unwrap_or_default() }
        });
        let error = checked.error.clone();
        self.checked = Some(checked);
        error
    }

    /// Checks the settings again: a run that they name may have changed.
    pub fn forget(&mut self) {
        self.checked = None;
    }

    /// What a setting without a text will be.
    fn hint(&self, key: &Key) -> String {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let checked = self.checked.as_ref().filter(|checked| checked.kind == self.kind);
        match checked.map(|checked| checked.resolved.get(key.name)) {
            Some(Some(value)) => plain(value),
            Some(None) => "not set".to_owned(),
            // The other settings have an error.
            None => "by the preset".to_owned(),
        }
    }

    /// Shows the settings.
    pub fn show(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            ui.selectable_value(&mut self.kind, Kind::Search, "Search");
            ui.selectable_value(&mut self.kind, Kind::Training, "Training");
        });
        let kind = self.kind;
        let choices = Self::choices(kind);
        let (was, mut at) = (self.choice[kind as usize], self.choice[kind as usize]);
        ComboBox::from_label(if kind == Kind::Search { "Length" } else { "Preset" })
            .selected_text(choices[at].name)
            .show_ui(ui, |ui| {
                for (i, choice) in choices.iter().enumerate() {
                    ui.selectable_value(&mut at, i, choice.name).on_hover_text(choice.words);
                }
            });
        ui.label(RichText::new(choices[at].words).small());
        if at != was {
            self.choose(at);
        }
        let rows = |names: &'static [&'static str]| {
            names.iter().filter_map(move |name| keys(Self::concerns(kind)).find(|key| key.name == *name))
        };
        for key in rows(FIRST[kind as usize]) {
            self.row(ui, key);
        }
        self.adapter(ui);
        ui.collapsing("All settings", |ui| {
            for concern in Self::concerns(kind) {
                ui.strong(concern.title.trim());
                for key in concern.keys.iter().filter(|key| !FIRST[kind as usize].contains(&key.name)) {
                    if key.name != "device" {
                        self.row(ui, key);
                    }
                }
            }
        });
    }

    /// Takes the settings of a length, in place of those of the length before.
    fn choose(&mut self, at: usize) {
        let kind = self.kind;
        let choices = Self::choices(kind);
        let before = std::mem::replace(&mut self.choice[kind as usize], at);
        let names = choices[before].settings.iter().map(|(name, _)| (*name, ""));
        for (name, value) in names.chain(choices[at].settings.iter().copied()) {
            if name != "preset" {
                self.set(name, value);
            }
            // A run has a length in steps or in epochs.
            if name == "steps" && !value.is_empty() {
                self.set("epochs", "");
            }
        }
    }

    fn row(&mut self, ui: &mut Ui, key: &'static Key) {
        let mut text = self.get(key.name).to_owned();
        ui.horizontal(|ui| {
            let name = ui.scope(|ui| {
                ui.set_width(NAMES);
                ui.add(egui::Label::new(key.name.replace('_', " ")).truncate())
            });
            let name = name.inner;
            let hint = self.hint(key);
            let width = ui.available_width();
            let field = TextEdit::singleline(&mut text).hint_text(hint).desired_width(width);
            let field = ui.add(field).labelled_by(name.id);
            let help = if key.name == "data" { crate::data::HELP } else { key.help.trim() };
            let help = format!("{help}\n\n{}", key.kind.expected());
            name.on_hover_text(help.clone());
            if field.on_hover_text(help).changed() {
                self.set(key.name, text.trim_start());
            }
        });
    }

    fn adapter(&mut self, ui: &mut Ui) {
        let mut chosen = self.get("device").to_owned();
        let numbered: Vec<(String, String)> = self
            .adapters
            .iter()
            .enumerate()
            .map(|(i, name)| (i.to_string(), format!("{i}: {name}")))
            .collect();
        let known = numbered.iter().find(|(index, _)| *index == chosen).map(|(_, name)| name.clone());
        let shown = match chosen.as_str() {
            "" => "the fastest".to_owned(),
            other => known.unwrap_or_else(|| other.to_owned()),
        };
        ComboBox::from_label("Adapter").selected_text(shown).width(150.0).show_ui(ui, |ui| {
            ui.selectable_value(&mut chosen, String::new(), "the fastest");
            for (index, name) in &numbered {
                ui.selectable_value(&mut chosen, index.clone(), name);
            }
        });
        if chosen != self.get("device") {
            self.set("device", &chosen);
        }
    }
}
