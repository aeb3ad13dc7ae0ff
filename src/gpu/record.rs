//! A list of launches → a checked list with pipelines, bind groups and parameters that is ready to be encoded. This
//! file also measures the time that a list takes, by the adapter's own clock if there is one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::host::Instant;

use super::executor::{Gpu, Held};
use super::mirror::{Copy, Fresh};
use super::pace;
use super::parallel::in_parallel;
use super::pipelines::Pipeline;
use crate::Result;
use crate::kernel::specialise::BASES_BINDING;
use crate::kernel::{Binding, Buf, Kind, Launch, Range, reflect};
use crate::ops::{Array, probe};

/// Parameters start at multiples of this size, the largest offset alignment that WebGPU allows.
const SLOT_BYTES: u64 = 256;
/// Workgroups per dimension that every adapter accepts.
const MAX_GRID: u32 = 65_535;

/// Launches that can be submitted, in order, any number of times.
#[derive(Debug)]
pub struct Recorded {
    pub(super) steps: Vec<Step>,
    pub(super) generation: u64,
    /// Multiplications plus additions of all launches.
    pub flops: u64,
    /// Bytes that all launches read and write, each byte counted once per launch.
    pub bytes: u64,
}

/// The place of a launch's parameters in their buffer, in bytes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    params: u64,
    /// The place of the first texel of each texture.
    bases: u64,
}

/// The data that a launch needs for textures.
#[derive(Clone, Debug, Default)]
struct Mirrored {
    /// The first texel of each texture.
    bases: Vec<u32>,
    /// Rows to copy before the launch.
    copies: Vec<Copy>,
}

#[derive(Debug)]
pub(super) struct Step {
    /// Rows of textures to copy before the launch.
    pub copies: Vec<Copy>,
    pub pipeline: wgpu::ComputePipeline,
    pub bind_group: wgpu::BindGroup,
    pub grid: [u32; 3],
    pub units: f64,
    /// Whether the kernel has run before. Many drivers compile at the first launch.
    pub ran: Arc<AtomicBool>,
}

/// Minimum time of a group of runs that is timed as one by the host's clock. Submitting and waiting take less time.
const LEAST_BY_HOST: Duration = Duration::from_millis(20);
/// Minimum time of a group by the adapter's clock.
const LEAST_BY_ADAPTER: Duration = Duration::from_millis(5);
/// Most runs in a group.
const MOST_RUNS: usize = 1000;
/// Warming up ends when the times of two groups differ by less than this part.
const AGREE: f64 = 0.03;
/// Warming up ends after this time even if no two groups agree.
const WARM_UP: Duration = Duration::from_secs(2);
/// Time that an idle GPU works before anything is timed.
const CLOCKS: Duration = Duration::from_millis(500);

/// The two time stamps of the adapter around a group.
#[derive(Debug)]
pub(super) struct Stamps {
    pub set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

/// The lists that are timed, and the number of runs in a group.
pub struct Group<'a> {
    lists: &'a [&'a Recorded],
    runs: usize,
}

impl Recorded {
    /// Number of launches.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are no launches.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Gpu {
    /// Checks `launches` against their shaders and the allocated buffers, and makes them ready. The cost is a few
    /// microseconds per launch, and a compilation for each new (shader, entry, overrides).
    ///
    /// Errors: [`crate::Error::Kernel`] for wrong names, sizes, alignments, grids and roles without a buffer;
    /// [`crate::Error::Memory`].
    pub fn prepare(&mut self, launches: &[Launch]) -> Result<Recorded> {
        self.check()?;
        if let Some(alter) = self.device.options().alter {
            let mut altered = launches.to_vec();
            altered.iter_mut().for_each(alter);
            return self.prepare_as_it_is(&altered);
        }
        self.prepare_as_it_is(launches)
    }

    /// Prepares several lists at once, on all cores.
    pub(super) fn prepare_all(&mut self, lists: &[&[Launch]]) -> Result<Vec<Recorded>> {
        // Alterations and textures change the state of this `Gpu`, so the lists are prepared one after another.
        if self.device.options().alter.is_some() || self.textures {
            return lists.iter().map(|launches| self.prepare(launches)).collect();
        }
        self.check()?;
        let pipelines = lists.iter().map(|list| self.pipelines(list)).collect::<Result<Vec<_>>>()?;
        let pairs: Vec<_> = lists.iter().zip(pipelines).collect();
        let gpu = &*self;
        in_parallel(&pairs, |(list, pipelines)| gpu.bind_all(list, pipelines, None)).into_iter().collect()
    }

    fn prepare_as_it_is(&mut self, launches: &[Launch]) -> Result<Recorded> {
        let pipelines = self.pipelines(launches)?;
        let mirrored = if self.textures { Some(self.mirrored(launches, &pipelines)?) } else { None };
        self.bind_all(launches, &pipelines, mirrored)
    }

    /// The data for textures: for each launch the first texel of each texture, and the copies before the launch.
    fn mirrored(&mut self, launches: &[Launch], pipelines: &[Arc<Pipeline>]) -> Result<Vec<Mirrored>> {
        let mut fresh = Fresh::default();
        let mut out = Vec::with_capacity(launches.len());
        for (d, pipeline) in launches.iter().zip(pipelines) {
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

    /// Makes parameters and bind groups for launches whose pipelines exist.
    // This function is long, because the descriptors of WebGPU are written out field by field.
    fn bind_all(
        &self,
        launches: &[Launch],
        pipelines: &[Arc<Pipeline>],
        mirrored: Option<Vec<Mirrored>>,
    ) -> Result<Recorded> {
        let mirrored = mirrored.unwrap_or_else(|| vec![Mirrored::default(); launches.len()]);
        // All parameters and all first texels of textures go into one buffer. Each has its slot there.
        let mut words: Vec<u32> = Vec::new();
        let mut slots = Vec::with_capacity(launches.len());
        for ((d, pipeline), mirrored) in launches.iter().zip(pipelines).zip(&mirrored) {
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
            let step = |(((d, pipeline), mirrored), slot): (((&Launch, &Arc<Pipeline>), Mirrored), Slot)| {
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
            launches.iter().zip(pipelines).zip(mirrored).zip(slots).map(step).collect::<Result<Vec<_>>>()
        })??;
        Ok(Recorded {
            steps,
            generation: self.generation,
            flops: launches.iter().map(|d| d.flops).sum(),
            bytes: launches.iter().map(|d| d.bytes).sum(),
        })
    }

    /// The bindings of the entry point, matched by name. `slot` is the place in `params` of the launch's parameters.
    fn match_bindings<'a>(
        &'a self,
        d: &Launch,
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
        // wgpu tracks whole buffers, so one launch may bind a buffer several times only with the same kind.
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

    /// The buffer of `range`, and the length to bind.
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
        // A uniform array has a fixed size in the shader. The bytes behind the range are bound too, but never used.
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

    /// Seconds that all of `lists` take together, run one after another: `repeats` timings (at least one), in
    /// ascending order.
    ///
    /// Each timing is taken from a group of runs that is long enough for the clock. The clock is the adapter's if
    /// it has time stamps, which leaves out submitting and waiting; otherwise the clock is the host's. Earlier
    /// groups are not used, because drivers compile at the first launch, and an idle adapter raises its clocks.
    pub fn times(&mut self, lists: &[&Recorded], repeats: usize) -> Result<Vec<f64>> {
        let group = self.warm_up(lists, Duration::ZERO)?;
        let mut secs = Vec::with_capacity(repeats.max(1));
        for _ in 0..repeats.max(1) {
            secs.push(self.time(&group)?);
        }
        secs.sort_by(f64::total_cmp);
        Ok(secs)
    }

    /// Whether [`Self::times`] uses the adapter's clock.
    pub fn has_clock(&self) -> bool {
        self.device.wgpu().features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Gives an idle adapter work until its clocks have risen.
    pub fn warm_clocks(&mut self) -> Result<()> {
        let scratch = Array { buf: Buf::Extra(999), offset_bytes: 0, bytes: 1 << 20 };
        self.ensure(scratch.buf, scratch.bytes)?;
        let recorded = self.prepare(&[probe::arithmetic(scratch, 1024, 256)])?;
        let start = Instant::now();
        while start.elapsed() < CLOCKS {
            self.submit(&recorded)?;
            self.wait()?;
        }
        Ok(())
    }

    /// Runs `lists` until the times of two groups agree. A group takes at least `least`, and at least the time that
    /// the clock needs.
    pub fn warm_up<'a>(&mut self, lists: &'a [&'a Recorded], least: Duration) -> Result<Group<'a>> {
        let least = least.max(if self.has_clock() { LEAST_BY_ADAPTER } else { LEAST_BY_HOST }).as_secs_f64();
        let mut group = Group { lists, runs: 1 };
        // The first run is for the driver's compiler.
        self.run_group(&group, false)?;
        self.wait()?;
        let started = Instant::now();
        let mut before = f64::NAN;
        loop {
            let secs = self.time(&group)?;
            let wanted = ((least / secs.max(1e-9)).ceil() as usize).clamp(1, MOST_RUNS);
            let long_enough = wanted <= group.runs + group.runs / 4;
            let agrees = (secs / before - 1.0).abs() < AGREE;
            if started.elapsed() > WARM_UP || (long_enough && agrees) {
                group.runs = group.runs.max(wanted);
                return Ok(group);
            }
            group.runs = group.runs.max(wanted);
            before = secs;
        }
    }

    /// Seconds per run of the group.
    pub fn time(&mut self, group: &Group<'_>) -> Result<f64> {
        if !self.has_clock() {
            let start = Instant::now();
            self.run_group(group, false)?;
            self.wait()?;
            return Ok(start.elapsed().as_secs_f64() / group.runs as f64);
        }
        let start = Instant::now();
        self.run_group(group, true)?;
        self.wait()?;
        let by_host = start.elapsed().as_secs_f64();
        // Impossible stamps are ignored: a driver may not fill them, or the clock may start again.
        let secs = Some(self.read_stamps()?).filter(|secs| *secs > 0.0 && *secs < 2.0 * by_host + 1e-3);
        Ok(secs.unwrap_or(by_host) / group.runs as f64)
    }

    /// Runs the group. All commands are encoded before the first submission, so that the adapter does not wait for the
    /// host.
    fn run_group(&mut self, group: &Group<'_>, stamped: bool) -> Result<()> {
        for recorded in group.lists {
            self.must_be_current(recorded)?;
        }
        if stamped && self.stamps.is_none() {
            self.stamps = Some(self.noted(make_stamps));
        }
        let stamps = self.stamps.as_ref().filter(|_| stamped);
        let lists = std::iter::repeat_n(group.lists, group.runs).flatten();
        let steps: Vec<&Step> = lists.flat_map(|recorded| &recorded.steps).collect();
        let (mut parts, mut rest) = (Vec::new(), steps.as_slice());
        while !rest.is_empty() {
            let (n, units) = self.part(rest, usize::MAX);
            let begin = stamps.filter(|_| rest.len() == steps.len());
            let end = stamps.filter(|_| rest.len() == n);
            parts.push((self.encode(&rest[..n], [begin, end]), units));
            rest = &rest[n..];
        }
        self.submit_parts(parts)
    }

    /// Seconds between the two stamps.
    fn read_stamps(&mut self) -> Result<f64> {
        let Some(stamps) = self.stamps.take() else { return Ok(f64::NAN) };
        self.send_one(|encoder| {
            encoder.resolve_query_set(&stamps.set, 0..2, &stamps.resolved, 0);
            encoder.copy_buffer_to_buffer(&stamps.resolved, 0, &stamps.staging, 0, 16);
        });
        self.noted(|_| stamps.staging.map_async(wgpu::MapMode::Read, .., |_| {}));
        self.wait()?;
        let ticks = match stamps.staging.get_mapped_range(..) {
            Ok(bytes) => bytemuck::pod_collect_to_vec::<u8, u64>(&bytes),
            Err(_) => vec![0, 0],
        };
        stamps.staging.unmap();
        self.stamps = Some(stamps);
        let period = f64::from(self.device.queue().get_timestamp_period());
        Ok(ticks[1].wrapping_sub(ticks[0]) as f64 * period / 1e9)
    }
}

fn make_stamps(device: &wgpu::Device) -> Stamps {
    let buffer = |usage| {
        let label = Some("time stamps");
        device.create_buffer(&wgpu::BufferDescriptor { label, size: 16, usage, mapped_at_creation: false })
    };
    let set = device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("time stamps"),
        ty: wgpu::QueryType::Timestamp,
        count: 2,
    });
    let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
    let staging = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    Stamps { set, resolved, staging }
}
