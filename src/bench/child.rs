//! A child on an adapter → the times of its kernels, one kind at a time, and of the whole child.

use std::sync::Arc;
use std::time::Duration;

use crate::host::Instant;

use serde::Serialize;

use super::probes::Probes;
use super::{Shape, Spread};
use crate::Result;
use crate::gpu::{Child, Gpu, Network, Update, Variants};
use crate::graph::init::initial;
use crate::graph::{Layout, Lowering, Mode};
use crate::kernel::{Buf, Launch};
use crate::network::Net;
use crate::rng::{Purpose, stream};
use crate::space::{NetworkKind, NetworkSpec};

/// Limit on the time of the passes before the measured ones.
const WARM_UP: Duration = Duration::from_secs(2);

/// All launches of one compiled kernel in a child's forward and backward pass.
#[derive(Clone, Debug, Serialize)]
pub struct KernelTime {
    /// Shader and entry point.
    pub name: String,
    /// Values of the kernel's override constants.
    pub variant: String,
    /// Number of launches.
    pub launches: usize,
    /// Milliseconds of all launches, one after another.
    #[serde(flatten)]
    pub time: Spread,
    /// 10⁹ multiplications plus additions per second.
    pub gflops: f64,
    /// Bytes that all launches move. In each launch every operand that is read is counted once, and every operand that
    /// is written is counted once.
    pub bytes: u64,
    /// 10⁹ bytes per second. Each operand is counted once; operands that are bound but not read are left out.
    pub gbps: f64,
    /// Least milliseconds according to the probes.
    pub bound_ms: f64,
    /// bound_ms / ms.
    pub share: f64,
    /// Milliseconds of compilation: the time of the first launch, with the making of its pipeline, minus the time of
    /// the other launches. A driver that keeps compiled kernels on disk needs nearly no time for the second
    /// compilation.
    pub compile_ms: f64,
    /// Fraction of the compilation time of all of the child's kernels.
    pub compile_share: f64,
}

/// Times of a whole child.
#[derive(Clone, Debug, Serialize)]
pub struct ChildTime {
    /// Architecture of the child.
    pub genotype: String,
    /// Likelihood with batch statistics and reading of the result: median milliseconds.
    pub forward_ms: f64,
    /// Forward, backward, clip, update of v and reading of the result: median milliseconds.
    pub train_ms: f64,
    /// Milliseconds of the launches of `forward_ms` by the adapter's clock, without submission and reading. `None` if
    /// the adapter has no time stamps.
    pub forward_gpu_ms: Option<f64>,
    /// Milliseconds of the launches of `train_ms` by the adapter's clock.
    pub train_gpu_ms: Option<f64>,
    /// Fastest and slowest forward pass.
    pub forward_range_ms: [f64; 2],
    /// Fastest and slowest pass of `train_ms`.
    pub train_range_ms: [f64; 2],
    /// Milliseconds of the compilation of all kernels of the child, one after the other.
    pub compile_ms: f64,
    /// Milliseconds of planning on the host.
    pub plan_ms: f64,
    /// Number of launches of forward and backward.
    pub launches: usize,
    /// Multiplications plus additions of forward and backward.
    pub flops: u64,
    /// Bytes of forward and backward, if each launch reads its inputs once and writes its results once.
    pub bytes: u64,
    /// Sum of the bounds of the child's kernels.
    pub bound_ms: f64,
    /// Share of the bound in the time of the child's kernels, weighted by time.
    pub share: f64,
    /// Activation memory in bytes. The planned memory is also the allocated memory.
    pub arena_bytes: u64,
}

/// The search network of `shape`.
pub fn spec(shape: &Shape) -> NetworkSpec {
    NetworkSpec {
        space: Arc::clone(&shape.space),
        kind: NetworkKind::Search,
        in_channels: shape.in_channels,
        height: shape.size.height,
        width: shape.size.width,
        n_classes: shape.classes,
        channels: shape.channels,
    }
}

/// A network of `shape` with random weights and a batch of noise.
pub fn network(gpu: Gpu, shape: &Shape, variants: Variants) -> Result<Network> {
    let spec = spec(shape);
    spec.check()?;
    let layout = Layout::new(spec.parent_params())?;
    let v = initial(&layout, shape.seed);
    let mut network =
        Network::new(gpu, spec.image(), layout, Lowering { memory: shape.memory, ..Lowering::default() })?;
    network.use_variants(variants);
    network.write_all(Buf::V, &v)?;
    let mut rng = stream(shape.seed, Purpose::Init, 0, u64::MAX);
    let n = shape.batch * shape.in_channels * shape.size.area();
    let images: Vec<f32> = (0..n).map(|_| noise(&mut rng)).collect();
    let labels: Vec<u32> = (0..shape.batch).map(|i| (i % shape.classes) as u32).collect();
    network.upload(0, &images, &labels)?;
    Ok(network)
}

/// A uniform random number with variance 1.
fn noise(rng: &mut impl rand::Rng) -> f32 {
    ((rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0) * 1.732
}

/// Times two passes of a whole child: a forward pass alone, and a forward pass, backward pass and update together.
pub fn times(network: &mut Network, net: &Arc<Net>, repeats: usize) -> Result<[Spread; 2]> {
    let child = |mode| Child::new(net, mode, 0);
    let forward = pass(network, child(Mode::Likelihood), false, repeats)?;
    Ok([forward, pass(network, child(Mode::Train), true, repeats)?])
}

/// Times the child, then its kernels.
pub fn measure(
    network: &mut Network,
    (genotype, net): (&str, &Arc<Net>),
    probes: &Probes,
    repeats: usize,
    tell: &mut dyn FnMut(&str),
) -> Result<(ChildTime, Vec<KernelTime>)> {
    let child = |mode| Child::new(net, mode, 0);
    // The first plan includes parsing the shaders, which are parsed at their first use.
    network.plan_of(child(Mode::Train))?;
    let start = Instant::now();
    let plan = network.plan_of(child(Mode::Train))?;
    let plan_ms = 1e3 * start.elapsed().as_secs_f64();
    let groups = by_kernel(&plan.launches);
    tell("child: compiling");
    let first = network.first_launches(child(Mode::Train), &groups)?;
    tell("child: warming up");
    let forward = pass(network, child(Mode::Likelihood), false, repeats)?;
    let train = pass(network, child(Mode::Train), true, repeats)?;
    tell(&format!("child: forward {:.1} ms, forward + backward + update {:.1} ms", forward.ms, train.ms));

    let mut gpu_ms = |mode| -> Result<Option<f64>> {
        let secs = network.times(child(mode), mode == Mode::Train, repeats)?;
        Ok(network.gpu().has_clock().then(|| Spread::of(secs).ms))
    };
    let (forward_gpu_ms, train_gpu_ms) = (gpu_ms(Mode::Likelihood)?, gpu_ms(Mode::Train)?);

    let mut kernels = Vec::new();
    for (group, first) in groups.iter().zip(first) {
        kernels.push(kernel_time(network.gpu(), probes, group, first, repeats)?);
    }
    let compile_ms: f64 = kernels.iter().map(|k: &KernelTime| k.compile_ms).sum();
    kernels.iter_mut().for_each(|k| k.compile_share = k.compile_ms / compile_ms.max(1e-9));
    kernels.sort_by(|a, b| b.time.ms.total_cmp(&a.time.ms));
    let bound_ms: f64 = kernels.iter().map(|k| k.bound_ms).sum();
    let time = ChildTime {
        genotype: genotype.to_string(),
        forward_ms: forward.ms,
        train_ms: train.ms,
        forward_gpu_ms,
        train_gpu_ms,
        forward_range_ms: [forward.min_ms, forward.max_ms],
        train_range_ms: [train.min_ms, train.max_ms],
        compile_ms,
        plan_ms,
        launches: plan.launches.len(),
        flops: plan.flops,
        bytes: plan.bytes,
        bound_ms,
        share: bound_ms / kernels.iter().map(|k| k.time.ms).sum::<f64>(),
        arena_bytes: network.arena_bytes(),
    };
    Ok((time, kernels))
}

/// Groups the launches by compiled kernel.
fn by_kernel(launches: &[Launch]) -> Vec<Vec<Launch>> {
    let mut groups: Vec<Vec<Launch>> = Vec::new();
    for d in launches {
        let key = |o: &Launch| (o.shader, o.entry, o.overrides.clone());
        match groups.iter_mut().find(|g| key(&g[0]) == key(d)) {
            Some(group) => group.push(d.clone()),
            None => groups.push(vec![d.clone()]),
        }
    }
    groups
}

/// Times of the launches of a kernel whose first launch took `first` seconds.
fn kernel_time(
    gpu: &mut Gpu,
    probes: &Probes,
    group: &[Launch],
    first: f64,
    repeats: usize,
) -> Result<KernelTime> {
    let recorded = gpu.prepare(group)?;
    let time = Spread::of(gpu.times(&[&recorded], repeats)?);
    let bound_ms: f64 = group.iter().map(|d| probes.bound_ms(d.flops, d.bytes, 1)).sum();
    let variant: Vec<String> = group[0].overrides.iter().map(|(k, v)| format!("{k}={v}")).collect();
    Ok(KernelTime {
        name: format!("{}::{}", group[0].shader, group[0].entry),
        variant: variant.join(" "),
        launches: group.len(),
        gflops: recorded.flops as f64 / (time.ms * 1e6),
        bytes: recorded.bytes,
        gbps: recorded.bytes as f64 / (time.ms * 1e6),
        bound_ms,
        share: bound_ms / time.ms,
        compile_ms: (1e3 * first - time.ms).max(0.0),
        compile_share: 0.0,
        time,
    })
}

/// Milliseconds of whole passes, with reading of the result.
fn pass(network: &mut Network, child: Child<'_>, update: bool, repeats: usize) -> Result<Spread> {
    // The learning rate is so small that the weights stay finite after any number of repetitions.
    let step = Update { lr: 1e-4, momentum: 0.9, weight_decay: 3e-4, max_norm: 5.0 };
    let mut once = || -> Result<f64> {
        let start = Instant::now();
        network.run(child)?;
        if update {
            network.step(step)?;
        }
        network.last_result(child.input)?;
        Ok(start.elapsed().as_secs_f64())
    };
    once()?;
    // Repeat until two passes agree, because an idle adapter raises its clocks.
    let started = Instant::now();
    let mut before = f64::NAN;
    while started.elapsed() < WARM_UP {
        let secs = once()?;
        if (secs / before - 1.0).abs() < 0.03 {
            break;
        }
        before = secs;
    }
    let secs = (0..repeats.max(1)).map(|_| once()).collect::<Result<_>>()?;
    Ok(Spread::of(secs))
}
