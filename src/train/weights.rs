//! Tensors with PyTorch names ↔ the weights and running statistics of a final network.

use std::path::Path;

use crate::error::{Error, Result, nearest};
use crate::files::tensors::{self, Data, Tensor, Tensors};
use crate::files::weights::check_finite;
use crate::graph::Layout;
use crate::graph::init::{initial, initial_state};
use crate::network::{ParamRole, ParamSpec};

/// The content of a state dictionary.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// All values of `v`.
    pub v: Vec<f32>,
    /// All running means and variances.
    pub state: Vec<f32>,
    /// Number of batches in the running statistics.
    pub batches_tracked: i64,
}

/// Prefixes of the tensor names in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Prefix of the names of parameters.
    pub v: &'static str,
    /// Prefix of the names of running statistics.
    pub state: &'static str,
}

impl Prefixes {
    /// A state dictionary: PyTorch names without prefixes.
    pub const PLAIN: Self = Self { v: "", state: "" };
    /// A checkpoint of a training.
    pub const CHECKPOINT: Self = Self { v: "v.", state: "state." };

    /// The prefixes of `tensors`.
    pub fn of(tensors: &Tensors) -> Self {
        if tensors.contains_key("v.classifier.weight") { Self::CHECKPOINT } else { Self::PLAIN }
    }

    fn name(self, spec: &ParamSpec) -> String {
        let prefix = if spec.role.is_trained() { self.v } else { self.state };
        format!("{prefix}{}", spec.name)
    }
}

const TRY: &str = "weights of this genotype's network: check the genotype, layers, channels, stem, classes";

const TRY_CLASSES: &str = "data with the classes of the weights, or parsec train --weights, which trains a classifier for other classes";

impl Weights {
    /// The weights before the first step: random weights, no statistics.
    pub fn initial(layout: &Layout, seed: u64) -> Self {
        Self { v: initial(layout, seed), state: initial_state(layout), batches_tracked: 0 }
    }

    /// Prepares fine-tuning. If `tensors` are of a network with another number of classes, its classifiers are replaced
    /// by the initial classifiers of a training with the key `seed`. The result is (classes of the tensors, classes of
    /// `layout`), or `None` if the numbers are equal or not known.
    pub fn other_classes(tensors: &mut Tensors, layout: &Layout, seed: u64) -> Option<[usize; 2]> {
        let prefixes = Prefixes::of(tensors);
        let of_classifier = |spec: &&ParamSpec| spec.name.contains("classifier.");
        let ours: Vec<ParamSpec> =
            layout.iter().map(|(_, e)| e.spec.clone()).filter(|s| of_classifier(&s)).collect();
        let weight = ours.iter().find(|spec| spec.name == "classifier.weight")?;
        let theirs = tensors.get(&prefixes.name(weight))?;
        let (&[n_theirs, features], &[n_ours, wanted]) = (&*theirs.shape, &*weight.shape) else {
            return None;
        };
        if n_theirs == n_ours || features != wanted {
            return None;
        }
        let mut initial = Self::initial(layout, seed).to_tensors(layout, prefixes);
        for spec in &ours {
            let name = prefixes.name(spec);
            if let (true, Some(tensor)) = (tensors.contains_key(&name), initial.remove(&name)) {
                tensors.insert(name, tensor);
            }
        }
        Some([n_theirs, n_ours])
    }

    /// Where `tensors` have no auxiliary head and the network has one, adds the head that a training with the key `seed`
    /// starts with. Returns whether it was added.
    pub fn add_auxiliary_head(tensors: &mut Tensors, layout: &Layout, seed: u64) -> bool {
        let prefixes = Prefixes::of(tensors);
        let is_of_head = |name: &str| name.contains("auxiliary_head.");
        if tensors.keys().any(|name| is_of_head(name)) {
            return false;
        }
        let initial = Self::initial(layout, seed).to_tensors(layout, prefixes);
        let head: Tensors = initial.into_iter().filter(|(name, _)| is_of_head(name)).collect();
        let is_added = !head.is_empty();
        tensors.extend(head);
        is_added
    }

    /// The weights of a network with the layout `layout`, from `tensors` that were read from `path`. Unless
    /// `evaluated`, all running statistics may be missing. An auxiliary head that the network does not have is ignored.
    ///
    /// # Errors
    /// [`Error::File`] with the first name that is missing, has another shape, or does not belong to the network.
    pub fn from_tensors(tensors: &Tensors, path: &Path, layout: &Layout, evaluated: bool) -> Result<Self> {
        check_finite(tensors, path)?;
        let prefixes = Prefixes::of(tensors);
        let mut weights =
            Self { v: vec![0f32; layout.v_len as usize], state: initial_state(layout), batches_tracked: 0 };
        let has_state = layout.running().any(|(_, e)| tensors.contains_key(&prefixes.name(&e.spec)));
        for (_, entry) in layout.iter() {
            let name = prefixes.name(&entry.spec);
            let role = entry.spec.role;
            if role == ParamRole::NumBatchesTracked {
                if let Some(Tensor { data: Data::I64(n), .. }) = tensors.get(&name) {
                    weights.batches_tracked = n.first().copied().unwrap_or(0);
                }
                continue;
            }
            if !role.is_trained() && !has_state && !evaluated {
                continue;
            }
            let missing = |found: String| {
                let expected = format!("a tensor {name} of shape {:?}", entry.spec.shape);
                Error::file(path, None, expected, found, TRY)
            };
            let Some(tensor) = tensors.get(&name) else {
                let near = nearest(&name, tensors.keys().map(String::as_str));
                let near = near.map(|near| format!(" (the nearest is `{near}`)")).unwrap_or_default();
                return Err(missing(format!("no such name{near}")));
            };
            if let (&[theirs, had], &[ours, has]) = (&*tensor.shape, &*entry.spec.shape)
                && entry.spec.name.ends_with("classifier.weight")
                && (theirs != ours && had == has)
            {
                let expected = format!("weights for {ours} classes");
                let found = format!("weights for {theirs} classes (`{name}` has shape {:?})", tensor.shape);
                return Err(Error::file(path, None, expected, found, TRY_CLASSES));
            }
            if tensor.shape != entry.spec.shape {
                return Err(missing(format!("shape {:?}", tensor.shape)));
            }
            let (_, values) = tensors::f32s(tensors, path, &name)?;
            let buffer = if role.is_trained() { &mut weights.v } else { &mut weights.state };
            entry.pack(values, buffer);
        }
        check_names(tensors, path, layout, prefixes)?;
        Ok(weights)
    }

    /// The weights as tensors, named with `prefixes`. The shapes are those of PyTorch.
    pub fn to_tensors(&self, layout: &Layout, prefixes: Prefixes) -> Tensors {
        let tensor = |spec: &ParamSpec, entry: &crate::graph::layout::Entry| match spec.role {
            ParamRole::NumBatchesTracked => Tensor::i64(&[], vec![self.batches_tracked]),
            role if role.is_trained() => Tensor::f32(&spec.shape, entry.unpack(&self.v)),
            _ => Tensor::f32(&spec.shape, entry.unpack(&self.state)),
        };
        layout.iter().map(|(_, e)| (prefixes.name(&e.spec), tensor(&e.spec, e))).collect()
    }
}

/// Checks that no name belongs to another network.
fn check_names(tensors: &Tensors, path: &Path, layout: &Layout, prefixes: Prefixes) -> Result<()> {
    for name in tensors.keys() {
        let plain = if prefixes == Prefixes::PLAIN {
            name.as_str()
        } else {
            let of_network = [prefixes.v, prefixes.state].iter().find_map(|p| name.strip_prefix(p));
            // A checkpoint also contains the state of an optimiser.
            let Some(plain) = of_network else { continue };
            plain
        };
        if layout.get(plain).is_none() && !plain.starts_with("auxiliary_head.") {
            return Err(Error::file(
                path,
                None,
                "only names of this network",
                format!("a tensor {name}"),
                TRY,
            ));
        }
    }
    Ok(())
}
