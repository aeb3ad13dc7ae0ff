//! An adapter and limits → an open device whose failures come back as errors.
//!
//! wgpu reports most failures later, through callbacks; they are kept in [`Faults`] and returned by the next
//! call. What a call can be blamed for itself is caught in an error scope around it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::adapter::{self, AdapterInfo, Class};
use super::executor::{Flight, Held};
use super::mirror::Mirror;
use super::pace::Pace;
use super::pipelines::Pipelines;
use super::time::Stamps;
use super::variants::Variants;
use crate::graph::Lowering;
use crate::kernel::{Buf, Dispatch};
use crate::ops::UNIFORM_BYTES;
use crate::{Error, Result};

/// Which limits the device is opened with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitsChoice {
    /// WebGPU's defaults, which every conforming adapter has.
    Floor,
    /// The defaults, but buffers and bindings as large as the adapter can.
    #[default]
    Adapter,
}

/// How kernels read activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Through textures on software adapters, from buffers elsewhere.
    #[default]
    Auto,
    /// From buffers.
    Buffers,
    /// Through textures that stand for the buffers.
    Textures,
}

/// Alters a dispatch before it is compiled and bound.
pub type Alter = fn(&mut Dispatch);

/// How a device is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Which limits.
    pub limits: LimitsChoice,
    /// Whether kernels are compiled with bounds checks and loop bounds. They stay in bounds without
    /// (the suite runs both ways), and some adapters are twice as fast without.
    pub checks: bool,
    /// How kernels read activations; the results are the same to the bit.
    pub reads: Reads,
    /// Whether kernels are compiled as they are written: `override`s as pipeline constants, loops as
    /// loops. Slower; the suite shows that the results are the same.
    pub plain: bool,
    /// What a driver that gets a kernel wrong would do to it: for trying what happens then.
    pub alter: Option<Alter>,
    /// How long the adapter may work on what was submitted before it counts as lost; none: a minute for GPUs, ten for
    /// software adapters, whose compilers work inside a submission.
    pub patience: Option<Duration>,
}

/// See [`Gpu::listen`].
#[derive(Clone)]
pub(super) struct Listener(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl Listener {
    pub fn tell(&self, ready: usize, known: usize) {
        (self.0)(ready, known);
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// Whether kernels must be compiled as they are written on an adapter, and what its user should know of that.
fn plain_kernels(info: &AdapterInfo) -> (bool, Vec<String>) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(std::path::Path::to_owned));
    let mut folders: Vec<_> = beside.into_iter().chain(std::env::split_paths(&path)).collect();
    folders.extend(std::env::var_os("SystemRoot").map(|root| std::path::Path::new(&root).join("System32")));
    if info.backend == "dx12" && !has_dxc(folders) {
        let remark = "Direct3D 12 without its newer compiler (dxcompiler.dll, beside the program or in PATH): kernels run \
                      as they are written, which is slower. The library comes with the Windows SDK and with the \
                      DirectX Shader Compiler's releases";
        return (true, vec![remark.into()]);
    }
    // SwiftShader takes minutes to compile one convolution whose loops are written out.
    (info.name.contains("SwiftShader"), Vec::new())
}

/// Whether one of these folders has the compiler without which Direct3D 12 takes minutes for loops written out.
pub fn has_dxc(folders: impl IntoIterator<Item = std::path::PathBuf>) -> bool {
    folders.into_iter().any(|folder| folder.join("dxcompiler.dll").is_file())
}

/// Failures that came through callbacks.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Option<Fault>>);

#[derive(Debug)]
enum Fault {
    OutOfMemory,
    Lost(String),
    Other(String),
}

impl Faults {
    /// The first failure counts; those after it are its consequences. That the device is lost may be told
    /// after what fails because of it.
    fn put(&self, fault: Fault) {
        let mut slot = self.slot();
        if slot.is_none() || (matches!(fault, Fault::Lost(_)) && !matches!(*slot, Some(Fault::Lost(_)))) {
            *slot = Some(fault);
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open device with its buffers and pipelines.
#[derive(Debug)]
pub struct Gpu {
    pub(super) info: AdapterInfo,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) limits: wgpu::Limits,
    /// As it was opened, to be opened again.
    pub(super) options: Options,
    faults: Arc<Faults>,
    pub(super) pipelines: Pipelines,
    pub(super) buffers: BTreeMap<Buf, Held>,
    /// Whether kernels read activations through textures.
    pub(super) textures: bool,
    pub(super) mirrors: BTreeMap<Buf, Mirror>,
    /// Counts replaced buffers: what was recorded before holds ranges of the old ones.
    pub(super) generation: u64,
    /// Staging buffer for read-backs, as large as the largest so far.
    pub(super) staging: Option<wgpu::Buffer>,
    pub(super) flights: VecDeque<Flight>,
    pub(super) pace: Pace,
    /// Time that the host has waited for the adapter.
    pub(super) waited: Duration,
    /// For [`Gpu::times`], made when first asked for.
    pub(super) stamps: Option<Stamps>,
    /// Whether work was given up that may still run.
    hung: bool,
    /// What its user should know.
    remarks: Vec<String>,
    /// Pipelines that have run.
    pub(super) n_ran: usize,
    pub(super) listener: Option<Listener>,
    /// The driver's own cache of compiled kernels.
    pub(super) cache: Option<wgpu::PipelineCache>,
}

impl Gpu {
    /// Open the adapter that `selector` means (see [`super::choose`]).
    ///
    /// Errors: [`Error::Usage`] for an unknown selector, [`Error::Device`] if there is no adapter or it
    /// lacks a limit.
    pub fn open(selector: Option<&str>, options: Options) -> Result<Self> {
        let (info, adapter) = adapter::pick(selector)?;
        let mut limits = wgpu::Limits::default();
        if options.limits == LimitsChoice::Adapter {
            let most = adapter.limits();
            limits.max_storage_buffer_binding_size =
                most.max_storage_buffer_binding_size.max(limits.max_storage_buffer_binding_size);
            limits.max_buffer_size = most.max_buffer_size.max(limits.max_buffer_size);
        }
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("parsec"),
            required_features: adapter.features()
                & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE),
            required_limits: limits.clone(),
            // Pages are large and few; blocks kept in reserve would double the memory shown.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        });
        let (device, queue) = pollster::block_on(request).map_err(|e| {
            Error::device(
                format!("{} ({}) cannot be opened: {e}", info.name, info.backend),
                "another device (parsec devices lists them), or a newer driver",
            )
        })?;

        let faults = Arc::new(Faults::default());
        let seen = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error| {
            seen.put(match error {
                wgpu::Error::OutOfMemory { .. } => Fault::OutOfMemory,
                other => Fault::Other(other.to_string()),
            });
        }));
        let seen = Arc::clone(&faults);
        // This is also called when the device is dropped; then nobody asks any more.
        device.set_device_lost_callback(move |reason, message| {
            let destroyed = reason == wgpu::DeviceLostReason::Destroyed;
            seen.put(Fault::Lost(if destroyed { "it was destroyed".into() } else { message }));
        });
        let (plain, remarks) = plain_kernels(&info);
        let textures = match options.reads {
            Reads::Auto => info.class() == Class::Software,
            Reads::Buffers => false,
            Reads::Textures => true,
        };
        let mut gpu = Self {
            info,
            device,
            queue,
            limits,
            options,
            faults,
            pipelines: Pipelines::new(Options { plain: options.plain || plain, ..options }),
            buffers: BTreeMap::new(),
            textures,
            mirrors: BTreeMap::new(),
            generation: 0,
            staging: None,
            flights: VecDeque::new(),
            pace: Pace::new(),
            waited: Duration::ZERO,
            stamps: None,
            hung: false,
            remarks,
            n_ran: 0,
            listener: None,
            cache: None,
        };
        // (mean, scale, beta, rstd) of each channel.
        let identity = [[0f32, 1.0, 0.0, 1.0]].repeat(UNIFORM_BYTES as usize / 16);
        gpu.allocate(Buf::Identity, UNIFORM_BYTES)?;
        gpu.write(Buf::Identity, 0, bytemuck::cast_slice(&identity))?;
        Ok(gpu)
    }

    /// The same adapter, opened once more in the same way: after this device was lost.
    ///
    /// Errors: as [`Gpu::open`]; [`Error::Device`] if it is not there any more.
    pub(super) fn open_again(&mut self) -> Result<Self> {
        // What the lost device held may still count as taken.
        (self.staging, self.flights) = (None, VecDeque::new());
        self.buffers.clear();
        self.mirrors.clear();
        self.pipelines.clear();
        let mut again = Self::open(Some(&self.info.index.to_string()), self.options)?;
        if again.info.name != self.info.name {
            return Err(Error::device(
                format!("{} is gone; in its place is {}", self.info.name, again.info.name),
                "parsec devices lists what there is",
            ));
        }
        again.read_through_textures(self.textures);
        again.listener = self.listener.take();
        Ok(again)
    }

    /// What its user should know about the adapter.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Calls `listener` whenever kernels were compiled: with how many are ready, and how many are known so far.
    pub fn listen(&mut self, listener: impl Fn(usize, usize) + Send + Sync + 'static) {
        self.listener = Some(Listener(Arc::new(listener)));
    }

    /// How long the adapter may take for what was submitted.
    pub(super) fn patience(&self) -> Duration {
        let usual = if self.info.is_software { Duration::from_secs(600) } else { Duration::from_secs(60) };
        self.options.patience.unwrap_or(usual)
    }

    /// The adapter has not finished its work in time: it counts as lost.
    pub(super) fn give_up(&mut self) -> Error {
        let message = format!("it has not finished its work for {:.0?}", self.patience());
        self.faults.put(Fault::Lost(message.clone()));
        if !self.hung {
            self.hung = true;
            // Dropping the queue would wait for the work without end.
            std::mem::forget(self.queue.clone());
        }
        Error::Lost { adapter: self.info.name.clone(), message }
    }

    /// The adapter opened once more in the same way, with buffers of its own.
    ///
    /// Errors: as [`Gpu::open`].
    pub fn another(&self) -> Result<Self> {
        Self::open(Some(&self.info.index.to_string()), self.options)
    }

    /// How networks are lowered for this adapter: with the fixed choice of kernels.
    pub fn lowering(&self) -> Lowering {
        Lowering { tuning: Variants::fixed(self).tuning, ..Lowering::default() }
    }

    /// What takes the device away in the middle of its work, as the reset of a driver does: for trying what
    /// happens then.
    pub fn breaker(&self) -> impl Fn() + Send + use<> {
        let device = self.device.clone();
        move || device.destroy()
    }

    /// The adapter in use.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// Whether kernels read activations through textures.
    pub fn reads_through_textures(&self) -> bool {
        self.textures
    }

    /// Changes how kernels read activations. What was prepared before stays as it is.
    pub fn read_through_textures(&mut self, textures: bool) {
        if self.textures != textures {
            self.textures = textures;
            self.pipelines.clear();
            self.mirrors.clear();
        }
    }

    /// Largest range that can be bound, in bytes.
    pub fn max_binding_bytes(&self) -> u64 {
        self.limits.max_storage_buffer_binding_size
    }

    /// A failure that came through a callback since the last call. It stays: the device's contents
    /// cannot be trusted after it.
    pub(super) fn check(&self) -> Result<()> {
        if self.faults.slot().is_none() {
            return Ok(());
        }
        self.hear();
        match &*self.faults.slot() {
            None => Ok(()),
            Some(Fault::OutOfMemory) => Err(self.out_of_memory("GPU memory", 0)),
            Some(Fault::Lost(message)) => {
                Err(Error::Lost { adapter: self.info.name.clone(), message: message.clone() })
            }
            Some(Fault::Other(message)) => {
                Err(Error::device(format!("{} reported: {message}", self.info.name), "a newer driver"))
            }
        }
    }

    /// Lets callbacks run: that the device was lost is told when its work has ended.
    fn hear(&self) {
        if self.hung {
            return;
        }
        let timeout = Some(Duration::from_secs(10));
        _ = self.device.poll(wgpu::PollType::Wait { submission_index: None, timeout });
    }

    /// `error`, or [`Error::Lost`] where that is the reason of it.
    pub(super) fn reason(&self, error: Error) -> Error {
        self.hear();
        match self.check() {
            Err(lost @ Error::Lost { .. }) => lost,
            _ => error,
        }
    }

    pub(super) fn out_of_memory(&self, what: &str, more_bytes: u64) -> Error {
        let have_bytes = self.allocated_bytes();
        Error::Memory {
            what: format!("{what} on {}", self.info.name),
            need_bytes: have_bytes + more_bytes,
            have_bytes,
            try_this: "a smaller --batch, fewer --channels or --memory low, or close other programs that use the GPU"
                .into(),
        }
    }

    /// Run `work` and return what wgpu holds against it: `Memory` for an allocation of `more_bytes`
    /// for `what`, `Kernel` for a validation error.
    pub(super) fn scoped<T>(
        &self,
        what: &str,
        more_bytes: u64,
        work: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = work(&self.device);
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        let memory = pollster::block_on(memory.pop());
        if memory.is_some() {
            return Err(self.reason(self.out_of_memory(what, more_bytes)));
        }
        match validation.or(internal) {
            None => Ok(made),
            Some(e) => Err(self.reason(Error::Kernel { kernel: what.into(), message: e.to_string() })),
        }
    }
}
