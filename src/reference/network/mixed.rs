//! The mixed network: all paths over some primitives, with their factors as one more tensor among the weights.

use std::collections::BTreeMap;

use super::{Batch, Mode, Outcome, Tensors, evaluate_paths, parameters};
use crate::Result;
use crate::reference::layers::{self, Net};
use crate::space::{Paths, Primitive};

/// Names and shapes of what has a gradient: the parameters, and [`layers::FACTORS`].
pub fn mixed_shapes(net: &Net, primitives: &[Primitive]) -> BTreeMap<String, Vec<usize>> {
    parameters(&layers::build(net, Paths::All(primitives)))
}

/// Runs the mixed network of a search `net`, backward too if `want_gradient`.
///
/// # Errors
/// Those of [`super::evaluate`].
pub fn evaluate_mixed(
    net: &Net,
    primitives: &[Primitive],
    weights: &Tensors,
    batch: &Batch,
    want_gradient: bool,
) -> Result<Outcome> {
    evaluate_paths(net, Paths::All(primitives), weights, batch, Mode::Train, want_gradient)
}
