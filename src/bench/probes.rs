//! An adapter → its costs of arithmetic, memory, launches and submissions.

use crate::host::Instant;

use serde::Serialize;

use crate::gpu::{Gpu, Recorded};
use crate::kernel::Buf;
use crate::ops::{Array, probe};
use crate::{Error, Result};

/// Measured rates and costs. Each is the best of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Probes {
    /// f32 multiplications plus additions in 10⁹/s, as independent chains in registers.
    pub arithmetic_gflops: f64,
    /// Rate of copying vec4s from one buffer to another: 10⁹ bytes read plus bytes written per second.
    pub copy_gbps: f64,
    /// Bytes of each of the two buffers.
    pub copy_bytes: u64,
    /// vec4 loads in 10⁹/s, summed into a register. Kernels read activations in this way.
    pub load_gquads_per_s: f64,
    /// Microseconds of one empty launch among many in a pass.
    pub launch_us: f64,
    /// Microseconds of a submission of one empty launch, with 4 bytes read back.
    pub submit_us: f64,
}

/// Bytes to copy where memory and bindings allow it: many times the caches of a large GPU.
const COPY_BYTES: u64 = 1 << 30;
/// Below this number of bytes a measurement makes no sense.
const LEAST_BYTES: u64 = 32 << 20;
/// Workgroups of the load probe.
const LOAD_GROUPS: u32 = 8192;
const LAUNCHES: usize = 200;

impl Probes {
    /// Measures the rates and costs. The measurement needs two buffers of 1 GiB each, or of the largest size that can
    /// be bound.
    pub fn measure(gpu: &mut Gpu, repeats: usize) -> Result<Self> {
        let (x, out) = buffers(gpu)?;
        let groups = 1024;
        gpu.warm_clocks()?;
        // Enough rounds to make the time of a launch negligible.
        let mut rounds = 64;
        let arithmetic_gflops = loop {
            let recorded = gpu.prepare(&[probe::arithmetic(out, groups, rounds)])?;
            let secs = best(gpu, &recorded, repeats)?;
            if secs > 0.02 || rounds >= 4096 {
                break recorded.flops as f64 / secs / 1e9;
            }
            rounds *= 4;
        };
        let recorded = gpu.prepare(&[probe::copy(x, out)])?;
        let copy_gbps = 2.0 * x.bytes as f64 / best(gpu, &recorded, repeats)? / 1e9;
        // Each quad is read once.
        let recorded = gpu.prepare(&[probe::load(x, out, LOAD_GROUPS, LOAD_GROUPS * 64)])?;
        let loads = f64::from(LOAD_GROUPS) * 64.0 * 16.0;
        let load_gquads_per_s = loads / best(gpu, &recorded, repeats)? / 1e9;
        let recorded = gpu.prepare(&vec![probe::empty(out); LAUNCHES])?;
        let launch_us = best(gpu, &recorded, repeats)? / LAUNCHES as f64 * 1e6;
        let recorded = gpu.prepare(&[probe::empty(out)])?;
        let mut submit_us = f64::MAX;
        for _ in 0..20 {
            let start = Instant::now();
            gpu.submit(&recorded)?;
            gpu.read(out.buf, 0, 4)?;
            submit_us = submit_us.min(start.elapsed().as_secs_f64() * 1e6);
        }
        // Shrink the buffers again, so that later measurements have the memory.
        gpu.allocate(x.buf, 256)?;
        gpu.allocate(out.buf, 256)?;
        let copy_bytes = x.bytes;
        Ok(Self { arithmetic_gflops, copy_gbps, copy_bytes, load_gquads_per_s, launch_us, submit_us })
    }

    /// Least milliseconds for these numbers of flops, bytes and launches: the largest of the three times.
    pub fn bound_ms(&self, flops: u64, bytes: u64, launches: usize) -> f64 {
        let arithmetic = flops as f64 / (self.arithmetic_gflops * 1e6);
        let memory = bytes as f64 / (self.copy_gbps * 1e6);
        arithmetic.max(memory).max(launches as f64 * self.launch_us / 1e3)
    }
}

/// Two buffers of the largest possible size, up to [`COPY_BYTES`]. The size is a power of two.
fn buffers(gpu: &mut Gpu) -> Result<(Array, Array)> {
    let most = gpu.max_binding_bytes().min(COPY_BYTES);
    let mut bytes = 1 << most.ilog2();
    loop {
        let array = |n: u16| Array { buf: Buf::Extra(900 + n), offset_bytes: 0, bytes };
        let (x, out) = (array(0), array(1));
        match gpu.allocate(x.buf, bytes).and_then(|()| gpu.allocate(out.buf, bytes)) {
            Err(Error::Memory { .. }) if bytes > LEAST_BYTES => bytes /= 2,
            made => return made.map(|()| (x, out)),
        }
    }
}

fn best(gpu: &mut Gpu, recorded: &Recorded, repeats: usize) -> Result<f64> {
    Ok(gpu.times(&[recorded], repeats.max(3))?[0])
}
