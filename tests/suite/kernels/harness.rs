//! The harness finds errors: results and launches are damaged on purpose.

use parsec_nas::gpu::Gpu;
use parsec_nas::kernel::Launch;
use parsec_nas::selftest::cases::Case;
use parsec_nas::selftest::run::{compare, execute};
use parsec_nas::selftest::setup::{APPROXIMATE, EXACT, GUARD, SUM, Setup};

use super::{case, gpu};

/// The problems that the harness finds if `damage` is applied to the launches of `case`.
fn problems(gpu: &mut Gpu, case: &Case, damage: impl Fn(&mut Launch)) -> String {
    let mut setup = case.setup();
    let sound = setup.launches.clone();
    setup.launches.iter_mut().for_each(damage);
    assert_ne!(setup.launches, sound, "{}: nothing was damaged", case.name());
    let after = execute(gpu, &setup).unwrap();
    compare(&setup, &after).problems.join("\n")
}

fn set(d: &mut Launch, name: &str, value: u32) {
    d.overrides.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, v)| *v = value);
}

fn is(d: &Launch, kernel: &str) -> bool {
    format!("{}::{}", d.shader, d.entry) == kernel
}

/// One case of each kind, all small.
fn some() -> Vec<Case> {
    let parts: [&[&str]; 9] = [
        &["conv", "stride=2", "w=11"],
        &["depthwise", "k=3", "stride=2", "add=true"],
        &["pointwise", "ci=18", "tile=4"],
        &["pool", "max=true", "stride=2", "sources=[1,0,1]"],
        &["subsample", "sources=[1,0,1]"],
        &["batchnorm", "kinds=[running,plain]"],
        &["node", "terms=[normed,plain]"],
        &["linear", "features=13"],
        &["update", "piece_bytes=3840"],
    ];
    parts.iter().map(|parts| case(parts)).collect()
}

#[test]
fn a_flipped_bit_is_found_in_outputs_and_anywhere_else() {
    let Some(mut gpu) = gpu() else { return };
    for case in some() {
        let setup = case.setup();
        let after = execute(&mut gpu, &setup).unwrap();
        assert_eq!(compare(&setup, &after).problems, [""; 0], "{}", case.name());
        // A bit is flipped in some words of each output whose words are compared one by one. Words near zero are left
        // out.
        let mut tested = 0;
        for output in setup.outputs.iter().filter(|o| o.chunks == 1) {
            let large = output.items.iter().filter(|(_, v)| v.is_some_and(|v| v.abs() > 0.01 * output.scale));
            for (word, _) in large.step_by(29) {
                let mut damaged = after.clone();
                damaged.get_mut(&output.buf).unwrap()[*word] ^= 1 << 20;
                assert!(!compare(&setup, &damaged).problems.is_empty(), "{} {word}", case.name());
                tested += 1;
            }
        }
        assert!(tested > 0);
        // In guards, inputs and the padding behind channels any bit is flipped.
        let mut silent = 0;
        for (buf, words) in &setup.memory {
            let named: std::collections::BTreeSet<usize> = setup
                .outputs
                .iter()
                .filter(|o| o.buf == *buf)
                .flat_map(|o| {
                    o.items.iter().flat_map(move |(w, _)| (0..o.chunks).map(move |c| w + c * o.stride))
                })
                .collect();
            for word in (0..words.len()).step_by(31).filter(|w| !named.contains(w)) {
                let mut damaged = after.clone();
                damaged.get_mut(buf).unwrap()[word] ^= 1;
                assert!(!compare(&setup, &damaged).problems.is_empty(), "{} {buf:?} {word}", case.name());
                silent += 1;
            }
        }
        assert!(silent > 10);
    }
}

#[test]
fn no_number_in_an_output_is_found() {
    let Some(mut gpu) = gpu() else { return };
    let setup = case(&["globalpool", "n=5"]).setup();
    let mut after = execute(&mut gpu, &setup).unwrap();
    let output = &setup.outputs[0];
    after.get_mut(&output.buf).unwrap()[output.items[3].0] = f32::NAN.to_bits();
    assert!(compare(&setup, &after).problems[0].contains("NaN"));
}

#[test]
fn a_swapped_stride_is_found() {
    let Some(mut gpu) = gpu() else { return };
    for (parts, kernel) in [
        (["depthwise", "stride=2"], "depthwise::forward"),
        (["depthwise", "stride=2"], "depthwise::backward_weight"),
        (["depthwise k=7", "stride=2"], "depthwise::forward"),
        (["pool max=true", "stride=2"], "pool::forward"),
        (["conv", "stride=2"], "conv::backward_data"),
    ] {
        let damage = |d: &mut Launch| {
            if is(d, kernel) {
                set(d, "S", 1)
            }
        };
        let found = problems(&mut gpu, &case(&parts), damage);
        assert!(found.contains(kernel), "{kernel}: {found:?}");
    }
}

#[test]
fn a_dropped_accumulation_is_found() {
    let Some(mut gpu) = gpu() else { return };
    // The flag that makes each kernel add to its output. The flag is a member of the parameters, or a word of the first
    // task or source.
    for (parts, kernel, name, word) in [
        (&["conv", "add=true"][..], "conv::backward_data", "add", 0),
        (&["depthwise", "stride=1", "sources=[0]", "add=true"], "depthwise::backward_data", "sources", 3),
        (&["depthwise", "stride=2", "sources=[0]", "add=true"], "depthwise::backward_data", "sources", 3),
        (&["pointwise", "n_tasks=1", "add=true"], "pointwise::backward_data", "tasks", 4),
        (&["even", "sources=[0]", "add=true"], "subsample::backward", "sources", 3),
        (&["globalpool", "add=true", "h=8"], "global_pool::backward", "add", 0),
        (&["poolofview", "relu=true", "add=true", "h=8"], "global_pool::backward", "add", 0),
        (&["windowpool", "add=true"], "window_pool::backward", "add", 0),
        (&["apply", "add=true"], "apply::pass_back", "add", 0),
    ] {
        let damage = |d: &mut Launch| {
            if is(d, kernel) {
                let flag = &mut d.params.get_mut(name).unwrap()[word];
                assert_eq!(std::mem::take(flag), 1, "{kernel}");
            }
        };
        let found = problems(&mut gpu, &case(parts), damage);
        assert!(found.contains(kernel), "{kernel}: {found:?}");
    }
}

#[test]
fn counted_padding_is_found() {
    let Some(mut gpu) = gpu() else { return };
    for (parts, kernel, reported) in [
        (["conv", "w=7"], "conv::forward", "conv::forward"),
        (["depthwise", "w=11"], "depthwise::forward", "depthwise::forward"),
        (["depthwise", "w=11"], "depthwise::backward_weight", "depthwise::backward_weight"),
        (["pointwise ci=18", "w=7"], "pointwise::backward_weight", "pointwise::backward_weight"),
        (["pool max=false", "w=11"], "pool::forward", "pool::forward"),
        (["globalpool", "w=7"], "global_pool::forward", "global_pool::forward"),
        (["poolofview", "w=7"], "global_pool::forward", "global_pool::forward"),
        (["batchnorm", "w=7"], "batch_norm::statistics", "batch_norm::finalize"),
        (["batchnorm", "w=7"], "batch_norm::backward_sums", "batch_norm::backward_finalize"),
    ] {
        let damage = |d: &mut Launch| {
            if is(d, kernel) {
                set(d, "RAGGED", 0)
            }
        };
        let found = problems(&mut gpu, &case(&parts), damage);
        assert!(found.contains(reported), "{kernel}: {found:?}");
    }
}

#[test]
fn a_write_past_the_end_is_found() {
    let Some(mut gpu) = gpu() else { return };
    let mut setup = case(&["fill", "n_quads=300"]).setup();
    setup.launches[0].params.get_mut("n_quads").unwrap()[0] += 1;
    setup.launches[0].bindings[0].1.len_bytes += 16;
    let after = execute(&mut gpu, &setup).unwrap();
    assert!(compare(&setup, &after).problems.concat().contains("4 words of Extra(0) changed"));
}

/// A missing launch is found, because outputs do not hold the right result before the launch.
#[test]
fn a_launch_left_out_is_found() {
    let Some(mut gpu) = gpu() else { return };
    for case in some() {
        for i in 0..case.setup().launches.len() {
            let mut setup = case.setup();
            let left_out = setup.launches.remove(i);
            if setup.launches.is_empty() {
                continue;
            }
            let after = execute(&mut gpu, &setup).unwrap();
            let found = compare(&setup, &after).problems;
            assert!(!found.is_empty(), "{}: without {}::{}", case.name(), left_out.shader, left_out.entry);
        }
    }
}

#[test]
fn outputs_start_as_guards_and_inputs_have_poison_in_their_padding() {
    let setup: Setup = case(&["conv", "w=7", "add=false"]).setup();
    let words = &setup.memory[&parsec_nas::selftest::setup::ARENA];
    let y = &setup.outputs[0];
    assert!(y.items.iter().all(|(word, _)| words[*word] == GUARD));
    let poison = words.iter().filter(|w| **w == 1e30f32.to_bits()).count();
    // x has 3 channels of 10 rows, and each row ends in one padding column.
    assert!(poison >= 30, "{poison}");
    assert!(f32::from_bits(GUARD).is_finite());
}

/// Metal compiles with fast math. There only results of exp, log and division may have larger errors.
#[test]
fn fast_math_widens_only_what_it_concerns() {
    let usual = |t: parsec_nas::selftest::setup::Tolerance| t.with_fast_math() == t;
    assert!(usual(EXACT) && usual(SUM) && !usual(APPROXIMATE));
    let Some(mut gpu) = gpu() else { return };
    let mut setup = case(&["crossentropy", "n=7"]).setup();
    let mut after = execute(&mut gpu, &setup).unwrap();
    let output = setup.outputs.iter().find(|o| o.tolerance == APPROXIMATE).unwrap();
    // The error is between the two tolerances.
    let (word, _) = output.items[0];
    let value = f32::from_bits(after[&output.buf][word]) + (3e-5 * output.scale) as f32;
    after.get_mut(&output.buf).unwrap()[word] = value.to_bits();
    assert!(!compare(&setup, &after).problems.is_empty());
    setup.fast_math = true;
    assert_eq!(compare(&setup, &after).problems, [""; 0]);
}
