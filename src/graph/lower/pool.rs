//! Pools: 3x3 windows of groups of operations, and the pool of the auxiliary head.

use super::view::{Seen, plain, view};
use super::{Block, Builder, Wide};
use crate::Result;
use crate::network::Window;
use crate::ops::pool::{self, Pool};
use crate::ops::window_pool::WindowPool;
use crate::ops::{Map, Tensor};

/// Pools of the values x into blocks of y from `targets` on.
pub(super) fn pool(
    b: &mut Builder<'_>,
    x: &Seen,
    (y, targets): (Tensor, &[u32]),
    max: bool,
    window: Window,
) -> Result<()> {
    let (tensor, mut firsts) = x.single()?;
    let c = x.channels;
    let x = view(b, tensor, &mut firsts, c, x.relu);
    let bytes = Pool::index_bytes(y, c * targets.len() as u32);
    let index = max.then(|| b.array(bytes));
    if let Some(index) = index {
        // One launch writes both y and the taps, so the taps are computed again if y is.
        b.recompute(index.buf, b.is_recomputed(y.buf));
    }
    let task = |(&source, &target): (&u32, &u32)| pool::Task { source, target, dz: 0, drop: 0 };
    let tasks = firsts.iter().zip(targets).map(task).collect();
    let mut op = Pool { max, stride: window.stride as u32, channels: c, x, y, index, tasks };
    b.push(op.forward(&b.tuning()));
    b.undo(move |b| {
        let g = b.grad_view(op.y)?;
        for task in &mut op.tasks {
            (task.dz, task.drop) = b.grad_channel(op.y, task.target);
        }
        let dx = b.gradient(op.x.x);
        let launch = op.backward(&g, dx, |s| b.is_written(op.x.x, s), &b.tuning());
        b.push(launch);
        for task in &op.tasks {
            b.mark(Block { tensor: op.x.x, first: task.source, len: op.channels });
        }
        Ok(())
    });
    Ok(())
}

/// relu(x) averaged to maps of 2x2.
pub(super) fn to_2x2(b: &mut Builder<'_>, x: &Seen, stride: Option<usize>) -> Seen {
    let (window, stride) = stride.map_or((0, 1), |stride| (5, stride as u32));
    let mut tensors = Vec::new();
    // The kernel applies ReLU while loading.
    let unrectified = Seen { relu: false, ..x.clone() };
    for (_, x) in plain(b, &unrectified) {
        let y = b.tensor(x.channels, Map { n: x.map.n, h: 2, w: 2 });
        let op = WindowPool { window, stride, x, y };
        b.push(op.forward());
        b.undo(move |b| {
            let (dy, dx, add) = (b.gradient(op.y), b.gradient(op.x), b.is_written(op.x, 0));
            b.push(op.backward(dy, dx, add));
            b.mark(op.x.into());
            Ok(())
        });
        tensors.push(y);
    }
    Seen::new(Wide::side_by_side(tensors), 0, x.channels)
}
