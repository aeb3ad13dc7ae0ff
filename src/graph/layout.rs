//! Parameter names and shapes → places in the one buffer `v`, and conversion of values in both directions.
//!
//! Names and shapes are those of the space's published PyTorch modules. In `v` each tensor starts at a multiple of 256
//! bytes. Rows of convolution weights (one row per output channel) are padded with zeros to whole quads, because the
//! kernels load quads. Gradient and momentum have the same layout. Running statistics have their own buffer.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::network::{ParamRole, ParamSpec};
use crate::ops::Param;

/// Elements between the starts of tensors: 256 bytes.
const ALIGN: u32 = 64;

/// One named tensor and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name and shape in PyTorch, and the role.
    pub spec: ParamSpec,
    /// Place in `v` (trained parameters) or in the state buffer (running statistics).
    pub param: Param,
    /// Elements per row in PyTorch, and in `v`.
    pub row: (u32, u32),
}

/// All tensors of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    entries: BTreeMap<String, Entry>,
    order: Vec<String>,
    /// Elements of `v`.
    pub v_len: u32,
    /// Elements of the state buffer.
    pub state_len: u32,
}

impl Layout {
    /// Lays the tensors out in their order.
    ///
    /// Errors: [`Error::Memory`] if `v` would not fit 32-bit indices.
    pub fn new(params: Vec<ParamSpec>) -> Result<Self> {
        let (mut v_len, mut state_len) = (0u64, 0u64);
        let mut entries = BTreeMap::new();
        let mut order = Vec::new();
        for spec in params {
            let conv = spec.shape.len() == 4;
            let len = spec.len() as u64;
            let row = if conv { spec.shape[1..].iter().product::<usize>() as u64 } else { len.max(1) };
            let padded = if conv { row.next_multiple_of(4) } else { row };
            let total = len / row * padded;
            let end = if spec.role.is_trained() { &mut v_len } else { &mut state_len };
            let param = Param { offset: *end as u32, len: total as u32 };
            *end = (*end + total).next_multiple_of(u64::from(ALIGN));
            if *end > u64::from(u32::MAX / 8) {
                return Err(Error::Memory {
                    what: "the shared weights".into(),
                    need_bytes: *end * 4,
                    have_bytes: u64::from(u32::MAX / 2),
                    try_this: "fewer --channels or --layers".into(),
                });
            }
            order.push(spec.name.clone());
            entries.insert(spec.name.clone(), Entry { spec, param, row: (row as u32, padded as u32) });
        }
        let (v_len, state_len) = (v_len as u32, (state_len as u32).max(ALIGN));
        Ok(Self { entries, order, v_len, state_len })
    }

    /// The entry called `name`.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The place of the tensor `name`. A missing name is a bug of the caller, so this function panics.
    pub fn param(&self, name: &str) -> Param {
        match self.entries.get(name) {
            Some(entry) => entry.param,
            None => panic!("the network has no parameter {name}"),
        }
    }

    /// Entries in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.order.iter().map(|name| (name.as_str(), &self.entries[name]))
    }

    /// Trained parameters in the order of registration.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.iter().filter(|(_, e)| e.spec.role.is_trained())
    }

    /// Running means and variances in the order of registration.
    pub fn running(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let is_running = |r| matches!(r, ParamRole::RunningMean | ParamRole::RunningVar);
        self.iter().filter(move |(_, e)| is_running(e.spec.role))
    }
}

impl Entry {
    /// Copies values in PyTorch's layout into `buffer` (all of `v`, or all of the state buffer).
    pub fn pack(&self, values: &[f32], buffer: &mut [f32]) {
        let (row, padded) = (self.row.0 as usize, self.row.1 as usize);
        let target = &mut buffer[self.param.offset as usize..][..self.param.len as usize];
        for (from, to) in values.chunks_exact(row).zip(target.chunks_exact_mut(padded)) {
            to[..row].copy_from_slice(from);
        }
    }

    /// Reads the values from `buffer`, in PyTorch's layout.
    pub fn unpack(&self, buffer: &[f32]) -> Vec<f32> {
        let (row, padded) = (self.row.0 as usize, self.row.1 as usize);
        let source = &buffer[self.param.offset as usize..][..self.param.len as usize];
        source.chunks_exact(padded).flat_map(|r| &r[..row]).copied().collect()
    }
}
