//! The layers of a network → the order in which they run: blocks, levels, paths.
//!
//! A path is a chain of layers from one joint to the next: the path ends at a joint, in a sum, or at logits. A path
//! is ready when the joint that it reads is ready. Within a block, joints of earlier blocks are at level 0. The end
//! of a path is one level above the joint that the path reads. A sum is one level above its highest term. Paths of
//! one level can run side by side.

use std::collections::BTreeMap;

use crate::network::{Kind, Layer, Net};

/// A chain of layers.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// The joint that the path reads.
    pub source: usize,
    /// The layers of the path in order.
    pub layers: Vec<usize>,
    /// The sum that the path ends in, if it ends in one.
    pub sum: Option<usize>,
    level: usize,
}

impl Path {
    /// The last layer of the path.
    pub fn end(&self) -> usize {
        self.layers[self.layers.len() - 1]
    }

    /// Number of layers whose values are stored: all but batch norms and ReLUs at the end of the path.
    pub fn n_stored(&self, net: &Net) -> usize {
        let is_view = |l: &&usize| matches!(net.layers[**l].kind, Kind::Norm { .. } | Kind::Relu);
        self.layers.len() - self.layers.iter().rev().take_while(is_view).count()
    }
}

/// Paths and sums that are ready at the same time.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub paths: Vec<Path>,
    /// The sums that are complete after these paths.
    pub sums: Vec<usize>,
}

/// All levels by block and number, and the places of sums in concatenations.
pub(super) struct Route {
    pub levels: BTreeMap<(usize, usize), Level>,
    /// For a sum that is a part of a concatenation: the concatenation, and the first channel of the sum there.
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
                    // A sum without terms is at level 1, like a sum of paths that read the outputs of the block's
                    // first level.
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

    /// Keeps only the paths and sums whose last layer is `wanted`.
    pub fn retain(&mut self, net: &Net, wanted: impl Fn(&Layer) -> bool) {
        for level in self.levels.values_mut() {
            level.paths.retain(|path| wanted(&net.layers[path.end()]));
            level.sums.retain(|sum| wanted(&net.layers[*sum]));
        }
    }
}
