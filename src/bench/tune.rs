//! A shape → the fastest kernel variants for the shape on an adapter.

use std::sync::Arc;

use super::Shape;
use super::child::{network, spec};
use crate::Result;
use crate::gpu::{Child, Gpu, Prove, Tuned, Variants};
use crate::graph::Mode;
use crate::space::{Darts, Paths, Space, StemKind};

/// Number of cells of the timed child. Three cells are one normal cell and both reduction cells.
const LAYERS: usize = 3;

/// Times the variants that `prove` accepts as correct. The timed child has every kind of kernel and the given extents,
/// but few cells.
pub fn tune(gpu: Gpu, shape: &Shape, prove: Prove<'_>, tell: &mut dyn FnMut(&str)) -> Result<Tuned> {
    let fixed = Variants::fixed(&gpu);
    let space = Darts::all().stacked(LAYERS, StemKind::Cifar);
    let alpha = space.named("PC_DARTS_CIFAR");
    let shape = Shape { space: Arc::new(space), layers: LAYERS, ..shape.clone() };
    let mut network = network(gpu, &shape, fixed)?;
    // This architecture has pools, both sizes of both kinds of convolutions, and identities.
    let Some(alpha) = alpha else {
        return Ok(Tuned { variants: fixed, excluded: vec![] });
    };
    // Warm up first, because an idle adapter raises its clocks.
    network.gpu().warm_clocks()?;
    let net = Arc::new(spec(&shape).net(Paths::Child(&alpha)));
    let child = Child::new(&net, Mode::Train, 0);
    network.tune(child, prove, tell)
}
