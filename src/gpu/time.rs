//! How long recorded dispatches take: by the adapter's own clock where it has one.

use std::time::{Duration, Instant};

use super::executor::Gpu;
use super::record::{Recorded, Step};
use crate::Result;
use crate::kernel::Buf;
use crate::ops::{Array, probe};

/// A group of runs that is timed as one, where the host's clock is used: longer than what submitting and waiting cost.
const LEAST_BY_HOST: Duration = Duration::from_millis(20);
/// Likewise where the adapter's clock is used.
const LEAST_BY_ADAPTER: Duration = Duration::from_millis(5);
/// Runs in a group, at most.
const MOST_RUNS: usize = 1000;
/// Warming up ends when two groups agree to this part,
const AGREE: f64 = 0.03;
/// or after this time.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long an idle GPU is given work before anything is timed.
const CLOCKS: Duration = Duration::from_millis(500);

/// The two time stamps around a group, on the adapter.
#[derive(Debug)]
pub(super) struct Stamps {
    pub set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

/// What is run again and again to be timed, and how often it runs in a group.
pub struct Group<'a> {
    lists: &'a [&'a Recorded],
    runs: usize,
}

impl Gpu {
    /// Seconds that all of `lists` take, one after another: `repeats` timings (at least one), in ascending order.
    ///
    /// Each timing is that of a group of runs, long enough for the clock: the adapter's where it has time stamps, which
    /// leaves out submitting and waiting, else the host's. Groups before them are not counted: drivers compile at the
    /// first launch, and an idle adapter raises its clocks.
    pub fn times(&mut self, lists: &[&Recorded], repeats: usize) -> Result<Vec<f64>> {
        let group = self.warm_up(lists, Duration::ZERO)?;
        let mut secs = Vec::with_capacity(repeats.max(1));
        for _ in 0..repeats.max(1) {
            secs.push(self.time(&group)?);
        }
        secs.sort_by(f64::total_cmp);
        Ok(secs)
    }

    /// Whether [`Self::times`] goes by the adapter's clock.
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

    /// Runs `lists` until two groups agree. A group takes at least `least`, and what the clock needs.
    pub fn warm_up<'a>(&mut self, lists: &'a [&'a Recorded], least: Duration) -> Result<Group<'a>> {
        let least = least.max(if self.has_clock() { LEAST_BY_ADAPTER } else { LEAST_BY_HOST }).as_secs_f64();
        let mut group = Group { lists, runs: 1 };
        // Once for the driver's compiler.
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
        // Stamps that cannot be: of a driver that does not fill them, or a clock that began anew.
        let secs = Some(self.read_stamps()?).filter(|secs| *secs > 0.0 && *secs < 2.0 * by_host + 1e-3);
        Ok(secs.unwrap_or(by_host) / group.runs as f64)
    }

    /// All commands are encoded before the first is submitted, so that the adapter does not wait for the host.
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
