//! Draws the cost of a child, and of a step of Algorithm 1, against batch, channels, cells and K in one picture.
//!
//! `cargo run --release --example cost [cost.svg]`: the child is DARTS_V2 on images of 32x32x3 with 4 cells, 16
//! channels and a batch of 32. One of these numbers varies at a time. For the step, K varies. The example takes two to
//! five minutes on a software adapter.

use std::sync::Arc;

use parsec_nas::Result;
use parsec_nas::bench::step::{Start, Wanted};
use parsec_nas::bench::{self, Shape};
use parsec_nas::config::Samples;
use parsec_nas::data::Size;
use parsec_nas::gpu::{Device, Gpu, Options, Variants};
use parsec_nas::graph::Memory;
use parsec_nas::report::plot::{Panel, Series, panels_svg};
use parsec_nas::space::{Darts, Paths, StemKind};

const REPEATS: usize = 3;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "cost.svg".into());
    let cells = |layers| Arc::new(Darts::all().stacked(layers, StemKind::Cifar));
    let base = Shape {
        space: cells(4),
        layers: 4,
        channels: 16,
        batch: 32,
        size: Size::square(32),
        in_channels: 3,
        classes: 10,
        seed: 0,
        memory: Memory::Normal,
    };
    let alpha =
        base.space.named("DARTS_V2").ok_or_else(|| parsec_nas::Error::internal("a published cell"))?;
    let device = Device::open(None, Options::default())?;
    let adapter = device.info().name.clone();

    let mut panels = Vec::new();
    type Vary = fn(&mut Shape, usize);
    let sweeps: [(&str, &[usize], Vary); 3] = [
        ("batch", &[8, 16, 32, 64], |shape, n| shape.batch = n),
        ("channels", &[4, 8, 16, 24, 32], |shape, n| shape.channels = n),
        ("cells", &[1, 2, 4, 6, 8], |shape, n| {
            (shape.layers, shape.space) = (n, Arc::new(Darts::all().stacked(n, StemKind::Cifar)))
        }),
    ];
    for (what, values, vary) in sweeps {
        let (mut forward, mut train) = (Vec::new(), Vec::new());
        for &n in values {
            let mut shape = base.clone();
            vary(&mut shape, n);
            let gpu = Gpu::on(&device)?;
            let variants = Variants::fixed(&gpu);
            let mut network = bench::child::network(gpu, &shape, variants)?;
            let net = Arc::new(bench::child::spec(&shape).net(Paths::Child(&alpha)));
            let [f, t] = bench::child::times(&mut network, &net, REPEATS)?;
            println!(
                "{what} {n}: forward {:.1} ms, forward + backward + update {:.1} ms",
                f.min_ms, t.min_ms
            );
            forward.push((n as f64, f.min_ms));
            train.push((n as f64, t.min_ms));
        }
        panels.push(panel(
            "A child",
            what,
            "ms",
            vec![("forward", forward), ("forward + backward + update", train)],
        ));
    }
    let mut seconds = Vec::new();
    for k in [1, 2, 4, 8, 16] {
        let images = bench::step::images(&base)?;
        let gpu = Gpu::on(&device)?;
        let variants = Variants::fixed(&gpu);
        let wanted =
            Wanted { samples: Samples::Fixed(k), start: Start::Uniform, drop_mass: 1e-3, repeats: REPEATS };
        let step = bench::step::measure(gpu, images, &base, variants, wanted)?;
        println!(
            "K {k}: {:.3} s, {} children with a backward pass",
            step.range_seconds[0], step.backward_children
        );
        seconds.push((f64::from(k), step.range_seconds[0]));
    }
    panels.push(panel("A step of Algorithm 1", "K", "s", vec![("fastest of 3", seconds)]));
    std::fs::write(&path, panels_svg(&panels)).map_err(|e| parsec_nas::Error::io("write", &path, e))?;
    println!("{path}: on {adapter}");
    Ok(())
}

fn panel(title: &str, x: &str, unit: &str, lines: Vec<(&str, Vec<(f64, f64)>)>) -> Panel {
    let series = lines.into_iter().map(|(name, points)| Series::new(name, points)).collect();
    Panel { title: format!("{title} against {x}"), x_label: x.into(), y_label: unit.into(), series }
}
