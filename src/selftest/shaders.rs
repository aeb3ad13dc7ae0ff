//! Representative plans and all cases → every kernel that runs on any adapter, by override set, and the texts that
//! the kernel is compiled from.
//!
//! Tests without an adapter (translation, other compilers) use these kernels.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cases;
use super::child::{everything, the_rest};
use crate::Result;
use crate::graph::{Extent, Layout, Lowering, Mode, Plan, Request};
use crate::kernel::specialise::with_textures;
use crate::kernel::{Kernel, Launch, Source, kernel, reflect};
use crate::network::Net;
use crate::ops::Tuning;
use crate::space::chain::Choice;
use crate::space::{Alpha, Chain, Darts, NetworkKind, NetworkSpec, Paths, Space, StemKind};

/// Shader, entry point and values of its `override` constants.
pub type Set = (&'static str, &'static str, Vec<(&'static str, u32)>);

/// Forms of the kernels in plans. Together they have every value of every setting that a trial considers.
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

/// Networks of representative plans: a space, the side of the images, and architectures.
type Networks = (Arc<dyn Space>, usize, Vec<Alpha>);

fn networks() -> Result<Vec<Networks>> {
    let cells = Darts::all();
    let mut alphas = vec![cells.alpha(&everything())?, cells.alpha(&the_rest())?];
    alphas
        .extend(["DARTS_V1", "DARTS_V2", "PC_DARTS_CIFAR"].into_iter().filter_map(|name| cells.named(name)));
    let mut out: Vec<Networks> = Vec::new();
    // Side 28 gives maps of 7 columns, and the adaptive pool of the auxiliary head.
    for (stem, side) in [(StemKind::Cifar, 32), (StemKind::Cifar, 28), (StemKind::ImageNet, 224)] {
        out.push((Arc::new(Darts::all().stacked(5, stem)), side, alphas.clone()));
    }
    let blocks = [(1, 3), (3, 3), (3, 5), (6, 5), (2, 7)].map(|(e, k)| Choice::Block { e, k });
    let chain = Chain::over(&[2, 2, 2], &[&[Choice::Identity], &blocks[..]].concat(), None);
    let alphas = [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]].map(|choices| Alpha(choices.to_vec()));
    // Side 30 gives odd sides.
    out.extend([32, 30].map(|side| (Arc::new(chain.clone()) as Arc<dyn Space>, side, alphas.to_vec())));
    Ok(out)
}

/// The launches of representative plans.
///
/// # Errors
/// None in a correct program.
pub fn planned() -> Result<Vec<Launch>> {
    let whole = Extent::Whole;
    let of_a_final =
        [(Mode::Train, true, whole), (Mode::Train, false, whole), (Mode::Evaluate, false, whole)];
    let of_a_child = [
        (Mode::Train, false, whole),
        (Mode::Likelihood, false, whole),
        (Mode::Train, false, Extent::Trunk),
        (Mode::Train, false, Extent::Branch),
    ];
    let of_all_paths = [(Mode::Train, false, whole), (Mode::Factors, false, whole)];
    let mut out = Vec::new();
    for (space, side, alphas) in networks()? {
        let spec = |kind| NetworkSpec {
            space: Arc::clone(&space),
            kind,
            in_channels: 3,
            height: side,
            width: side,
            n_classes: 10,
            channels: 6,
        };
        let (search, last) = (spec(NetworkKind::Search), spec(NetworkKind::Final).with_auxiliary(true));
        for alpha in &alphas {
            out.extend(plans(&search.net(Paths::Child(alpha)), &of_a_child)?);
            out.extend(plans(&last.net(Paths::Child(alpha)), &of_a_final)?);
        }
        // All paths are planned for small images only. Whether all paths of large images fit the memory is not
        // tested here.
        if side == 28 || side == 30 {
            out.extend(plans(&search.net(Paths::All), &of_all_paths)?);
        }
    }
    Ok(out)
}

/// The plans of one network in every form of every kernel.
fn plans(net: &Net, modes: &[(Mode, bool, Extent)]) -> Result<Vec<Launch>> {
    let layout = Layout::new(net.params())?;
    let mut out = Vec::new();
    for (fuse, tuning) in [true, false].iter().flat_map(|f| tunings().map(|t| (*f, t))) {
        let lowering = Lowering { fuse, tuning, ..Lowering::default() };
        for &(mode, drop_path, extent) in modes.iter().filter(|m| fuse || m.2 == Extent::Whole) {
            let drop_path = drop_path && net.n_drops > 0;
            let (layout, batch, input) = (&layout, 4, 0);
            let plan = Plan::new(Request { net, layout, batch, mode, extent, input, drop_path, lowering })?;
            out.extend(plan.launches);
        }
    }
    Ok(out)
}

/// Every override set that plans and cases use.
///
/// # Errors
/// The errors of [`planned`].
pub fn sets() -> Result<BTreeSet<Set>> {
    let mut all = planned()?;
    all.extend(cases::all().iter().flat_map(|c| c.setup().launches));
    Ok(all.into_iter().map(|d| (d.shader, d.entry, d.overrides)).collect())
}

/// The forms in which an adapter may get a kernel, by name. `written`: loops as they are, overrides as pipeline
/// constants. `specialised`: overrides as constants, and loops written out. `textures`: as `specialised`, with
/// activations read through textures; only if the shader has such activations.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn forms((shader, entry, overrides): &Set) -> Result<Vec<(&'static str, Kernel)>> {
    let written = kernel(shader)?;
    // The text is leaked, because a source lives as long as the program.
    let parse = |text: String| reflect(&Source { name: shader, text: text.leak() });
    let text = written.specialised(entry, overrides)?;
    let mut out = vec![("written", parse(written.text.clone())?)];
    if !written.textures.is_empty() {
        let text = with_textures(&text).map_err(|m| crate::kernel::reflect::error(shader, m))?;
        out.push(("textures", parse(text)?));
    }
    out.push(("specialised", parse(text)?));
    Ok(out)
}
