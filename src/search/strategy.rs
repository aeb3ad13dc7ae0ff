//! A strategy: the steps of a search and its result. The state of a strategy ↔ named tensors.

use std::path::Path;

use super::evaluator::{Evaluator, Trained};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::files::tensors::{self, Tensor, Tensors};
use crate::gpu::Update;
use crate::space::prior::PerSlot;
use crate::space::{Alpha, MixedAlpha, Prior, Space, Table};

/// Results of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The drawn architectures α_k. Empty if all paths run at once.
    pub alphas: Vec<Alpha>,
    /// log ω_k of each architecture on the search batch, nats, weighted by class.
    pub log_likelihood: Vec<f64>,
    /// Importance weights ω̃_k.
    pub weights: Vec<f64>,
    /// Exponent of the weights.
    pub beta: f64,
    /// Learning rate of v.
    pub lr: f64,
    /// Whether the step only trained v, with equal weights. In that case ω̃_k is 1/K, and log ω_k is on the train
    /// batch.
    pub warm_up: bool,
    /// log ω_k on the search batch, if the step only trained v and is traced.
    pub traced: Option<Vec<f64>>,
    /// Results of the backward passes and of the update of v.
    pub trained: Trained,
}

/// A method of searching. Its state is everything that a step changes besides v and momentum.
pub trait Strategy: Send {
    /// The `t`-th step (from 0), on a batch of the search split and one of the train split.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything is changed, [`Error::Device`] if the adapter fails.
    fn step(
        &mut self,
        t: u64,
        evaluator: &mut Evaluator,
        batches: [&Batch; 2],
        update: Update,
    ) -> Result<Step>;

    /// Allocates memory for all passes of a step.
    ///
    /// # Errors
    /// [`Error::Memory`] with the needed bytes.
    fn reserve(&self, evaluator: &mut Evaluator) -> Result<()>;

    /// The architecture with which the strategy would end now.
    fn architecture(&self, space: &dyn Space) -> Alpha;

    /// Number of steps since the mode of π last changed, counted after the warm-up.
    fn settled(&self) -> u64 {
        0
    }

    /// Entropy in nats of each group of slots.
    fn entropy(&self) -> Vec<f64>;

    /// π, if the strategy has one.
    fn prior(&self) -> Option<&Prior> {
        None
    }

    /// Replaces π, for instance by that of another run.
    fn set_prior(&mut self, _prior: Prior) {}

    /// The architectures that step `t` draws.
    fn draws(&self, _t: u64) -> Vec<Alpha> {
        Vec::new()
    }

    /// The softmax over all paths, if the strategy has it in place of π.
    fn mixed_alpha(&self) -> Option<&MixedAlpha> {
        None
    }

    /// Adds the state of the strategy to a checkpoint.
    fn save(&self, space: &dyn Space, out: &mut Tensors);

    /// Restores the state from a checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] if a tensor is missing or has another shape.
    fn load(&mut self, space: &dyn Space, state: &Tensors) -> Result<()>;
}

/// Adds `values`, one after another, as the F64 tensors `{prefix}.{table}`.
pub(super) fn put(out: &mut Tensors, prefix: &str, tables: &[Table], values: &[f64]) {
    let mut rest = values;
    for table in tables {
        let (here, others) = rest.split_at(table.shape.iter().product::<usize>().min(rest.len()));
        out.insert(format!("{prefix}.{}", table.name), Tensor::f64(&table.shape, here.to_vec()));
        rest = others;
    }
}

/// The numbers of the tensors `{prefix}.{table}`, one after another.
pub(super) fn take_tables(state: &Tensors, path: &Path, prefix: &str, tables: &[Table]) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for table in tables {
        let name = format!("{prefix}.{}", table.name);
        let (_, data) = tensors::f64s(state, path, &name)?;
        let wanted: usize = table.shape.iter().product();
        if data.len() != wanted {
            let expected = format!("{name} with {wanted} numbers (the same choices)");
            return Err(Error::file(
                path,
                None,
                expected,
                data.len().to_string(),
                "the same --space with the same choices",
            ));
        }
        values.extend(data);
    }
    Ok(values)
}

/// One number per logit of π, from the tensors `{prefix}.*`.
pub(super) fn take(state: &Tensors, path: &Path, prefix: &str, space: &dyn Space) -> Result<PerSlot> {
    let values = take_tables(state, path, prefix, &space.prior_tables())?;
    let mut rest = values.as_slice();
    let mut slots = Vec::new();
    for slot in space.slots() {
        let (here, others) = rest.split_at(slot.n_choices.min(rest.len()));
        slots.push(here.to_vec());
        rest = others;
    }
    Ok(slots)
}

/// The prior among the tensors of a checkpoint, if it is over this space.
///
/// # Errors
/// [`Error::File`] if a tensor is missing or has another number of choices.
pub fn take_prior(state: &Tensors, path: &Path, space: &dyn Space) -> Result<Prior> {
    Ok(Prior::uniform(space).with(take(state, path, "pi", space)?))
}

/// The tensors of a checkpoint from which [`take_prior`] reads `prior`.
pub fn prior_tensors(prior: &Prior, space: &dyn Space) -> Tensors {
    let mut out = Tensors::new();
    put(&mut out, "pi", &space.prior_tables(), &prior.logits.concat());
    out
}
