//! Global pooling, the linear layer and the loss.

use super::partial::Chunks;
use super::view::{Seen, gathered, materialise, view};
use super::{Builder, Mode};
use crate::error::Error;
use crate::kernel::{Buf, Range};
use crate::ops::head::{self, Linear, Targets};
use crate::ops::{Array, Tensor, View};

/// Weight of the auxiliary head's cross-entropy in the loss, as in the DARTS implementation.
pub const AUXILIARY_WEIGHT: f32 = 0.4;

/// Input of a linear layer.
#[derive(Clone, Copy)]
pub(super) enum Features {
    /// Globally pooled features, [C][N].
    Pooled(Array),
    /// One-pixel maps, [C][N][1][1].
    Maps(Tensor),
}

impl Features {
    /// The range that a linear layer reads, or whose gradient it writes.
    fn range(self) -> Range {
        match self {
            Self::Pooled(array) => array.range(),
            Self::Maps(tensor) => tensor.range(),
        }
    }
}

/// The mean of each channel and example.
pub(super) fn global_pool(b: &mut Builder<'_>, x: &Seen) -> Features {
    let mut views = Vec::new();
    for (at, block) in x.blocks() {
        let mut first = [block.first];
        let view = view(b, block.tensor, &mut first, block.len, x.relu);
        views.push((
            at,
            if first == [0] && view.x.channels == block.len {
                view
            } else {
                whole(b, view, first[0], block.len)
            },
        ));
    }
    let pooled = b.array(u64::from(x.channels) * u64::from(b.request.batch) * 4);
    for (first, x) in views {
        b.push(head::global_pool(&x, pooled, first));
        b.undo(move |b| {
            let (dx, add) = (b.gradient(x.x), b.is_written(x.x, 0));
            let Some(dpooled) = b.value(pooled.buf).features else {
                return Err(Error::internal("pooled features have no gradient"));
            };
            b.push(head::global_pool_backward(&x, dpooled, dx, add, first));
            b.mark(x.x.into());
            Ok(())
        });
    }
    Features::Pooled(pooled)
}

/// Copies some channels of a view into a tensor of their own.
fn whole(b: &mut Builder<'_>, view: View, first: u32, channels: u32) -> View {
    View { x: materialise(b, view, &[first], channels), coefs: None, relu: false }
}

/// Maps of one pixel as features.
pub(super) fn maps(b: &mut Builder<'_>, x: &Seen) -> Features {
    Features::Maps(gathered(b, x))
}

/// The linear layer `name` (the classifier or the auxiliary head) and the loss on its logits.
pub(super) fn classify(b: &mut Builder<'_>, name: &str, x: Features, c: u32, auxiliary: bool) {
    let n = b.request.batch;
    let (x_channel, x_example) = match x {
        Features::Pooled(_) => (n, 1),
        Features::Maps(tensor) => (tensor.map.pitch() * 4, 4),
    };
    let [weight, bias] = ["weight", "bias"].map(|part| b.param(&format!("{name}.{part}")));
    let k = bias.len;
    let op = Linear { n, c, k, x_channel, x_example, weight, bias };
    let bytes = (u64::from(n) * u64::from(k) * 4).next_multiple_of(16);
    let logits = Array { buf: Buf::Logits(u8::from(auxiliary)), offset_bytes: 0, bytes };
    let dlogits = b.array(bytes);
    let tuning = b.tuning();
    b.push(op.forward(x.range(), logits, &tuning));
    b.undo(move |b| {
        linear_back(b, op, x, dlogits);
        Ok(())
    });
    let weight = if auxiliary { b.request.lowering.loss.auxiliary } else { 1.0 };
    b.undo(move |b| {
        let targets =
            Targets { labels: labels(b), class_weights: class_weights(k), smoothing: label_smoothing(b) };
        b.push(head::cross_entropy_backward(n, k, logits, targets, dlogits, weight / n as f32));
        Ok(())
    });
    if !auxiliary {
        let len_bytes = (u64::from(n) * 8).next_multiple_of(16);
        let result = Range { buf: Buf::Results, offset_bytes: 0, len_bytes };
        b.push(head::cross_entropy(n, k, logits, labels(b), result, label_smoothing(b)));
    }
}

fn linear_back(b: &mut Builder<'_>, op: Linear, x: Features, dlogits: Array) {
    if b.wants_weights() {
        let (partial, first) = b.partial(op.k * op.c + op.k);
        b.push(op.backward_weight(x.range(), dlogits, partial));
        let sum = |first| Chunks { first, count: 1, stride: 0 };
        b.reduction(sum(first), op.k * op.c, op.weight, None);
        b.reduction(sum(first + op.k * op.c), op.k, op.bias, None);
    }
    let dx = match x {
        Features::Pooled(pooled) => {
            let dpooled = b.array(pooled.bytes);
            b.value(pooled.buf).features = Some(dpooled);
            dpooled.range()
        }
        Features::Maps(maps) => {
            b.mark(maps.into());
            b.gradient(maps).range()
        }
    };
    b.push(op.backward_data(dlogits, dx));
}

fn labels(b: &Builder<'_>) -> Range {
    let len_bytes = (u64::from(b.request.batch) * 4).next_multiple_of(16);
    Range { buf: Buf::Labels(b.request.input), offset_bytes: 0, len_bytes }
}

fn class_weights(n_classes: u32) -> Range {
    let len_bytes = (u64::from(n_classes) * 4).next_multiple_of(16);
    Range { buf: Buf::ClassWeights, offset_bytes: 0, len_bytes }
}

/// Label smoothing of the loss. Only training smooths labels; the other modes ask for the plain likelihood.
fn label_smoothing(b: &Builder<'_>) -> f32 {
    if b.request.mode == Mode::Train { b.request.lowering.loss.label_smoothing } else { 0.0 }
}
