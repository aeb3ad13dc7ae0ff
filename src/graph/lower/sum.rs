//! Sums of terms: the two terms of a node, or the terms of a mixed network, each with its factor.
//!
//! The gradient of an operation's output that is a term of a sum is the gradient of the sum times a factor. So the
//! gradient is an alias, not a copy.

use super::partial::Chunks;
use super::value::Alias;
use super::view::{Seen, materialise};
use super::{Block, Builder, Mode};
use crate::Result;
use crate::error::Error;
use crate::network::Term;
use crate::ops::mix::{self, Mix};
use crate::ops::{Param, Tensor, View, elementwise};

/// An input of a sum.
pub(super) struct Input {
    pub value: Seen,
    pub term: Term,
    /// Whether the input is a joint that is read as it is. Otherwise the input is the output of an operation.
    pub identity: bool,
}

/// z = the sum of the inputs.
pub(super) fn sum(b: &mut Builder<'_>, z: &Seen, inputs: &[Input]) -> Result<()> {
    let blocks = z.blocks();
    for (at, z) in &blocks {
        let mut terms = Vec::new();
        for input in inputs {
            let same_split = |(from, block): &(u32, Block)| from == at && block.len == z.len;
            let Some((_, x)) = input.value.blocks().into_iter().find(same_split) else {
                return Err(Error::internal("a sum and its terms are split over pages in different ways"));
            };
            let tensor = b.seen(x.tensor);
            let mut x = Block { tensor, ..x };
            if input.value.relu {
                let view = View { x: tensor, coefs: b.coefs(tensor.buf), relu: true };
                x = materialise(b, view, &[x.first], x.len).into();
            }
            // A term that was stored in a new tensor passes on its gradient like a joint.
            terms.push(Part { x, term: input.term, identity: input.identity || input.value.relu });
        }
        if inputs.iter().any(|input| input.term.factor.is_some()) {
            mixed(b, *z, &terms)
        } else {
            node(b, *z, &terms)?
        }
    }
    Ok(())
}

/// A term in one tensor.
struct Part {
    x: Block,
    term: Term,
    identity: bool,
}

/// Position of a term's first factor in the array of factors.
fn first_factor(b: &Builder<'_>, number: Option<usize>) -> Option<u32> {
    number.map(|number| number as u32 * b.request.batch)
}

fn alias(b: &mut Builder<'_>, part: &Part, z: Block, drop: Option<u32>) {
    let multiplier = part.term.times as f32;
    let alias = Alias { of: part.x, tensor: z.tensor, channel: z.first, multiplier, drop };
    b.value(part.x.tensor.buf).aliases.push(alias);
}

/// z_k = o_i(z_i) + o_j(z_j) (Eq. 1).
fn node(b: &mut Builder<'_>, z: Block, parts: &[Part]) -> Result<()> {
    if parts.len() > 2 {
        return Err(Error::internal("a sum of more than two terms"));
    }
    let mut terms = Vec::new();
    for part in parts {
        let row = part.term.drop.filter(|_| b.request.drop_path && !part.identity);
        let drop = first_factor(b, row);
        if !part.identity {
            alias(b, part, z, drop);
        }
        let Block { tensor, first, .. } = part.x;
        let (coefs, scale) = (b.coefs(tensor.buf), part.term.times as f32);
        terms.push(elementwise::Term {
            x: tensor,
            first,
            coefs,
            scale,
            drop: drop.map(|first| (b.factors(), first)),
        });
    }
    b.push(elementwise::node(z.tensor, z.first, z.len, &terms));
    for part in parts.iter().filter(|part| part.identity) {
        let (x, scale) = (part.x, part.term.times as f32);
        b.undo(move |b| {
            let (dz, dx, add) = (b.gradient(z.tensor), b.gradient(x.tensor), b.is_written(x.tensor, x.first));
            b.push(elementwise::pass_back(dz, z.first, dx, x.first, x.len, scale, add));
            b.mark(x);
            Ok(())
        });
    }
    Ok(())
}

/// z_k = Σ factor · o(z_i) over all inputs i < k and all operations o (Eq. 2). There is a launch per tensor of
/// terms. Joints and outputs of operations never share a tensor.
fn mixed(b: &mut Builder<'_>, z: Block, parts: &[Part]) {
    let mut sums: Vec<(Mix, bool)> = Vec::new();
    for part in parts {
        let x = part.x.tensor;
        let number = part.term.factor.unwrap_or(0) as u32;
        let term = mix::Term { source: part.x.first, number };
        if !part.identity {
            let first = first_factor(b, part.term.factor);
            alias(b, part, z, first);
        }
        match sums.iter_mut().find(|(mix, _)| mix.x == x) {
            Some((mix, _)) => mix.terms.push(term),
            None => {
                let (coefs, factors) = (b.coefs(x.buf), b.factors());
                let terms = vec![term];
                sums.push((
                    Mix { x, coefs, z: z.tensor, target: z.first, channels: z.len, terms, factors },
                    part.identity,
                ));
            }
        }
    }
    if sums.is_empty() {
        b.push(elementwise::node(z.tensor, z.first, z.len, &[]));
    }
    for (i, (op, identities)) in sums.into_iter().enumerate() {
        b.push(op.forward(i > 0));
        b.undo(move |b| {
            mix_back(b, &op, identities);
            Ok(())
        });
    }
}

fn mix_back(b: &mut Builder<'_>, op: &Mix, identities: bool) {
    let dz = b.gradient(op.z);
    if b.request.mode == Mode::Factors {
        let each = op.partials();
        let (partial, first) = b.partial(each * op.terms.len() as u32);
        b.push(op.backward_factors(dz, partial));
        for (i, term) in (0..).zip(&op.terms) {
            // The partial sums of a term lie next to each other, one element each.
            let chunks = Chunks { first: first + i * each, count: each, stride: 1 };
            b.reduction(chunks, 1, Param { offset: term.number, len: 1 }, None);
        }
    }
    if identities {
        let dx: Tensor = b.gradient(op.x);
        for (i, term) in op.terms.iter().enumerate() {
            let add = b.is_written(op.x, term.source);
            b.push(op.pass_back(i, dz, dx, add));
            b.mark(Block { tensor: op.x, first: term.source, len: op.channels });
        }
    }
}
