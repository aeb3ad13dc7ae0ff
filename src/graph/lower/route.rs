//! The layers of a network → the order in which they run: blocks, levels, paths.
//!
//! A path is a chain of layers from one joint to the next: it ends at a joint, in a sum, or at logits. It is ready when
//! its joint is. Within a block, a joint of an earlier block is at level 0, the end of a path one above the path's
//! joint, and a sum one above the highest of its terms. Paths of one level can run side by side.

use std::collections::BTreeMap;

use crate::network::{Kind, Layer, Net};

/// A chain of layers.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// The joint that it reads.
    pub source: usize,
    /// Its layers in order.
    pub layers: Vec<usize>,
    /// The sum that it ends in.
    pub sum: Option<usize>,
    level: usize,
}

impl Path {
    /// Its last layer.
    pub fn end(&self) -> usize {
        self.layers[self.layers.len() - 1]
    }

    /// How many of its layers compute something that is stored: all but batch norms and ReLUs at its end.
    pub fn n_stored(&self, net: &Net) -> usize {
        let is_view = |l: &&usize| matches!(net.layers[**l].kind, Kind::Norm { .. } | Kind::Relu);
        self.layers.len() - self.layers.iter().rev().take_while(is_view).count()
    }
}

/// What is ready at the same time.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub paths: Vec<Path>,
    /// The sums that are complete after these paths.
    pub sums: Vec<usize>,
}

/// All levels by block and number, and where sums lie in concatenations.
pub(super) struct Route {
    pub levels: BTreeMap<(usize, usize), Level>,
    /// For a sum: the concatenation that it is a part of, and its first channel there.
    pub part_of: BTreeMap<usize, (usize, u32)>,
}

impl Route {
    pub fn new(net: &Net) -> Self {
        let mut route = Self { levels: BTreeMap::new(), part_of: BTreeMap::new() };
        let mut joint_level = vec![0; net.layers.len()];
        let mut path_of: Vec<Option<usize>> = vec![None; net.layers.len()];
        let mut paths: Vec<Path> = Vec::new();
        for (i, layer) in net.layers.iter().enumerate() {
            let from = |x: usize| if net.layers[x].block == layer.block { joint_level[x] } else { 0 };
            match &layer.kind {
                Kind::Images => {}
                Kind::Concat => {
                    joint_level[i] = layer.inputs.iter().map(|x| joint_level[*x]).max().unwrap_or(0);
                    let mut first = 0;
                    for &x in &layer.inputs {
                        route.part_of.insert(x, (i, first));
                        first += net.layers[x].shape.c as u32;
                    }
                }
                Kind::Sum(_) => {
                    let mut levels = Vec::new();
                    for &x in &layer.inputs {
                        match path_of[x].filter(|_| !net.layers[x].joint) {
                            Some(path) => {
                                paths[path].sum = Some(i);
                                levels.push(paths[path].level);
                            }
                            None => levels.push(from(x)),
                        }
                    }
                    // A sum of nothing is ready with those that read the block's inputs only.
                    let level = levels.into_iter().max().unwrap_or(1);
                    joint_level[i] = level + 1;
                    route.levels.entry((layer.block, level)).or_default().sums.push(i);
                }
                _ => {
                    let x = layer.inputs[0];
                    let path = match path_of[x].filter(|_| !net.layers[x].joint) {
                        Some(path) => path,
                        None => {
                            paths.push(Path { source: x, level: from(x), ..Path::default() });
                            paths.len() - 1
                        }
                    };
                    paths[path].layers.push(i);
                    path_of[i] = Some(path);
                    joint_level[i] = paths[path].level + 1;
                }
            }
        }
        for path in paths {
            let block = net.layers[path.end()].block;
            route.levels.entry((block, path.level)).or_default().paths.push(path);
        }
        route
    }

    /// Leaves only what `wanted` says of the layer that a path or a sum ends with.
    pub fn retain(&mut self, net: &Net, wanted: impl Fn(&Layer) -> bool) {
        for level in self.levels.values_mut() {
            level.paths.retain(|path| wanted(&net.layers[path.end()]));
            level.sums.retain(|sum| wanted(&net.layers[*sum]));
        }
    }
}
