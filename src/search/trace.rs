//! Everything about one step as a file, so that anyone can recompute it elsewhere.

use super::Search;
use super::algorithm::Happened;
use super::snapshot::put;
use crate::config::Baseline;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::export::tensors::{Metadata, Tensor, Tensors, write_atomic};
use crate::space::{N_KINDS, N_NODES, N_SLOTS};

impl Search {
    /// Writes `RUN/trace/step-NNNNN.safetensors`; called after the step, with the state from before it.
    pub(super) fn trace(&mut self, before: &Tensors, happened: &Happened) -> Result<()> {
        let Some(folder) = self.settings.config.run.as_ref().map(|run| run.join("trace")) else {
            return Ok(());
        };
        let mut out = Tensors::new();
        for (name, tensor) in before {
            let name = match name.split_once('.') {
                Some(("v", rest)) => format!("v.before.{rest}"),
                Some(("momentum", rest)) => format!("momentum.before.{rest}"),
                _ => format!("{name}.before"),
            };
            out.insert(name, tensor.clone());
        }
        for (name, tensor) in self.snapshot()? {
            match name.split_once('.') {
                Some((part @ ("v" | "momentum"), rest)) => out.insert(format!("{part}.after.{rest}"), tensor),
                _ => None,
            };
        }
        let mut prior = Tensors::new();
        put(&mut prior, "pi", &self.prior.logits);
        out.extend(prior.into_iter().map(|(name, tensor)| (format!("{name}.after"), tensor)));
        add_batch(&mut out, "search", &happened.search);
        add_batch(&mut out, "train", &happened.train);
        let alphas = &happened.children.alphas;
        let k = alphas.len();
        let pairs =
            alphas.iter().flat_map(|a| a.0.as_flattened().as_flattened().iter().map(|p| i64::from(*p)));
        out.insert("alpha".into(), Tensor::i64(&[k, N_KINDS, N_NODES, N_SLOTS], pairs.collect()));
        out.insert("log_likelihood".into(), Tensor::f64(&[k], happened.log_likelihood.clone()));
        out.insert("weights".into(), Tensor::f64(&[k], happened.weights.clone()));
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        let path = folder.join(format!("step-{:05}.safetensors", self.step));
        write_atomic(&path, &out, &self.metadata(happened))
    }

    fn metadata(&self, happened: &Happened) -> Metadata {
        let c = &self.settings.config;
        let names: Vec<&str> = c.primitives.iter().map(|p| p.name()).collect();
        let baseline = match c.baseline {
            Baseline::None => "none",
            Baseline::Mean => "mean",
        };
        let mut entries = vec![
            ("step", self.step.to_string()),
            ("lr", happened.lr.to_string()),
            ("momentum", c.momentum.to_string()),
            ("weight_decay", c.weight_decay.to_string()),
            ("clip_factor", happened.clip_factor.to_string()),
            ("pi_lr", c.prior_lr.to_string()),
            ("baseline", baseline.to_string()),
            ("beta", happened.beta.to_string()),
            ("primitives", names.join(",")),
        ];
        entries.extend(c.micro_batch.map(|m| ("micro_batch", m.to_string())));
        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn add_batch(out: &mut Tensors, split: &str, batch: &Batch) {
    let shape = [batch.n, batch.channels, batch.height, batch.width];
    out.insert(format!("{split}.images"), Tensor::f32(&shape, batch.images.clone()));
    let labels = batch.labels.iter().map(|l| i64::from(*l)).collect();
    out.insert(format!("{split}.labels"), Tensor::i64(&[batch.n], labels));
}
