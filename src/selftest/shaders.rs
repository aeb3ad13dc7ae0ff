//! Representative plans and all cases → every kernel that runs anywhere, by override set, and the texts it is compiled from.
//!
//! What is tested without running (translation, other compilers) is tested on these.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cases;
use super::child::{everything, the_rest};
use crate::Result;
use crate::graph::{Extent, Layout, Lowering, Mode, Plan, Request};
use crate::kernel::specialise::with_textures;
use crate::kernel::{Dispatch, Kernel, Source, kernel, reflect};
use crate::ops::Tuning;
use crate::space::{Darts, NetworkKind, NetworkSpec, Paths, StemKind, read_genotype};

/// Shader, entry point and values of its `override` constants.
pub type Set = (&'static str, &'static str, Vec<(&'static str, u32)>);

/// What the kernels of a plan may be tuned to; together these have every value of every setting.
fn tunings() -> [Tuning; 7] {
    let fixed = Tuning::SOFTWARE;
    [
        fixed,
        Tuning::DISCRETE,
        Tuning::INTEGRATED,
        Tuning {
            depthwise_rows: 1,
            depthwise_quads: 1,
            pool_rows: 1,
            pointwise_channels: 16,
            pointwise_quads: 1,
            weight_tile: 4,
            stored_dy: 0,
            unroll: 2,
            linear_by_example: 0,
        },
        Tuning { pointwise_channels: 32, pointwise_quads: 2, weight_tile: 16, ..fixed },
        Tuning { depthwise_rows: 2, pool_rows: 2, pointwise_channels: 4, unroll: 4, ..fixed },
        Tuning { depthwise_quads: 1, pointwise_channels: 8, pointwise_quads: 2, ..fixed },
    ]
}

/// The dispatches of representative plans.
///
/// # Errors
/// None that a correct program gives.
pub fn planned() -> Result<Vec<Dispatch>> {
    let mut genotypes = vec![everything(), the_rest()];
    for name in ["DARTS_V1", "DARTS_V2", "PC_DARTS_CIFAR"] {
        genotypes.push(read_genotype(name)?);
    }
    let mut out = Vec::new();
    // 28: maps of 7 columns, and the adaptive pool of the auxiliary head.
    for (stem, side) in [(StemKind::Cifar, 32), (StemKind::Cifar, 28), (StemKind::ImageNet, 224)] {
        for kind in [NetworkKind::Search, NetworkKind::Final] {
            let auxiliary = kind == NetworkKind::Final;
            let space = Darts::all().stacked(5, stem);
            let spec = NetworkSpec {
                space: Arc::new(space),
                kind,
                in_channels: 3,
                height: side,
                width: side,
                n_classes: 10,
                channels: 6,
            };
            let spec = spec.with_auxiliary(auxiliary);
            let whole = Extent::Whole;
            let modes: &[(Mode, bool, Extent)] = if auxiliary {
                &[(Mode::Train, true, whole), (Mode::Train, false, whole), (Mode::Evaluate, false, whole)]
            } else {
                &[
                    (Mode::Train, false, whole),
                    (Mode::Likelihood, false, whole),
                    (Mode::Train, false, Extent::Trunk),
                    (Mode::Train, false, Extent::Branch),
                ]
            };
            for genotype in &genotypes {
                let net = spec.net(Paths::Child(&Darts::all().alpha(genotype)?));
                let layout = Layout::new(net.params())?;
                for (fuse, tuning) in [true, false].iter().flat_map(|f| tunings().map(|t| (*f, t))) {
                    let lowering = Lowering { fuse, tuning, ..Lowering::default() };
                    for &(mode, drop_path, extent) in modes.iter().filter(|m| fuse || m.2 == whole) {
                        let plan = Plan::new(Request {
                            net: &net,
                            layout: &layout,
                            batch: 4,
                            mode,
                            extent,
                            split: 0,
                            drop_path,
                            lowering,
                        })?;
                        out.extend(plan.dispatches);
                    }
                }
            }
        }
    }
    out.extend(mixed()?);
    Ok(out)
}

/// Those of the mixed network.
fn mixed() -> Result<Vec<Dispatch>> {
    let spec = NetworkSpec {
        space: Arc::new(Darts::all().stacked(4, StemKind::Cifar)),
        kind: NetworkKind::Search,
        in_channels: 3,
        height: 28,
        width: 28,
        n_classes: 10,
        channels: 6,
    };
    let net = spec.net(Paths::All);
    let layout = Layout::new(net.params())?;
    let mut out = Vec::new();
    for (fuse, tuning) in [true, false].iter().flat_map(|f| tunings().map(|t| (*f, t))) {
        for mode in [Mode::Train, Mode::Factors] {
            let plan = Plan::new(Request {
                net: &net,
                layout: &layout,
                batch: 4,
                mode,
                extent: Extent::Whole,
                split: 0,
                drop_path: false,
                lowering: Lowering { fuse, tuning, ..Lowering::default() },
            })?;
            out.extend(plan.dispatches);
        }
    }
    Ok(out)
}

/// Every override set that plans and cases use.
///
/// # Errors
/// Those of [`planned`].
pub fn sets() -> Result<BTreeSet<Set>> {
    let mut all = planned()?;
    all.extend(cases::all().iter().flat_map(|c| c.setup().dispatches));
    Ok(all.into_iter().map(|d| (d.shader, d.entry, d.overrides)).collect())
}

/// The forms in which an adapter may get a kernel, by name: `written` with its loops, overrides as pipeline
/// constants; `specialised` with overrides as constants and loops written out; `textures` the latter with activations
/// read through textures, where the shader has any.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn forms((shader, entry, overrides): &Set) -> Result<Vec<(&'static str, Kernel)>> {
    let written = kernel(shader)?;
    // The text is leaked: a source is made for the life of the program.
    let parse = |text: String| reflect(&Source { name: shader, text: text.leak(), libs: &[] });
    let text = written.specialised(entry, overrides)?;
    let mut out = vec![("written", parse(written.text.clone())?)];
    if !written.textures.is_empty() {
        let text = with_textures(&text).map_err(|m| crate::kernel::reflect::error(shader, m))?;
        out.push(("textures", parse(text)?));
    }
    out.push(("specialised", parse(text)?));
    Ok(out)
}
