//! An adapter and limits → an open device that reports failures as errors.
//!
//! A [`Device`] holds everything that is compiled once per device. The buffers are in [`super::Gpu`]s, and any
//! number of them work on one device. wgpu reports most failures through callbacks and error scopes. A lost device
//! is lost for all of its users. Every other failure is caught in an error scope around the call, and is returned
//! to the caller.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::adapter::{self, AdapterInfo};
use super::pipelines::Pipelines;
use super::wait::{wait, wait_for_work};
use crate::kernel::Launch;
use crate::{Error, Result};

/// The limits that the device is opened with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitsChoice {
    /// WebGPU's defaults, which every conforming adapter has.
    Floor,
    /// WebGPU's defaults, except that buffers and bindings may be as large as the adapter allows.
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
    /// Through textures that replace the buffers.
    Textures,
}

/// A function that changes a launch before the launch is compiled and bound.
pub type Alter = fn(&mut Launch);

/// How a device is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Limits of the device.
    pub limits: LimitsChoice,
    /// Whether kernels are compiled with bounds checks and loop bounds. Kernels stay in bounds without the checks
    /// (the suite runs both ways), and some adapters are twice as fast without them.
    pub checks: bool,
    /// How kernels read activations. The results have the same bits either way.
    pub reads: Reads,
    /// Whether kernels are compiled as they are written, with `override`s as pipeline constants and with loops as
    /// loops. This is slower. The suite shows that the results are the same.
    pub plain: bool,
    /// Changes launches as a faulty driver would, for tests of such drivers.
    pub alter: Option<Alter>,
    /// Time that the adapter may take for submitted work before it is treated as lost. `None` means one minute for
    /// GPUs, and ten minutes for software adapters, which compile inside a submission.
    pub patience: Option<Duration>,
}

/// The listener of [`super::Gpu::listen`].
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

/// Whether the kernels for an adapter must be compiled as they are written, and remarks for the user about this.
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
    // SwiftShader takes minutes to compile a convolution whose loops are written out.
    (info.name.contains("SwiftShader"), Vec::new())
}

/// Whether one of these folders has the newer compiler of Direct3D 12. The older one takes minutes for loops that
/// are written out.
pub fn has_dxc(folders: impl IntoIterator<Item = std::path::PathBuf>) -> bool {
    folders.into_iter().any(|folder| folder.join("dxcompiler.dll").is_file())
}

/// A failure after which the contents of the device's memory cannot be trusted.
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

/// The failure that is reported, if there was one.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Option<Fault>>);

impl Faults {
    /// Stores the first failure, because later failures are its consequences. A lost device replaces any other
    /// failure, because the loss may be reported after its consequences.
    pub fn put(&self, fault: Fault) {
        let mut slot = self.slot();
        if slot.is_none() || (matches!(fault, Fault::Lost(_)) && !matches!(*slot, Some(Fault::Lost(_)))) {
            *slot = Some(fault);
        }
    }

    /// The failure that is reported.
    pub fn get(&self) -> Option<Fault> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open device with the kernels compiled on it. A clone is another handle of the same device.
///
/// The device has no buffers; a [`super::Gpu`] on the device has them. Handles may be used on several threads at
/// once.
#[derive(Clone, Debug)]
pub struct Device(Arc<Opened>);

/// The data that the handles of a device share.
#[derive(Debug)]
struct Opened {
    info: AdapterInfo,
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    /// The options of opening, for opening the adapter again.
    options: Options,
    /// Whether kernels are compiled as they are written.
    plain: bool,
    faults: Arc<Faults>,
    pipelines: Pipelines,
    /// Locked for reading while a thread waits for the adapter, and for writing by a thread that needs all waits to
    /// end.
    waits: RwLock<()>,
    /// Whether work that may still run was given up.
    hung: AtomicBool,
    /// Remarks for the user.
    remarks: Vec<String>,
    /// Number of pipelines that have run.
    n_ran: AtomicUsize,
    listener: Mutex<Option<Listener>>,
    /// The driver's own cache of compiled kernels.
    cache: Mutex<Option<wgpu::PipelineCache>>,
}

impl Device {
    /// Opens the adapter that `selector` names (see [`super::choose`]).
    ///
    /// Errors: [`Error::Usage`] for an unknown selector; [`Error::Device`] if there is no adapter, or if the
    /// adapter lacks a limit.
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
            // Pages are large and few. Memory that wgpu keeps in reserve would double the memory that is shown.
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
        // Calls that may fail are inside error scopes. A failure outside of error scopes has no known caller, so it
        // is reported to all users of the device.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| seen.put(error.into())));
        let seen = Arc::clone(&faults);
        // This callback also runs when the device is dropped. Nobody reads the fault then.
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

    /// A new device on the same adapter, opened in the same way, with nothing compiled.
    ///
    /// Errors: the errors of [`Device::open`].
    pub(super) fn apart(&self) -> Result<Self> {
        Self::open(Some(&self.info().index.to_string()), self.options())
    }

    /// Opens the same adapter again in the same way after this device was lost.
    ///
    /// Errors: the errors of [`Device::open`]; [`Error::Device`] if the adapter is gone.
    pub(super) fn open_again(&self) -> Result<Self> {
        // Memory of the lost device may still be counted as used.
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

    /// Remarks about the adapter for the user.
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

    /// Adds `n` to the number of pipelines that have run, and returns the new number.
    pub(super) fn have_run(&self, n: usize) -> usize {
        n + self.0.n_ran.fetch_add(n, Ordering::Relaxed)
    }

    /// Time that the adapter may take for submitted work.
    pub(super) fn patience(&self) -> Duration {
        let usual = if self.info().is_software { Duration::from_secs(600) } else { Duration::from_secs(60) };
        self.options().patience.unwrap_or(usual)
    }

    /// Treats the adapter as lost, because it has not finished its work in time.
    pub(super) fn give_up(&self) -> Error {
        let message = format!("it has not finished its work for {:.0?}", self.patience());
        self.0.faults.put(Fault::Lost(message.clone()));
        if !self.0.hung.swap(true, Ordering::Relaxed) {
            // Dropping the queue would wait for the work without end.
            std::mem::forget(self.queue().clone());
        }
        Error::Lost { adapter: self.info().name.clone(), message }
    }

    /// The failure of the device that is reported to all of its users.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.faults.get()
    }

    /// Waits for a submission, but not longer than [`Self::patience`].
    pub(super) fn wait_for(&self, index: wgpu::SubmissionIndex) -> Result<(), wgpu::PollError> {
        let _wait = self.0.waits.read().unwrap_or_else(PoisonError::into_inner);
        wait_for_work(self.wgpu(), Some(index), self.patience())
    }

    /// Polls the device, so that the device-lost callback can run. The callback runs when the device's work has
    /// ended.
    pub(super) fn hear(&self) {
        // Another thread may be about to run the callback, so this waits until no other thread polls.
        let _no_other = self.0.waits.write().unwrap_or_else(PoisonError::into_inner);
        if self.0.hung.load(Ordering::Relaxed) {
            return;
        }
        _ = wait_for_work(self.wgpu(), None, Duration::from_secs(10));
    }

    /// Runs `work` and returns the error that wgpu reports for `work`. Error scopes belong to the thread that opens
    /// them, so errors of other threads on the same device are not included.
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

    /// The error for an allocation of `more_bytes` for `what`, by a user that already has `have_bytes`.
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
