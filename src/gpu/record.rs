//! A list of dispatches → checked, with pipelines, bind groups and parameters ready to be encoded.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::executor::{Gpu, Held};
use super::mirror::{Copy, Fresh};
use super::pace;
use super::parallel::in_parallel;
use super::pipelines::Pipeline;
use crate::Result;
use crate::kernel::specialise::BASES_BINDING;
use crate::kernel::{Binding, Buf, Dispatch, Kind, Range, reflect};

/// Parameters stand at multiples of this, the largest offset alignment WebGPU allows.
const SLOT_BYTES: u64 = 256;
/// Workgroups per dimension that every adapter takes.
const MAX_GRID: u32 = 65_535;

/// Dispatches ready to be submitted any number of times, in order.
#[derive(Debug)]
pub struct Recorded {
    pub(super) steps: Vec<Step>,
    pub(super) generation: u64,
    /// Multiplications plus additions in all.
    pub flops: u64,
    /// Bytes read and written in all, each touched once.
    pub bytes: u64,
}

/// Where the parameters of a dispatch lie in their buffer, in bytes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    params: u64,
    /// The first texel of each texture.
    bases: u64,
}

/// What textures need of a dispatch.
#[derive(Clone, Debug, Default)]
struct Mirrored {
    /// The first texel of each texture.
    bases: Vec<u32>,
    /// Rows to bring up to date first.
    copies: Vec<Copy>,
}

#[derive(Debug)]
pub(super) struct Step {
    /// Rows of textures to bring up to date first.
    pub copies: Vec<Copy>,
    pub pipeline: wgpu::ComputePipeline,
    pub bind_group: wgpu::BindGroup,
    pub grid: [u32; 3],
    pub units: f64,
    /// Whether the kernel has run before: many drivers compile at the first launch.
    pub ran: Arc<AtomicBool>,
}

impl Recorded {
    /// How many dispatches.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Gpu {
    /// Check `dispatches` against their shaders and the allocated buffers, and make them ready. Costs a few
    /// microseconds per dispatch, plus a compilation for each (shader, entry, overrides) not met before.
    ///
    /// Errors: [`crate::Error::Kernel`] for wrong names, sizes, alignments, grids and roles without a buffer;
    /// [`crate::Error::Memory`].
    pub fn prepare(&mut self, dispatches: &[Dispatch]) -> Result<Recorded> {
        self.check()?;
        if let Some(alter) = self.device.options().alter {
            let mut altered = dispatches.to_vec();
            altered.iter_mut().for_each(alter);
            return self.prepare_as_it_is(&altered);
        }
        self.prepare_as_it_is(dispatches)
    }

    /// [`Self::prepare`] for several lists at once, on all cores.
    pub(super) fn prepare_all(&mut self, lists: &[&[Dispatch]]) -> Result<Vec<Recorded>> {
        // Alterations and textures change what is kept here: one list after the other.
        if self.device.options().alter.is_some() || self.textures {
            return lists.iter().map(|dispatches| self.prepare(dispatches)).collect();
        }
        self.check()?;
        let pipelines = lists.iter().map(|list| self.pipelines(list)).collect::<Result<Vec<_>>>()?;
        let pairs: Vec<_> = lists.iter().zip(pipelines).collect();
        let gpu = &*self;
        in_parallel(&pairs, |(list, pipelines)| gpu.bind_all(list, pipelines, None)).into_iter().collect()
    }

    fn prepare_as_it_is(&mut self, dispatches: &[Dispatch]) -> Result<Recorded> {
        let pipelines = self.pipelines(dispatches)?;
        let mirrored = if self.textures { Some(self.mirrored(dispatches, &pipelines)?) } else { None };
        self.bind_all(dispatches, &pipelines, mirrored)
    }

    /// What textures need: the first texel of each texture of each dispatch, and the copies before it.
    fn mirrored(&mut self, dispatches: &[Dispatch], pipelines: &[Arc<Pipeline>]) -> Result<Vec<Mirrored>> {
        let mut fresh = Fresh::default();
        let mut out = Vec::with_capacity(dispatches.len());
        for (d, pipeline) in dispatches.iter().zip(pipelines) {
            let mut mirrored = Mirrored::default();
            let range = |name: &String| d.bindings.iter().find(|(n, _)| n == name).map(|(_, r)| *r);
            for (i, range) in pipeline.textures.iter().map(range).enumerate() {
                let first = range.map_or(0, |r| r.offset_bytes / 16);
                mirrored.bases.push(first as u32);
                if let Some(range) = range.filter(|_| pipeline.reads_texture(i)) {
                    self.ensure_mirror(range.buf)?;
                    fresh.read(&range, &mut mirrored.copies);
                }
            }
            for (name, range) in &d.bindings {
                if pipeline.entry.writes(name) {
                    fresh.written(range);
                }
            }
            out.push(mirrored);
        }
        Ok(out)
    }

    /// Parameters and bind groups of dispatches whose pipelines are there.
    fn bind_all(
        &self,
        dispatches: &[Dispatch],
        pipelines: &[Arc<Pipeline>],
        mirrored: Option<Vec<Mirrored>>,
    ) -> Result<Recorded> {
        let mirrored = mirrored.unwrap_or_else(|| vec![Mirrored::default(); dispatches.len()]);
        // All parameters go into one buffer, each at its slot, and so do the first texels of textures.
        let mut words: Vec<u32> = Vec::new();
        let mut slots = Vec::with_capacity(dispatches.len());
        for ((d, pipeline), mirrored) in dispatches.iter().zip(pipelines).zip(&mirrored) {
            let fail = |m: String| reflect::error(&format!("{}::{}", d.shader, d.entry), m);
            let uses_params = pipeline.entry.bindings.iter().any(|b| b.name == "params");
            if !uses_params && !d.params.is_empty() {
                return Err(fail("it uses no params, but some were given".into()));
            }
            let params = if uses_params { d.params.pack(pipeline.kernel).map_err(fail)? } else { Vec::new() };
            let start = |words: &Vec<u32>| words.len() as u64 * 4;
            let first = start(&words);
            words.extend(params);
            words.resize(words.len().next_multiple_of(SLOT_BYTES as usize / 4), 0);
            slots.push(Slot { params: first, bases: start(&words) });
            words.extend(&mirrored.bases);
            words.resize(words.len().next_multiple_of(SLOT_BYTES as usize / 4), 0);
        }
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        let steps = self.scoped("parameters and bind groups", bytes.len() as u64, |device| {
            let params = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("params"),
                size: (bytes.len() as u64).max(SLOT_BYTES),
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            self.device.queue().write_buffer(&params, 0, bytes);
            let step =
                |(((d, pipeline), mirrored), slot): (((&Dispatch, &Arc<Pipeline>), Mirrored), Slot)| {
                    let fail = |m: String| reflect::error(&format!("{}::{}", d.shader, d.entry), m);
                    if d.grid.iter().any(|n| *n == 0 || *n > MAX_GRID) {
                        return Err(fail(format!("grid {:?} is not within 1 to {MAX_GRID}", d.grid)));
                    }
                    let entries = self.match_bindings(d, pipeline, &params, slot).map_err(fail)?;
                    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: None,
                        layout: &pipeline.layout,
                        entries: &entries,
                    });
                    let units = pace::units(d.flops, d.bytes);
                    let copies = mirrored.copies;
                    Ok(Step {
                        copies,
                        pipeline: pipeline.pipeline.clone(),
                        bind_group,
                        grid: d.grid,
                        units,
                        ran: Arc::clone(&pipeline.ran),
                    })
                };
            dispatches.iter().zip(pipelines).zip(mirrored).zip(slots).map(step).collect::<Result<Vec<_>>>()
        })??;
        Ok(Recorded {
            steps,
            generation: self.generation,
            flops: dispatches.iter().map(|d| d.flops).sum(),
            bytes: dispatches.iter().map(|d| d.bytes).sum(),
        })
    }

    /// The entry point's bindings by name; `slot` says where in `params` its parameters lie.
    fn match_bindings<'a>(
        &'a self,
        d: &Dispatch,
        pipeline: &Pipeline,
        params: &'a wgpu::Buffer,
        slot: Slot,
    ) -> Result<Vec<wgpu::BindGroupEntry<'a>>, String> {
        let bindings = &pipeline.entry.bindings;
        let mut has_params = false;
        let mut entries = Vec::with_capacity(bindings.len());
        let whole = |buffer, offset, size| {
            let size = std::num::NonZero::new(size);
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
        };
        let mut add = |binding, resource| entries.push(wgpu::BindGroupEntry { binding, resource });
        // A buffer may be bound several times in one dispatch only in one way: wgpu tracks whole buffers.
        let mut ways: Vec<(Buf, Kind, &str)> = Vec::with_capacity(bindings.len());
        for b in bindings {
            if b.name == "params" {
                has_params = true;
                add(b.number, whole(params, slot.params, b.min_bytes));
                continue;
            }
            let Some((_, range)) = d.bindings.iter().find(|(name, _)| *name == b.name) else {
                return Err(format!("{} is not bound", b.name));
            };
            if pipeline.textures.contains(&b.name) {
                self.bind(b, range)?;
                let mirror = self.mirrors.get(&range.buf).ok_or_else(|| format!("{}: no texture", b.name))?;
                add(b.number, wgpu::BindingResource::TextureView(&mirror.view));
                continue;
            }
            if let Some((_, _, other)) =
                ways.iter().find(|(buf, kind, _)| *buf == range.buf && *kind != b.kind)
            {
                let message = "bind one buffer in different ways; declare them alike or use two buffers";
                return Err(format!("{other} and {} {message}", b.name));
            }
            ways.push((range.buf, b.kind, &b.name));
            let (buffer, len_bytes) = self.bind(b, range)?;
            add(b.number, whole(buffer, range.offset_bytes, len_bytes));
        }
        if !pipeline.textures.is_empty() {
            add(BASES_BINDING, whole(params, slot.bases, 16));
        }
        if d.bindings.len() + usize::from(has_params) != bindings.len() {
            let known =
                |name: &str| bindings.iter().filter(|b| b.name == name && name != "params").count() == 1;
            let odd = d.bindings.iter().map(|(name, _)| *name).find(|name| !known(name));
            return Err(match odd {
                Some(name) => {
                    let there: Vec<_> = bindings.iter().map(|b| b.name.as_str()).collect();
                    format!("{name} is bound, but it uses only {}", there.join(", "))
                }
                None => "a name is bound twice".into(),
            });
        }
        Ok(entries)
    }

    /// The buffer and the length bound for `range`.
    fn bind(&self, b: &Binding, range: &Range) -> Result<(&wgpu::Buffer, u64), String> {
        let Range { buf, offset_bytes, len_bytes } = *range;
        let held: &Held =
            self.buffers.get(&buf).ok_or_else(|| format!("{}: {buf:?} has no buffer", b.name))?;
        if !offset_bytes.is_multiple_of(256) || !len_bytes.is_multiple_of(16) || len_bytes == 0 {
            let message = "must start at a multiple of 256 bytes and be a positive multiple of 16 long";
            return Err(format!("{}: {range:?} {message}", b.name));
        }
        if offset_bytes.checked_add(len_bytes).is_none_or(|end| end > held.len_bytes) {
            return Err(format!("{}: {range:?} ends outside the buffer's {} bytes", b.name, held.len_bytes));
        }
        // A uniform array has a fixed size in the shader; what lies behind the range is bound, never used.
        let len_bytes = if b.kind == Kind::Uniform { len_bytes.max(b.min_bytes) } else { len_bytes };
        let most = match b.kind {
            Kind::Uniform => self.device.limits().max_uniform_buffer_binding_size,
            _ => self.device.limits().max_storage_buffer_binding_size,
        };
        if len_bytes > most || len_bytes < b.min_bytes {
            return Err(format!("{}: {range:?} must have {} to {most} bytes", b.name, b.min_bytes));
        }
        Ok((&held.buffer, len_bytes))
    }
}
