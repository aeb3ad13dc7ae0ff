//! (network, batch) → launches in order, forward and backward.
//!
//! The layers run path by path (`route`, `forward`). Each op pushes its launch and, on a tape, the step that undoes
//! the op. The backward pass is the tape in reverse. The first contribution to a gradient writes the gradient, and
//! the others add to it.
//!
//! With `fuse`, batch norm and ReLU are views that consumers apply while loading. Batch norm's backward is stored once,
//! or (a form of the kernels) applied while its result is loaded. Convolutions of one kind that are ready at the same
//! time share a launch. Without `fuse`, every op is a launch by itself and stores its result. The tests compare the
//! fused form with this unfused form.

mod convolution;
mod forward;
mod head;
mod norm;
mod partial;
mod pool;
mod request;
mod route;
mod sum;
mod trunk;
mod value;
mod view;
mod wide;

use std::collections::{BTreeMap, BTreeSet};

use crate::Result;
use crate::kernel::{Buf, Launch};
use crate::ops::{Array, Map, Param, Tensor, Tuning, UNIFORM_BYTES, pack};
use partial::Partials;
pub use request::{Extent, Loss, Lowering, Memory, Mode, Request};
pub use trunk::Trunk;
use value::Value;
use wide::{Block, Wide, even};

/// The step that undoes an op: it passes on the gradient of the op's output.
type Backward = Box<dyn FnOnce(&mut Builder<'_>) -> Result<()>>;

struct Builder<'a> {
    request: Request<'a>,
    /// The part that is computed once for all children. `None` if the request is for a whole child.
    trunk: Option<Trunk>,
    launches: Vec<Launch>,
    /// Bytes of each tensor, by number.
    sizes: Vec<u64>,
    values: BTreeMap<Buf, Value>,
    tape: Vec<Backward>,
    partials: Partials,
    /// Weights that the child uses and their places in `Packed`; then the length of `Packed` in elements.
    copies: Vec<(Param, Param)>,
    packed: u32,
    /// Tensors that are computed again in the backward pass instead of being kept.
    recomputed: BTreeSet<u32>,
}

/// Result of lowering a request.
pub struct Lowered {
    /// Launches in order. Their tensors have no places yet.
    pub launches: Vec<Launch>,
    /// Bytes of each tensor, by number.
    pub sizes: Vec<u64>,
    /// Bytes of the packed weights.
    pub packed_bytes: u64,
    /// Index of the first launch of the backward pass, or the number of launches if there is no backward pass.
    pub backward: usize,
    /// Tensors written before `backward` that are computed again after it.
    pub recomputed: BTreeSet<u32>,
}

/// Lowers a request.
///
/// # Errors
/// [`crate::Error::Internal`] for a network that no op can compute.
pub fn lower(request: Request<'_>) -> Result<Lowered> {
    let trunk = Trunk::of(request.net, request.batch, &request.lowering);
    let mut b = Builder {
        request,
        trunk: trunk.filter(|_| request.extent != Extent::Whole),
        launches: Vec::new(),
        sizes: Vec::new(),
        values: BTreeMap::new(),
        tape: Vec::new(),
        partials: Partials::default(),
        copies: Vec::new(),
        packed: 0,
        recomputed: BTreeSet::new(),
    };
    forward::forward(&mut b)?;
    let forward = b.launches.len();
    if matches!(request.mode, Mode::Train | Mode::Factors) {
        for back in std::mem::take(&mut b.tape).into_iter().rev() {
            back(&mut b)?;
            b.flush_if_many();
        }
        b.flush();
    }
    let mut launches = pack::copy(&b.copies);
    let backward = launches.len() + forward;
    launches.append(&mut b.launches);
    Ok(Lowered {
        launches,
        sizes: b.sizes,
        packed_bytes: u64::from(b.packed) * 4,
        backward,
        recomputed: b.recomputed,
    })
}

impl Builder<'_> {
    fn fuse(&self) -> bool {
        self.request.lowering.fuse
    }

    fn tuning(&self) -> Tuning {
        self.request.lowering.tuning
    }

    /// Whether the plan computes gradients of weights. Otherwise the plan computes only the gradients that the
    /// gradients of the factors need.
    fn wants_weights(&self) -> bool {
        self.request.mode == Mode::Train
    }

    fn param(&self, name: &str) -> Param {
        self.request.layout.param(name)
    }

    fn push(&mut self, launch: Launch) {
        self.launches.push(launch);
    }

    /// Puts the step that undoes the last op on the tape.
    fn undo(&mut self, back: impl FnOnce(&mut Builder<'_>) -> Result<()> + 'static) {
        self.tape.push(Box::new(back));
    }

    /// Places in `Packed` for parameters that one kernel reads together. The places lie side by side. The result is a
    /// list of (place in `Packed`, place in v).
    fn pack(&mut self, names: &[String]) -> Vec<(Param, Param)> {
        self.packed = self.packed.next_multiple_of(64);
        let mut places = Vec::new();
        for name in names {
            let v = self.param(name);
            let there = Param { offset: self.packed, len: v.len };
            self.packed += v.len;
            self.copies.push((v, there));
            places.push((there, v));
        }
        places
    }

    fn array(&mut self, bytes: u64) -> Array {
        let bytes = bytes.max(16).next_multiple_of(16);
        self.sizes.push(bytes);
        Array { buf: Buf::Tensor(self.sizes.len() as u32 - 1), offset_bytes: 0, bytes }
    }

    /// Coefficients for `channels` channels.
    fn coefs_array(&mut self, channels: u32) -> Array {
        let array = self.array(u64::from(channels) * 16);
        match array.buf {
            Buf::Tensor(id) => Array { buf: Buf::Small(id), ..array },
            _ => array,
        }
    }

    fn tensor(&mut self, channels: u32, map: Map) -> Tensor {
        let mut tensor = Tensor { buf: Buf::V, channels, map };
        tensor.buf = self.array(tensor.bytes()).buf;
        tensor
    }

    /// Tensors for `channels` channels. Each tensor but the last has a multiple of `unit` channels, so that no unit
    /// is split.
    fn wide(&mut self, channels: u32, unit: u32, map: Map) -> Wide {
        // Rows of weights are read in quads, so each part has a multiple of four channels.
        let unit = if unit.is_multiple_of(4) { unit } else { 2 * unit };
        // Batch norm binds the coefficients of a tensor as one uniform.
        let most = self.fit(unit, map).min(((UNIFORM_BYTES / 16) as u32 / unit).max(1));
        let each = even(channels.div_ceil(unit), most) * unit;
        let firsts = (0..channels).step_by(each as usize);
        Wide::side_by_side(firsts.map(|first| self.tensor(each.min(channels - first), map)).collect())
    }

    /// Number of blocks of `channels` channels that fit a page, at least one. A block that does not fit is refused
    /// when it is placed.
    fn fit(&self, channels: u32, map: Map) -> u32 {
        let bytes = Tensor { buf: Buf::V, channels, map }.bytes();
        (self.request.lowering.page_bytes / bytes).max(1) as u32
    }

    /// Marks x as computed again in the backward pass. `is_cheap` says that computing x costs next to nothing: x is
    /// then always marked. Otherwise x is marked only to save memory.
    fn recompute(&mut self, x: Buf, is_cheap: bool) {
        if let Buf::Tensor(id) = x
            && (is_cheap || self.request.lowering.memory == Memory::Low)
        {
            self.recomputed.insert(id);
        }
    }

    fn is_recomputed(&self, x: Buf) -> bool {
        matches!(x, Buf::Tensor(id) if self.recomputed.contains(&id))
    }
}
