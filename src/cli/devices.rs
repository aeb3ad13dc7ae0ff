//! `parsec devices` → the adapters of this machine, and their limits.

use super::ui::{print, remark};
use crate::gpu::{self, AdapterInfo};
use crate::runner::variants::key;
use crate::{Error, Result};

/// Print the adapters, as JSON (an array) with `json`. Warnings go to standard error.
///
/// Error: [`Error::Device`] if there is no adapter. The error says what to install.
pub fn devices(json: bool) -> Result<()> {
    let adapters = gpu::adapters();
    if json {
        let with_key = |a: &AdapterInfo| {
            let mut value = serde_json::to_value(a).unwrap_or_default();
            // `cache_key` is the key of this adapter's entries in the cache folder.
            value["class"] = serde_json::to_value(a.class()).unwrap_or_default();
            value["cache_key"] = key(a).into();
            value
        };
        let text = serde_json::to_string_pretty(&adapters.iter().map(with_key).collect::<Vec<_>>())
            .map_err(|e| Error::device(format!("cannot write the list of devices as JSON: {e}"), ""))?;
        print(&text)?;
    } else {
        adapters.iter().try_for_each(|a| print(&describe(a)))?;
    }
    // Without any adapter this returns the error that says what to install.
    let chosen = gpu::choose(None)?;
    if !json {
        print(&format!("used without --device: {}", chosen.index))?;
    }
    if adapters.iter().all(|a| a.is_software) {
        remark(
            "WARNING: only software adapters (programs on the CPU) are there; a search will be SLOW. If this \
             machine has a GPU, install its vendor's driver.",
        );
    }
    Ok(())
}

fn describe(a: &AdapterInfo) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let software = if a.is_software { ", SOFTWARE" } else { "" };
    let l = &a.limits;
    format!(
        "{}: {}\n   {} ({}{software}), {:?} kernels, driver {} {}\n   binding {}, buffer {}, workgroup memory {} KiB, {} \
         invocations per workgroup, subgroups {} to {}, time stamps: {}",
        a.index,
        a.name,
        a.backend,
        a.device_type,
        a.class(),
        a.driver,
        a.driver_info,
        mib(l.max_storage_buffer_binding_size),
        mib(l.max_buffer_size),
        l.max_compute_workgroup_storage_size >> 10,
        l.max_compute_invocations_per_workgroup,
        l.subgroup_min_size,
        l.subgroup_max_size,
        if l.timestamps { "yes" } else { "no" },
    )
}
