//! Kernels that a driver compiles wrongly. Every form of every kernel is made wrong on purpose, and is then excluded.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use parsec_nas::bench::{self, Shape};
use parsec_nas::data::Size;
use parsec_nas::gpu::{Class, Device, Gpu, Options, Variants};
use parsec_nas::graph::Memory;
use parsec_nas::kernel::Launch;
use parsec_nas::selftest::{cases, proof};
use parsec_nas::space::{Darts, StemKind};

use super::super::gpu::{has_gpu, options};

/// The error of a wrong kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// The last workgroups of the grid do not run.
    DroppedTile,
    /// The distance between channels is wrong. In a linear layer the distances of features and examples are swapped.
    SwappedStride,
}

/// Shader, entry point, and the overrides that a launch must have to be altered.
type Kernel = (String, String, Vec<(&'static str, u32)>);

static SABOTAGE: Mutex<Option<(Kernel, Wrong)>> = Mutex::new(None);

fn sabotage(what: Option<(Kernel, Wrong)>) {
    *SABOTAGE.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

fn alter(d: &mut Launch) {
    let slot = SABOTAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(((shader, entry, overrides), wrong)) = &*slot else { return };
    if d.shader != shader || d.entry != entry || !overrides.iter().all(|o| d.overrides.contains(o)) {
        return;
    }
    match wrong {
        Wrong::DroppedTile => {
            if let Some(n) = d.grid.iter_mut().find(|n| **n > 1) {
                *n -= 1;
            }
        }
        // Addresses only get smaller, so that no access is outside of a buffer.
        Wrong::SwappedStride if shader == "linear" => {
            let [channel, example] = ["x_channel", "x_example"].map(|name| d.params.get(name).unwrap()[0]);
            d.params.get_mut("x_channel").unwrap()[0] = example;
            d.params.get_mut("x_example").unwrap()[0] = channel;
        }
        Wrong::SwappedStride => {
            // The fifth member of a map is its pitch.
            let pitch = &mut d.params.get_mut("x").unwrap()[4];
            *pitch = pitch.saturating_sub(16);
        }
    }
}

/// Buffers on a device of these tests, whose options have the alteration.
fn altered() -> Gpu {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let options = Options { alter: Some(alter), ..options() };
    Gpu::on(DEVICE.get_or_init(|| Device::open(None, options).unwrap())).unwrap()
}

/// This lock lets one test at a time alter kernels.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn every_form_of_every_kernel_that_is_wrong_is_found() {
    if !has_gpu() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut device = altered();
    let mut forms: Vec<(Variants, &str)> = Vec::new();
    for class in [Class::Software, Class::Discrete, Class::Integrated] {
        for (mut variants, shaders) in Variants::candidates(class) {
            // These tests read activations from buffers only. The self-test has both ways.
            variants.textures = 0;
            for shader in shaders.iter().filter(|shader| **shader != "apply") {
                if !forms.contains(&(variants, shader)) {
                    forms.push((variants, shader));
                }
            }
        }
    }
    let (mut made, mut missed, mut seen) = (0, Vec::new(), BTreeSet::new());
    for (variants, shader) in forms {
        let (_, cases) = cases::of(&variants.tuning).into_iter().find(|(s, _)| *s == shader).unwrap();
        let launches: Vec<Launch> = cases.iter().flat_map(|case| case.setup().launches).collect();
        let entries: BTreeSet<&str> =
            launches.iter().filter(|d| d.shader == shader).map(|d| d.entry).collect();
        for entry in entries {
            // Entry points without forms, and kernels that were already tried in this form, are skipped.
            let mut overrides: Vec<_> =
                launches.iter().filter(|d| d.entry == entry).map(|d| d.overrides.clone()).collect();
            overrides.sort();
            if entry.contains("finalize")
                || entry == "from_running"
                || !seen.insert((shader, entry, overrides))
            {
                continue;
            }
            for wrong in [Wrong::DroppedTile, Wrong::SwappedStride] {
                sabotage(Some(((shader.into(), entry.into(), vec![]), wrong)));
                made += 1;
                if proof::prove(&mut device, variants, &[shader]).unwrap().is_empty() {
                    missed.push(format!("{shader}::{entry} {wrong:?} {variants:?}"));
                }
            }
        }
        sabotage(None);
    }
    assert!(made > 60, "{made}");
    assert!(missed.is_empty(), "{} of {made}: {missed:#?}", missed.len());
}

fn shape() -> Shape {
    Shape {
        space: Arc::new(Darts::all().stacked(3, StemKind::Cifar)),
        layers: 3,
        channels: 4,
        batch: 4,
        size: Size::square(16),
        in_channels: 1,
        classes: 5,
        seed: 0,
        memory: Memory::Normal,
    }
}

/// If the form that would win is wrong, the trial names it, and another form runs. Right forms are not left out.
#[test]
fn a_trial_leaves_out_what_is_wrong_and_goes_on() {
    if !has_gpu() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = altered();
    let fixed = Variants::fixed(&device);
    let tile = |v: Variants| [("TC", v.tuning.pointwise_channels), ("TQ", v.tuning.pointwise_quads)];
    let candidates = Variants::candidates(device.info().class());
    // The other form has another number of quads, because a number of channels may be cut to the channels that exist.
    let other = candidates.iter().map(|(v, _)| *v).find(|v| tile(*v)[1] != tile(fixed)[1]).unwrap();
    let wrongs = [("forward", other), ("backward_data", fixed)];
    for (entry, variants) in wrongs {
        let overrides = vec![tile(variants)[1]];
        sabotage(Some((("pointwise".into(), entry.into(), overrides), Wrong::DroppedTile)));
        let mut other = altered();
        let mut told = Vec::new();
        let mut prove = |v, shaders: &[&str]| proof::prove(&mut other, v, shaders);
        let tuned =
            bench::tune(altered(), &shape(), &mut prove, &mut |line| told.push(line.to_owned())).unwrap();
        assert!(tuned.excluded.iter().any(|e| e.form.starts_with("pointwise tile")), "{:?}", tuned.excluded);
        assert!(told.iter().any(|line| line.contains("left out pointwise tile")), "{told:?}");
        assert!(tile(tuned.variants)[1] != tile(variants)[1], "{:?}", tuned.variants);
        // The chosen form is right, and all excluded forms are of the wrong kernel.
        assert!(proof::prove(&mut altered(), tuned.variants, &["pointwise"]).unwrap().is_empty());
        assert!(tuned.excluded.iter().all(|e| e.reason.contains("pointwise")), "{:?}", tuned.excluded);
    }
    sabotage(None);
}

#[test]
fn where_no_form_is_right_the_error_says_so() {
    if !has_gpu() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    sabotage(Some((("depthwise".into(), "forward".into(), vec![]), Wrong::SwappedStride)));
    let mut device = altered();
    let fixed = Variants::of_class(Class::Discrete);
    let error =
        Variants::right(fixed, Class::Discrete, &mut |v, shaders| proof::prove(&mut device, v, shaders));
    sabotage(None);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("in depthwise") && error.contains("no form") && error.contains("selftest"),
        "{error}"
    );
}
