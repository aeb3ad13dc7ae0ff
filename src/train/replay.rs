//! (genotype, weights, batch) as files → logits, log-likelihoods and gradients as a file.
//!
//! A replay runs the plans and kernels of search and training on tensors that anyone can make, so that equality with
//! another implementation can be shown from outside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::tensors::{self, Data, Metadata, Tensor, Tensors};
use crate::files::weights;
use crate::gpu::{Child, Gpu, LimitsChoice, Network, Options, Variants};
use crate::graph::{Layout, Lowering, Mode};
use crate::kernel::Buf;
use crate::network::Net;
use crate::network::ParamSpec;
use crate::space::{Alpha, Paths, Space};
use crate::space::{NetworkKind, NetworkSpec};

/// Settings of a replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The space that builds the network.
    pub space: Arc<dyn Space>,
    /// The architecture.
    pub alpha: Alpha,
    /// File of weights with PyTorch names.
    pub weights: PathBuf,
    /// File with `images` F32 \[N,C,H,W\], `labels` I64 \[N\], and optionally `class_weights` F32 \[classes\] and
    /// `drop_path.{cell}.{op}` F32 \[N\].
    pub batch: PathBuf,
    /// File for the results.
    pub out: PathBuf,
    /// Channels of the first cells.
    pub channels: usize,
    /// Search parent or final network.
    pub kind: NetworkKind,
    /// Whether the pass trains: it gives gradients and updated running statistics. Otherwise running statistics are
    /// used.
    pub train: bool,
    /// Whether plain kernels run, without fusion of operations.
    pub reference_kernels: bool,
    /// Kernel variants. `None` means the fixed variants of the adapter.
    pub variants: Option<Variants>,
    /// Name of the adapter.
    pub device: Option<String>,
}

/// The batch of a replay.
struct Batch {
    shape: [usize; 4],
    images: Vec<f32>,
    labels: Vec<i64>,
}

/// Runs the replay and writes its results.
///
/// # Errors
/// [`Error::File`] for tensors that are missing, of the wrong shape or type, or of another network;
/// [`Error::Usage`] for extents that cannot be built.
pub fn replay(r: &Replay) -> Result<()> {
    let options = Options { limits: LimitsChoice::Adapter, ..Options::default() };
    replay_on(r, || Gpu::open(r.device.as_deref(), options))
}

/// Runs [`replay`] on the adapter that `open` returns. `open` is called after the files were read.
///
/// # Errors
/// The errors of [`replay`] and of `open`.
pub fn replay_on(r: &Replay, open: impl FnOnce() -> Result<Gpu>) -> Result<()> {
    let weights = weights::read(&r.weights)?;
    let (batch, of_batch) = read_batch(r)?;
    let spec = network_spec(r, &weights, batch.shape)?;
    spec.check()?;
    let params = spec.params(&r.alpha);
    let labels = class_labels(r, &batch, spec.n_classes)?;
    let net = Arc::new(spec.net(Paths::Child(&r.alpha)));
    let used = net.params();
    let drop_path = read_drop_path(r, &of_batch, batch.labels.len(), net.n_drops)?;
    let class_weights = read_class_weights(r, &of_batch, net.n_classes())?;
    check_weights(r, &weights, &params, &used)?;
    // A search child needs only the parameters of the parent that it uses.
    let layout = Layout::new(used)?;

    let mut gpu = open()?;
    let variants = r.variants.unwrap_or_else(|| Variants::fixed(&gpu));
    gpu.read_through_textures(variants.textures == 1);
    let lowering = Lowering { fuse: !r.reference_kernels, tuning: variants.tuning, ..Lowering::default() };
    let mut network = Network::new(gpu, net.image(), layout, lowering)?;
    let mut v = vec![0f32; network.layout().v_len as usize];
    let mut state = vec![0f32; network.layout().state_len as usize];
    for (name, entry) in network.layout().trained() {
        entry.pack(tensors::f32s(&weights, &r.weights, name)?.1, &mut v);
    }
    for (name, entry) in network.layout().running() {
        if weights.contains_key(name) {
            entry.pack(tensors::f32s(&weights, &r.weights, name)?.1, &mut state);
        }
    }
    network.write_all(Buf::V, &v)?;
    network.write_all(Buf::State, &state)?;
    if let Some(class_weights) = &class_weights {
        network.set_class_weights(class_weights)?;
    }
    network.upload(0, &batch.images, &labels)?;
    if let Some(factors) = &drop_path {
        network.upload_drop_path(factors)?;
    }
    let mode = match (r.train, r.kind) {
        (true, _) => Mode::Train,
        (false, NetworkKind::Final) => Mode::Evaluate,
        // The search parent has no running statistics.
        (false, NetworkKind::Search) => Mode::Likelihood,
    };
    let drop_path = r.train && drop_path.is_some();
    network.run(Child { drop_path, ..Child::new(&net, mode, 0) })?;
    let out = results(r, &mut network, &net, batch.labels.len(), &weights)?;
    tensors::write_atomic(&r.out, &out, &Metadata::new())
}

fn results(r: &Replay, network: &mut Network, net: &Net, n: usize, weights: &Tensors) -> Result<Tensors> {
    let mut out = Tensors::new();
    let classes = net.n_classes();
    out.insert("logits".into(), Tensor::f32(&[n, classes], network.logits(0, 0)?));
    out.insert("log_likelihood".into(), Tensor::f32(&[n], network.last_result(0)?.log_likelihood));
    if r.kind == NetworkKind::Final {
        add_running(r, network, weights, &mut out)?;
    }
    if !r.train {
        return Ok(out);
    }
    if net.auxiliary_logits.is_some() {
        out.insert("aux_logits".into(), Tensor::f32(&[n, classes], network.logits(1, 0)?));
    }
    let grad = network.read_all(Buf::Grad)?;
    for (name, entry) in network.layout().trained() {
        out.insert(format!("grad.{name}"), Tensor::f32(&entry.spec.shape, entry.unpack(&grad)));
    }
    Ok(out)
}

/// Running statistics after the pass. Evaluation leaves them unchanged.
fn add_running(r: &Replay, network: &mut Network, weights: &Tensors, out: &mut Tensors) -> Result<()> {
    let state = network.read_all(Buf::State)?;
    for (name, entry) in network.layout().running() {
        out.insert(format!("after.{name}"), Tensor::f32(&entry.spec.shape, entry.unpack(&state)));
    }
    for (name, _) in network.layout().iter().filter(|(name, _)| name.ends_with("num_batches_tracked")) {
        let before = match weights.get(name).map(|t| &t.data) {
            Some(Data::I64(v)) => v.first().copied().unwrap_or(0),
            _ => 0,
        };
        out.insert(format!("after.{name}"), Tensor::i64(&[], vec![before + i64::from(r.train)]));
    }
    Ok(())
}

fn wrong(path: &Path, expected: impl Into<String>, found: impl Into<String>, try_this: &str) -> Error {
    Error::file(path, None, expected, found, try_this)
}

/// The batch, and all tensors of its file.
fn read_batch(r: &Replay) -> Result<(Batch, Tensors)> {
    let (batch, _) = tensors::read(&r.batch)?;
    let (shape, images) = tensors::f32s(&batch, &r.batch, "images")?;
    let Ok(shape) = <[usize; 4]>::try_from(shape) else {
        let found = format!("images of shape {shape:?}");
        return Err(wrong(&r.batch, "images of shape [N, C, H, W]", found, ""));
    };
    if shape.contains(&0) {
        return Err(wrong(
            &r.batch,
            "at least one image with pixels",
            format!("images of shape {shape:?}"),
            "",
        ));
    }
    let (label_shape, labels) = tensors::i64s(&batch, &r.batch, "labels")?;
    if label_shape != [shape[0]] {
        let expected = format!("labels of shape [{}], one per image", shape[0]);
        return Err(wrong(&r.batch, expected, format!("labels of shape {label_shape:?}"), ""));
    }
    let read = Batch { shape, images: images.to_vec(), labels: labels.to_vec() };
    Ok((read, batch))
}

/// `drop_path.{cell}.{op}` → [cells * 8][N]. Operations without a tensor have factor 1.
fn read_drop_path(r: &Replay, batch: &Tensors, n: usize, rows: usize) -> Result<Option<Vec<f32>>> {
    let cells = rows / 8;
    let mut factors = None;
    for name in batch.keys().filter(|name| name.starts_with("drop_path.")) {
        let place = name["drop_path.".len()..].split_once('.');
        let place = place.and_then(|(c, o)| Some((c.parse::<usize>().ok()?, o.parse::<usize>().ok()?)));
        let Some((cell, op)) = place.filter(|&(c, o)| c < cells && o < 8) else {
            let expected = format!("drop_path.CELL.OP with CELL below {} and OP below 8", cells);
            return Err(wrong(&r.batch, expected, name.clone(), ""));
        };
        if r.kind == NetworkKind::Search {
            return Err(wrong(&r.batch, "no drop-path in a search network", name.clone(), "--network final"));
        }
        let (shape, values) = tensors::f32s(batch, &r.batch, name)?;
        if shape != [n] {
            let expected = format!("{name} of shape [{n}]");
            return Err(wrong(&r.batch, expected, format!("{shape:?}"), ""));
        }
        let all = factors.get_or_insert_with(|| vec![1f32; rows * n]);
        all[(8 * cell + op) * n..][..n].copy_from_slice(values);
    }
    Ok(factors)
}

/// The weight of each class in the loss, if the file has them.
fn read_class_weights(r: &Replay, batch: &Tensors, n_classes: usize) -> Result<Option<Vec<f64>>> {
    const NAME: &str = "class_weights";
    if !batch.contains_key(NAME) {
        return Ok(None);
    }
    let (shape, weights) = tensors::f32s(batch, &r.batch, NAME)?;
    if shape != [n_classes] {
        return Err(wrong(&r.batch, format!("{NAME} of shape [{n_classes}]"), format!("{shape:?}"), ""));
    }
    if let Some(weight) = weights.iter().find(|w| !(w.is_finite() && **w > 0.0)) {
        return Err(wrong(&r.batch, format!("positive numbers in {NAME}"), weight.to_string(), ""));
    }
    Ok(Some(weights.iter().map(|w| f64::from(*w)).collect()))
}

fn network_spec(
    r: &Replay,
    weights: &Tensors,
    [_, in_channels, height, width]: [usize; 4],
) -> Result<NetworkSpec> {
    let (shape, _) = tensors::f32s(weights, &r.weights, "classifier.weight")?;
    let [n_classes, _] = *shape else {
        let found = format!("classifier.weight of shape {shape:?}");
        return Err(wrong(&r.weights, "classifier.weight of shape [classes, features]", found, ""));
    };
    let auxiliary = weights.keys().any(|k| k.starts_with("auxiliary_head."));
    let spec = NetworkSpec {
        space: Arc::clone(&r.space),
        kind: r.kind,
        in_channels,
        height,
        width,
        n_classes,
        channels: r.channels,
    };
    Ok(spec.with_auxiliary(auxiliary))
}

fn class_labels(r: &Replay, batch: &Batch, n_classes: usize) -> Result<Vec<u32>> {
    let class = |l: i64| u32::try_from(l).ok().filter(|l| (*l as usize) < n_classes);
    let wrong_at = |(i, l): (usize, &i64)| {
        class(*l).ok_or_else(|| {
            let expected =
                format!("labels from 0 to {} (classifier.weight has {n_classes} rows)", n_classes - 1);
            wrong(&r.batch, expected, format!("{l} at position {i}"), "")
        })
    };
    batch.labels.iter().enumerate().map(wrong_at).collect()
}

/// Checks that every needed name exists, that shapes are right, and that every name belongs to the network.
fn check_weights(r: &Replay, weights: &Tensors, params: &[ParamSpec], used: &[ParamSpec]) -> Result<()> {
    for spec in used {
        let needed = spec.role.is_trained()
            || (!r.train && r.kind == NetworkKind::Final && !spec.name.ends_with("num_batches_tracked"));
        match weights.get(&spec.name) {
            None if needed => {
                let expected = format!("a tensor {} of shape {:?}", spec.name, spec.shape);
                let try_this = "weights of this architecture's network with these --space, --channels, and --layers or --stages";
                return Err(wrong(&r.weights, expected, "no such name", try_this));
            }
            _ => {}
        }
    }
    for (name, tensor) in weights {
        let Some(spec) = params.iter().find(|p| p.name == *name) else {
            let is_state =
                ["running_mean", "running_var", "num_batches_tracked"].iter().any(|s| name.ends_with(s));
            if is_state && r.kind == NetworkKind::Search {
                continue;
            }
            let try_this = "weights of this network: check --network, --layers, --stem and the genotype";
            return Err(wrong(
                &r.weights,
                "only names of this network",
                format!("a tensor {name}"),
                try_this,
            ));
        };
        if tensor.shape != spec.shape {
            let expected = format!("{name} of shape {:?}", spec.shape);
            let try_this = "check --channels, --layers and the images' channels";
            return Err(wrong(&r.weights, expected, format!("{:?}", tensor.shape), try_this));
        }
    }
    Ok(())
}
