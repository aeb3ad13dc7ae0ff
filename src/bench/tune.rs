//! A shape → the kernel variants that are fastest at it on an adapter.

use std::sync::Arc;

use super::Shape;
use super::child::{network, spec};
use crate::Result;
use crate::gpu::{Child, Gpu, Prove, Tuned, Variants};
use crate::graph::Mode;
use crate::space::{Darts, Paths, Space, StemKind};

/// Cells of the child that is timed: enough to have a normal and both reduction cells.
const LAYERS: usize = 3;

/// Times the candidates that `prove` finds right on a child that has every kind of kernel, at the given extents but with
/// few cells.
pub fn tune(gpu: Gpu, shape: &Shape, prove: Prove<'_>, tell: &mut dyn FnMut(&str)) -> Result<Tuned> {
    let fixed = Variants::fixed(&gpu);
    let space = Darts::all().stacked(LAYERS, StemKind::Cifar);
    let alpha = space.named("PC_DARTS_CIFAR");
    let shape = Shape { space: Arc::new(space), layers: LAYERS, ..shape.clone() };
    let mut network = network(gpu, &shape, fixed)?;
    // Pools, both sizes of both kinds of convolutions, identities.
    let Some(alpha) = alpha else {
        return Ok(Tuned { variants: fixed, excluded: vec![] });
    };
    // An idle adapter raises its clocks before anything is timed.
    network.gpu().warm_clocks()?;
    let net = Arc::new(spec(&shape).net(Paths::Child(&alpha)));
    let child = Child::new(&net, Mode::Train, 0);
    network.tune(child, prove, tell)
}
