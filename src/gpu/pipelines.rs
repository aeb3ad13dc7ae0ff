//! (shader, entry point, overrides) → a compiled pipeline with its bind-group layout, made once per device.
//!
//! The key has nothing of an architecture in it: a new child compiles nothing new.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::device::{Gpu, Options};
use super::parallel::in_parallel;
use crate::Result;
use crate::kernel::specialise::{BASES_BINDING, with_textures};
use crate::kernel::{Binding, Dispatch, Entry, Kernel, Kind, kernel, reflect};

/// A compiled entry point.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub kernel: &'static Kernel,
    pub entry: &'static Entry,
    /// Variables of the shader that stand as textures, in the order of their bases; empty where the entry
    /// point reads none of them.
    pub textures: Vec<String>,
    /// Whether it was launched.
    pub ran: Arc<AtomicBool>,
}

impl Pipeline {
    /// Whether the entry point uses texture `i`.
    pub fn reads_texture(&self, i: usize) -> bool {
        self.textures.get(i).is_some_and(|name| self.entry.bindings.iter().any(|b| b.name == *name))
    }
}

/// Compiled entry points by override set; a handful per entry point, so a list does.
type Variants = Vec<(Vec<(&'static str, u32)>, Arc<Pipeline>)>;

/// The pipelines of a device. A hash map's order never reaches a result.
#[derive(Debug)]
pub(super) struct Pipelines {
    options: Options,
    by_entry: HashMap<(&'static str, &'static str), Variants>,
}

impl Pipelines {
    pub fn new(options: Options) -> Self {
        Self { options, by_entry: HashMap::new() }
    }

    pub fn clear(&mut self) {
        self.by_entry.clear();
    }

    fn get(&self, d: &Dispatch) -> Option<Arc<Pipeline>> {
        let variants = self.by_entry.get(&(d.shader, d.entry))?;
        variants.iter().find(|(overrides, _)| *overrides == d.overrides).map(|(_, p)| Arc::clone(p))
    }
}

/// What compiling needs of a device; may outlive a call on a thread of its own.
#[derive(Clone)]
struct Compiler {
    device: wgpu::Device,
    options: Options,
    textures: bool,
    cache: Option<wgpu::PipelineCache>,
}

impl Gpu {
    /// How many pipelines were compiled so far.
    pub fn n_pipelines(&self) -> usize {
        self.pipelines.by_entry.values().map(Vec::len).sum()
    }

    /// The pipeline of each dispatch. Those not met before are compiled on all cores.
    pub(super) fn pipelines(&mut self, dispatches: &[Dispatch]) -> Result<Vec<Arc<Pipeline>>> {
        let missing = self.missing(dispatches);
        let compiler = self.compiler();
        // Those that wait for their first launch on a driver that compiles then count when they have run.
        let known = self.n_pipelines() + missing.len();
        let (listener, ready) = (self.listener.clone(), AtomicUsize::new(self.n_pipelines()));
        let compiled = in_parallel(&missing, |d| {
            let pipeline = compiler.compile(d);
            let ready = ready.fetch_add(1, Ordering::Relaxed) + 1;
            let listener = listener.iter().filter(|_| !self.info.is_software);
            listener.for_each(|listener| listener.tell(ready, known));
            pipeline
        });
        self.keep_pipelines(&missing, compiled)?;
        let there = |d: &Dispatch| {
            let message = || reflect::error(d.shader, format!("{} was not compiled", d.entry));
            self.pipelines.get(d).ok_or_else(message)
        };
        dispatches.iter().map(there).collect()
    }

    /// Those that need a pipeline that is not there, one for each.
    fn missing(&self, dispatches: &[Dispatch]) -> Vec<Dispatch> {
        let mut missing: Vec<Dispatch> = Vec::new();
        for d in dispatches.iter().filter(|d| self.pipelines.get(d).is_none()) {
            if !missing.iter().any(|m| same(m, d)) {
                missing.push(d.clone());
            }
        }
        missing
    }

    fn compiler(&self) -> Compiler {
        let (options, cache) = (self.pipelines.options, self.cache.clone());
        Compiler { device: self.device.clone(), options, textures: self.textures, cache }
    }

    fn keep_pipelines(&mut self, missing: &[Dispatch], compiled: Vec<Result<Pipeline>>) -> Result<()> {
        for (d, pipeline) in missing.iter().zip(compiled) {
            let pipeline = pipeline.map_err(|e| self.reason(e))?;
            let variants = self.pipelines.by_entry.entry((d.shader, d.entry)).or_default();
            variants.push((d.overrides.clone(), Arc::new(pipeline)));
        }
        Ok(())
    }

    /// Compiles what `dispatches` need, on all cores.
    pub fn compile(&mut self, dispatches: &[Dispatch]) -> Result<()> {
        self.pipelines(dispatches).map(|_| ())
    }

    /// Compiles what `dispatches` need, unless that takes longer than `most`: then false, and the driver is left to it on a
    /// thread of its own.
    pub fn compile_within(&mut self, dispatches: &[Dispatch], most: Duration) -> Result<bool> {
        let missing = self.missing(dispatches);
        let (compiler, list) = (self.compiler(), missing.clone());
        let (done, compiled) = mpsc::channel();
        // Nobody may be there any more to hear of it.
        std::thread::spawn(move || _ = done.send(in_parallel(&list, |d| compiler.compile(d))));
        match compiled.recv_timeout(most) {
            Ok(compiled) => self.keep_pipelines(&missing, compiled).map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

impl Compiler {
    fn compile(&self, d: &Dispatch) -> Result<Pipeline> {
        let kernel = kernel(d.shader)?;
        let entry = kernel.entry(d.entry)?;
        for (name, _) in &d.overrides {
            if !kernel.overrides.iter().any(|(there, _)| there == name) {
                return Err(reflect::error(d.shader, format!("{}: no override constant {name:?}", d.entry)));
            }
        }
        let Options { checks, plain, .. } = self.options;
        let (mut text, constants) = if plain {
            let constants = d.overrides.iter().map(|(name, value)| (*name, f64::from(*value)));
            (kernel.text.clone(), constants.collect())
        } else {
            (kernel.specialised(d.entry, &d.overrides)?, Vec::new())
        };
        let is_used = |name: &String| entry.bindings.iter().any(|b| b.name == *name);
        let textures = match self.textures && kernel.textures.iter().any(is_used) {
            true => kernel.textures.clone(),
            false => Vec::new(),
        };
        if !textures.is_empty() {
            text = with_textures(&text).map_err(|m| reflect::error(d.shader, m))?;
        }
        let module = self.scoped(d.shader, |device| shader_module(device, kernel, &text, checks))?;
        let label = format!("{}::{}", d.shader, d.entry);
        let (pipeline, layout) = self.scoped(&label, |device| {
            compile(device, &label, (&module, entry), &textures, &constants, self.cache.as_ref())
        })?;
        Ok(Pipeline { pipeline, layout, kernel, entry, textures, ran: Arc::default() })
    }

    /// Runs `work` and returns what wgpu holds against it.
    fn scoped<T>(&self, what: &str, work: impl FnOnce(&wgpu::Device) -> T) -> Result<T> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = work(&self.device);
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        match validation.or(internal) {
            None => Ok(made),
            Some(e) => Err(reflect::error(what, e.to_string())),
        }
    }
}

/// Whether the two need the same pipeline.
fn same(a: &Dispatch, b: &Dispatch) -> bool {
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
    // SAFETY: the text is one of the program's own shaders, never a user's. They guard their stores, clamp
    // their loads and bound their loops; the suite compares the results with and without checks.
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
        // Stated, so that it is checked once per bind group and not at every dispatch.
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
