//! A report → text for people.

use std::fmt;

use super::{Report, StepTime};

impl fmt::Display for Report {
    // This function is long because it writes the table line by line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, p, s, c) = (&self.adapter, &self.probes, &self.shape, &self.child);
        writeln!(f, "{} ({} {}, {})", a.name, a.driver, a.driver_info, a.backend)?;
        writeln!(
            f,
            "probes: {:.1} GFLOP/s, copy {:.1} GB/s, {:.2} G vec4 loads/s, empty launch {:.1} us, submit and read \
             back {:.0} us\n",
            p.arithmetic_gflops, p.copy_gbps, p.load_gquads_per_s, p.launch_us, p.submit_us
        )?;
        for excluded in &self.excluded {
            writeln!(f, "left out: {excluded}")?;
        }
        writeln!(
            f,
            "child: {} {}, {} channels, batch {}, {}x{}x{}",
            s.layers,
            if s.space.name() == "darts" { "cells" } else { "layers" },
            s.channels,
            s.batch,
            s.size.height,
            s.size.width,
            s.in_channels
        )?;
        writeln!(
            f,
            "| {:32} | n | ms | GFLOP/s | GB/s | bound ms | share | compile ms | variant |",
            "kernel"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|---|")?;
        for k in &self.kernels {
            writeln!(
                f,
                "| {:32} | {:3} | {:9.2} | {:7.1} | {:6.2} | {:8.2} | {:3.0} % | {:6.0} ({:2.0} %) | {} |",
                k.name,
                k.launches,
                k.time.ms,
                k.gflops,
                k.gbps,
                k.bound_ms,
                100.0 * k.share,
                k.compile_ms,
                100.0 * k.compile_share,
                k.variant
            )?;
        }
        let [f0, f1] = c.forward_range_ms;
        let [t0, t1] = c.train_range_ms;
        writeln!(f, "\nforward                     {:9.1} ms  ({f0:.1} to {f1:.1})", c.forward_ms)?;
        writeln!(f, "forward + backward + update {:9.1} ms  ({t0:.1} to {t1:.1})", c.train_ms)?;
        if let (Some(forward), Some(train)) = (c.forward_gpu_ms, c.train_gpu_ms) {
            writeln!(
                f,
                "by the adapter's clock      {forward:9.1} ms forward, {train:.1} ms with backward and update"
            )?;
        }
        writeln!(
            f,
            "sum of the kernels' bounds  {:9.1} ms, share reached {:.0} %",
            c.bound_ms,
            100.0 * c.share
        )?;
        writeln!(f, "compilation of its kernels  {:9.1} ms, one after the other", c.compile_ms)?;
        writeln!(
            f,
            "{} launches, {:.2} GFLOP, {:.2} GB, arena {:.0} MiB, planned in {:.2} ms",
            c.launches,
            c.flops as f64 / 1e9,
            c.bytes as f64 / 1e9,
            c.arena_bytes as f64 / f64::from(1 << 20),
            c.plan_ms
        )?;
        self.step.iter().try_for_each(|t| step(f, "the start", t))?;
        self.sharpened.iter().try_for_each(|t| step(f, "a third of the entropy", t))
    }
}

fn step(f: &mut fmt::Formatter<'_>, at: &str, t: &StepTime) -> fmt::Result {
    let [s0, s1] = t.range_seconds;
    writeln!(
        f,
        "\nstep of Algorithm 1 at {at}, K = {}: {:.2} s ({s0:.2} to {s1:.2}); {} distinct children, {} with a backward pass, \
             ESS {:.2}",
        t.samples, t.seconds, t.distinct_children, t.backward_children, t.ess
    )?;
    let h = &t.phases;
    writeln!(
        f,
        "by phase: data {:.3} s, plan {:.3} s, search {:.3} s, train {:.3} s, host {:.3} s; on the host {:.1} %",
        h.data,
        h.plan,
        h.search,
        h.train,
        h.host,
        100.0 * t.host_share
    )
}
