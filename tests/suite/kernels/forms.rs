//! Kernels as they are written, with their loops written out, with and without runtime checks: the same bits.

use parsec_nas::gpu::{Gpu, Options};
use parsec_nas::selftest::cases::{Case, all};
use parsec_nas::selftest::run::execute;

use super::super::gpu::{has_gpu, open};
use super::{case, gpu, options};

/// Small cases of every kernel with marked loops or blocks, and some without.
fn some() -> Vec<Case> {
    let parts: [&[&str]; 14] = [
        &["conv", "k=3", "stride=1", "w=7", "add=true"],
        &["conv", "k=3", "stride=2", "w=11"],
        &["conv", "k=2", "w=9"],
        &["depthwise", "k=3", "stride=1", "dilation=1", "rows=4", "w=10"],
        &["depthwise", "k=3", "stride=2", "dilation=2", "rows=2"],
        &["depthwise", "k=5", "stride=1", "dilation=2", "rows=1", "w=11"],
        &["depthwise", "k=5", "stride=2", "dilation=1", "rows=2"],
        &["pointwise", "ci=18", "tile=4", "tq=1"],
        &["pointwise", "ci=17", "tile=8", "tc=4"],
        &["pool", "max=true", "stride=1", "rows=2"],
        &["pool", "max=true", "stride=2", "rows=4"],
        &["pool", "max=false", "stride=2", "rows=1"],
        &["windowpool", "window=0", "w=6"],
        &["batchnorm", "kinds=[running,plain]"],
    ];
    parts.iter().map(|parts| case(parts)).collect()
}

/// On a device that is opened in another way.
fn same_bits_with(cases: &[Case], options: Options) {
    if has_gpu() {
        same_bits(cases, Gpu::open(None, options).unwrap());
    }
}

fn same_bits(cases: &[Case], mut other: Gpu) {
    let Some(mut usual) = gpu() else { return };
    for case in cases {
        let setup = case.setup();
        let (a, b) = (execute(&mut usual, &setup).unwrap(), execute(&mut other, &setup).unwrap());
        for (buf, words) in &a {
            let at = words.iter().zip(&b[buf]).position(|(x, y)| x != y);
            assert_eq!(at, None, "{}: {buf:?} differs at this word", case.name());
        }
    }
}

#[test]
fn loops_as_loops_and_written_out_give_the_same_bits() {
    if options().plain {
        eprintln!("skipped: this adapter cannot compile the loops written out in reasonable time");
        return;
    }
    same_bits_with(&some(), Options { plain: true, ..options() });
}

#[test]
fn checked_and_unchecked_give_the_same_bits() {
    // One case in three, and with the loops of `some` every kernel.
    let mut cases: Vec<Case> = all().into_iter().step_by(3).collect();
    cases.extend(some());
    same_bits_with(&cases, Options { checks: true, ..options() });
}

#[test]
fn reads_from_buffers_and_through_textures_give_the_same_bits() {
    // On the suite's device, which has the kernels of both forms then.
    for textures in [false, true] {
        let Some(mut other) = open() else { return };
        other.read_through_textures(textures);
        same_bits(&some(), other);
    }
}
