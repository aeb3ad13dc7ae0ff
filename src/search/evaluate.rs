//! An architecture with the shared weights → its accuracy and its likelihood on the held-out images.

use std::sync::Arc;

use super::record::StepRecord;
use super::search::{Done, Observer, Search};
use crate::data::{Batch, Dataset, Images, Normalisation, eval_batches, first_mixed_batches};
use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};
use crate::space::{Alpha, Prior};

/// Accuracy and likelihood of an architecture with the shared weights.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Number of images.
    pub n: usize,
    /// Number of images classified correctly.
    pub n_correct: usize,
    /// Mean log-likelihood per image, nats.
    pub mean_log_likelihood: f64,
}

impl Evaluation {
    /// Fraction of the images classified correctly.
    pub fn accuracy(&self) -> f64 {
        self.n_correct as f64 / self.n.max(1) as f64
    }
}

/// Batches with more bytes than this are not kept. They are made again for each network.
const MOST_KEPT_BYTES: usize = 1 << 30;

/// Held-out images in batches, made once for any number of networks.
pub struct HeldOut {
    dataset: Arc<Dataset>,
    normalisation: Normalisation,
    batch: usize,
    n_images: usize,
    /// `None` if the batches would take too much memory.
    kept: Option<Vec<Batch>>,
}

impl HeldOut {
    /// Makes the batches one after another.
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        first_mixed_batches(&self.dataset.test, &self.normalisation, self.batch, self.n_images)
    }

    /// Makes the batches and keeps them, unless they are too large.
    fn keep(mut self) -> Result<Self> {
        let bytes = self.n_images * self.dataset.test.image_len() * size_of::<f32>();
        if bytes <= MOST_KEPT_BYTES {
            let batches: Result<Vec<Batch>> = self.batches()?.collect();
            self.kept = Some(batches?);
        }
        Ok(self)
    }

    /// Number of images.
    pub fn n_images(&self) -> usize {
        self.n_images
    }

    /// Number of batches.
    pub fn n_batches(&self) -> usize {
        (self.n_images / self.batch.max(1)).max(1)
    }
}

impl Search {
    /// The held-out images, or the first `n_images` of them, in batches of the configured size or of the micro-batch.
    /// Images are in file order (the remainder is joined to the last batch), unless the files are sorted by class.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer images.
    pub fn held_out(&self, n_images: Option<usize>) -> Result<HeldOut> {
        self.unkept(n_images)?.keep()
    }

    fn unkept(&self, n_images: Option<usize>) -> Result<HeldOut> {
        let (dataset, normalisation) = (Arc::clone(&self.dataset), self.settings.normalisation.clone());
        let n = dataset.test.n;
        let n_images = n_images.unwrap_or(n);
        if n_images > n {
            let expected = format!("at most the {n} held-out images");
            return Err(Error::usage("--images", expected, n_images.to_string(), format!("--images {n}")));
        }
        let batch = self.settings.config.micro_batch().min(n_images);
        Ok(HeldOut { dataset, normalisation, batch, n_images, kept: None })
    }

    /// Logits of one image `[C][H][W]` by `alpha` with the shared weights. The statistics are those of a batch of held-out
    /// images in which the image replaces the first.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter fails.
    pub fn logits_among_held_out(&mut self, alpha: &Alpha, image: &[u8]) -> Result<Vec<f32>> {
        let test = &self.dataset.test;
        let held_out = self.unkept(Some(self.settings.config.micro_batch().min(test.n)))?;
        let Some(mut batch) = held_out.batches()?.next().transpose()? else {
            return Err(Error::internal("there are held-out images"));
        };
        let (channels, height, width) = (test.channels, test.height, test.width);
        let image = Images { n: 1, channels, height, width, pixels: image.to_vec().into(), labels: vec![0] };
        for own in eval_batches(&image, &self.settings.normalisation, 1)? {
            batch.images[..image.image_len()].copy_from_slice(&own?.images);
        }
        let net = self.evaluator.net(alpha);
        let mut logits = self.evaluator.logits(&net, &batch)?;
        logits.truncate(self.dataset.class_names.len());
        Ok(logits)
    }

    /// Evaluates `alpha` on all held-out images, with the statistics of each batch.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter fails.
    pub fn evaluate(&mut self, alpha: &Alpha) -> Result<Evaluation> {
        let held_out = self.unkept(None)?;
        self.evaluate_on(alpha, &held_out, &mut || {})
    }

    /// Evaluates `alpha` on `held_out`. `done` is called after each batch.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter fails.
    pub fn evaluate_on(
        &mut self,
        alpha: &Alpha,
        held_out: &HeldOut,
        done: &mut dyn FnMut(),
    ) -> Result<Evaluation> {
        let net = self.evaluator.net(alpha);
        let mut total = Evaluation { n: 0, n_correct: 0, mean_log_likelihood: 0.0 };
        let mut add = |batch: &Batch| -> Result<()> {
            let result = self.evaluator.result(&net, batch)?;
            total.n += batch.n;
            total.n_correct += result.n_correct;
            total.mean_log_likelihood += result.sum();
            done();
            Ok(())
        };
        match &held_out.kept {
            Some(batches) => batches.iter().try_for_each(add)?,
            None => held_out.batches()?.try_for_each(|batch| add(&batch?))?,
        }
        total.mean_log_likelihood /= total.n.max(1) as f64;
        Ok(total)
    }

    /// The number of architectures among `n` random ones that have a smaller likelihood than `alpha` with the shared
    /// weights. The likelihoods are computed on `n_batches` batches of held-out images. A batch has the size of a
    /// search batch, or of its micro-batch.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter fails.
    pub fn better_than_random(&mut self, alpha: &Alpha, n: usize, n_batches: usize) -> Result<usize> {
        let (n_test, batch) = (self.dataset.test.n, self.settings.config.search_micro_batch());
        let held_out = self.unkept(Some((n_batches * batch).min(n_test)))?;
        let held_out = HeldOut { batch: batch.min(n_test), ..held_out }.keep()?;
        let uniform = Prior::uniform(self.space());
        let mut score = |alpha: &Alpha| self.evaluate_on(alpha, &held_out, &mut || {});
        let own = score(alpha)?.mean_log_likelihood;
        let mut better = 0;
        for i in 0..n {
            let random = uniform.sample(&mut stream(0, Purpose::Compared, 0, i as u64));
            better += usize::from(score(&random)?.mean_log_likelihood < own);
        }
        Ok(better)
    }

    /// Accuracy of the architecture, if it was evaluated after the last step.
    pub fn score_now(&self) -> Option<f64> {
        self.mode_accuracy.filter(|(step, _)| *step == self.step).map(|(_, accuracy)| accuracy)
    }
}

/// Evaluates the architecture at the configured steps.
pub(super) struct EvaluateMode;

impl Observer for EvaluateMode {
    fn wants_before(&self, _search: &Search) -> bool {
        false
    }

    fn seen(&self, search: &mut Search, _done: &Done<'_>, record: &mut StepRecord) -> Result<()> {
        if !search.settings.config.session.eval_every.is_due(search.step, search.steps_per_epoch()) {
            return Ok(());
        }
        let accuracy = search.evaluate(&search.architecture())?.accuracy();
        search.mode_accuracy = Some((search.step, accuracy));
        record.mode_accuracy = Some(accuracy);
        Ok(())
    }
}
