//! (network, genotype, batch) → dispatches in order, forward and backward.
//!
//! The forward pass is walked cell by cell (`forward`) and leaves a tape of steps; the backward pass is
//! the tape in reverse (`backward`). Fusion happens here and nowhere else: with `fuse`, batch norm and
//! ReLU are views that consumers apply while loading, batch norm's backward is applied while its result
//! is loaded, and convolutions of one kind that are ready at the same time share a dispatch. Without it,
//! every op stands alone and stores its result: the plain form that the fused one is tested against.

mod backward;
mod cell;
mod chains;
mod forward;
mod head;
mod mixed;
mod request;
mod tape;
mod trunk;
mod wide;

use std::collections::{BTreeMap, BTreeSet};

use crate::kernel::{Buf, Dispatch, Range};
use crate::ops::batch_norm::BatchNorm;
use crate::ops::{Array, Map, Param, Tensor, Tuning, View, elementwise, pack, reduce};
pub use request::{Extent, Loss, Lowering, Memory, Mode, Request};
use tape::{Features, Step};
pub use trunk::Trunk;

/// Where the gradient of a block of channels is to be found.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Alias {
    first: u32,
    channels: u32,
    tensor: Tensor,
    channel: u32,
    multiplier: f32,
    drop: Option<u32>,
}

/// A gradient and which of its channels hold something already.
struct Gradient {
    tensor: Tensor,
    written: Vec<bool>,
}

struct Builder<'a> {
    request: Request<'a>,
    /// What is computed apart, where the request is for less than a whole child.
    trunk: Option<Trunk>,
    dispatches: Vec<Dispatch>,
    sizes: Vec<u64>,
    tape: Vec<Step>,
    /// Batch-norm coefficients by tensor.
    coefs: BTreeMap<Buf, Array>,
    /// Without fusion: norm(x) made real, by tensor x.
    normed: BTreeMap<Buf, Tensor>,
    /// Gradients that are those of another tensor's channels, by tensor.
    aliases: BTreeMap<Buf, Vec<Alias>>,
    gradients: BTreeMap<Buf, Gradient>,
    /// Coefficients of batch norm's backward pass by tensor.
    grad_coefs: BTreeMap<Buf, Array>,
    /// Results of batch norm's backward pass by tensor, where they are stored.
    stored: BTreeMap<Buf, Tensor>,
    /// Gradients of pooled features, by array.
    array_gradients: BTreeMap<Buf, Array>,
    /// Partial sums of weight gradients since the last flush: the array's number, its length in elements.
    partial: Option<(u32, u32)>,
    reductions: Vec<reduce::Task>,
    /// Weights that the child uses and their places in `Packed`, and that buffer's length in elements.
    copies: Vec<(Param, Param)>,
    packed: u32,
    /// Tensors that the backward pass computes again instead of having them kept.
    again: BTreeSet<u32>,
}

/// What a request is lowered to.
pub struct Lowered {
    /// Launches in order, on tensors that are not placed yet.
    pub dispatches: Vec<Dispatch>,
    /// Bytes of each tensor, by number.
    pub sizes: Vec<u64>,
    /// Bytes of the packed weights.
    pub packed_bytes: u64,
    /// The first launch of the backward pass, or how many launches there are.
    pub backward: usize,
    /// Tensors, written before `backward`, that are to be computed again after it.
    pub again: BTreeSet<u32>,
}

/// Lowers a request.
pub fn lower(request: Request<'_>) -> Lowered {
    let trunk = Trunk::of(request.spec, request.batch, &request.lowering);
    let mut b = Builder {
        request,
        trunk: trunk.filter(|_| request.extent != Extent::Whole),
        dispatches: Vec::new(),
        sizes: Vec::new(),
        tape: Vec::new(),
        coefs: BTreeMap::new(),
        normed: BTreeMap::new(),
        aliases: BTreeMap::new(),
        gradients: BTreeMap::new(),
        grad_coefs: BTreeMap::new(),
        stored: BTreeMap::new(),
        array_gradients: BTreeMap::new(),
        partial: None,
        reductions: Vec::new(),
        copies: Vec::new(),
        packed: 0,
        again: BTreeSet::new(),
    };
    b.know_trunk();
    b.forward();
    let forward = b.dispatches.len();
    if matches!(request.mode, Mode::Train | Mode::Factors) {
        b.backward();
    }
    let mut dispatches = pack::copy(&b.copies);
    let backward = dispatches.len() + forward;
    dispatches.append(&mut b.dispatches);
    Lowered { dispatches, sizes: b.sizes, packed_bytes: u64::from(b.packed) * 4, backward, again: b.again }
}

impl Builder<'_> {
    fn fuse(&self) -> bool {
        self.request.lowering.fuse
    }

    fn tuning(&self) -> Tuning {
        self.request.lowering.tuning
    }

    fn param(&self, name: &str) -> Param {
        self.request.layout.param(name)
    }

    /// Places in `Packed` for parameters that one kernel reads together: (there, in v), side by side.
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

    /// Coefficients of `channels` channels.
    fn coefs_array(&mut self, channels: u32) -> Array {
        let array = self.array(u64::from(channels) * 16);
        match array.buf {
            Buf::Tensor(id) => Array { buf: Buf::Small(id), ..array },
            _ => array,
        }
    }

    fn push(&mut self, dispatch: Dispatch) {
        self.dispatches.push(dispatch);
    }

    fn array(&mut self, bytes: u64) -> Array {
        let bytes = bytes.max(16).next_multiple_of(16);
        self.sizes.push(bytes);
        Array { buf: Buf::Tensor(self.sizes.len() as u32 - 1), offset_bytes: 0, bytes }
    }

    fn tensor(&mut self, channels: u32, map: Map) -> Tensor {
        let mut tensor = Tensor { buf: Buf::V, channels, map };
        tensor.buf = self.array(tensor.bytes()).buf;
        tensor
    }

    /// x is computed again in the backward pass: always if that costs next to nothing, or to save memory.
    fn again(&mut self, x: Buf, for_nothing: bool) {
        if let Buf::Tensor(id) = x
            && (for_nothing || self.request.lowering.memory == Memory::Low)
        {
            self.again.insert(id);
        }
    }

    fn is_again(&self, x: Buf) -> bool {
        matches!(x, Buf::Tensor(id) if self.again.contains(&id))
    }

    /// What consumers of x see of its batch norm: x itself, read through coefficients, or norm(x).
    fn seen(&self, x: Tensor) -> Tensor {
        self.normed.get(&x.buf).copied().unwrap_or(x)
    }

    /// A way to read blocks of `channels` channels of x, normalised and with ReLU on request.
    ///
    /// Without fusion ReLU makes a new tensor of the blocks; `sources` then say where they are in it.
    fn view(&mut self, x: Tensor, sources: &mut [u32], channels: u32, relu: bool) -> View {
        let x = self.seen(x);
        let view = View { x, coefs: self.coefs.get(&x.buf).copied(), relu };
        if self.fuse() || !relu {
            return view;
        }
        let mut distinct: Vec<u32> = sources.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let y = self.materialise(view, &distinct, channels);
        for source in sources {
            let at = distinct.iter().position(|d| d == source).unwrap_or_default();
            *source = at as u32 * channels;
        }
        View { x: y, coefs: None, relu: false }
    }

    /// A tensor with the values of blocks of a view, side by side.
    fn materialise(&mut self, view: View, sources: &[u32], channels: u32) -> Tensor {
        let y = self.tensor(sources.len() as u32 * channels, view.x.map);
        let blocks: Vec<(u32, u32)> =
            (0..).map(|i| i * channels).zip(sources).map(|(to, s)| (*s, to)).collect();
        for &(from, to) in &blocks {
            self.push(elementwise::apply(&view, from, y, to, channels));
        }
        self.tape.push(Step::Apply { view, y, blocks, channels });
        y
    }

    /// Batch norm of blocks of channels of x: afterwards `view` reads them normalised.
    fn norm(&mut self, x: Tensor, first: u32, block: u32, blocks: Vec<crate::ops::batch_norm::Norm>) {
        let coefs = match self.coefs.get(&x.buf) {
            Some(coefs) => *coefs,
            None => self.coefs_array(x.channels),
        };
        let state_bytes = u64::from(self.request.layout.state_len) * 4;
        let state = Range { buf: Buf::State, offset_bytes: 0, len_bytes: state_bytes };
        let op = BatchNorm { x, coefs, first, block, blocks, state };
        if self.request.mode == Mode::Evaluate {
            self.push(op.from_running());
        } else {
            let partial = self.array(op.partial_bytes());
            let tuning = self.tuning();
            self.dispatches.extend(op.forward(partial, &tuning));
        }
        self.coefs.insert(x.buf, coefs);
        if !self.fuse() {
            let y = match self.normed.get(&x.buf) {
                Some(y) => *y,
                None => self.tensor(x.channels, x.map),
            };
            self.normed.insert(x.buf, y);
            let view = View { x, coefs: Some(coefs), relu: false };
            let channels = op.channels();
            self.push(elementwise::apply(&view, first, y, first, channels));
        }
        self.tape.push(Step::Norm(op));
    }
}
