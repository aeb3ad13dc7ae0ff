//! Named tensors + structure → a trained network, checked name by name, and its safetensors file.
//!
//! Names, shapes and types are the same as in the state dictionaries of the space's published PyTorch modules. These
//! modules load the file of a final network with `strict=True`. They load the file of a search parent with
//! `strict=False`, because their batch norms without parameters have buffers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::tensors::{self, Data, Metadata, Tensor, Tensors};
use crate::files::weights;
use crate::network::Net;
use crate::network::{ParamRole, ParamSpec};
use crate::space::{Alpha, Paths, Space};
use crate::space::{NetworkKind, NetworkSpec};

/// Facts for the use of a network, if they are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Mean of pixel/255, one per channel, which training subtracted. May be empty.
    pub mean: Vec<f32>,
    /// Standard deviation of pixel/255, one per channel, by which training divided. May be empty.
    pub std: Vec<f32>,
    /// One name per class; may be empty.
    pub class_names: Vec<String>,
}

/// Weights and running statistics, with the structure of their network.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Architecture of the network. For a search parent it is the mode of the prior.
    pub alpha: Alpha,
    /// Structure of the network.
    pub spec: NetworkSpec,
    /// Exactly the entries of the network's state dictionary. They are F32; counters are I64 without dimensions.
    pub tensors: Tensors,
    /// Normalisation and class names.
    pub about: About,
}

/// Facts about a network that its tensors do not contain.
#[derive(Clone, Debug)]
pub struct Extents {
    /// The space that builds the network.
    pub space: Arc<dyn Space>,
    /// Search parent or final network.
    pub kind: NetworkKind,
    /// Channels of the first layers.
    pub channels: usize,
    /// Height and width of the images in pixels.
    pub size: [usize; 2],
}

/// Settings of a space that follow from the tensors or from the architecture.
const HIDDEN: [&str; 2] = ["auxiliary", "primitives"];

impl Trained {
    /// The network of `alpha` with the `tensors` of the file `path`. Running statistics of a search parent are dropped,
    /// because children use batch statistics.
    ///
    /// # Errors
    /// [`Error::Usage`] for a structure that cannot be built. [`Error::File`] for the first tensor that is missing,
    /// belongs to another network, or has another shape or type. Counters may be missing (files of old versions of
    /// PyTorch have none); missing counters are 0.
    pub fn new(
        alpha: Alpha,
        spec: NetworkSpec,
        mut tensors: Tensors,
        about: About,
        path: &Path,
    ) -> Result<Self> {
        spec.check()?;
        if spec.kind == NetworkKind::Search {
            tensors.retain(|name, _| !is_running(name));
        }
        let params = match (spec.kind, spec.space.of_tensors(&mut tensors.keys().map(String::as_str))) {
            (NetworkKind::Search, Some(space)) => NetworkSpec { space, ..spec.clone() }.parent_params(),
            _ => spec.params(&alpha),
        };
        for param in params.iter().filter(|p| p.role == ParamRole::NumBatchesTracked) {
            tensors.entry(param.name.clone()).or_insert_with(|| Tensor::i64(&[], vec![0]));
        }
        check(&params, &tensors, path)?;
        for (what, values) in [("mean", &about.mean), ("deviation", &about.std)] {
            fits(what, values.len(), "channel of the images", spec.in_channels)?;
        }
        fits("class name", about.class_names.len(), "class", spec.n_classes)?;
        Ok(Self { alpha, spec, tensors, about })
    }

    /// The network in the safetensors file at `path`. The channels of the images, the classes and the auxiliary head
    /// are derived from the file.
    ///
    /// # Errors
    /// The errors of [`Self::new`], and [`Error::Io`] for a file that cannot be read.
    pub fn read(path: &Path, alpha: Alpha, extents: &Extents, about: About) -> Result<Self> {
        let tensors = weights::read(path)?;
        Self::of_tensors(alpha, extents, tensors, about, path)
    }

    /// Like [`Self::read`], with the `tensors` of the file `path`.
    pub fn of_tensors(
        alpha: Alpha,
        extents: &Extents,
        tensors: Tensors,
        about: About,
        path: &Path,
    ) -> Result<Self> {
        let spec = extents.spec(&tensors, path)?;
        Self::new(alpha, spec, tensors, about, path)
    }

    /// Architecture of the network as text.
    pub fn genotype(&self) -> String {
        self.spec.space.print(&self.alpha)
    }

    /// Layers of the network.
    pub fn net(&self) -> Net {
        self.spec.net(Paths::Child(&self.alpha))
    }

    /// The bytes of the network's safetensors file.
    pub fn to_safetensors(&self, path: &Path) -> Result<Vec<u8>> {
        tensors::to_bytes(&self.tensors, &self.metadata(), path)
    }

    /// The other facts that a user of the network needs, as text. Lists are JSON. Unknown facts are absent.
    pub fn metadata(&self) -> Metadata {
        let spec = &self.spec;
        let mut out = Metadata::new();
        let mut put = |key: &str, value: String| out.insert(key.to_owned(), value);
        put("format", "pt".into());
        put("genotype", self.genotype());
        put("network", if spec.kind == NetworkKind::Final { "final" } else { "search" }.into());
        if spec.space.name() != "darts" {
            put("space", spec.space.name().into());
        }
        let own = spec.space.settings();
        own.into_iter().filter(|(key, _)| !HIDDEN.contains(key)).for_each(|(key, value)| {
            put(key, value);
        });
        put("channels", spec.channels.to_string());
        put("image_size", format!("[{},{}]", spec.height, spec.width));
        if !self.about.mean.is_empty() {
            put("mean", json(&self.about.mean));
        }
        if !self.about.std.is_empty() {
            put("std", json(&self.about.std));
        }
        if !self.about.class_names.is_empty() {
            put("class_names", json(&self.about.class_names));
        }
        out
    }

    /// Shape and numbers of the F32 tensor `name`.
    pub fn f32s(&self, name: &str) -> Result<(&[usize], &[f32])> {
        tensors::f32s(&self.tensors, Path::new("the network"), name)
    }
}

impl Extents {
    /// The whole structure, completed from the `tensors` of the file `path`.
    pub fn spec(&self, tensors: &Tensors, path: &Path) -> Result<NetworkSpec> {
        let extent = |name: &str, axis: usize, rank: usize| match tensors::f32s(tensors, path, name)?.0 {
            shape if shape.len() == rank => Ok(shape[axis]),
            shape => {
                let (expected, found) = (format!("{name} with {rank} axes"), format!("shape {shape:?}"));
                Err(Error::file(path, None, expected, found, ""))
            }
        };
        let spec = NetworkSpec {
            space: Arc::clone(&self.space),
            kind: self.kind,
            in_channels: extent(self.space.first_weight(), 1, 4)?,
            height: self.size[0],
            width: self.size[1],
            n_classes: extent("classifier.weight", 0, 2)?,
            channels: self.channels,
        };
        Ok(spec.with_auxiliary(tensors.keys().any(|name| name.starts_with("auxiliary_head."))))
    }
}

/// The entries of a checkpoint that belong to the network's state dictionary: `v.{name}` and `state.{name}`, without
/// their first part. Momentum, the prior and the prior's moments are dropped.
pub fn of_checkpoint(state: Tensors) -> Tensors {
    let inner = |name: &str| Some(name.strip_prefix("v.").or(name.strip_prefix("state."))?.to_owned());
    state.into_iter().filter_map(|(name, tensor)| Some((inner(&name)?, tensor))).collect()
}

fn is_running(name: &str) -> bool {
    ["running_mean", "running_var", "num_batches_tracked"].iter().any(|end| name.ends_with(end))
}

/// Numbers and names as JSON, which is also valid Python.
pub(super) fn json<T: serde::Serialize>(values: &[T]) -> String {
    // Numbers and texts always have a JSON form. A number that is not finite becomes null.
    serde_json::to_string(values).unwrap_or_default()
}

/// Checks that there are either no values or `n` values.
fn fits(what: &str, found: usize, per: &str, n: usize) -> Result<()> {
    if found == 0 || found == n {
        return Ok(());
    }
    let try_this = "as many as the network has, or none";
    Err(Error::usage(format!("{what}s"), format!("{n}, one per {per}"), found.to_string(), try_this))
}

/// Checks that every entry exists with its shape and type, and that there is no other entry. The first difference is
/// the error.
fn check(params: &[ParamSpec], tensors: &Tensors, path: &Path) -> Result<()> {
    let wrong = |expected: String, found: String, try_this: &str| {
        Err(Error::file(path, None, expected, found, try_this))
    };
    let other_network = "weights of this network: check the genotype, --layers, --stem and --network";
    let unexpected =
        |name: &str| wrong("only names of this network".into(), format!("a tensor {name}"), other_network);
    let names: BTreeSet<&str> = params.iter().map(|p| p.name.as_str()).collect();
    let extra = tensors.keys().filter(|name| !names.contains(name.as_str())).min_by_key(|name| order(name));
    for param in params {
        let Some(tensor) = tensors.get(&param.name) else {
            if let Some(name) = extra.filter(|name| order(name) < order(&param.name)) {
                return unexpected(name);
            }
            let expected = format!("a tensor {} of shape {:?}", param.name, param.shape);
            return wrong(expected, "no such name".into(), other_network);
        };
        if tensor.shape != param.shape {
            let expected = format!("{} of shape {:?}", param.name, param.shape);
            let try_this = "check the genotype, --channels and --layers";
            return wrong(expected, format!("shape {:?}", tensor.shape), try_this);
        }
        let is_counter = param.role == ParamRole::NumBatchesTracked;
        match (&tensor.data, is_counter) {
            (Data::F32(_), false) | (Data::I64(_), true) => {}
            (other, _) => {
                let dtype = if is_counter { "I64" } else { "F32" };
                return wrong(format!("{} of type {dtype}", param.name), other.dtype().into(), "convert it");
            }
        }
    }
    extra.map_or(Ok(()), |name| unexpected(name))
}

/// Sort key of a name. The keys give the order of the network: cell 10 comes after cell 2.
fn order(name: &str) -> Vec<(u32, &str)> {
    name.split('.').map(|part| part.parse().map_or((0, part), |number| (number, ""))).collect()
}
