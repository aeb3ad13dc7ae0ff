//! One step of a search → a file with all its values, from which anyone can recompute the step elsewhere.

use super::importance;
use super::record::StepRecord;
use super::search::{Done, Observer, Search};
use super::strategy::{Step, put};
use crate::config::{ClassWeights, TrainWeights};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::files::tensors::{Metadata, Tensor, Tensors, write_atomic};

/// Writes `RUN/trace/step-NNNNN.safetensors` for the first steps.
pub(super) struct Trace;

impl Observer for Trace {
    fn wants_before(&self, search: &Search) -> bool {
        search.step < search.settings.config.execution.trace_steps
    }

    fn seen(&self, search: &mut Search, done: &Done<'_>, _record: &mut StepRecord) -> Result<()> {
        let folder = search.settings.config.session.run.as_ref().map(|run| run.join("trace"));
        let (Some(folder), Some(before)) = (folder, done.before) else { return Ok(()) };
        let mut out = Tensors::new();
        for (name, tensor) in before {
            let name = match name.split_once('.') {
                Some(("v", rest)) => format!("v.before.{rest}"),
                Some(("momentum", rest)) => format!("momentum.before.{rest}"),
                _ => format!("{name}.before"),
            };
            out.insert(name, tensor.clone());
        }
        for (name, tensor) in search.snapshot()? {
            match name.split_once('.') {
                Some((part @ ("v" | "momentum"), rest)) => out.insert(format!("{part}.after.{rest}"), tensor),
                _ => None,
            };
        }
        let config = &search.settings.config;
        if config.images.class_weights != ClassWeights::None {
            let weights = config.images.class_weights.of(&search.dataset)?;
            out.insert("class_weights".into(), Tensor::f64(&[weights.len()], weights));
        }
        let space = &search.settings.space;
        if let Some(prior) = search.strategy.prior() {
            let mut after = Tensors::new();
            put(&mut after, "pi", &space.prior_tables(), &prior.logits.concat());
            out.extend(after.into_iter().map(|(name, tensor)| (format!("{name}.after"), tensor)));
        }
        add_batch(&mut out, "search", done.search);
        add_batch(&mut out, "train", done.train);
        let k = done.step.alphas.len();
        let choices =
            done.step.alphas.iter().flat_map(|alpha| alpha.0.iter().map(|choice| i64::from(*choice)));
        let mut shape = vec![k];
        shape.extend(space.alpha_shape());
        out.insert("alpha".into(), Tensor::i64(&shape, choices.collect()));
        let (log_likelihood, weights) = match &done.step.traced {
            Some(traced) => (traced, &importance::weights(traced, 1.0)),
            None => (&done.step.log_likelihood, &done.step.weights),
        };
        out.insert("log_likelihood".into(), Tensor::f64(&[k], log_likelihood.clone()));
        out.insert("weights".into(), Tensor::f64(&[k], weights.clone()));
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        let path = folder.join(format!("step-{:05}.safetensors", search.step));
        write_atomic(&path, &out, &metadata(search, done.step))
    }
}

fn metadata(search: &Search, step: &Step) -> Metadata {
    let c = &search.settings.config;
    let mut entries = vec![
        ("step", search.step.to_string()),
        ("lr", step.lr.to_string()),
        ("momentum", c.sgd.momentum.to_string()),
        ("weight_decay", c.sgd.weight_decay.to_string()),
        ("clip_factor", step.trained.clip.factor.to_string()),
        ("pi_lr", c.prior.prior_lr.to_string()),
        ("baseline", c.prior.baseline.to_string()),
        (
            "train_weights",
            if step.warm_up { TrainWeights::Uniform } else { c.algorithm.train_weights }.to_string(),
        ),
        ("explore", if step.warm_up { 0.0 } else { c.algorithm.explore }.to_string()),
        ("beta", step.beta.to_string()),
    ];
    let of_space = ["primitives", "stages", "choices", "head"];
    let space = &search.settings.space;
    if space.name() != "darts" {
        entries.push(("space", space.name().into()));
    }
    let settings = space.settings();
    entries.extend(settings.into_iter().filter(|(key, _)| of_space.contains(key)));
    entries.extend(c.execution.micro_batch.map(|m| ("micro_batch", m.to_string())));
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn add_batch(out: &mut Tensors, split: &str, batch: &Batch) {
    let shape = [batch.n, batch.channels, batch.height, batch.width];
    out.insert(format!("{split}.images"), Tensor::f32(&shape, batch.images.clone()));
    let labels = batch.labels.iter().map(|l| i64::from(*l)).collect();
    out.insert(format!("{split}.labels"), Tensor::i64(&[batch.n], labels));
}
