//! (shader, entry point, overrides, reads) → a compiled pipeline with its bind-group layout, made once per device.
//!
//! The key contains nothing of an architecture, so a new child or another network on the same device soon compiles
//! nothing new. The key contains how activations are read, because users of one device may read in different ways.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use super::device::Device;
use super::executor::Gpu;
use super::parallel::in_parallel;
use crate::Result;
use crate::kernel::specialise::{BASES_BINDING, with_textures};
use crate::kernel::{Binding, Entry, Kernel, Kind, Launch, kernel, reflect};

/// A compiled entry point.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub kernel: &'static Kernel,
    pub entry: &'static Entry,
    /// Variables of the shader that are bound as textures, in the order of their bases. Empty if the entry point
    /// reads none of them.
    pub textures: Vec<String>,
    /// Whether the pipeline was launched.
    pub ran: Arc<AtomicBool>,
}

impl Pipeline {
    /// The variables that are bound as textures if kernels read through textures.
    fn may_read_textures(&self) -> &'static [String] {
        may_read_textures(self.kernel, self.entry)
    }

    /// Whether the entry point uses texture `i`.
    pub fn reads_texture(&self, i: usize) -> bool {
        self.textures.get(i).is_some_and(|name| self.entry.bindings.iter().any(|b| b.name == *name))
    }
}

/// A compiled entry point, and the key that it was compiled for.
#[derive(Debug)]
struct Variant {
    overrides: Vec<(&'static str, u32)>,
    /// Whether the pipeline is for a [`Gpu`] that reads through textures.
    textures: bool,
    pipeline: Arc<Pipeline>,
}

impl Variant {
    fn is_for(&self, d: &Launch, textures: bool) -> bool {
        let either = self.pipeline.may_read_textures().is_empty();
        self.overrides == d.overrides && (either || self.textures == textures)
    }
}

/// Compiled entry points. An entry point has few variants, so a list is enough.
type ByEntry = HashMap<(&'static str, &'static str), Vec<Variant>>;

/// The pipelines of a device. The order of the hash map never reaches a result.
#[derive(Debug, Default)]
pub(super) struct Pipelines(Mutex<ByEntry>);

impl Pipelines {
    fn lock(&self) -> MutexGuard<'_, ByEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// The existing pipelines of these launches, for reading through textures or from buffers.
    fn get_all(&self, launches: &[Launch], textures: bool) -> Vec<Option<Arc<Pipeline>>> {
        let by_entry = self.lock();
        let get = |d: &Launch| {
            let variants = by_entry.get(&(d.shader, d.entry))?;
            variants.iter().find(|v| v.is_for(d, textures)).map(|v| Arc::clone(&v.pipeline))
        };
        launches.iter().map(get).collect()
    }

    /// Keeps the pipeline, unless another thread has made the same pipeline in the meantime.
    fn keep(&self, d: &Launch, textures: bool, pipeline: Pipeline) {
        let mut by_entry = self.lock();
        let variants = by_entry.entry((d.shader, d.entry)).or_default();
        if !variants.iter().any(|v| v.is_for(d, textures)) {
            let (overrides, pipeline) = (d.overrides.clone(), Arc::new(pipeline));
            variants.push(Variant { overrides, textures, pipeline });
        }
    }
}

/// The data of a [`Gpu`] that compiling needs. A compiler may outlive the call on its own thread.
#[derive(Clone)]
struct Compiler {
    device: Device,
    textures: bool,
    /// Bytes of the buffers of the [`Gpu`].
    have_bytes: u64,
}

impl Gpu {
    /// Number of pipelines that were compiled on the device so far.
    pub fn n_pipelines(&self) -> usize {
        self.device.pipelines().len()
    }

    /// The pipeline of each launch. New pipelines are compiled on all cores.
    pub(super) fn pipelines(&mut self, launches: &[Launch]) -> Result<Vec<Arc<Pipeline>>> {
        let missing = self.missing(launches);
        let compiler = self.compiler();
        // Software adapters compile a pipeline at its first launch. These adapters report a pipeline later, when the
        // pipeline has run.
        let known = self.n_pipelines() + missing.len();
        let listener = self.device.listener().filter(|_| !self.info().is_software);
        let compiled = in_parallel(&missing, |d| {
            self.device.pipelines().keep(d, self.textures, compiler.compile(d)?);
            let ready = self.n_pipelines();
            // `ready` may be larger than `known` if other users compile on the device too.
            listener.iter().for_each(|listener| listener.tell(ready, known.max(ready)));
            Ok(())
        });
        compiled.into_iter().collect::<Result<()>>().map_err(|e| self.reason(e))?;
        let pipelines = self.device.pipelines().get_all(launches, self.textures);
        let there = |(d, pipeline): (&Launch, Option<_>)| {
            // Pipelines disappear if the device was lost.
            let message = || self.reason(reflect::error(d.shader, format!("{} was not compiled", d.entry)));
            pipeline.ok_or_else(message)
        };
        launches.iter().zip(pipelines).map(there).collect()
    }

    /// One launch for each pipeline that `launches` need and that does not exist yet.
    fn missing(&self, launches: &[Launch]) -> Vec<Launch> {
        let there = self.device.pipelines().get_all(launches, self.textures);
        let mut missing: Vec<Launch> = Vec::new();
        for (d, _) in launches.iter().zip(there).filter(|(_, there)| there.is_none()) {
            if !missing.iter().any(|m| same(m, d)) {
                missing.push(d.clone());
            }
        }
        missing
    }

    fn compiler(&self) -> Compiler {
        let have_bytes = self.allocated_bytes();
        Compiler { device: self.device.clone(), textures: self.textures, have_bytes }
    }

    /// Compiles the pipelines that `launches` need, on all cores.
    pub fn compile(&mut self, launches: &[Launch]) -> Result<()> {
        self.pipelines(launches).map(|_| ())
    }

    /// Compiles the pipelines that `launches` need. Returns false if that takes longer than `most`; the driver
    /// then goes on compiling on its own thread.
    pub fn compile_within(&mut self, launches: &[Launch], most: Duration) -> Result<bool> {
        let missing = self.missing(launches);
        let (compiler, list) = (self.compiler(), missing.clone());
        let (done, compiled) = mpsc::channel();
        // The receiver may be gone when the thread sends.
        crate::host::thread::spawn(move || _ = done.send(in_parallel(&list, |d| compiler.compile(d))));
        match compiled.recv_timeout(most) {
            Ok(compiled) => {
                for (d, pipeline) in missing.iter().zip(compiled) {
                    let pipeline = pipeline.map_err(|e| self.reason(e))?;
                    self.device.pipelines().keep(d, self.textures, pipeline);
                }
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Starts from the data that [`Self::compiled_kernels`] returned on the same adapter and driver, or from an
    /// empty cache if `kept` is `None`. Has no effect if the driver has no such cache.
    pub fn use_compiled_kernels(&mut self, kept: Option<&[u8]>) {
        if !self.device.wgpu().features().contains(wgpu::Features::PIPELINE_CACHE) {
            return;
        }
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("kernels"),
            data: kept,
            // Data that the driver does not accept are ignored.
            fallback: true,
        };
        // SAFETY: the data come from `compiled_kernels` on an adapter and driver of the same names, and the caller
        // has compared their checksum. The driver also checks its own header.
        #[expect(unsafe_code, reason = "a driver trusts its own data")]
        let cache = unsafe { self.device.wgpu().create_pipeline_cache(&descriptor) };
        self.device.use_cache(cache);
    }

    /// The driver's data to pass to [`Self::use_compiled_kernels`] at the next start. `None` if the driver has no
    /// such cache.
    pub fn compiled_kernels(&self) -> Option<Vec<u8>> {
        self.device.cache()?.get_data()
    }
}

impl Compiler {
    fn compile(&self, d: &Launch) -> Result<Pipeline> {
        let kernel = kernel(d.shader)?;
        let entry = kernel.entry(d.entry)?;
        for (name, _) in &d.overrides {
            if !kernel.overrides.iter().any(|(there, _)| there == name) {
                return Err(reflect::error(d.shader, format!("{}: no override constant {name:?}", d.entry)));
            }
        }
        let checks = self.device.options().checks;
        let (mut text, constants) = if self.device.is_plain() {
            let constants = d.overrides.iter().map(|(name, value)| (*name, f64::from(*value)));
            (kernel.text.clone(), constants.collect())
        } else {
            (kernel.specialised(d.entry, &d.overrides)?, Vec::new())
        };
        let may_read_textures = may_read_textures(kernel, entry);
        let textures = if self.textures { may_read_textures.to_vec() } else { Vec::new() };
        if !textures.is_empty() {
            text = with_textures(&text).map_err(|m| reflect::error(d.shader, m))?;
        }
        let module = self.scoped(d.shader, |device| shader_module(device, kernel, &text, checks))?;
        let label = format!("{}::{}", d.shader, d.entry);
        let (pipeline, layout) = self.scoped(&label, |device| {
            compile(device, &label, (&module, entry), &textures, &constants, self.device.cache().as_ref())
        })?;
        Ok(Pipeline { pipeline, layout, kernel, entry, textures, ran: Arc::default() })
    }

    /// Runs `work` and returns the error that wgpu reports for `work`.
    fn scoped<T>(&self, what: &str, work: impl FnOnce(&wgpu::Device) -> T) -> Result<T> {
        match self.device.scoped(work) {
            (made, None) => Ok(made),
            (_, Some(wgpu::Error::OutOfMemory { .. })) => {
                Err(self.device.out_of_memory("GPU memory", self.have_bytes, 0))
            }
            (_, Some(e)) => Err(reflect::error(what, e.to_string())),
        }
    }
}

/// The variables that are bound as textures if kernels read through textures: all marked variables of the shader,
/// in the order of their bases, or none if the entry point reads none of them.
fn may_read_textures(kernel: &'static Kernel, entry: &Entry) -> &'static [String] {
    let is_used = |name: &String| entry.bindings.iter().any(|b| b.name == *name);
    if kernel.textures.iter().any(is_used) { &kernel.textures } else { &[] }
}

/// Whether the two launches need the same pipeline.
fn same(a: &Launch, b: &Launch) -> bool {
    (a.shader, a.entry, &a.overrides) == (b.shader, b.entry, &b.overrides)
}

fn shader_module(device: &wgpu::Device, kernel: &Kernel, text: &str, checks: bool) -> wgpu::ShaderModule {
    let desc = wgpu::ShaderModuleDescriptor {
        label: Some(&kernel.name),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    };
    if checks {
        return device.create_shader_module(desc);
    }
    // SAFETY: the text is one of the program's own shaders, never a user's. The shaders guard their stores, clamp
    // their loads and bound their loops. The suite compares the results with and without checks.
    #[expect(unsafe_code, reason = "bounds checks cost up to half the speed on some adapters")]
    unsafe {
        device.create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

fn compile(
    device: &wgpu::Device,
    label: &str,
    (module, entry): (&wgpu::ShaderModule, &Entry),
    textures: &[String],
    constants: &[(&str, f64)],
    cache: Option<&wgpu::PipelineCache>,
) -> (wgpu::ComputePipeline, wgpu::BindGroupLayout) {
    let layout_entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty,
        count: None,
    };
    let buffer = |ty, min_bytes| wgpu::BindingType::Buffer {
        ty,
        has_dynamic_offset: false,
        // With a given size wgpu checks the size once per bind group, and not at every launch.
        min_binding_size: std::num::NonZero::new(min_bytes),
    };
    let texture = wgpu::BindingType::StorageTexture {
        access: wgpu::StorageTextureAccess::ReadOnly,
        format: wgpu::TextureFormat::Rgba32Float,
        view_dimension: wgpu::TextureViewDimension::D2,
    };
    let of = |b: &Binding| match b.kind {
        _ if textures.contains(&b.name) => texture,
        Kind::Uniform => buffer(wgpu::BufferBindingType::Uniform, b.min_bytes),
        Kind::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }, b.min_bytes),
        Kind::ReadWrite => buffer(wgpu::BufferBindingType::Storage { read_only: false }, b.min_bytes),
    };
    let mut entries: Vec<_> = entry.bindings.iter().map(|b| layout_entry(b.number, of(b))).collect();
    if !textures.is_empty() {
        entries.push(layout_entry(BASES_BINDING, buffer(wgpu::BufferBindingType::Uniform, 16)));
    }
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: Some(&pipeline_layout),
        module,
        entry_point: Some(&entry.name),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants,
            zero_initialize_workgroup_memory: false,
        },
        cache,
    });
    (pipeline, layout)
}
