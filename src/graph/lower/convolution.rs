//! Convolutions of a group of operations. Their inputs are several values in one tensor, or one value in several
//! tensors.

use super::partial::Chunks;
use super::view::{Seen, view};
use super::{Block, Builder, Wide};
use crate::Result;
use crate::network::Window;
use crate::ops::conv::Conv;
use crate::ops::depthwise::{self, Depthwise, Geometry};
use crate::ops::pointwise::{self, Pointwise};
use crate::ops::subsample::Subsample;
use crate::ops::{Map, Param, Part, Tensor, View};

/// The channels of y that the convolutions write. Convolution i writes `co` channels, the first of them `targets[i]`.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub y: Wide,
    pub targets: Vec<u32>,
    /// Output channels of each convolution.
    pub co: u32,
}

/// A tensor that holds some channels of a value, and how the tensor is read.
struct Source {
    /// First channel of the value that the tensor holds.
    first: u32,
    view: View,
    /// First channel of each value in the view.
    firsts: Vec<u32>,
    channels: u32,
}

/// The tensors that hold x: one tensor with all values, or several tensors with parts of one value.
fn sources(b: &mut Builder<'_>, x: &Seen) -> Result<Vec<Source>> {
    if x.firsts.len() > 1 {
        let (tensor, mut firsts) = x.single()?;
        let view = view(b, tensor, &mut firsts, x.channels, x.relu);
        return Ok(vec![Source { first: 0, view, firsts, channels: x.channels }]);
    }
    let mut sources = Vec::new();
    for (first, block) in x.blocks() {
        let mut firsts = vec![block.first];
        let view = view(b, block.tensor, &mut firsts, block.len, x.relu);
        sources.push(Source { first, view, firsts, channels: block.len });
    }
    Ok(sources)
}

/// Rows `first..first + rows` of a parameter with one row per output channel.
fn rows(p: Param, of: u32, first: u32, rows: u32) -> Param {
    let row = p.len / of;
    Param { offset: p.offset + first * row, len: rows * row }
}

/// A depthwise convolution of each value, into tensors of its own.
pub(super) fn depthwise(b: &mut Builder<'_>, x: &Seen, window: Window, names: &[String]) -> Result<Seen> {
    let places = b.pack(names);
    let n = names.len() as u32;
    let stride = window.stride as u32;
    let geometry = Geometry { k: window.k as u32, stride, dilation: window.dilation as u32 };
    let mut tensors = Vec::new();
    for source in sources(b, x)? {
        let c = source.channels;
        let y = b.tensor(c * n, source.view.x.map.strided(stride));
        let part = |p: Param| rows(p, x.channels, source.first, c);
        let task =
            |(&source, &(w, v)): (&u32, &(Param, Param))| depthwise::Task { source, w: part(w), v: part(v) };
        let tasks = source.firsts.iter().zip(&places).map(task).collect();
        let op = Depthwise { geometry, channels: c, x: source.view, y, tasks };
        b.recompute(y.buf, false);
        b.launches.extend(op.forward(&b.tuning()));
        b.undo(move |b| depthwise_back(b, &op));
        tensors.push(y);
    }
    let firsts = (0..n).map(|i| i * x.channels).collect();
    Ok(Seen { wide: Wide::side_by_side(tensors), firsts, channels: x.channels, relu: false })
}

fn depthwise_back(b: &mut Builder<'_>, op: &Depthwise) -> Result<()> {
    let tuning = b.tuning();
    let dy = match b.value(op.y.buf).dy {
        Some(dy) => dy,
        None => b.gradient(op.y),
    };
    if b.wants_weights() {
        let (elements, count) = (op.elements(), op.chunks(&tuning));
        let (partial, first) = b.partial(elements * count);
        b.push(op.backward_weight(dy, partial, &tuning));
        let each = elements / op.tasks.len() as u32;
        for (i, task) in (0..).zip(&op.tasks) {
            let chunks = Chunks { first: first + i * each, count, stride: elements };
            b.reduction(chunks, each, task.v, None);
        }
    }
    let x = op.x.x;
    let dx = b.gradient(x);
    let launches = op.backward_data(dy, dx, |s| b.is_written(x, s), &tuning);
    b.launches.extend(launches);
    for task in &op.tasks {
        b.mark(Block { tensor: x, first: task.source, len: op.channels });
    }
    Ok(())
}

/// A 1x1 convolution of each value.
pub(super) fn pointwise(b: &mut Builder<'_>, x: &Seen, out: &Output, names: &[String]) -> Result<()> {
    let sources = sources(b, x)?;
    let places = b.pack(names);
    for source in sources {
        launch(b, &source, x.channels, out, &places);
    }
    Ok(())
}

/// 1x1 convolutions of one tensor. They write the tensors of the output. `of` is the number of channels of a value.
fn launch(b: &mut Builder<'_>, source: &Source, of: u32, out: &Output, places: &[(Param, Param)]) {
    let part = Part { first: source.first, of };
    let task = |source: u32, target: u32, (w, v): (Param, Param)| pointwise::Task {
        source,
        target,
        w,
        v,
        dz: 0,
        drop: 0,
    };
    let op =
        |y: Tensor, co: u32, tasks| Pointwise { ci: source.channels, part, co, x: source.view, y, tasks };
    let mut ops = Vec::new();
    match out.targets[..] {
        // One output may lie in several tensors.
        [target] => {
            for (row, block) in out.y.blocks(target, out.co) {
                let place = |p: Param| rows(p, out.co, row, block.len);
                let (w, v) = places[0];
                let task = task(source.firsts[0], block.first, (place(w), place(v)));
                ops.push(op(block.tensor, block.len, vec![task]));
            }
        }
        _ => {
            let (y, _) = out.y.at(out.targets[0]);
            let each = source.firsts.iter().zip(&out.targets).zip(places);
            let tasks = each.map(|((&s, &target), &place)| task(s, out.y.at(target).1, place)).collect();
            ops.push(op(y, out.co, tasks));
        }
    }
    for op in ops {
        b.launches.extend(op.forward(&b.tuning()));
        b.undo(move |b| pointwise_back(b, op));
    }
}

fn pointwise_back(b: &mut Builder<'_>, mut op: Pointwise) -> Result<()> {
    let tuning = b.tuning();
    let g = b.grad_view(op.y)?;
    for task in &mut op.tasks {
        (task.dz, task.drop) = b.grad_channel(op.y, task.target);
    }
    if b.wants_weights() {
        let (elements, count) = (op.elements(), op.chunks(&tuning));
        let (partial, first) = b.partial(elements * count);
        b.push(op.backward_weight(&g, partial, &tuning));
        for (i, task) in (0..).zip(&op.tasks) {
            let chunks = Chunks { first: first + i * op.per_task(), count, stride: elements };
            b.reduction(chunks, op.per_task(), task.v, Some(op.rows()));
        }
    }
    let x = op.x.x;
    let dx = b.gradient(x);
    let launches = op.backward_data(&g, dx, |s| b.is_written(x, s), &tuning);
    b.launches.extend(launches);
    for task in &op.tasks {
        b.mark(Block { tensor: x, first: task.source, len: op.ci });
    }
    Ok(())
}

/// Subsamples a value with stride 2, from even positions on. With `both`, as many further channels hold the odd positions.
/// The result is not kept, but computed again in the backward pass.
fn subsample(b: &mut Builder<'_>, source: &Source, both: bool) -> Source {
    let Map { n, h, w } = source.view.x.map;
    let map = Map { n, h: h.div_ceil(2), w: w.div_ceil(2) };
    let (c, offsets) = (source.channels, if both { 2 } else { 1 });
    let y = b.tensor(offsets * c, map);
    b.recompute(y.buf, true);
    let op = Subsample { channels: c, offsets, x: source.view, y, sources: source.firsts.clone() };
    b.push(op.forward());
    b.undo(move |b| {
        let x = op.x.x;
        let (dy, dx) = (b.gradient(op.y), b.gradient(x));
        let launch = op.backward(dy, dx, |s| b.is_written(x, s));
        b.push(launch);
        for &source in &op.sources {
            b.mark(Block { tensor: x, first: source, len: op.channels });
        }
        Ok(())
    });
    let mut firsts = [0, c].to_vec();
    firsts.truncate(offsets as usize);
    let view = view(b, y, &mut [], c, false);
    Source { first: source.first, view, firsts, channels: c }
}

/// FactorizedReduce of one value. Even pixels give the first half of the output's channels, odd pixels the second
/// half.
pub(super) fn factorized(b: &mut Builder<'_>, x: &Seen, out: &Output, name: &str) -> Result<()> {
    let sources = sources(b, x)?;
    let places = b.pack(&[1, 2].map(|i| format!("{name}.conv_{i}.weight")));
    let half = out.co / 2;
    let halves = Output { y: out.y.clone(), targets: vec![out.targets[0], out.targets[0] + half], co: half };
    for source in sources {
        let source = subsample(b, &source, true);
        launch(b, &source, x.channels, &halves, &places);
    }
    Ok(())
}

/// A 1x1 convolution of stride 2 of one value.
pub(super) fn strided_pointwise(b: &mut Builder<'_>, x: &Seen, out: &Output, name: &str) -> Result<()> {
    let sources = sources(b, x)?;
    let places = b.pack(&[name.to_owned()]);
    for source in sources {
        let source = subsample(b, &source, false);
        launch(b, &source, x.channels, out, &places);
    }
    Ok(())
}

/// A convolution of one value into all channels of y.
pub(super) fn dense(
    b: &mut Builder<'_>,
    x: &Seen,
    y: &Wide,
    window: Window,
    name: &str,
    images: bool,
) -> Result<()> {
    let sources = sources(b, x)?;
    let (w, v) = b.pack(&[name.to_owned()])[0];
    let co = y.channels();
    let [k, stride, pad] = [window.k, window.stride, window.pad].map(|n| n as u32);
    for (row, block) in y.blocks(0, co) {
        let place = |p: Param| rows(p, co, row, block.len);
        for source in &sources {
            let part = Part { first: source.first, of: x.channels };
            let op = Conv { k, stride, pad, x: source.view, part, y: block.tensor, w: place(w), v: place(v) };
            b.launches.extend(op.forward());
            b.undo(move |b| dense_back(b, &op, !images));
        }
    }
    Ok(())
}

fn dense_back(b: &mut Builder<'_>, op: &Conv, data_gradient: bool) -> Result<()> {
    let g = b.grad_view(op.y)?;
    if b.wants_weights() {
        let (elements, count) = (op.elements(), op.chunks());
        let (partial, first) = b.partial(elements * count);
        b.push(op.backward_weight(&g, partial));
        b.reduction(Chunks { first, count, stride: elements }, elements, op.v, Some(op.rows()));
    }
    if data_gradient {
        let x = op.x.x;
        let (dx, add) = (b.gradient(x), b.is_written(x, 0));
        b.launches.extend(op.backward_data(&g, dx, add));
        b.mark(x.into());
    }
    Ok(())
}
