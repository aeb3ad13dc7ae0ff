//! Encoded images of the parts of a data set → their pixels, in memory or on disk, and the errors of all damaged images.
//!
//! All cores decode. The pixels have the order of the list, whatever thread decodes which image. Images that do not fit
//! the memory for images go through the same blocks in the same order, so that their identity is the same.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::passed;
use super::cache::{Cache, Keeping, Kept};
use super::decode::{Form, decode_into};
use super::disk::Disk;
use super::encoded::{Encoded, Layout, Listed};
use super::images::{Images, Moments, add_moments};
use super::many::refused;
use super::spec::{Loaded, Need, Reading};
use crate::error::{Error, Result};
use crate::host::{thread, threads};

/// Bytes of the pixels that are decoded together.
const BLOCK_BYTES: usize = 32 << 20;
/// Most images that a thread takes at once.
const MOST_TAKEN: usize = 256;
/// The flag that skips damaged files, for messages.
const SKIP: &str = "--skip-bad-images to go on without";

/// Hashes over the pixels and labels (little-endian), hexadecimal SHA-256.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sums {
    /// Over all parts.
    pub all: String,
    /// Over each part. Empty for a part without images.
    pub parts: [String; 3],
}

/// What is known of images on disk after all of them were read once.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Facts {
    sums: Sums,
    /// Moments of the channels of each part.
    moments: [Vec<Moments>; 3],
    /// Positions of the damaged images in the list of each part.
    bad: [Vec<usize>; 3],
}

/// A reading of encoded images.
pub(super) struct Gather<'a> {
    /// The place of the data.
    pub dir: &'a Path,
    pub encoded: Arc<dyn Encoded>,
    pub form: Form,
    pub reading: &'a Reading<'a>,
    /// Number of passed-over entries by kind.
    pub passed_over: BTreeMap<String, usize>,
    /// Errors about entries that the system refuses to read.
    pub unreadable: Vec<Error>,
}

/// Receives blocks of the pixels of a part `[n][C][H][W]`, with the indices of the damaged images in the block.
type Sink<'a> = &'a mut dyn FnMut(&[u8], &[usize]);

impl Gather<'_> {
    /// Reads the parts that are needed.
    pub fn load(mut self, layout: Layout) -> Result<Loaded> {
        let Layout { train, held_out, report, names } = layout;
        let is_reported = report.is_some();
        let all = self.reading.need == Need::All;
        let places = [Some(&train), Some(&held_out), report.as_ref()].into_iter().flatten();
        let places: Vec<String> = places.map(|part| part.place.clone()).collect();
        let lists = [
            if all { train.listed } else { vec![] },
            if all || !is_reported { held_out.listed } else { vec![] },
            report.map(|part| part.listed).unwrap_or_default(),
        ];
        let n_bytes = lists.iter().map(Vec::len).sum::<usize>().saturating_mul(self.image_len());
        // A set may name classes that have no images.
        let mut is_listed = vec![false; names.len()];
        lists[0].iter().for_each(|(_, class)| is_listed[usize::from(*class)] = true);
        let is_small = n_bytes as u64 <= self.reading.options.memory_bytes;
        let ([train, test, last], sums) =
            if is_small { (self.in_memory(&lists)?, None) } else { self.on_disk(&lists)? };

        let dir = self.dir;
        let damaged = |expected: String| {
            Err(Error::file(dir, None, expected, "only damaged ones", "replace the damaged files"))
        };
        train.labels.iter().for_each(|class| is_listed[usize::from(*class)] = false);
        if all && let Some(class) = is_listed.iter().position(|is_missing| *is_missing) {
            return damaged(format!("an image of the class {} to train on", names[class]));
        }
        let reported = if is_reported { &last } else { &test };
        if reported.n == 0 || (all && test.n == 0) {
            return damaged("images to hold out".into());
        }
        Ok(Loaded {
            train,
            test,
            report: is_reported.then_some(last),
            class_names: names,
            places,
            passed_over: self.passed_over,
            sums,
        })
    }

    fn image_len(&self) -> usize {
        self.form.channels * self.form.height * self.form.width
    }

    fn pass_over(&mut self, kind: &str, n: usize) {
        if n > 0 && !self.reading.options.before {
            *self.passed_over.entry(kind.to_owned()).or_default() += n;
        }
    }

    /// The cache, if the images of a part are worth keeping.
    fn cache(&self, listed: &Listed) -> Option<&Cache> {
        let bytes: u64 = listed.iter().map(|(at, _)| self.encoded.len(*at as usize)).sum();
        self.reading.options.cache.as_ref().filter(|cache| bytes > 0 && bytes >= cache.least_bytes)
    }

    fn keys(&self, lists: &[Listed; 3]) -> [String; 3] {
        lists.each_ref().map(|listed| Cache::key(self.dir, self.form, &*self.encoded, listed))
    }

    /// The kept images of each part. Parts with damaged images are decoded again unless these are skipped, so that
    /// their errors are known.
    fn kept(&self, lists: &[Listed; 3], keys: &[String; 3]) -> [Option<Kept>; 3] {
        let skip = self.reading.options.skip_bad;
        [0, 1, 2].map(|i| {
            let kept = self.cache(&lists[i])?.get(&keys[i], lists[i].len(), self.image_len())?;
            (kept.bad.is_empty() || skip).then_some(kept)
        })
    }

    fn in_memory(&mut self, lists: &[Listed; 3]) -> Result<[Images; 3]> {
        let keys = self.keys(lists);
        let kept = self.kept(lists, &keys);
        let counter =
            Counter::new(self.reading, (0..3).filter(|i| kept[*i].is_none()).map(|i| lists[i].len()));
        let mut bad = std::mem::take(&mut self.unreadable);
        let n_unreadable = bad.len();
        let mut out = Vec::new();
        for ((listed, key), kept) in lists.iter().zip(&keys).zip(kept) {
            let mut pixels = room(listed.len(), self.image_len(), self.form)?;
            let mut add = |block: &[u8], bad: &[usize]| {
                good(block, bad, self.image_len(), |image| pixels.extend_from_slice(image));
            };
            let (_, positions, errors) = self.part(listed, key, kept, &counter, &mut add)?;
            bad.extend(errors);
            self.pass_over_bad(positions.len());
            let labels = labels(listed, &positions);
            let Form { channels, height, width, .. } = self.form;
            out.push(Images { n: labels.len(), channels, height, width, pixels: pixels.into(), labels });
        }
        self.refuse(bad, n_unreadable)?;
        let mut out = out.into_iter();
        Ok([(); 3].map(|()| out.next().unwrap_or_default()))
    }

    fn on_disk(&mut self, lists: &[Listed; 3]) -> Result<([Images; 3], Option<Sums>)> {
        let keys = self.keys(lists);
        let mut kept = self.kept(lists, &keys);
        let all_keys = super::hexadecimal(Sha256::new_with_prefix(keys.concat()));
        let skip = self.reading.options.skip_bad;
        let cache = self.reading.options.cache.as_ref();
        let facts: Option<Facts> = cache.and_then(|cache| cache.facts(&all_keys));
        let facts = facts.filter(|facts| skip || facts.bad.iter().all(Vec::is_empty));
        let facts = match facts.filter(|_| self.unreadable.is_empty()) {
            Some(facts) => facts,
            None => {
                let (facts, now_kept, is_lasting) = self.read_once(lists, &keys, kept)?;
                kept = now_kept;
                if let Some(cache) = cache.filter(|_| is_lasting) {
                    cache.keep_facts(&all_keys, &facts);
                }
                facts
            }
        };
        let Form { channels, height, width, .. } = self.form;
        let (mut bad, mut moments) = (facts.bad.into_iter(), facts.moments.into_iter());
        let mut kept = kept.into_iter();
        let parts = lists.each_ref().map(|listed| {
            let bad = bad.next().unwrap_or_default();
            let labels = labels(listed, &bad);
            let mut bad = bad.into_iter().peekable();
            let positions = (0u32..).zip(listed).filter(|(i, _)| bad.next_if_eq(&(*i as usize)).is_none());
            let disk = Disk {
                kept: kept.next().flatten(),
                encoded: Arc::clone(&self.encoded),
                form: self.form,
                positions: positions.map(|(i, (at, _))| (i, *at)).collect(),
                moments: moments.next().unwrap_or_default(),
            };
            let pixels = super::Pixels::Disk(Arc::new(disk));
            (Images { n: labels.len(), channels, height, width, pixels, labels }, listed.len())
        });
        for (images, n) in &parts {
            self.pass_over_bad(n - images.n);
        }
        Ok((parts.map(|(images, _)| images), Some(facts.sums)))
    }

    /// Reads all images once, for facts about them. The result also has the kept files, and whether the facts will
    /// be the same next time.
    fn read_once(
        &mut self,
        lists: &[Listed; 3],
        keys: &[String; 3],
        kept: [Option<Kept>; 3],
    ) -> Result<(Facts, [Option<Kept>; 3], bool)> {
        let counter = Counter::new(self.reading, lists.iter().map(Vec::len));
        let mut errors = std::mem::take(&mut self.unreadable);
        let (n_unreadable, len) = (errors.len(), self.image_len());
        let mut all = Sha256::new();
        let mut facts = Facts {
            sums: Sums { all: String::new(), parts: Default::default() },
            moments: Default::default(),
            bad: Default::default(),
        };
        let (mut now_kept, mut is_lasting) = ([None, None, None], errors.is_empty());
        for (i, kept) in kept.into_iter().enumerate() {
            let (listed, mut part) = (&lists[i], Sha256::new());
            let mut moments = vec![(0, 0); self.form.channels];
            let mut add = |block: &[u8], bad: &[usize]| {
                good(block, bad, len, |images| {
                    all.update(images);
                    part.update(images);
                    add_moments(&mut moments, images, self.form.height * self.form.width);
                });
            };
            let (kept, bad, found) = self.part(listed, &keys[i], kept, &counter, &mut add)?;
            for label in labels(listed, &bad) {
                all.update(label.to_le_bytes());
                part.update(label.to_le_bytes());
            }
            is_lasting &= found.iter().all(|e| matches!(e, Error::File { .. }));
            errors.extend(found);
            if !listed.is_empty() {
                facts.sums.parts[i] = super::hexadecimal(part);
            }
            (facts.moments[i], facts.bad[i], now_kept[i]) = (moments, bad, kept);
        }
        facts.sums.all = super::hexadecimal(all);
        self.refuse(errors, n_unreadable)?;
        Ok((facts, now_kept, is_lasting))
    }

    /// Shows the pixels of a part to `sink`, from the kept file or decoded. Decoded images are kept. The result has the
    /// file of kept images, the positions of damaged images, and their errors.
    fn part(
        &self,
        listed: &Listed,
        key: &str,
        kept: Option<Kept>,
        counter: &Counter<'_>,
        sink: Sink<'_>,
    ) -> Result<(Option<Kept>, Vec<usize>, Vec<Error>)> {
        let (len, n) = (self.image_len(), listed.len());
        let per_block = (BLOCK_BYTES / len.max(1)).clamp(1, n.max(1));
        let mut block = room(per_block, len, self.form)?;
        if let Some(kept) = kept {
            let mut is_whole = true;
            for first in (0..n).step_by(per_block) {
                block.resize(per_block.min(n - first) * len, 0);
                is_whole &= kept.read(first, len, &mut block).is_some();
            }
            if is_whole {
                for first in (0..n).step_by(per_block) {
                    block.resize(per_block.min(n - first) * len, 0);
                    kept.read(first, len, &mut block);
                    sink(&block, &within(&kept.bad, first, block.len() / len));
                }
                let bad = kept.bad.clone();
                return Ok((Some(kept), bad, vec![]));
            }
        }
        let mut keeping = self.cache(listed).and_then(|cache| cache.begin(key, n, len));
        let (mut bad, mut errors) = (vec![], vec![]);
        for (first, listed) in (0..n).step_by(per_block).zip(listed.chunks(per_block)) {
            block.clear();
            block.resize(listed.len() * len, 0);
            let at: Vec<u32> = listed.iter().map(|(at, _)| *at).collect();
            let found = self.decode(&at, &mut block, counter);
            let here: Vec<usize> = found.iter().map(|(i, _)| *i).collect();
            sink(&block, &here);
            bad.extend(here.iter().map(|i| first + i));
            errors.extend(found.into_iter().map(|(_, e)| e));
            // A disk that is full ends the keeping, not the reading.
            if keeping.as_mut().is_some_and(|keeping| keeping.add(&block).is_err()) {
                keeping = None;
            }
        }
        // A file that the system refuses to read now may be readable later, so such a result is not kept.
        let is_lasting = errors.iter().all(|e| matches!(e, Error::File { .. }));
        let finish = |keeping: Keeping<'_>| keeping.finish(bad.clone()).ok();
        let kept = keeping.filter(|_| is_lasting && n > 0).and_then(finish);
        Ok((kept, bad, errors))
    }

    /// Decodes the images at `at` into `out`, on all threads, and returns the errors by index.
    fn decode(&self, at: &[u32], out: &mut [u8], counter: &Counter<'_>) -> Vec<(usize, Error)> {
        let (len, n_threads) = (self.image_len(), threads(self.reading.options.threads));
        let taken = (at.len() / (8 * n_threads)).clamp(1, MOST_TAKEN);
        let next = Mutex::new(at.chunks(taken).zip(out.chunks_mut(taken * len)).enumerate());
        let work = || {
            let mut errors = Vec::new();
            loop {
                let found = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((i, (at, out))) = found else { return errors };
                self.encoded.read(at, &mut |k, bytes| {
                    let (path, out) = (self.encoded.path(at[k] as usize), &mut out[k * len..(k + 1) * len]);
                    let done = bytes.and_then(|bytes| decode_into(&path, bytes, self.form, out));
                    errors.extend(done.err().map(|e| (i * taken + k, e)));
                    counter.add();
                });
            }
        };
        let mut errors: Vec<(usize, Error)> = thread::scope(|scope| {
            let others: Vec<_> =
                (1..n_threads.min(at.len().div_ceil(taken))).map(|_| scope.spawn(work)).collect();
            let mut errors = work();
            let done =
                others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            errors.extend(done.flatten());
            errors
        });
        errors.sort_by_key(|(i, _)| *i);
        errors
    }

    fn pass_over_bad(&mut self, n: usize) {
        if self.reading.options.skip_bad {
            self.pass_over(passed::BAD, n);
        }
    }

    /// One error about all damaged images and unreadable entries, unless they are skipped.
    fn refuse(&mut self, bad: Vec<Error>, n_unreadable: usize) -> Result<()> {
        if !self.reading.options.skip_bad && !bad.is_empty() {
            return Err(refused(self.dir, bad, SKIP));
        }
        self.pass_over(passed::UNREADABLE, n_unreadable);
        Ok(())
    }
}

/// Counts decoded images.
struct Counter<'a> {
    reading: &'a Reading<'a>,
    n_done: AtomicUsize,
    total: usize,
}

impl<'a> Counter<'a> {
    fn new(reading: &'a Reading<'a>, lengths: impl Iterator<Item = usize>) -> Self {
        Self { reading, n_done: AtomicUsize::new(0), total: lengths.sum() }
    }

    fn add(&self) {
        (self.reading.watch)(self.n_done.fetch_add(1, Ordering::Relaxed) + 1, self.total);
    }
}

/// An empty array with room for `n` images.
fn room(n: usize, image_len: usize, form: Form) -> Result<Vec<u8>> {
    let n_bytes = n.saturating_mul(image_len);
    let mut pixels = Vec::new();
    if pixels.try_reserve_exact(n_bytes).is_err() {
        return Err(Error::Memory {
            what: format!("{n} images of {}x{}", form.height, form.width),
            need_bytes: n_bytes as u64,
            have_bytes: 0,
            try_this: "a smaller --size, or fewer images".into(),
        });
    }
    Ok(pixels)
}

/// The positions in `bad` of `n` images from `first` on, counted from `first`.
fn within(bad: &[usize], first: usize, n: usize) -> Vec<usize> {
    bad.iter().filter(|at| (first..first + n).contains(at)).map(|at| at - first).collect()
}

/// Shows the images of `block` that are not in `bad`, in runs.
fn good(block: &[u8], bad: &[usize], image_len: usize, mut see: impl FnMut(&[u8])) {
    let mut first = 0;
    for at in bad.iter().copied().chain([block.len() / image_len.max(1)]) {
        see(&block[first * image_len..at * image_len]);
        first = at + 1;
    }
}

/// The labels of the images that are not in `bad`.
fn labels(listed: &Listed, bad: &[usize]) -> Vec<u16> {
    let mut bad = bad.iter().peekable();
    let good = listed.iter().enumerate().filter(|(i, _)| bad.next_if_eq(&i).is_none());
    good.map(|(_, (_, class))| *class).collect()
}
