//! Weights and batch against what the layers need, before anything runs.

use super::{Run, parameters, running_statistics};
use crate::reference::layers::{Layers, Stem};
use crate::space::Genotype;
use crate::{Error, Result};

impl Run<'_> {
    /// Checks everything that comes from outside, so that the passes need not.
    pub(super) fn check(&self, layers: &Layers) -> Result<()> {
        let x = &self.batch.images;
        let bad =
            |what: String, expected: String, found: String| Err(Error::usage(what, expected, found, ""));
        if x.c != self.net.in_channels || x.n == 0 || self.batch.labels.len() != x.n {
            let expected = format!("[N][{}][H][W] and N labels, N > 0", self.net.in_channels);
            let found =
                format!("[{}][{}][{}][{}] and {} labels", x.n, x.c, x.h, x.w, self.batch.labels.len());
            return bad("the batch".into(), expected, found);
        }
        if let Some(label) = self.batch.labels.iter().find(|&&label| label >= self.net.classes) {
            return bad("a label".into(), format!("a class below {}", self.net.classes), label.to_string());
        }
        if self.net.layers == 0 || !self.net.channels.is_multiple_of(2) || self.net.channels == 0 {
            let found = format!("{} cells of {} channels", self.net.layers, self.net.channels);
            return bad("the network".into(), "cells of an even number of channels".into(), found);
        }
        // Both inputs of the first cell, and what the reduction cells halve, need even sides.
        let halvings = if self.net.layers > 1 { 4 } else { 2 };
        let fits = |n: usize| match self.net.stem {
            Stem::Cifar => n.is_multiple_of(halvings),
            Stem::ImageNet => n.div_ceil(2).div_ceil(2).is_multiple_of(2 * halvings),
        };
        if [x.h, x.w].iter().any(|&n| n == 0 || !fits(n)) {
            let expected = format!("sides that {halvings} divides where the first cell begins");
            return bad("the image size".into(), expected, format!("{}x{}", x.h, x.w));
        }
        if let Some(mask) = self.batch.drop_path.values().find(|mask| mask.len() != x.n) {
            return bad("a drop-path mask".into(), format!("{} factors", x.n), mask.len().to_string());
        }
        let optional = running_statistics(self.net, layers);
        let mut needed = parameters(layers);
        if self.running_are_used() {
            needed.extend(optional.clone());
        }
        for (name, shape) in optional.into_iter().chain(needed.clone()) {
            match self.weights.get(&name) {
                Some((found, data)) if *found == shape && data.len() == shape.iter().product::<usize>() => {}
                Some((found, _)) => return bad(name, format!("shape {shape:?}"), format!("{found:?}")),
                None if !needed.contains_key(&name) => {}
                None => {
                    return bad(
                        name,
                        format!("a tensor of shape {shape:?}"),
                        "no tensor of this name".into(),
                    );
                }
            }
        }
        Ok(())
    }
}

/// Whether each node of `genotype` reads earlier nodes only, without which there are no layers.
pub(super) fn check_genotype(genotype: &Genotype) -> Result<()> {
    for arch in [&genotype.normal, &genotype.reduce] {
        for (node, slots) in arch.iter().enumerate() {
            if let Some(pair) = slots.iter().find(|pair| pair.input >= node + 2) {
                return Err(Error::usage(
                    format!("an input of node {}", node + 2),
                    format!("an earlier node, 0 to {}", node + 1),
                    pair.input.to_string(),
                    "",
                ));
            }
        }
    }
    Ok(())
}
