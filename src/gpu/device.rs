//! An adapter and limits → an open device whose failures come back as errors.
//!
//! A [`Device`] has what is compiled once per device; the buffers are a [`super::Gpu`]'s, of which any number work on one
//! device. wgpu reports most failures through callbacks and error scopes. A lost device is lost for all who use it; every
//! other failure is caught in an error scope around the call, and belongs to whoever made the call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::adapter::{self, AdapterInfo};
use super::pipelines::Pipelines;
use super::wait::wait;
use crate::kernel::Dispatch;
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

/// See [`super::Gpu::listen`].
#[derive(Clone)]
pub(super) struct Listener(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl Listener {
    pub fn new(listener: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

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

/// What makes contents of the device's memory worthless.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    OutOfMemory,
    Lost(String),
    Other(String),
}

impl From<wgpu::Error> for Fault {
    fn from(error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Self::OutOfMemory,
            other => Self::Other(other.to_string()),
        }
    }
}

/// The failure that counts, if there was one.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Option<Fault>>);

impl Faults {
    /// The first failure counts; those after it are its consequences. That the device is lost may be told
    /// after what fails because of it.
    pub fn put(&self, fault: Fault) {
        let mut slot = self.slot();
        if slot.is_none() || (matches!(fault, Fault::Lost(_)) && !matches!(*slot, Some(Fault::Lost(_)))) {
            *slot = Some(fault);
        }
    }

    /// The failure that counts.
    pub fn get(&self) -> Option<Fault> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open device with the kernels compiled on it. A clone is another handle of the same device.
///
/// It has no buffers: a [`super::Gpu`] on it has. Handles may be used on several threads at once.
#[derive(Clone, Debug)]
pub struct Device(Arc<Opened>);

/// What the handles of a device share.
#[derive(Debug)]
struct Opened {
    info: AdapterInfo,
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    /// As it was opened, to be opened again.
    options: Options,
    /// Whether kernels are compiled as they are written.
    plain: bool,
    faults: Arc<Faults>,
    pipelines: Pipelines,
    /// Read by those who wait for the adapter, written by those who wait for all of them.
    waits: RwLock<()>,
    /// Whether work was given up that may still run.
    hung: AtomicBool,
    /// What its user should know.
    remarks: Vec<String>,
    /// Pipelines that have run.
    n_ran: AtomicUsize,
    listener: Mutex<Option<Listener>>,
    /// The driver's own cache of compiled kernels.
    cache: Mutex<Option<wgpu::PipelineCache>>,
}

impl Device {
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
        let (device, queue) = wait(request).map_err(|e| {
            Error::device(
                format!("{} ({}) cannot be opened: {e}", info.name, info.backend),
                "another device (parsec devices lists them), or a newer driver",
            )
        })?;

        let faults = Arc::new(Faults::default());
        let seen = Arc::clone(&faults);
        // Calls that may fail stand in error scopes. Nobody knows whose call it was that fails outside of them, so it
        // counts for all.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| seen.put(error.into())));
        let seen = Arc::clone(&faults);
        // This is also called when the device is dropped; then nobody asks any more.
        device.set_device_lost_callback(move |reason, message| {
            let destroyed = reason == wgpu::DeviceLostReason::Destroyed;
            seen.put(Fault::Lost(if destroyed { "it was destroyed".into() } else { message }));
        });
        let (plain, remarks) = plain_kernels(&info);
        Ok(Self(Arc::new(Opened {
            info,
            device,
            queue,
            limits,
            options,
            plain: options.plain || plain,
            faults,
            pipelines: Pipelines::default(),
            waits: RwLock::default(),
            hung: AtomicBool::new(false),
            remarks,
            n_ran: AtomicUsize::new(0),
            listener: Mutex::default(),
            cache: Mutex::default(),
        })))
    }

    /// The same adapter, opened once more in the same way: a device of its own, with nothing compiled.
    ///
    /// Errors: as [`Device::open`].
    pub(super) fn apart(&self) -> Result<Self> {
        Self::open(Some(&self.info().index.to_string()), self.options())
    }

    /// The same adapter, opened once more in the same way: after this device was lost.
    ///
    /// Errors: as [`Device::open`]; [`Error::Device`] if it is not there any more.
    pub(super) fn open_again(&self) -> Result<Self> {
        // What the lost device held may still count as taken.
        self.pipelines().clear();
        let again = self.apart()?;
        if again.info().name != self.info().name {
            return Err(Error::device(
                format!("{} is gone; in its place is {}", self.info().name, again.info().name),
                "parsec devices lists what there is",
            ));
        }
        again.listen(self.listener());
        Ok(again)
    }

    /// The adapter in use.
    pub fn info(&self) -> &AdapterInfo {
        &self.0.info
    }

    /// What its user should know about the adapter.
    pub fn remarks(&self) -> &[String] {
        &self.0.remarks
    }

    pub(super) fn wgpu(&self) -> &wgpu::Device {
        &self.0.device
    }

    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    pub(super) fn limits(&self) -> &wgpu::Limits {
        &self.0.limits
    }

    pub(super) fn options(&self) -> Options {
        self.0.options
    }

    /// Whether kernels are compiled as they are written.
    pub(super) fn is_plain(&self) -> bool {
        self.0.plain
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.0.pipelines
    }

    pub(super) fn listener(&self) -> Option<Listener> {
        self.0.listener.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn listen(&self, listener: Option<Listener>) {
        *self.0.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }

    pub(super) fn cache(&self) -> Option<wgpu::PipelineCache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn use_cache(&self, cache: wgpu::PipelineCache) {
        *self.0.cache.lock().unwrap_or_else(PoisonError::into_inner) = Some(cache);
    }

    /// Counts `n` more pipelines that have run, and returns how many have.
    pub(super) fn have_run(&self, n: usize) -> usize {
        n + self.0.n_ran.fetch_add(n, Ordering::Relaxed)
    }

    /// How long the adapter may take for what was submitted.
    pub(super) fn patience(&self) -> Duration {
        let usual = if self.info().is_software { Duration::from_secs(600) } else { Duration::from_secs(60) };
        self.options().patience.unwrap_or(usual)
    }

    /// The adapter has not finished its work in time: it counts as lost.
    pub(super) fn give_up(&self) -> Error {
        let message = format!("it has not finished its work for {:.0?}", self.patience());
        self.0.faults.put(Fault::Lost(message.clone()));
        if !self.0.hung.swap(true, Ordering::Relaxed) {
            // Dropping the queue would wait for the work without end.
            std::mem::forget(self.queue().clone());
        }
        Error::Lost { adapter: self.info().name.clone(), message }
    }

    /// The failure of the device that counts for all who use it.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.faults.get()
    }

    /// Waits for a submission, for no longer than the adapter's patience.
    pub(super) fn wait_for(&self, index: wgpu::SubmissionIndex) -> Result<(), wgpu::PollError> {
        let _wait = self.0.waits.read().unwrap_or_else(PoisonError::into_inner);
        let poll = wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(self.patience()) };
        self.wgpu().poll(poll).map(|_| ())
    }

    /// Lets callbacks run: that the device was lost is told when its work has ended.
    pub(super) fn hear(&self) {
        // Another thread may be about to run the callback.
        let _no_other = self.0.waits.write().unwrap_or_else(PoisonError::into_inner);
        if self.0.hung.load(Ordering::Relaxed) {
            return;
        }
        let timeout = Some(Duration::from_secs(10));
        _ = self.wgpu().poll(wgpu::PollType::Wait { submission_index: None, timeout });
    }

    /// Runs `work` and returns what wgpu holds against it. Error scopes belong to the thread that opens them, so what
    /// others do on the device at the same time is not held against `work`.
    pub(super) fn scoped<T>(&self, work: impl FnOnce(&wgpu::Device) -> T) -> (T, Option<wgpu::Error>) {
        let memory = self.wgpu().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.wgpu().push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.wgpu().push_error_scope(wgpu::ErrorFilter::Internal);
        let made = work(self.wgpu());
        let internal = wait(internal.pop());
        let validation = wait(validation.pop());
        let memory = wait(memory.pop());
        (made, memory.or(validation).or(internal))
    }

    /// The error for an allocation of `more_bytes` for `what` beside `have_bytes` that its user has.
    pub(super) fn out_of_memory(&self, what: &str, have_bytes: u64, more_bytes: u64) -> Error {
        Error::Memory {
            what: format!("{what} on {}", self.info().name),
            need_bytes: have_bytes + more_bytes,
            have_bytes,
            try_this: "a smaller --batch, fewer --channels or --memory low, or close other programs that use the GPU"
                .into(),
        }
    }
}
