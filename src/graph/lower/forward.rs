//! The forward pass: level by level, the paths of one kind side by side, then the sums that these paths complete.
//!
//! Outputs of a level lie side by side in one tensor, so that one batch norm serves all of them. The parts of a
//! concatenation lie side by side too, so a concatenation costs nothing.

use std::collections::BTreeMap;

use super::convolution::{self, Output};
use super::route::{Level, Path, Route};
use super::sum::{Input, sum};
use super::view::Seen;
use super::{Builder, Extent, Mode, Wide, even, head, norm, pool};
use crate::error::{Error, Result};
use crate::kernel::Buf;
use crate::network::{Kind, Layer, Net, Shape, Window};
use crate::ops::{MAX_TASKS, Map, Tensor, UNIFORM_BYTES};

pub(super) fn forward(b: &mut Builder<'_>) -> Result<()> {
    let net = b.request.net;
    let (extent, training) = (b.request.extent, b.request.mode == Mode::Train);
    let mut route = Route::new(net);
    route.retain(net, |layer| {
        let of_extent = match extent {
            Extent::Whole => true,
            Extent::Trunk => layer.fixed,
            Extent::Branch => !layer.fixed,
        };
        of_extent && (training || !layer.auxiliary)
    });
    let images = Tensor {
        buf: Buf::Images(b.request.input),
        channels: net.image().c as u32,
        map: map(b, net.image()),
    };
    let mut pass = Pass { net, seen: vec![None; net.layers.len()], ranks: BTreeMap::new(), route };
    pass.see(0, Seen::new(images.into(), 0, images.channels));
    super::trunk::know(b);
    pass.know_trunk(b);
    let keys: Vec<_> = pass.route.levels.keys().copied().collect();
    for key in keys {
        let level = pass.route.levels.remove(&key).unwrap_or_default();
        pass.level(b, &level)?;
    }
    Ok(())
}

/// The layout of one channel of a layer's value.
pub(super) fn map(b: &Builder<'_>, shape: Shape) -> Map {
    Map { n: b.request.batch, h: shape.h as u32, w: shape.w as u32 }
}

/// The state of the forward pass.
struct Pass<'n> {
    net: &'n Net,
    /// Values of joints and of the ends of paths that are computed so far, by layer.
    seen: Vec<Option<Seen>>,
    /// For each tensor, the first of the layers whose values are in the tensor.
    ranks: BTreeMap<Buf, usize>,
    route: Route,
}

/// A path whose output is stored, and the place of the output.
struct Placed<'p> {
    path: &'p Path,
    y: Wide,
    first: u32,
}

impl<'n> Pass<'n> {
    fn layer(&self, at: usize) -> &'n Layer {
        &self.net.layers[at]
    }

    fn seen(&self, at: usize) -> Result<&Seen> {
        let missing = || Error::internal(format!("{} is read before it is computed", self.layer(at).name));
        self.seen[at].as_ref().ok_or_else(missing)
    }

    /// Records that layer `at` has the value `seen`.
    fn see(&mut self, at: usize, seen: Seen) {
        let rank = self.ranks.entry(seen.wide.at(seen.firsts[0]).0.buf).or_insert(at);
        *rank = at.min(*rank);
        self.seen[at] = Some(seen);
    }

    /// Records the outputs of the trunk as values.
    fn know_trunk(&mut self, b: &Builder<'_>) {
        if b.request.extent != Extent::Branch {
            return;
        }
        for output in b.trunk.iter().flat_map(|t| &t.outputs) {
            for (joint, first) in &output.joints {
                self.see(*joint, self.value_of(*joint, output.tensor.into(), *first));
            }
        }
    }

    /// The value at the end of a path. The tensor holds the value before batch norm and ReLU.
    fn value_of(&self, end: usize, y: Wide, first: u32) -> Seen {
        let layer = self.layer(end);
        Seen { relu: layer.kind == Kind::Relu, ..Seen::new(y, first, layer.shape.c as u32) }
    }

    fn level(&mut self, b: &mut Builder<'_>, level: &Level) -> Result<()> {
        let is_head = |path: &&Path| self.layer(path.end()).kind == Kind::Linear;
        let (heads, stored): (Vec<&Path>, Vec<&Path>) = level.paths.iter().partition(is_head);
        let placed = self.place(b, stored)?;
        for placed in &placed {
            let end = placed.path.end();
            self.see(end, self.value_of(end, placed.y.clone(), placed.first));
        }
        for group in self.groups(b, &placed)? {
            self.run(b, &group)?;
        }
        for output in placed.chunk_by(|a, b| a.y == b.y) {
            self.norm_outputs(b, output);
        }
        for &at in &level.sums {
            self.sum(b, at)?;
        }
        heads.into_iter().try_for_each(|path| self.head(b, path))
    }

    /// The tensors of the concatenation that `sum` is a part of, and the first channel of `sum` there. `None` if
    /// `sum` is no part of a concatenation.
    fn part(&mut self, b: &mut Builder<'_>, sum: usize) -> Option<(Wide, u32)> {
        let &(concat, first) = self.route.part_of.get(&sum)?;
        if self.seen[concat].is_none() {
            let Shape { c, .. } = self.layer(concat).shape;
            let wide = b.wide(c as u32, self.layer(sum).shape.c as u32, map(b, self.layer(concat).shape));
            self.seen[concat] = Some(Seen::new(wide, 0, c as u32));
        }
        self.seen[concat].as_ref().map(|seen| (seen.wide.clone(), first))
    }

    /// Places the outputs of a level's paths, and returns the paths in the order in which they run. Outputs whose
    /// gradients come from one tensor share a tensor, or several tensors if a page is too small.
    fn place<'p>(&mut self, b: &mut Builder<'_>, paths: Vec<&'p Path>) -> Result<Vec<Placed<'p>>> {
        let mut keyed = Vec::new();
        for path in paths {
            let target = match path.sum {
                Some(sum) => self.part(b, sum).map(|(z, first)| z.part_of(first)),
                None => None,
            };
            let source = self.seen(path.source)?;
            let source = self.ranks.get(&source.wide.at(source.firsts[0]).0.buf).copied();
            let kinds: Vec<&Kind> = path.layers.iter().map(|l| &self.layer(*l).kind).collect();
            // A kernel that can only write whole tensors needs a tensor of its own.
            let own = matches!(
                self.last_stored(path)?.kind,
                Kind::Depthwise(_) | Kind::Conv(Window { k: 2.., .. })
            );
            // The gradient of a tensor comes from one sum, or from parts of one concatenation.
            let apart = path.sum.filter(|_| target.is_none());
            keyed.push(((target, self.layer(path.end()).shape, own, apart, kinds, source), path));
        }
        // The sort is stable, so equal keys keep the order of the layers.
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let mut placed = Vec::new();
        let n_paths = keyed.len();
        for group in keyed.chunk_by(|a, b| (a.0.0, a.0.1, a.0.2, a.0.3) == (b.0.0, b.0.1, b.0.2, b.0.3)) {
            let ((target, shape, own, ..), _) = group[0];
            let (c, map) = (shape.c as u32, map(b, shape));
            // One batch norm serves a tensor, and the tensor's coefficients are bound as one uniform.
            let coefs = (UNIFORM_BYTES / 16) as u32 / c;
            let most = if own { 1 } else { b.fit(c, map).min(MAX_TASKS as u32).min(coefs.max(1)) };
            for some in group.chunks(even(group.len() as u32, most) as usize) {
                let end = some[0].1.end();
                let y = match b.trunk.as_ref().and_then(|t| t.output(b.request.extent, end)) {
                    Some(tensor) => tensor.into(),
                    None if n_paths == 1 && target.is_none() => b.wide(c, 16, map),
                    None => b.tensor(some.len() as u32 * c, map).into(),
                };
                if some.iter().all(|(_, path)| path.sum.is_some()) {
                    let is_pool = |path: &Path| {
                        matches!(self.layer(path.layers[0]).kind, Kind::MaxPool(_) | Kind::AvgPool(_))
                    };
                    let all_pools = some.iter().all(|(_, path)| is_pool(path));
                    b.recompute(y.at(0).0.buf, all_pools);
                }
                let place =
                    |(i, (_, path)): (u32, &(_, &'p Path))| Placed { path, y: y.clone(), first: i * c };
                placed.extend((0..).zip(some).map(place));
            }
        }
        Ok(placed)
    }

    /// The last layer of a path whose value is stored.
    fn last_stored(&self, path: &Path) -> Result<&'n Layer> {
        match path.n_stored(self.net) {
            0 => Err(Error::internal(format!("{} computes nothing", self.layer(path.end()).name))),
            n => Ok(self.layer(path.layers[n - 1])),
        }
    }

    /// Groups of paths that run side by side: they have the same kinds of layers, read one tensor and write one
    /// tensor.
    fn groups<'a, 'p>(&self, b: &Builder<'_>, placed: &'a [Placed<'p>]) -> Result<Vec<Vec<&'a Placed<'p>>>> {
        let kinds = |p: &Placed<'_>| p.path.layers.iter().map(|l| &self.layer(*l).kind).collect::<Vec<_>>();
        let input = |p: &Placed<'_>| self.seen(p.path.source).map(|seen| seen.wide.at(seen.firsts[0]).0);
        let mut groups: Vec<Vec<&Placed<'p>>> = Vec::new();
        for next in placed {
            // Only pools and depthwise convolutions can read one value for several tasks.
            let first = &self.layer(next.path.layers[0]).kind;
            let skips_relu = if *first == Kind::Relu { next.path.layers.get(1) } else { None };
            let first = skips_relu.map_or(first, |l| &self.layer(*l).kind);
            let sharing = matches!(first, Kind::MaxPool(_) | Kind::AvgPool(_) | Kind::Depthwise(_));
            let most = self.most_tasks(next.path);
            match groups.last_mut() {
                Some(group)
                    if sharing
                        && b.fuse()
                        && group.len() < most
                        && group[0].y == next.y
                        && input(group[0])? == input(next)?
                        && kinds(group[0]) == kinds(next) =>
                {
                    group.push(next);
                }
                _ => groups.push(vec![next]),
            }
        }
        Ok(groups)
    }

    /// Largest number of paths that may share launches: the pointwise weights of the paths must fit one uniform.
    fn most_tasks(&self, path: &Path) -> usize {
        let bytes = |l: &usize| {
            let layer = self.layer(*l);
            (layer.shape.c * self.net.input_shape(layer).c.next_multiple_of(4) * 4) as u64
        };
        let most = path.layers.iter().map(bytes).max().unwrap_or(1);
        (UNIFORM_BYTES / most).max(1) as usize
    }

    /// Runs the layers of a group of paths of one kind.
    fn run(&self, b: &mut Builder<'_>, group: &[&Placed<'_>]) -> Result<()> {
        let path = group[0].path;
        let n_stored = path.n_stored(self.net);
        let mut x = self.seen(path.source)?.clone();
        x.firsts = Vec::new();
        for placed in group {
            x.firsts.push(self.seen(placed.path.source)?.firsts[0]);
        }
        for at in 0..n_stored {
            let layers: Vec<&Layer> = group.iter().map(|p| self.layer(p.path.layers[at])).collect();
            let targets = || group.iter().map(|p| p.first).collect();
            let place = (at + 1 == n_stored).then(|| (group[0].y.clone(), targets()));
            let after_depthwise =
                at > 0 && matches!(self.layer(path.layers[at - 1]).kind, Kind::Depthwise(_));
            x = self.step(b, x, &layers, place, after_depthwise)?;
        }
        Ok(())
    }

    /// Runs one layer of each path of a group. x has the inputs of the layers. The values are written to `place` if
    /// `place` is given.
    // This function is long, because each kind of layer has an arm.
    fn step(
        &self,
        b: &mut Builder<'_>,
        mut x: Seen,
        layers: &[&Layer],
        place: Option<(Wide, Vec<u32>)>,
        after_depthwise: bool,
    ) -> Result<Seen> {
        let layer = layers[0];
        let (co, n) = (layer.shape.c as u32, layers.len() as u32);
        let names: Vec<String> = layers.iter().map(|l| format!("{}.weight", l.name)).collect();
        let output = |b: &mut Builder<'_>| {
            let map = map(b, layer.shape);
            let (y, targets) = match place {
                Some(place) => place,
                None if n == 1 => (b.wide(co, 16, map), vec![0]),
                None => (b.tensor(n * co, map).into(), (0..n).map(|i| i * co).collect()),
            };
            Output { y, targets, co }
        };
        let seen = |out: &Output| Seen {
            wide: out.y.clone(),
            firsts: out.targets.clone(),
            channels: co,
            relu: false,
        };
        match layer.kind {
            Kind::Relu => x.relu = true,
            Kind::Norm { .. } => {
                let norms = layers.iter().map(|l| norm::of_layer(b, l)).collect::<Vec<_>>();
                if let Some(tensor) = x.wide.single() {
                    norm::norm(b, tensor, norms, after_depthwise);
                } else {
                    for (first, block) in x.blocks() {
                        norm::norm(b, block.tensor, vec![norms[0].part(first, block.len)], after_depthwise);
                    }
                }
            }
            Kind::MaxPool(window) | Kind::AvgPool(window) => {
                let out = output(b);
                let max = matches!(layer.kind, Kind::MaxPool(_));
                pool::pool(b, &x, (out.y.at(out.targets[0]).0, &out.targets), max, window)?;
                x = seen(&out);
            }
            Kind::Depthwise(window) => {
                x = convolution::depthwise(b, &x, window, &names)?;
            }
            Kind::FactorizedReduce => {
                let out = output(b);
                convolution::factorized(b, &x, &out, &layer.name)?;
                x = seen(&out);
            }
            Kind::Conv(Window::POINT) => {
                let out = output(b);
                convolution::pointwise(b, &x, &out, &names)?;
                x = seen(&out);
            }
            Kind::Conv(Window { k: 1, stride: 2, .. }) => {
                let out = output(b);
                convolution::strided_pointwise(b, &x, &out, &names[0])?;
                x = seen(&out);
            }
            Kind::Conv(window) => {
                let out = output(b);
                let images = self.net.layers[layer.inputs[0]].kind == Kind::Images;
                convolution::dense(b, &x, &out.y, window, &names[0], images)?;
                x = seen(&out);
            }
            Kind::PoolTo2x2 { window } => x = pool::to_2x2(b, &x, window),
            Kind::Images | Kind::Sum(_) | Kind::Concat | Kind::GlobalPool | Kind::Linear => {
                return Err(Error::internal(format!("{} stands in the middle of a path", layer.name)));
            }
        }
        Ok(x)
    }

    /// Batch norm of the outputs in one tensor, or of one output in several tensors.
    fn norm_outputs(&self, b: &mut Builder<'_>, outputs: &[Placed<'_>]) {
        let of = |p: &Placed<'_>| {
            let views = &p.path.layers[p.path.n_stored(self.net)..];
            views.iter().map(|l| self.layer(*l)).find(|l| l.kind != Kind::Relu)
        };
        // Batch norm's backward applies the factors of a gradient, so the terms of a sum always have a batch norm.
        if outputs.iter().all(|p| of(p).is_none() && p.path.sum.is_none()) {
            return;
        }
        let norms: Vec<_> = outputs
            .iter()
            .map(|p| of(p).map_or(crate::ops::batch_norm::Norm::Identity, |l| norm::of_layer(b, l)))
            .collect();
        let after_depthwise = outputs
            .iter()
            .any(|p| matches!(self.last_stored(p.path), Ok(Layer { kind: Kind::Depthwise(_), .. })));
        match outputs[0].y.single() {
            Some(tensor) => norm::norm(b, tensor, norms, after_depthwise),
            None => {
                for (first, block) in outputs[0].y.blocks(0, outputs[0].y.channels()) {
                    norm::norm(b, block.tensor, vec![norms[0].part(first, block.len)], after_depthwise);
                }
            }
        }
    }

    fn sum(&mut self, b: &mut Builder<'_>, at: usize) -> Result<()> {
        let layer = self.layer(at);
        let Kind::Sum(terms) = &layer.kind else {
            return Err(Error::internal(format!("{} is no sum", layer.name)));
        };
        let c = layer.shape.c as u32;
        let z = match self.part(b, at) {
            Some((wide, first)) => Seen::new(wide, first, c),
            None => {
                let wide = b.wide(c, 16, map(b, layer.shape));
                Seen::new(wide, 0, c)
            }
        };
        let mut inputs = Vec::new();
        for (&x, &term) in layer.inputs.iter().zip(terms) {
            inputs.push(Input { value: self.seen(x)?.clone(), term, identity: self.layer(x).joint });
        }
        self.see(at, z.clone());
        sum(b, &z, &inputs)
    }

    /// Runs a path that ends in logits.
    fn head(&self, b: &mut Builder<'_>, path: &Path) -> Result<()> {
        let mut x = self.seen(path.source)?.clone();
        let n = path.layers.len();
        let mut pooled = None;
        for (at, &l) in path.layers[..n - 1].iter().enumerate() {
            let layer = self.layer(l);
            if layer.kind == Kind::GlobalPool {
                pooled = Some(head::global_pool(b, &x));
            } else {
                let after_depthwise =
                    at > 0 && matches!(self.layer(path.layers[at - 1]).kind, Kind::Depthwise(_));
                x = self.step(b, x, &[layer], None, after_depthwise)?;
            }
        }
        let features = match pooled {
            Some(pooled) => pooled,
            None => head::maps(b, &x),
        };
        let layer = self.layer(path.end());
        head::classify(b, &layer.name, features, self.net.input_shape(layer).c as u32, layer.auxiliary);
        Ok(())
    }
}
