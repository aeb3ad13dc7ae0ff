//! Buffers by role, submission of recorded launches, and read-back of results.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::host::Instant;

use super::adapter::{AdapterInfo, Class};
use super::device::{Device, Fault, Faults, Listener, Options, Reads};
use super::mirror::{Copy, Mirror, ROW_BYTES};
use super::pace::Pace;
use super::record::{Recorded, Stamps, Step};
use super::variants::Variants;
use crate::graph::Lowering;
use crate::kernel::specialise::TEXTURE_WIDTH;
use crate::kernel::{Buf, Range};
use crate::ops::UNIFORM_BYTES;
use crate::{Error, Result};

/// Bytes behind every buffer, because a uniform array may be larger than the range that it is bound to.
const SLACK_BYTES: u64 = 65_536;
/// Number of launches of the first submission to an idle adapter. Each later submission may hold four times as many as
/// the one before.
const FIRST_PART: usize = 32;
/// Number of submissions that may be in flight. The queue is then never empty, and the memory for commands is bounded.
const MAX_FLIGHTS: usize = 4;

/// A buffer, and its length without the bytes behind it.
#[derive(Debug)]
pub(super) struct Held {
    pub buffer: wgpu::Buffer,
    pub len_bytes: u64,
}

/// A submission that may still run.
#[derive(Debug)]
pub(super) struct Flight {
    index: wgpu::SubmissionIndex,
    units: f64,
    /// Number of kernels that run for the first time in this submission.
    n_new: usize,
}

/// Buffers on a device, and the work submitted on them.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: Device,
    /// Failures of the calls of this `Gpu`.
    faults: Faults,
    pub(super) buffers: BTreeMap<Buf, Held>,
    /// Whether kernels read activations through textures.
    pub(super) textures: bool,
    pub(super) mirrors: BTreeMap<Buf, Mirror>,
    /// Number of buffers that were replaced. Launches that were recorded before a replacement hold ranges of the old
    /// buffer.
    pub(super) generation: u64,
    /// Staging buffer for read-backs, large enough for the largest read-back so far.
    staging: Option<wgpu::Buffer>,
    flights: VecDeque<Flight>,
    /// The latest submission.
    last: Option<wgpu::SubmissionIndex>,
    pace: Pace,
    /// Time that the host has waited for the adapter.
    pub(super) waited: Duration,
    /// Time stamps for [`Gpu::times`], made at the first use.
    pub(super) stamps: Option<Stamps>,
}

impl Gpu {
    /// Opens a [`Device`] on the adapter that `selector` names (see [`super::choose`]), with buffers on it.
    ///
    /// Errors: the errors of [`Device::open`] and [`Gpu::on`].
    pub fn open(selector: Option<&str>, options: Options) -> Result<Self> {
        Self::on(&Device::open(selector, options)?)
    }

    /// New buffers on a device. All users of the device share its compiled kernels.
    ///
    /// Errors: [`Error::Lost`] if the device was lost, [`Error::Memory`].
    pub fn on(device: &Device) -> Result<Self> {
        let textures = match device.options().reads {
            Reads::Auto => device.info().class() == Class::Software,
            Reads::Buffers => false,
            Reads::Textures => true,
        };
        let mut gpu = Self {
            device: device.clone(),
            faults: Faults::default(),
            buffers: BTreeMap::new(),
            textures,
            mirrors: BTreeMap::new(),
            generation: 0,
            staging: None,
            flights: VecDeque::new(),
            last: None,
            pace: Pace::new(),
            waited: Duration::ZERO,
            stamps: None,
        };
        // Each channel has (mean, scale, beta, rstd).
        let identity = [[0f32, 1.0, 0.0, 1.0]].repeat(UNIFORM_BYTES as usize / 16);
        gpu.allocate(Buf::Identity, UNIFORM_BYTES)?;
        gpu.write(Buf::Identity, 0, bytemuck::cast_slice(&identity))?;
        Ok(gpu)
    }

    /// New buffers on the same device.
    ///
    /// Errors: the errors of [`Gpu::on`].
    pub fn another(&self) -> Result<Self> {
        Self::on(&self.device)
    }

    /// New buffers on a new device of the same adapter, opened in the same way. Untested kernels run there, because
    /// they may break the device.
    ///
    /// Errors: the errors of [`Gpu::open`].
    pub fn apart(&self) -> Result<Self> {
        Self::on(&self.device.apart()?)
    }

    /// Opens the same adapter again in the same way after this device was lost.
    ///
    /// Errors: the errors of [`Gpu::open`]; [`Error::Device`] if the adapter is gone.
    pub(super) fn open_again(&mut self) -> Result<Self> {
        // Memory of the lost device may still be counted as used.
        (self.staging, self.flights) = (None, VecDeque::new());
        self.buffers.clear();
        self.mirrors.clear();
        let mut again = Self::on(&self.device.open_again()?)?;
        again.read_through_textures(self.textures);
        Ok(again)
    }

    /// The device that holds the buffers.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The adapter in use.
    pub fn info(&self) -> &AdapterInfo {
        self.device.info()
    }

    /// Remarks about the adapter for the user.
    pub fn remarks(&self) -> &[String] {
        self.device.remarks()
    }

    /// Calls `listener` whenever kernels were compiled on the device, with the number of kernels that are ready and
    /// the number that is known so far.
    pub fn listen(&mut self, listener: impl Fn(usize, usize) + Send + Sync + 'static) {
        self.device.listen(Some(Listener::new(listener)));
    }

    /// How networks are lowered for this adapter with the fixed choice of kernels.
    pub fn lowering(&self) -> Lowering {
        Lowering { tuning: Variants::fixed(self).tuning, ..Lowering::default() }
    }

    /// A function that destroys the device in the middle of its work, as the reset of a driver does. Tests use it.
    pub fn breaker(&self) -> impl Fn() + Send + use<> {
        let device = self.device.wgpu().clone();
        move || device.destroy()
    }

    /// Whether kernels read activations through textures.
    pub fn reads_through_textures(&self) -> bool {
        self.textures
    }

    /// Changes how kernels read activations. Launches that were prepared before keep their way of reading.
    pub fn read_through_textures(&mut self, textures: bool) {
        if self.textures != textures {
            self.textures = textures;
            self.mirrors.clear();
        }
    }

    /// Largest range that can be bound, in bytes.
    pub fn max_binding_bytes(&self) -> u64 {
        self.device.limits().max_storage_buffer_binding_size
    }

    /// Returns a failure of the device or of an earlier call. Every later check returns the failure again, because
    /// the contents of the buffers cannot be trusted after it.
    pub(super) fn check(&self) -> Result<()> {
        if self.faults.get().is_none() && self.device.fault().is_none() {
            return Ok(());
        }
        self.device.hear();
        let name = &self.info().name;
        let fault = match self.device.fault() {
            lost @ Some(Fault::Lost(_)) => lost,
            of_all => self.faults.get().or(of_all),
        };
        match fault {
            None => Ok(()),
            Some(Fault::OutOfMemory) => Err(self.out_of_memory("GPU memory", 0)),
            Some(Fault::Lost(message)) => Err(Error::Lost { adapter: name.clone(), message }),
            Some(Fault::Other(message)) => {
                Err(Error::device(format!("{name} reported: {message}"), "a newer driver"))
            }
        }
    }

    /// Returns `error`, or [`Error::Lost`] if a lost device is the reason for `error`.
    pub(super) fn reason(&self, error: Error) -> Error {
        self.device.hear();
        match self.check() {
            Err(lost @ Error::Lost { .. }) => lost,
            _ => error,
        }
    }

    fn out_of_memory(&self, what: &str, more_bytes: u64) -> Error {
        self.device.out_of_memory(what, self.allocated_bytes(), more_bytes)
    }

    /// Runs `work` and returns the error that wgpu reports for `work`: `Memory` for an allocation of `more_bytes`
    /// for `what`, or `Kernel` for a validation error.
    pub(super) fn scoped<T>(
        &self,
        what: &str,
        more_bytes: u64,
        work: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T> {
        match self.device.scoped(work) {
            (made, None) => Ok(made),
            (_, Some(wgpu::Error::OutOfMemory { .. })) => {
                Err(self.reason(self.out_of_memory(what, more_bytes)))
            }
            (_, Some(e)) => Err(self.reason(Error::Kernel { kernel: what.into(), message: e.to_string() })),
        }
    }

    /// Runs `work`. An error that wgpu reports for `work` is returned by the next [`Self::check`] of this `Gpu`
    /// only.
    pub(super) fn noted<T>(&self, work: impl FnOnce(&wgpu::Device) -> T) -> T {
        let (made, error) = self.device.scoped(work);
        if let Some(error) = error {
            self.faults.put(error.into());
        }
        made
    }

    /// Submits `commands` after all earlier submissions.
    pub(super) fn send(&mut self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        let index = self.noted(|_| self.device.queue().submit([commands]));
        self.last = Some(index.clone());
        index
    }

    /// Submits the commands that `record` encodes.
    pub(super) fn send_one(&mut self, record: impl FnOnce(&mut wgpu::CommandEncoder)) {
        let commands = self.noted(|device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            record(&mut encoder);
            encoder.finish()
        });
        self.send(commands);
    }

    /// Gives role `buf` a zeroed buffer of `len_bytes` (rounded up to 256). The buffer replaces the previous buffer
    /// of the role.
    ///
    /// Launches that were prepared before a buffer was replaced can no longer be submitted. Error: [`Error::Memory`].
    pub fn allocate(&mut self, buf: Buf, len_bytes: u64) -> Result<()> {
        self.check()?;
        let len_bytes = len_bytes.max(1).next_multiple_of(256);
        let size = len_bytes + SLACK_BYTES;
        let what = format!("a buffer for {buf:?}");
        if self.buffers.remove(&buf).is_some() {
            self.mirrors.remove(&buf);
            self.generation += 1;
        }
        if size > self.device.limits().max_buffer_size {
            return Err(Error::Memory {
                what: format!("{what} on {}", self.info().name),
                need_bytes: size,
                have_bytes: self.device.limits().max_buffer_size,
                try_this: "a smaller --batch or --micro-batch, or fewer --channels".into(),
            });
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::UNIFORM
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let buffer = self.scoped(&what, size, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        })?;
        self.buffers.insert(buf, Held { buffer, len_bytes });
        Ok(())
    }

    /// Whether the role has a buffer of at least `len_bytes`.
    pub fn has(&self, buf: Buf, len_bytes: u64) -> bool {
        self.buffers.get(&buf).is_some_and(|held| held.len_bytes >= len_bytes)
    }

    /// Calls [`Gpu::allocate`], unless the role already has a buffer of at least `len_bytes`.
    pub fn ensure(&mut self, buf: Buf, len_bytes: u64) -> Result<()> {
        if self.has(buf, len_bytes) { Ok(()) } else { self.allocate(buf, len_bytes) }
    }

    /// Bytes of all buffers.
    pub fn allocated_bytes(&self) -> u64 {
        self.buffers.values().map(|held| held.buffer.size()).sum()
    }

    /// Writes `data` at byte `offset` (length and offset are multiples of 4), in order with submissions. Does not
    /// wait.
    pub fn write(&mut self, buf: Buf, offset: u64, data: &[u8]) -> Result<()> {
        self.check()?;
        let held = self.held(buf, offset, data.len() as u64)?;
        self.noted(|_| self.device.queue().write_buffer(&held.buffer, offset, data));
        Ok(())
    }

    /// Sets `len` bytes at `offset` (multiples of 4) to zero, in order with submissions. Does not wait.
    pub fn fill_zero(&mut self, buf: Buf, offset: u64, len: u64) -> Result<()> {
        self.check()?;
        let buffer = self.held(buf, offset, len)?.buffer.clone();
        self.send_one(|encoder| encoder.clear_buffer(&buffer, offset, Some(len)));
        self.check()
    }

    /// Copies a range to `offset` (a multiple of 4) of another buffer, in order with submissions. Does not wait.
    pub fn copy(&mut self, from: Range, to: Buf, offset: u64) -> Result<()> {
        self.check()?;
        if from.buf == to {
            return Err(host_access(to, "a copy needs two different buffers".into()));
        }
        let Range { offset_bytes, len_bytes, .. } = from;
        let source = self.held(from.buf, offset_bytes, len_bytes)?.buffer.clone();
        let target = self.held(to, offset, len_bytes)?.buffer.clone();
        self.send_one(|encoder| {
            encoder.copy_buffer_to_buffer(&source, offset_bytes, &target, offset, len_bytes);
        });
        self.check()
    }

    /// Waits for everything submitted, and returns `len` bytes at `offset` (multiples of 4).
    pub fn read(&mut self, buf: Buf, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.check()?;
        self.held(buf, offset, len)?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let staging = match self.staging.take().filter(|s| s.size() >= len) {
            Some(there) => there,
            None => self.scoped("a buffer to read back", len, |device| {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("staging"),
                    size: len.next_power_of_two().max(4096),
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })?,
        };
        let buffer = self.held(buf, offset, len)?.buffer.clone();
        self.send_one(|encoder| encoder.copy_buffer_to_buffer(&buffer, offset, &staging, 0, len));
        // If mapping fails, the request for the mapped range below returns the failure.
        self.noted(|_| staging.map_async(wgpu::MapMode::Read, 0..len, |_| {}));
        self.wait()?;
        let fail = |e: &dyn std::fmt::Display| {
            let what = format!("{}: reading back failed: {e}", self.info().name);
            self.reason(Error::device(what, "a newer driver"))
        };
        let bytes = staging.get_mapped_range(0..len).map_err(|e| fail(&e))?.to_vec();
        staging.unmap();
        self.staging = Some(staging);
        Ok(bytes)
    }

    /// Runs `recorded` after all earlier submissions. Returns before `recorded` is done, and waits only while four
    /// submissions are in flight.
    pub fn submit(&mut self, recorded: &Recorded) -> Result<()> {
        self.must_be_current(recorded)?;
        let steps: Vec<&Step> = recorded.steps.iter().collect();
        let mut rest = steps.as_slice();
        // An idle adapter starts on a small first part while the host still encodes the rest.
        let mut most = if self.flights.is_empty() { FIRST_PART } else { usize::MAX };
        while !rest.is_empty() {
            let (n, units) = self.part(rest, most);
            most = most.saturating_mul(4);
            let (part, later) = rest.split_at(n);
            rest = later;
            while self.flights.len() >= MAX_FLIGHTS {
                self.land()?;
            }
            let commands = self.encode(part, [None; 2]);
            let n_new = part.iter().filter(|step| !step.ran.swap(true, Ordering::Relaxed)).count();
            self.fly(commands, units, n_new);
        }
        self.check()
    }

    /// Returns an error if `recorded` holds buffers that were replaced.
    pub(super) fn must_be_current(&self, recorded: &Recorded) -> Result<()> {
        self.check()?;
        if recorded.generation != self.generation {
            let message = "a buffer was replaced after these launches were prepared";
            return Err(Error::Kernel { kernel: "submit".into(), message: message.into() });
        }
        Ok(())
    }

    /// The longest prefix of `steps` (not empty) that one submission may hold: at least one step, at most `most`
    /// steps. Returns the number of steps and their units.
    pub(super) fn part(&self, steps: &[&Step], most: usize) -> (usize, f64) {
        let budget = self.pace.budget();
        let (mut n, mut units) = (1, steps[0].units);
        while n < steps.len().min(most) && units + steps[n].units <= budget {
            units += steps[n].units;
            n += 1;
        }
        (n, units)
    }

    /// Submits the commands that [`Self::encode`] returned, each with its units.
    pub(super) fn submit_parts(&mut self, parts: Vec<(wgpu::CommandBuffer, f64)>) -> Result<()> {
        for (commands, units) in parts {
            while self.flights.len() >= MAX_FLIGHTS {
                self.land()?;
            }
            self.fly(commands, units, 0);
        }
        self.check()
    }

    fn fly(&mut self, commands: wgpu::CommandBuffer, units: f64, n_new: usize) {
        if self.flights.is_empty() {
            self.pace.started();
        }
        // Some drivers run the work before this call returns.
        let start = Instant::now();
        let index = self.send(commands);
        self.waited += start.elapsed();
        self.flights.push_back(Flight { index, units, n_new });
    }

    /// Waits until everything submitted so far is done. This does not wait for later submissions of other users.
    pub fn wait(&mut self) -> Result<()> {
        while !self.flights.is_empty() {
            self.land()?;
        }
        match self.last.clone() {
            Some(last) => self.poll(last),
            None => self.check(),
        }
    }

    /// Encodes `steps`. `stamps` are the time stamps to write before the first pass and after the last pass.
    pub(super) fn encode(&self, steps: &[&Step], stamps: [Option<&Stamps>; 2]) -> wgpu::CommandBuffer {
        self.noted(|device| self.encode_passes(device, steps, stamps))
    }

    fn encode_passes(
        &self,
        device: &wgpu::Device,
        steps: &[&Step],
        stamps: [Option<&Stamps>; 2],
    ) -> wgpu::CommandBuffer {
        let mut encoder = device.create_command_encoder(&Default::default());
        // A pass ends before a step that needs copies.
        let passes: Vec<_> = steps.chunk_by(|_, next| next.copies.is_empty()).collect();
        for (i, steps) in passes.iter().enumerate() {
            for copy in &steps[0].copies {
                self.encode_copy(&mut encoder, *copy);
            }
            let begin = stamps[0].filter(|_| i == 0);
            let end = stamps[1].filter(|_| i + 1 == passes.len());
            let timestamp_writes = begin.or(end).map(|stamps| wgpu::ComputePassTimestampWrites {
                query_set: &stamps.set,
                beginning_of_pass_write_index: begin.map(|_| 0),
                end_of_pass_write_index: end.map(|_| 1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            let mut current: Option<&wgpu::ComputePipeline> = None;
            for step in *steps {
                if current != Some(&step.pipeline) {
                    pass.set_pipeline(&step.pipeline);
                    current = Some(&step.pipeline);
                }
                pass.set_bind_group(0, &step.bind_group, &[]);
                let [x, y, z] = step.grid;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        encoder.finish()
    }

    /// Waits for the oldest submission.
    fn land(&mut self) -> Result<()> {
        if let Some(flight) = self.flights.pop_front() {
            let start = Instant::now();
            self.poll(flight.index)?;
            self.pace.finished(flight.units, start.elapsed() > Duration::from_millis(1));
            if flight.n_new > 0 {
                let n_ran = self.device.have_run(flight.n_new);
                // Other drivers compile when a pipeline is made. [`Self::pipelines`] has reported that.
                let listener = self.device.listener().filter(|_| self.info().is_software);
                listener.iter().for_each(|listener| listener.tell(n_ran, self.n_pipelines()));
            }
        }
        Ok(())
    }

    fn poll(&mut self, index: wgpu::SubmissionIndex) -> Result<()> {
        let start = Instant::now();
        let waited = self.device.wait_for(index);
        self.waited += start.elapsed();
        self.check()?;
        if matches!(waited, Err(wgpu::PollError::Timeout)) {
            return Err(self.device.give_up());
        }
        waited.map_err(|e| {
            let what = format!("{} does not finish its work: {e}", self.info().name);
            self.reason(Error::device(what, "a smaller --batch or --micro-batch, or a newer driver"))
        })
    }

    /// The buffer of `buf`, if the host may access these bytes.
    fn held(&self, buf: Buf, offset: u64, len: u64) -> Result<&Held> {
        let held = self.buffers.get(&buf).ok_or_else(|| host_access(buf, "it has no buffer".into()))?;
        let inside = offset.checked_add(len).is_some_and(|end| end <= held.len_bytes);
        if inside && offset.is_multiple_of(4) && len.is_multiple_of(4) {
            return Ok(held);
        }
        let message =
            format!("{len} bytes at {offset}: expected multiples of 4 within its {} bytes", held.len_bytes);
        Err(host_access(buf, message))
    }

    /// Makes the texture of `buf`, unless it exists.
    pub(super) fn ensure_mirror(&mut self, buf: Buf) -> Result<()> {
        let Some(held) = self.buffers.get(&buf) else {
            return Ok(());
        };
        if self.mirrors.contains_key(&buf) {
            return Ok(());
        }
        let height = held.len_bytes.div_ceil(ROW_BYTES) as u32;
        let bytes = u64::from(height) * ROW_BYTES;
        let mirror = self.scoped("a texture that stands for a buffer", bytes, |device| {
            let texture = device.create_texture(&wgpu::TextureDescriptor {
                label: None,
                size: wgpu::Extent3d { width: TEXTURE_WIDTH, height, depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::Rgba32Float,
                usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            Mirror { texture, view }
        })?;
        self.mirrors.insert(buf, mirror);
        Ok(())
    }

    pub(super) fn encode_copy(&self, encoder: &mut wgpu::CommandEncoder, copy: Copy) {
        let (Some(held), Some(mirror)) = (self.buffers.get(&copy.buf), self.mirrors.get(&copy.buf)) else {
            return;
        };
        let layout = wgpu::TexelCopyBufferLayout {
            offset: u64::from(copy.first_row) * ROW_BYTES,
            bytes_per_row: Some(ROW_BYTES as u32),
            rows_per_image: None,
        };
        let source = wgpu::TexelCopyBufferInfo { buffer: &held.buffer, layout };
        let mut target = mirror.texture.as_image_copy();
        target.origin.y = copy.first_row;
        let size = wgpu::Extent3d { width: TEXTURE_WIDTH, height: copy.n_rows, depth_or_array_layers: 1 };
        encoder.copy_buffer_to_texture(source, target, size);
    }
}

fn host_access(buf: Buf, message: String) -> Error {
    Error::Kernel { kernel: format!("host access to {buf:?}"), message }
}
