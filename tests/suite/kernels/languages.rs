//! Every override set that plans and cases use, in all languages, as written and with loops written out.

use std::collections::BTreeSet;

use parsec_nas::graph::spec::{NetworkKind, NetworkSpec, StemKind};
use parsec_nas::graph::{Extent, Layout, Lowering, Mode, Plan, Request};
use parsec_nas::kernel::{Dispatch, Source, kernel, reflect, translate};
use parsec_nas::ops::Tuning;
use parsec_nas::selftest::child::{everything, the_rest};
use parsec_nas::space::{Paths, Primitive, read_genotype};

/// The dispatches of representative plans.
pub fn planned() -> Vec<Dispatch> {
    let darts = |name: &str| read_genotype(name).unwrap();
    let genotypes = [everything(), the_rest(), darts("DARTS_V1"), darts("DARTS_V2"), darts("PC_DARTS_CIFAR")];
    let tunings = [
        Tuning::default(),
        Tuning {
            depthwise_rows: 1,
            depthwise_quads: 1,
            pool_rows: 1,
            pointwise_channels: 16,
            pointwise_quads: 1,
            weight_tile: 4,
            stored_dy: 0,
        },
        Tuning { pointwise_channels: 32, pointwise_quads: 2, weight_tile: 16, ..Tuning::default() },
        Tuning { depthwise_rows: 2, pool_rows: 2, pointwise_channels: 4, ..Tuning::default() },
    ];
    let mut out = Vec::new();
    // 28: maps of 7 columns, and the adaptive pool of the auxiliary head.
    for (stem, side) in [(StemKind::Cifar, 32), (StemKind::Cifar, 28), (StemKind::ImageNet, 224)] {
        for kind in [NetworkKind::Search, NetworkKind::Final] {
            for genotype in &genotypes {
                for (fuse, tuning) in [true, false].iter().flat_map(|f| tunings.map(|t| (*f, t))) {
                    let auxiliary = kind == NetworkKind::Final;
                    let spec = NetworkSpec {
                        kind,
                        stem,
                        in_channels: 3,
                        height: side,
                        width: side,
                        n_classes: 10,
                        layers: 5,
                        channels: 6,
                        auxiliary,
                    };
                    let layout = Layout::new(spec.child_params(genotype)).unwrap();
                    let modes: &[(Mode, bool)] = if auxiliary {
                        &[(Mode::Train, true), (Mode::Train, false), (Mode::Evaluate, false)]
                    } else {
                        &[(Mode::Train, false), (Mode::Likelihood, false)]
                    };
                    for &(mode, drop_path) in modes {
                        let lowering = Lowering { fuse, tuning, ..Lowering::default() };
                        let plan = Plan::new(Request {
                            spec: &spec,
                            paths: Paths::Child(genotype),
                            layout: &layout,
                            batch: 4,
                            mode,
                            extent: Extent::Whole,
                            split: 0,
                            drop_path,
                            lowering,
                        });
                        out.extend(plan.unwrap().dispatches);
                    }
                }
            }
        }
    }
    out.extend(mixed(&tunings));
    out
}

/// Those of the mixed network.
fn mixed(tunings: &[Tuning]) -> Vec<Dispatch> {
    let spec = NetworkSpec {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: 3,
        height: 28,
        width: 28,
        n_classes: 10,
        layers: 4,
        channels: 6,
        auxiliary: false,
    };
    let layout = Layout::new(spec.params(None, &Primitive::ALL)).unwrap();
    let mut out = Vec::new();
    for (fuse, &tuning) in [true, false].iter().flat_map(|f| tunings.iter().map(move |t| (*f, t))) {
        for mode in [Mode::Train, Mode::Factors] {
            let plan = Plan::new(Request {
                spec: &spec,
                paths: Paths::All(&Primitive::ALL),
                layout: &layout,
                batch: 4,
                mode,
                extent: Extent::Whole,
                split: 0,
                drop_path: false,
                lowering: Lowering { fuse, tuning, ..Lowering::default() },
            });
            out.extend(plan.unwrap().dispatches);
        }
    }
    out
}

type Set = (&'static str, &'static str, Vec<(&'static str, u32)>);

fn sets(list: Vec<Dispatch>) -> BTreeSet<Set> {
    list.into_iter().map(|d| (d.shader, d.entry, d.overrides)).collect()
}

#[test]
fn every_override_set_translates_to_four_languages_in_both_forms() {
    let mut all = sets(planned());
    all.extend(sets(super::dispatches()));
    assert!(all.len() > 150, "{}", all.len());
    for (shader, entry, overrides) in all {
        let kernel = kernel(shader).unwrap();
        let written = translate(kernel, entry, &overrides).unwrap();
        // The text is leaked: a source is made for the life of the program.
        let text = Box::leak(kernel.specialised(entry, &overrides).unwrap().into_boxed_str());
        let out = reflect(&Source { name: shader, text, libs: &[] }).unwrap();
        assert_eq!(out.entries.len(), 1);
        assert!(out.overrides.is_empty());
        // Fewer bindings may be left; none may be new.
        let names = |k: &parsec_nas::kernel::Kernel| -> BTreeSet<(String, u32)> {
            k.entry(entry).unwrap().bindings.iter().map(|b| (b.name.clone(), b.number)).collect()
        };
        assert!(names(&out).is_subset(&names(kernel)), "{shader}::{entry}");
        let written_out = translate(&out, entry, &[]).unwrap();
        for t in [written, written_out] {
            assert_eq!(t.spirv[0], 0x0723_0203);
            assert!(t.msl.contains("kernel void") && t.hlsl.contains("numthreads"));
            assert!(t.glsl.starts_with("#version 310 es"));
        }
    }
}
