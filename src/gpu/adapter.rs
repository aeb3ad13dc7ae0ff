//! Adapters of the machine → a list, and the adapter that a selector names.

use serde::Serialize;

use super::wait::wait;
use crate::{Error, Result};

/// An adapter, as it is shown to users and recorded in the manifest.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterInfo {
    /// Position in the list. The position can be used as a selector.
    pub index: usize,
    /// Name given by the driver.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `other` or `cpu`.
    pub device_type: String,
    /// Driver name.
    pub driver: String,
    /// Driver version.
    pub driver_info: String,
    /// Whether the adapter is a program on the CPU.
    pub is_software: bool,
    /// Limits of the adapter that matter to this program.
    pub limits: AdapterLimits,
}

/// Classes of adapters, which need different kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A program on the CPU.
    Software,
    /// A GPU that shares the CPU's memory, as Apple's do. Adapters of unknown type belong to this class too.
    Integrated,
    /// A GPU with its own memory, or a virtual machine's view of such a GPU.
    Discrete,
}

/// The class that the environment variable `PARSEC_CLASS` names, if the variable is set.
///
/// Error: [`Error::Usage`] for any other word.
pub fn class_from_env() -> Result<Option<Class>> {
    match std::env::var("PARSEC_CLASS").as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("software") => Ok(Some(Class::Software)),
        Ok("integrated") => Ok(Some(Class::Integrated)),
        Ok("discrete") => Ok(Some(Class::Discrete)),
        Ok(other) => {
            let expected = "software, integrated or discrete";
            Err(Error::usage(
                "PARSEC_CLASS",
                expected,
                format!("{other:?}"),
                "leave it unset: the adapter says its class",
            ))
        }
    }
}

impl AdapterInfo {
    /// The class that decides which kernels run without a trial. The environment variable `PARSEC_CLASS`
    /// (`software`, `integrated` or `discrete`) overrules the adapter's class, to try the kernels of another class.
    pub fn class(&self) -> Class {
        if let Ok(Some(class)) = class_from_env() {
            return class;
        }
        match self.device_type.as_str() {
            "cpu" => Class::Software,
            "discrete" | "virtual" => Class::Discrete,
            _ => Class::Integrated,
        }
    }
}

/// The limits of an adapter that matter to this program.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterLimits {
    /// Largest range of a buffer that a kernel can access.
    pub max_storage_buffer_binding_size: u64,
    /// Largest range bound as a uniform.
    pub max_uniform_buffer_binding_size: u64,
    /// Largest buffer.
    pub max_buffer_size: u64,
    /// Storage buffers per kernel.
    pub max_storage_buffers_per_shader_stage: u32,
    /// Bytes of workgroup memory.
    pub max_compute_workgroup_storage_size: u32,
    /// Invocations per workgroup.
    pub max_compute_invocations_per_workgroup: u32,
    /// Workgroups per dimension of a launch.
    pub max_compute_workgroups_per_dimension: u32,
    /// Smallest subgroup.
    pub subgroup_min_size: u32,
    /// Largest subgroup.
    pub subgroup_max_size: u32,
    /// Whether time stamps can be taken on the device.
    pub timestamps: bool,
}

/// Whether an adapter that others opened is a program on the CPU.
pub fn is_software(adapter: &wgpu::Adapter) -> bool {
    adapter.get_info().device_type == wgpu::DeviceType::Cpu
}

/// Every adapter of this machine, in a fixed order; empty if there is none.
pub fn adapters() -> Vec<AdapterInfo> {
    list().iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

/// The adapter that `selector` names: an index, or else a part of a name in upper or lower case. Without a selector
/// the environment variable `PARSEC_DEVICE` is used. Without both, the adapter of the fastest class is used, a
/// software adapter last.
///
/// Errors: [`Error::Usage`], which lists the devices, if no adapter matches; [`Error::Device`] if there is no
/// adapter.
pub fn choose(selector: Option<&str>) -> Result<AdapterInfo> {
    pick(selector).map(|(info, _)| info)
}

pub(super) fn pick(selector: Option<&str>) -> Result<(AdapterInfo, wgpu::Adapter)> {
    let mut found: Vec<_> =
        list().into_iter().enumerate().map(|(i, adapter)| (describe(i, &adapter), adapter)).collect();
    if found.is_empty() {
        return Err(no_adapter());
    }
    let from_env = std::env::var("PARSEC_DEVICE").ok().filter(|s| !s.is_empty());
    let (what, wanted) = match (selector, &from_env) {
        // The caller may have taken it from the variable.
        (Some(s), Some(of_env)) if s == of_env => ("PARSEC_DEVICE", s),
        (Some(s), _) => ("--device", s),
        (None, Some(s)) => ("PARSEC_DEVICE", s.as_str()),
        (None, None) => ("", ""), // The empty text is part of every name, so this is the best of all adapters.
    };
    let by_index = wanted.parse::<usize>().ok().filter(|i| *i < found.len());
    let best = by_index.or_else(|| {
        let part = wanted.to_lowercase();
        let matching = found.iter().filter(|(info, _)| info.name.to_lowercase().contains(&part));
        matching.min_by_key(|(info, _)| class(info)).map(|(info, _)| info.index)
    });
    match best {
        Some(i) => Ok(found.swap_remove(i)),
        None => {
            let lines: Vec<_> = found
                .iter()
                .map(|(a, _)| format!("\n    {}: {} ({}, {})", a.index, a.name, a.backend, a.driver))
                .collect();
            let expected = "the index or a part of the name of a device";
            let try_this = format!("one of these, or parsec devices for their limits:{}", lines.concat());
            Err(Error::usage(what, expected, format!("{wanted:?}"), try_this))
        }
    }
}

/// The error for a machine without adapters.
pub(super) fn no_adapter() -> Error {
    let try_this = if cfg!(target_os = "linux") {
        "install your GPU vendor's Vulkan driver; with no GPU, a software one (Debian and Ubuntu: apt install \
         mesa-vulkan-drivers)"
    } else {
        "install or update your GPU vendor's driver"
    };
    Error::device("no GPU adapter found: neither Vulkan, Metal nor Direct3D 12 lists one", try_this)
}

fn list() -> Vec<wgpu::Adapter> {
    // OpenGL is left out: its compute shaders are a subset with pitfalls, and every machine with OpenGL has a
    // better choice.
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    wait(instance.enumerate_adapters(backends))
}

/// Rank of an adapter's type, the fastest type first.
fn class(info: &AdapterInfo) -> usize {
    let order = ["discrete", "integrated", "virtual", "other", "cpu"];
    order.iter().position(|t| *t == info.device_type).unwrap_or(order.len())
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterInfo {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let device_type = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Other => "other",
        wgpu::DeviceType::Cpu => "cpu",
    };
    AdapterInfo {
        index,
        name: info.name,
        backend: info.backend.to_str().into(),
        device_type: device_type.into(),
        driver: info.driver,
        driver_info: info.driver_info,
        is_software: info.device_type == wgpu::DeviceType::Cpu,
        limits: AdapterLimits {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_uniform_buffer_binding_size: limits.max_uniform_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            subgroup_min_size: info.subgroup_min_size,
            subgroup_max_size: info.subgroup_max_size,
            timestamps: adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY),
        },
    }
}
