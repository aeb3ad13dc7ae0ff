use parsec_nas::gpu::*; use parsec_nas::graph::*; use parsec_nas::graph::spec::*; use parsec_nas::space::*;
use std::time::Instant; use std::collections::BTreeMap;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let (layers, channels, batch, size, cin) = (a[0], a[1], a[2], a[3], a[4]);
    let spec = NetworkSpec { kind: NetworkKind::Search, stem: StemKind::Cifar, in_channels: cin, height: size, width: size, n_classes: 10, layers, channels, auxiliary: false };
    let genotype = genotype::named("DARTS_V2").unwrap();
    let layout = Layout::new(spec.params(None, &Primitive::ALL)).unwrap();
    let gpu = Gpu::open(None, Options::default()).unwrap();
    let v = parsec_nas::search::init::initial(&layout, 0);
    let mut net = Network::new(gpu, spec, layout, Lowering::default()).unwrap();
    net.write_all(parsec_nas::kernel::Buf::V, &v).unwrap();
    let images: Vec<f32> = (0..batch*cin*size*size).map(|i| ((i as u32).wrapping_mul(2654435761) >> 8) as f32 / 8388608.0 - 1.0).collect();
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % 10).collect();
    net.upload(0, &images, &labels).unwrap();
    for mode in [Mode::Likelihood, Mode::Train] {
        let child = Child { genotype: &genotype, mode, split: 0, drop_path: false };
        let t = Instant::now(); net.run(child).unwrap(); net.last_result(0).unwrap(); println!("{mode:?} first {:.3}", t.elapsed().as_secs_f64());
        for _ in 0..3 { let t = Instant::now(); net.run(child).unwrap(); net.last_result(0).unwrap(); println!("{mode:?} {:.4}", t.elapsed().as_secs_f64()); }
        let plan = net.plan_of(child).unwrap();
        println!("dispatches {} arena {} MiB flops {:.2} G pipelines {}", plan.dispatches.len(), plan.arena_bytes() >> 20, plan.flops as f64/1e9, net.gpu().n_pipelines());
        let mut by: BTreeMap<String, (f64, usize, u64, u64)> = BTreeMap::new();
        for d in &plan.dispatches {
            let r = net.gpu().prepare(std::slice::from_ref(d)).unwrap();
            let s = net.gpu().time(&r, 3).unwrap();
            let o = d.overrides.iter().map(|(n, v)| format!("{n}{v}")).collect::<Vec<_>>().join(" ");
            let key = if std::env::var("FULL").is_ok() { format!("{}::{} {o} {:?}", d.shader, d.entry, d.grid) } else { format!("{}::{} {o}", d.shader, d.entry) };
            let e = by.entry(key).or_default(); e.0 += s; e.1 += 1; e.2 += d.flops; e.3 += d.bytes;
        }
        let mut v: Vec<_> = by.into_iter().collect(); v.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        println!("sum {:.4}", v.iter().map(|x| x.1.0).sum::<f64>());
        for (k, (s, n, f, b)) in v.iter().take(30) { println!("{:8.2} ms {:4} {:7.2} GF/s {:6.2} GB/s  {k}", s*1e3, n, *f as f64 / s / 1e9, *b as f64 / s / 1e9); }
    }
}
