//! Checks, before anything runs, that the layers can use the weights and the batch.

use super::{Mode, Run, parameter_shapes, running_shapes};
use crate::{Error, Result};

impl Run<'_> {
    /// Checks weights and batch, so that the passes need no checks.
    pub(super) fn check(&self) -> Result<()> {
        let x = &self.batch.images;
        let bad =
            |what: String, expected: String, found: String| Err(Error::usage(what, expected, found, ""));
        let image = self.net.image();
        if [x.c, x.h, x.w] != [image.c, image.h, image.w] || x.n == 0 || self.batch.labels.len() != x.n {
            let expected = format!("[N][{}][{}][{}] and N labels, N > 0", image.c, image.h, image.w);
            let found =
                format!("[{}][{}][{}][{}] and {} labels", x.n, x.c, x.h, x.w, self.batch.labels.len());
            return bad("the batch".into(), expected, found);
        }
        let n_weights = self.batch.weights.len();
        if n_weights != x.n {
            return bad("the batch".into(), format!("{} weights", x.n), n_weights.to_string());
        }
        let classes = self.net.n_classes();
        if let Some(label) = self.batch.labels.iter().find(|&&label| label >= classes) {
            return bad("a label".into(), format!("a class below {classes}"), label.to_string());
        }
        if let Some(mask) = self.batch.drop_path.values().find(|mask| mask.len() != x.n) {
            return bad("a drop-path mask".into(), format!("{} factors", x.n), mask.len().to_string());
        }
        let optional = running_shapes(self.net);
        let mut needed = parameter_shapes(self.net);
        if self.mode == Mode::Eval {
            needed.extend(optional.clone());
            // The auxiliary head runs in training only.
            let auxiliary = self.net.params().into_iter().filter(|p| p.auxiliary);
            auxiliary.for_each(|p| _ = needed.remove(&p.name));
        }
        for (name, shape) in optional.into_iter().chain(needed.clone()) {
            match self.weights.get(&name) {
                Some((found, data)) if *found == shape && data.len() == shape.iter().product::<usize>() => {}
                Some((found, _)) => return bad(name, format!("shape {shape:?}"), format!("{found:?}")),
                None if !needed.contains_key(&name) => {}
                None => {
                    let expected = format!("a tensor of shape {shape:?}");
                    return bad(name, expected, "no tensor of this name".into());
                }
            }
        }
        Ok(())
    }
}
