//! Plans a child network without a GPU: memory, launches and work, as plain data.
//!
//! `cargo run --release --example plan [GENOTYPE [BATCH]]`: the name of a published genotype, a file or its
//! text (default DARTS_V2), and the number of images (default 64).

use std::collections::BTreeMap;
use std::sync::Arc;

use parsec_nas::Result;
use parsec_nas::graph::{Extent, Layout, Lowering, Mode, Plan, Request};
use parsec_nas::space::{Darts, NetworkKind, NetworkSpec, Paths, Space, read_architecture};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let space = Arc::new(Darts::default());
    let alpha = read_architecture(&*space, &args.next().unwrap_or_else(|| "DARTS_V2".into()))?;
    let batch = args.next().and_then(|n| n.parse().ok()).unwrap_or(64);

    // The network of the reference's search: 8 cells of 16 channels on images of 32x32x3.
    let spec = NetworkSpec {
        space: space.clone(),
        kind: NetworkKind::Search,
        in_channels: 3,
        height: 32,
        width: 32,
        n_classes: 10,
        channels: 16,
    };
    spec.check()?;
    // Every child reads its weights from the same buffer `v`: the parameters of the parent.
    let layout = Layout::new(spec.parent_params())?;
    let (child, mixed) = (spec.net(Paths::Child(&alpha)), spec.net(Paths::All));
    println!("{}", space.print(&alpha));
    println!("parameters of the parent {:>12}", mixed.parameter_count(false));
    println!("... used by this child   {:>12}", child.parameter_count(false));
    println!("MACs of one image        {:>12}", spec.macs(&alpha));

    for (what, mode) in [("forward", Mode::Likelihood), ("forward and backward", Mode::Train)] {
        let lowering = Lowering::default();
        let plan = Plan::new(Request {
            net: &child,
            layout: &layout,
            batch,
            mode,
            extent: Extent::Whole,
            input: 0,
            drop_path: false,
            lowering,
        })?;
        println!("\n{what}, {batch} images");
        println!("  activation memory {:9.1} MiB", plan.arena_bytes() as f64 / f64::from(1 << 20));
        println!("  tensors           {:9}", plan.regions.regions.len());
        println!("  work              {:9.2} GFLOP", plan.flops as f64 / 1e9);
        println!("  memory traffic    {:9.2} GB", plan.bytes as f64 / 1e9);
        println!("  launches        {:9}", plan.launches.len());
        let mut by_kernel: BTreeMap<(&str, &str), (usize, u64)> = BTreeMap::new();
        for launch in &plan.launches {
            let entry = by_kernel.entry((launch.shader, launch.entry)).or_default();
            *entry = (entry.0 + 1, entry.1 + launch.flops);
        }
        for ((shader, entry), (n, flops)) in by_kernel {
            println!("    {n:4} x {:34} {:8.3} GFLOP", format!("{shader}::{entry}"), flops as f64 / 1e9);
        }
    }
    // The plan of all paths at once, as in a search with `--method darts`.
    let plan = Plan::new(Request {
        net: &mixed,
        layout: &layout,
        batch,
        mode: Mode::Train,
        extent: Extent::Whole,
        input: 0,
        drop_path: false,
        lowering: Lowering::default(),
    })?;
    println!("\nall paths, forward and backward, {batch} images");
    println!("  activation memory {:9.1} MiB", plan.arena_bytes() as f64 / f64::from(1 << 20));
    println!("  work              {:9.2} GFLOP", plan.flops as f64 / 1e9);
    Ok(())
}
