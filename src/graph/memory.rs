//! Launches on named tensors → the same launches on ranges of pages.
//!
//! The bindings show when a tensor is first and last used, and tensors whose lives do not overlap share memory.
//! Tensors are placed largest first, each at the lowest free offset of the first page with room. Another order is
//! used if it needs less memory. Pages hold at most 128 MiB, the largest range that every WebGPU adapter can bind.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::kernel::{Buf, Launch};
use crate::ops::{BINDING_BYTES, UNIFORM_BYTES};

/// Most workgroups along one axis of a grid.
const MOST_WORKGROUPS: u32 = 65_535;

/// Largest page in bytes: the largest range that every adapter can bind.
pub const PAGE_BYTES: u64 = BINDING_BYTES;

/// The place of a tensor, and its life (indices of launches, both inclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Number of the page.
    pub page: u16,
    /// First byte in the page.
    pub offset_bytes: u64,
    /// Length in bytes.
    pub len_bytes: u64,
    /// First launch that binds the tensor.
    pub first: usize,
    /// Last launch that binds the tensor.
    pub last: usize,
}

/// The layout of all tensors of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Regions {
    /// Region of each tensor, by tensor number.
    pub regions: BTreeMap<u32, Region>,
    /// Bytes of each page.
    pub pages: Vec<u64>,
    /// Bytes of all coefficients. Coefficients are small and never share memory.
    pub coefs_bytes: u64,
}

impl Regions {
    /// Bytes of all pages.
    pub fn arena_bytes(&self) -> u64 {
        self.pages.iter().sum()
    }
}

/// Lays out the tensors of `launches` (`sizes` in bytes, by tensor number) in pages of at most `page_bytes`
/// and rewrites their bindings.
///
/// Errors: [`Error::Memory`] if a tensor is larger than a page, or if a launch needs more than every adapter can bind
/// or launch.
pub fn place(launches: &mut [Launch], sizes: &[u64], page_bytes: u64) -> Result<Regions> {
    let mut lives: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (i, d) in launches.iter().enumerate() {
        for (_, range) in &d.bindings {
            if let Buf::Tensor(id) = range.buf {
                lives.entry(id).or_insert((i, i)).1 = i;
            }
        }
    }
    if let Some(len_bytes) = lives.keys().map(|id| sizes[*id as usize]).find(|len| *len > page_bytes) {
        let try_this = "a smaller --batch or fewer --channels";
        return Err(too_large("one tensor of the network", len_bytes, page_bytes, try_this));
    }
    let mut out = layout(&lives, sizes, page_bytes);
    let mut smalls: BTreeMap<u32, u64> = BTreeMap::new();
    for d in launches {
        check(d)?;
        for (_, range) in &mut d.bindings {
            match range.buf {
                Buf::Tensor(id) => {
                    let region = out.regions[&id];
                    range.buf = Buf::Page(region.page);
                    range.offset_bytes += region.offset_bytes;
                }
                Buf::Small(id) => {
                    let offset = *smalls.entry(id).or_insert_with(|| {
                        let offset = out.coefs_bytes;
                        out.coefs_bytes += sizes[id as usize].next_multiple_of(256);
                        offset
                    });
                    range.buf = Buf::Coefs;
                    range.offset_bytes += offset;
                }
                _ => {}
            }
        }
    }
    Ok(out)
}

/// Checks that every adapter can launch `d` and bind its ranges.
fn check(d: &Launch) -> Result<()> {
    let too_much = |what, found: u64, most: u64| Err(too_large(what, found, most, "fewer --channels"));
    let most = d.grid.into_iter().max().unwrap_or(0);
    if most > MOST_WORKGROUPS {
        return too_much("the workgroups of one kernel", most.into(), MOST_WORKGROUPS.into());
    }
    for (_, range) in &d.bindings {
        if range.len_bytes > BINDING_BYTES {
            return too_much("what one kernel reads or writes", range.len_bytes, BINDING_BYTES);
        }
        // Coefficients are read as uniforms, and so are packed weights after the packing itself.
        let is_uniform = matches!(range.buf, Buf::Small(_) | Buf::Identity)
            || (range.buf == Buf::Packed && d.shader != "pack");
        if is_uniform && range.len_bytes > UNIFORM_BYTES {
            return too_much("the weights that one kernel reads", range.len_bytes, UNIFORM_BYTES);
        }
    }
    Ok(())
}

/// Places the tensors in two orders, and takes the order that needs less memory: largest first, and largest product
/// of size and life first.
fn layout(lives: &BTreeMap<u32, (usize, usize)>, sizes: &[u64], page_bytes: u64) -> Regions {
    let size = |id: u32| sizes[id as usize].next_multiple_of(256);
    let longest = |id: u32| {
        let (first, last) = lives[&id];
        size(id) * (last - first + 1) as u64
    };
    let by_size = in_order(lives, page_bytes, &size, &size);
    let by_area = in_order(lives, page_bytes, &longest, &size);
    if by_area.arena_bytes() < by_size.arena_bytes() { by_area } else { by_size }
}

/// Places one tensor after another, largest key first, at the lowest free offset of the first page with room.
fn in_order(
    lives: &BTreeMap<u32, (usize, usize)>,
    page_bytes: u64,
    key: &dyn Fn(u32) -> u64,
    size: &dyn Fn(u32) -> u64,
) -> Regions {
    let mut order: Vec<u32> = lives.keys().copied().collect();
    // The sort is stable: equal keys keep the order of creation, so that equal inputs give equal plans.
    order.sort_by_key(|id| std::cmp::Reverse(key(*id)));
    let mut out = Regions::default();
    for id in order {
        let len_bytes = size(id);
        let (first, last) = lives[&id];
        let (page, offset_bytes) = (0..)
            .find_map(|page| Some((page, free_offset(&out, page, page_bytes, len_bytes, (first, last))?)))
            .unwrap_or_default();
        if out.pages.len() == usize::from(page) {
            out.pages.push(0);
        }
        let end = &mut out.pages[usize::from(page)];
        *end = (*end).max(offset_bytes + len_bytes);
        out.regions.insert(id, Region { page, offset_bytes, len_bytes, first, last });
    }
    out
}

fn too_large(what: &str, need_bytes: u64, have_bytes: u64, try_this: &str) -> Error {
    Error::Memory { what: what.into(), need_bytes, have_bytes, try_this: try_this.into() }
}

/// The lowest offset of `page` where `len` bytes are free during `life`.
fn free_offset(out: &Regions, page: u16, page_bytes: u64, len: u64, life: (usize, usize)) -> Option<u64> {
    let alive = out.regions.values().filter(|r| r.page == page && r.first <= life.1 && life.0 <= r.last);
    let mut taken: Vec<(u64, u64)> = alive.map(|r| (r.offset_bytes, r.offset_bytes + r.len_bytes)).collect();
    taken.sort_unstable();
    let mut offset = 0;
    for (start, end) in taken {
        if offset + len <= start {
            break;
        }
        offset = offset.max(end);
    }
    (offset + len <= page_bytes).then_some(offset)
}
