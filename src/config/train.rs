//! Flags and a flat TOML table → the resolved configuration of a training of one final network.
//!
//! There are three layers, as for a search: a preset (`assets/train-{small,cifar,imagenet}.toml`), the user's
//! TOML file, and the flags. Without `--preset`, the preset is `small` for the embedded images and `cifar` for others.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::keys::Concern;
use super::{
    Architecture, Aside, Every, Images, Length, Lengths, Network, Regularisation, Resolved, Session, Sgd,
    Stem, resolved,
};
use crate::space::{self, Space, SpaceSettings, StemKind};
use crate::{Error, Result};

pub(super) const PRESETS: [(&str, &str); 3] = [
    ("small", include_str!("../../assets/train-small.toml")),
    ("cifar", include_str!("../../assets/train-cifar.toml")),
    ("imagenet", include_str!("../../assets/train-imagenet.toml")),
];

/// All settings of a training. Its other inputs are its data and the adapter. In the resolved form `genotype` is the
/// text of the architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TrainConfig {
    #[serde(flatten)]
    pub architecture: Architecture,
    #[serde(flatten)]
    pub images: Images,
    #[serde(flatten)]
    pub network: Network,
    #[serde(flatten)]
    pub length: Length,
    #[serde(flatten)]
    pub sgd: Sgd,
    #[serde(flatten)]
    pub regularisation: Regularisation,
    #[serde(flatten)]
    pub session: Session,
    /// The changes of the length of a resumed run.
    #[serde(skip)]
    pub lengths: Aside<Lengths>,
    /// Remarks about the user's settings.
    #[serde(skip)]
    pub remarks: Aside<Vec<String>>,
}

impl TrainConfig {
    /// The preset called `preset` (or the one that fits the data), overridden by the TOML file `file`,
    /// overridden by `flags` (keys in snake case). Every value is checked. Errors name the flag, or the
    /// key and the line in the file.
    pub fn resolve(preset: Option<&str>, file: Option<&Path>, flags: &Table) -> Result<Self> {
        let mut user = resolved::user_table::<Self>(file, flags)?;
        let name = preset.unwrap_or(if super::is_embedded(&user) { "small" } else { "cifar" });
        let Some((_, text)) = PRESETS.iter().find(|(known, _)| *known == name) else {
            let known = PRESETS.map(|(known, _)| known).join(", ");
            return Err(Error::usage("--preset", format!("one of {known}"), format!("`{name}`"), ""));
        };
        if !user.contains_key("genotype") {
            let try_this = "--genotype RUN of a search, or --genotype DARTS_V2, a published cell";
            return Err(Error::usage("--genotype", "an architecture to train", "none", try_this));
        }
        let genotype = user.get("genotype").and_then(Value::as_str);
        let of_several = genotype.and_then(space::remark);
        space_of_architecture(&mut user)?;
        let name = resolved::space_name(&user);
        super::space::check_own(&user, &name)?;
        let mut remarks = resolved::remarks::<Self>(&user);
        remarks.0.extend(of_several);
        let mut config: Self = resolved::over_preset(text, user)?;
        config.remarks = remarks;
        if name != "darts" {
            // A chain has neither an auxiliary head nor drop-path.
            (config.regularisation.auxiliary, config.regularisation.drop_path, config.architecture.stem) =
                (0.0, 0.0, Stem::Cifar);
        }
        (config.network.stages, config.network.choices) = super::space::of_chain(&*config.space()?);
        Resolved::check(&config)?;
        Ok(config)
    }

    /// The configuration with the text of its architecture in place of the run or the file that names it.
    ///
    /// # Errors
    /// The errors of [`super::space::source`] and [`space::read_architecture`].
    pub fn with_architecture(mut self) -> Result<Self> {
        let space = self.space()?;
        let given = &self.architecture.genotype;
        let text = super::space::source(given, &Table::new())?.0;
        let alpha = space::read_architecture(&*space, if Path::new(given).is_dir() { &text } else { given })?;
        self.architecture.genotype = space.print(&alpha);
        Ok(self)
    }

    /// The space of the architecture. The DARTS space has all primitives.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that the space refuses.
    pub fn space(&self) -> Result<Arc<dyn Space>> {
        let settings = SpaceSettings {
            layers: self.network.layers,
            stem: (self.architecture.stem == Stem::Imagenet).then_some(StemKind::ImageNet),
            auxiliary: self.regularisation.auxiliary > 0.0,
            stages: self.network.stages.clone(),
            choices: self.network.choices.clone(),
            head: self.network.head,
            ..SpaceSettings::default()
        };
        space::space(&self.network.space, &settings)
    }

    /// Number of all steps that the schedules of `step` (from 0) use.
    pub fn steps_at(&self, step: u64) -> u64 {
        self.lengths.0.at(step, self.length.steps)
    }

    /// Sets the steps from the epochs once the length of an epoch is known.
    pub fn resolve_steps(&mut self, steps_per_epoch: u64) {
        if let Some(epochs) = self.length.epochs {
            self.length.steps = epochs.saturating_mul(steps_per_epoch.max(1));
        }
    }
}

impl Resolved for TrainConfig {
    const KIND: &'static str = "train";
    const CONCERNS: &'static [Concern] = &[
        Architecture::CONCERN,
        Images::CONCERN,
        Network::CONCERN,
        Length::CONCERN,
        Sgd::CONCERN,
        Regularisation::CONCERN,
        Session::CONCERN,
    ];
    const ZERO: Every = Every::Epoch;

    fn check(&self) -> Result<()> {
        resolved::check_values(self)?;
        resolved::check_length(self.length.steps, self.length.epochs)?;
        resolved::check_rates(self.sgd.lr, self.sgd.lr_min)?;
        self.space()?;
        resolved::check_normalisation(self.images.mean.as_deref(), self.images.std.as_deref())
    }

    fn images(&self) -> &Images {
        &self.images
    }

    fn session(&self) -> &Session {
        &self.session
    }

    fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    fn forget_origin(&mut self) {
        self.architecture.weights = None;
    }

    fn steps_per_epoch(&self, n_train: usize) -> u64 {
        (n_train / self.length.batch.max(1)).max(1) as u64
    }

    fn lengthen(&mut self, lengths: &Lengths) {
        if let Some(steps) = lengths.last() {
            (self.length.steps, self.length.epochs) = (steps, None);
            self.lengths = Aside(lengths.clone());
        }
    }

    fn steps(&self) -> u64 {
        self.length.steps
    }
}

/// Adds the settings of the architecture's space to `user`, unless the user gave them.
fn space_of_architecture(user: &mut Table) -> Result<()> {
    let Some(genotype) = user.get("genotype").and_then(Value::as_str) else { return Ok(()) };
    let (text, settings) = super::space::source(genotype, &Table::new())?;
    let of_run = settings.get("space").and_then(Value::as_str);
    let name = of_run.unwrap_or(space::space_of(&text)).to_owned();
    // A training has its own number of layers. The stages of a chain are part of its architecture.
    let wanted = |key: &str| space::owner(key, "darts").is_some() && name != "darts";
    for (key, value) in settings.into_iter().filter(|(key, _)| wanted(key)) {
        user.entry(key).or_insert(value);
    }
    user.entry("space").or_insert(name.into());
    Ok(())
}
