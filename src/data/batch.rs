//! A step's number → its batch: the positions of the images, and their pixels.
//!
//! The order of the current epoch is the only state between steps. It is a function of the seed and the epoch, and is
//! kept only to save time.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rand::seq::SliceRandom;

use super::augment::{Augment, Change, Normalisation};
use super::{Dataset, Images};
use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};

/// Images and labels as the network gets them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Number of images N.
    pub n: usize,
    /// Channels C.
    pub channels: usize,
    /// Rows H.
    pub height: usize,
    /// Columns W.
    pub width: usize,
    /// `[N][C][H][W]`, normalised.
    pub images: Vec<f32>,
    /// `[N]`, below the number of classes.
    pub labels: Vec<u32>,
}

/// The two splits into which the training images are cut: positions in `Dataset::train`, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Images for the weights `v`.
    pub train: Vec<u32>,
    /// Images for the importance weights of the architectures, and so for π.
    pub search: Vec<u32>,
}

/// Cuts `n_train` images at random into two splits. The search split gets the fraction `search_fraction` (0 to 1, usually
/// 0.5) of the images, rounded.
pub fn splits(n_train: usize, search_fraction: f64, seed: u64) -> Splits {
    let mut order: Vec<u32> = (0..n_train as u32).collect();
    order.shuffle(&mut stream(seed, Purpose::Split, 0, 0));
    let n_search = (n_train as f64 * search_fraction.clamp(0.0, 1.0)).round() as usize;
    let mut train = order.split_off(n_search.min(n_train));
    order.sort_unstable();
    train.sort_unstable();
    Splits { train, search: order }
}

/// The split from which a source draws images. Each split has its own random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Images for the weights `v`.
    Train,
    /// Images for π.
    Search,
}

impl Split {
    fn purposes(self) -> (Purpose, Purpose) {
        match self {
            Self::Train => (Purpose::ShuffleTrain, Purpose::AugmentTrain),
            Self::Search => (Purpose::ShuffleSearch, Purpose::AugmentSearch),
        }
    }
}

/// Shuffled, augmented batches of one split of the training images, by step.
#[derive(Debug)]
pub struct BatchSource {
    dataset: Arc<Dataset>,
    indices: Vec<u32>,
    split: Split,
    batch: usize,
    seed: u64,
    augment: Augment,
    table: Vec<[f32; 256]>,
    /// The last requested epoch and its order.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

impl BatchSource {
    /// Batches of `batch` images out of `indices` (positions in `dataset.train`).
    ///
    /// # Errors
    /// [`Error::Usage`] if the batch is 0 or larger than the split, an index is out of range, or the
    /// normalisation does not fit the channels.
    pub fn new(
        dataset: Arc<Dataset>,
        indices: Vec<u32>,
        split: Split,
        batch: usize,
        seed: u64,
        augment: Augment,
        normalisation: &Normalisation,
    ) -> Result<Self> {
        let (name, flag) = match split {
            Split::Train => ("train", "--batch"),
            Split::Search => ("search", "--search-batch"),
        };
        if batch == 0 || batch > indices.len() {
            return Err(Error::usage(
                flag,
                format!("1 to {}, the images of the {name} split", indices.len()),
                batch.to_string(),
                "a smaller batch or more data",
            ));
        }
        if let Some(index) = indices.iter().find(|&&index| index as usize >= dataset.train.n) {
            let expected = format!("positions below {}", dataset.train.n);
            return Err(Error::usage(format!("the {name} split"), expected, index.to_string(), ""));
        }
        let (height, width) = (dataset.train.height, dataset.train.width);
        if augment.crop_pad > height.max(width) {
            let expected = format!("at most the image's side, {}", height.max(width));
            return Err(Error::usage(
                "the padding before the crop",
                expected,
                augment.crop_pad.to_string(),
                "4",
            ));
        }
        let table = normalisation.table(dataset.train.channels)?;
        Ok(Self { dataset, indices, split, batch, seed, augment, table, order: Mutex::new(None) })
    }

    /// Number of whole batches in an epoch. The images left over are in other batches in the next epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        (self.indices.len() / self.batch) as u64
    }

    /// Positions in `Dataset::train` of the images of `step` (counted from 0).
    pub fn members(&self, step: u64) -> Vec<u32> {
        let order = self.epoch_order(step / self.batches_per_epoch());
        let first = (step % self.batches_per_epoch()) as usize * self.batch;
        order[first..first + self.batch].to_vec()
    }

    /// The batch of `step` (counted from 0). It depends only on the source's arguments and the step.
    ///
    /// # Errors
    /// The errors of [`Images::image`].
    pub fn batch(&self, step: u64) -> Result<Batch> {
        let members = self.members(step);
        let train = &self.dataset.train;
        fill(train, members.iter().map(|&index| index as usize), &self.table, |i| {
            if self.augment == Augment::NONE {
                return Change::NONE;
            }
            let mut rng = stream(self.seed, self.split.purposes().1, step, i as u64);
            self.augment.draw(&mut rng, train.height, train.width)
        })
    }

    fn epoch_order(&self, epoch: u64) -> Arc<Vec<u32>> {
        // A thread that panicked with this lock held left the old order or none, never half of one.
        let mut cached = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = cached.as_ref().filter(|(cached_epoch, _)| *cached_epoch == epoch) {
            return order.clone();
        }
        let mut order = self.indices.clone();
        order.shuffle(&mut stream(self.seed, self.split.purposes().0, epoch, 0));
        let order = Arc::new(order);
        *cached = Some((epoch, order.clone()));
        order
    }
}

/// All of `images` in file order without augmentation, in batches of `batch`. The remainder is joined to the last
/// batch.
///
/// # Errors
/// [`Error::Usage`] if the normalisation does not fit the channels or the batch is 0.
pub fn eval_batches<'a>(
    images: &'a Images,
    normalisation: &Normalisation,
    batch: usize,
) -> Result<impl Iterator<Item = Result<Batch>> + use<'a>> {
    if batch == 0 {
        return Err(Error::usage("--batch", "at least 1", "0", ""));
    }
    let table = normalisation.table(images.channels)?;
    let ranges = eval_ranges(images.n, batch);
    Ok(ranges.into_iter().map(move |range| fill(images, range, &table, |_| Change::NONE)))
}

/// The same as [`eval_batches`], but for networks that use the statistics of each batch. Images in folders are sorted
/// by class; if `images` are sorted by class, each batch gets some images of every class.
///
/// # Errors
/// The errors of [`eval_batches`].
pub fn mixed_batches<'a>(
    images: &'a Images,
    normalisation: &Normalisation,
    batch: usize,
) -> Result<Box<dyn Iterator<Item = Result<Batch>> + 'a>> {
    if !images.labels.is_sorted() || batch == 0 {
        return Ok(Box::new(eval_batches(images, normalisation, batch)?));
    }
    let table = normalisation.table(images.channels)?;
    let n_batches = eval_ranges(images.n, batch).len();
    let members = move |first: usize| (first..images.n).step_by(n_batches);
    Ok(Box::new((0..n_batches).map(move |i| fill(images, members(i), &table, |_| Change::NONE))))
}

/// The first `n_images` images in the order of [`mixed_batches`], in batches of `batch`. The remainder is joined to the
/// last batch.
///
/// # Errors
/// The errors of [`eval_batches`].
pub fn first_mixed_batches<'a>(
    images: &'a Images,
    normalisation: &Normalisation,
    batch: usize,
    n_images: usize,
) -> Result<Box<dyn Iterator<Item = Result<Batch>> + 'a>> {
    if n_images >= images.n || batch == 0 {
        return mixed_batches(images, normalisation, batch);
    }
    let table = normalisation.table(images.channels)?;
    let n_batches = if images.labels.is_sorted() { eval_ranges(images.n, batch).len() } else { 1 };
    let order = (0..n_batches).flat_map(|first| (first..images.n).step_by(n_batches));
    let order: Vec<usize> = order.take(n_images).collect();
    let ranges = eval_ranges(n_images, batch).into_iter();
    Ok(Box::new(
        ranges.map(move |range| fill(images, order[range].iter().copied(), &table, |_| Change::NONE)),
    ))
}

fn eval_ranges(n: usize, batch: usize) -> Vec<Range<usize>> {
    let n_batches = (n / batch).max(usize::from(n > 0));
    (0..n_batches).map(|i| i * batch..if i + 1 == n_batches { n } else { (i + 1) * batch }).collect()
}

/// The batch of the images at `members`. Image i of the batch is changed by `change(i)`.
fn fill(
    images: &Images,
    members: impl Iterator<Item = usize>,
    table: &[[f32; 256]],
    change: impl Fn(usize) -> Change,
) -> Result<Batch> {
    let members: Vec<usize> = members.collect();
    let (n, len) = (members.len(), images.image_len());
    let mut out = vec![0.0; n * len];
    images.each(&members, &mut |i, pixels| {
        change(i).apply(pixels, images.width, table, &mut out[i * len..(i + 1) * len]);
    })?;
    let labels = members.iter().map(|index| u32::from(images.labels[*index])).collect();
    Ok(Batch {
        n,
        channels: images.channels,
        height: images.height,
        width: images.width,
        images: out,
        labels,
    })
}
