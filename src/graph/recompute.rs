//! Tensors of the forward pass that are computed again in the backward pass instead of being kept.
//!
//! The launches that wrote such a tensor are repeated before the first launch of the backward pass that binds the
//! tensor. They write a new tensor. They are the same kernels on the same operands, so the new tensor has the same
//! bits. If their operands were not kept either, the operands are computed again first. Coefficients of batch norms
//! are always kept.

use std::collections::{BTreeMap, BTreeSet};

use super::lower::Lowered;
use crate::Result;
use crate::kernel::{Buf, Launch, Range, kernel};

/// Repeats the launches that `lowered.again` asks for.
///
/// # Errors
/// [`crate::Error::Kernel`] for a launch of a kernel that does not exist.
pub fn recompute(lowered: Lowered) -> Result<Lowered> {
    let Lowered { launches, sizes, packed_bytes, backward, recomputed } = lowered;
    let (before, after) = launches.split_at(backward);
    let mut writers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, d) in before.iter().enumerate() {
        for id in outputs(d)?.into_iter().filter(|id| recomputed.contains(id)) {
            writers.entry(id).or_default().push(i);
        }
    }
    let mut work = Work { before, writers, copies: BTreeMap::new(), sizes, out: before.to_vec() };
    for d in after {
        let d = work.renamed(d)?;
        work.out.push(d);
    }
    Ok(Lowered { backward, recomputed, packed_bytes, launches: work.out, sizes: work.sizes })
}

/// The tensors that a launch writes, according to its shader.
fn outputs(d: &Launch) -> Result<Vec<u32>> {
    let entry = kernel(d.shader)?.entry(d.entry)?;
    let tensor = |(name, range): &(&str, Range)| match range.buf {
        Buf::Tensor(id) if entry.writes(name) => Some(id),
        _ => None,
    };
    Ok(d.bindings.iter().filter_map(tensor).collect())
}

struct Work<'a> {
    before: &'a [Launch],
    /// For each tensor that is not kept, the launches that write it.
    writers: BTreeMap<u32, Vec<usize>>,
    /// For each tensor that is not kept, the tensor that replaces it in the backward pass.
    copies: BTreeMap<u32, u32>,
    sizes: Vec<u64>,
    out: Vec<Launch>,
}

impl Work<'_> {
    /// The launch with tensors that are not kept replaced by their copies. The copies are computed first.
    fn renamed(&mut self, d: &Launch) -> Result<Launch> {
        let mut d = d.clone();
        for (_, range) in &mut d.bindings {
            if let Buf::Tensor(id) = range.buf {
                range.buf = Buf::Tensor(self.copy_of(id)?);
            }
        }
        Ok(d)
    }

    fn copy_of(&mut self, id: u32) -> Result<u32> {
        if !self.writers.contains_key(&id) {
            return Ok(id);
        }
        if !self.copies.contains_key(&id) {
            self.compute(id)?;
        }
        Ok(self.copies[&id])
    }

    /// Computes `id` again, with the other tensors that the same launches write and that are not kept.
    fn compute(&mut self, id: u32) -> Result<()> {
        let (mut ids, mut launches) = (BTreeSet::new(), BTreeSet::new());
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            if ids.insert(id) {
                let here = &self.writers[&id];
                launches.extend(here.iter().copied());
                for &i in here {
                    let others = outputs(&self.before[i])?;
                    waiting.extend(others.into_iter().filter(|id| self.writers.contains_key(id)));
                }
            }
        }
        for id in ids {
            let copy = self.like(id);
            self.copies.insert(id, copy);
        }
        for i in launches {
            let mut d = self.renamed(&self.before[i])?;
            let (entry, written) = (kernel(d.shader)?.entry(d.entry)?, outputs(&self.before[i])?);
            // A tensor that is kept must not be written again, so the launch writes a spare tensor instead.
            for (_, range) in d.bindings.iter_mut().filter(|(name, _)| entry.writes(name)) {
                if let Buf::Tensor(id) = range.buf
                    && written.contains(&id)
                {
                    range.buf = Buf::Tensor(self.like(id));
                }
            }
            self.out.push(d);
        }
        Ok(())
    }

    /// A new tensor of the size of another.
    fn like(&mut self, id: u32) -> u32 {
        self.sizes.push(self.sizes[id as usize]);
        self.sizes.len() as u32 - 1
    }
}
