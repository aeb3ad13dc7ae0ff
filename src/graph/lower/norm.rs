//! Batch norm. The forward pass computes statistics and coefficients, which consumers apply while reading. The backward
//! pass computes sums and coefficients.

use super::partial::Chunks;
use super::{Block, Builder, Mode};
use crate::error::{Error, Result};
use crate::kernel::{Buf, Range};
use crate::network::{Kind, Layer};
use crate::ops::batch_norm::{BatchNorm, GradSource, Norm};
use crate::ops::{GradView, Tensor, View, elementwise};

/// The batch norm of a layer, with the parameters of the layer that are in the layout.
pub(super) fn of_layer(b: &Builder<'_>, layer: &Layer) -> Norm {
    let Kind::Norm { affine: true, .. } = layer.kind else { return Norm::Plain };
    let [gamma, beta] = ["weight", "bias"].map(|what| b.param(&format!("{}.{what}", layer.name)));
    let layout = b.request.layout;
    let place = |what: &str| layout.get(&format!("{}.running_{what}", layer.name)).map(|e| e.param.offset);
    let running = place("mean").zip(place("var")).map(|(mean, var)| [mean, var]);
    Norm::Affine { gamma, beta, running }
}

/// Batch norm of the blocks of x. Afterwards views read x normalised. `store` says that the kernel that wrote x
/// cannot apply batch norm's backward while loading.
pub(super) fn norm(b: &mut Builder<'_>, x: Tensor, blocks: Vec<Norm>, store: bool) {
    let coefs = match b.coefs(x.buf) {
        Some(coefs) => coefs,
        None => b.coefs_array(x.channels),
    };
    let state_bytes = u64::from(b.request.layout.state_len) * 4;
    let state = Range { buf: Buf::State, offset_bytes: 0, len_bytes: state_bytes };
    let op = BatchNorm { x, coefs, first: 0, block: x.channels / blocks.len() as u32, blocks, state };
    if b.request.mode == Mode::Evaluate {
        b.push(op.from_running());
    } else {
        let partial = b.array(op.partial_bytes());
        let tuning = b.tuning();
        b.launches.extend(op.forward(partial, &tuning));
    }
    b.value(x.buf).coefs = Some(coefs);
    if !b.fuse() {
        let y = b.tensor(x.channels, x.map);
        b.value(x.buf).normed = Some(y);
        let view = View { x, coefs: Some(coefs), relu: false };
        b.push(elementwise::apply(&view, 0, y, 0, x.channels));
    }
    b.undo(move |b| backward(b, &op, store));
}

fn backward(b: &mut Builder<'_>, op: &BatchNorm, store: bool) -> Result<()> {
    let seen = b.seen(op.x);
    let (dz, drop) = b.raw_gradient(seen)?;
    let aliased = b.alias(seen, 0).is_some();
    let mut sources = Vec::new();
    for i in 0..op.blocks.len() as u32 {
        let first = i * op.block;
        sources.push(match b.alias(seen, first) {
            Some(a) => GradSource { channel: a.channel, multiplier: a.multiplier, drop: a.drop.unwrap_or(0) },
            None if aliased => return Err(Error::internal("a block of a tensor has no gradient")),
            None => GradSource { channel: first, multiplier: 1.0, drop: 0 },
        });
        // Nothing reads this block, so its gradient is zero.
        if !aliased && !b.is_written(seen, first) {
            b.push(elementwise::clear(dz, first, op.block));
            b.mark(Block { tensor: seen, first, len: op.block });
        }
    }
    let grad_coefs = b.coefs_array(op.x.channels);
    b.value(op.x.buf).grad_coefs = Some(grad_coefs);
    let g = GradView { dz, bn: Some(grad_coefs), drop };

    let affine = b.wants_weights() && op.blocks.iter().any(|block| matches!(block, Norm::Affine { .. }));
    let dparams = if affine {
        let (dparams, first) = b.partial(2 * op.channels());
        for (i, block) in (0..).zip(&op.blocks) {
            if let Norm::Affine { gamma, beta, .. } = block {
                let sum = |first| Chunks { first, count: 1, stride: 0 };
                b.reduction(sum(first + i * op.block), op.block, *gamma, None);
                b.reduction(sum(first + op.channels() + i * op.block), op.block, *beta, None);
            }
        }
        dparams
    } else {
        b.array(op.dparams_bytes())
    };
    let partial = b.array(op.partial_bytes());
    let tuning = b.tuning();
    b.launches.extend(op.backward(&g, &sources, partial, dparams, &tuning));
    if store || !b.fuse() || tuning.stored_dy == 1 {
        // The result is not stored in place, because several operations may read one dz.
        let dx = b.tensor(op.x.channels, op.x.map);
        b.value(op.x.buf).dy = Some(dx);
        b.push(op.backward_apply(&g, &sources, dx));
    }
    Ok(())
}
