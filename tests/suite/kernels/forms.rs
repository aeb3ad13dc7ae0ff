//! Kernels as they are written, with their loops written out, with and without runtime checks give the same bits. The
//! register arrays of the depthwise kernels have room for every form.

use std::collections::BTreeMap;

use parsec_nas::gpu::{Gpu, Options};
use parsec_nas::kernel::specialise::specialise;
use parsec_nas::kernel::{Buf, Launch, Source, kernel, reflect};
use parsec_nas::ops::depthwise::{Depthwise, Geometry, Task};
use parsec_nas::ops::{Array, Map, Param, Tensor, Tuning, View};
use parsec_nas::selftest::cases::{Case, all};
use parsec_nas::selftest::run::execute;

use super::super::gpu::{has_gpu, open};
use super::{case, gpu, options};

/// Small cases of every kernel with marked loops or blocks, and of some kernels without.
fn some() -> Vec<Case> {
    let parts: [&[&str]; 19] = [
        &["conv", "k=3", "stride=1", "w=7", "add=true"],
        &["conv", "k=3", "stride=2", "w=11"],
        &["conv", "k=2", "w=9"],
        &["depthwise", "k=3", "stride=1", "dilation=1", "rows=4", "w=10"],
        &["depthwise", "k=3", "stride=2", "dilation=2", "rows=2"],
        &["depthwise", "k=5", "stride=1", "dilation=2", "rows=1", "w=11"],
        &["depthwise", "k=5", "stride=2", "dilation=1", "rows=2"],
        &["depthwise", "k=7", "stride=1", "rows=2", "quads=1"],
        &["depthwise", "k=7", "stride=2", "rows=4", "quads=2"],
        &["pointwise", "ci=18", "tile=4", "tq=1"],
        &["pointwise", "ci=17", "tile=8", "tc=4"],
        &["pool", "max=true", "stride=1", "rows=2"],
        &["pool", "max=true", "stride=2", "rows=4"],
        &["pool", "max=false", "stride=2", "rows=1"],
        &["even", "h=7", "w=5"],
        &["subsample", "sources=[1,0,1]"],
        &["poolofview", "w=7"],
        &["windowpool", "window=0", "w=6"],
        &["batchnorm", "kinds=[running,plain]"],
    ];
    parts.iter().map(|parts| case(parts)).collect()
}

/// Checks that the cases give the same bits on a device that is opened with these options.
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
    // Every third case. The cases of `some` are added, so that every kernel with loops is tried.
    let mut cases: Vec<Case> = all().into_iter().step_by(3).collect();
    cases.extend(some());
    same_bits_with(&cases, Options { checks: true, ..options() });
}

#[test]
fn reads_from_buffers_and_through_textures_give_the_same_bits() {
    // Both ways of reading run on the suite's device, which then has the kernels of both forms.
    for textures in [false, true] {
        let Some(mut other) = open() else { return };
        other.read_through_textures(textures);
        same_bits(&some(), other);
    }
}

/// All forms of the depthwise kernels.
fn depthwise_forms() -> Vec<Launch> {
    let numbers = || 0..=16;
    let tile =
        |(depthwise_rows, depthwise_quads)| Tuning { depthwise_rows, depthwise_quads, ..Tuning::default() };
    let tiles = numbers().flat_map(|rows| numbers().map(move |quads| tile((rows, quads))));
    let tunings: Vec<Tuning> = tiles.filter(Tuning::is_known).collect();
    let x = Tensor { buf: Buf::Tensor(0), channels: 1, map: Map { n: 1, h: 32, w: 64 } };
    let param = Param { offset: 0, len: 52 };
    let mut out = Vec::new();
    for (k, dilation) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)] {
        for (stride, tuning) in [1, 2].iter().flat_map(|s| tunings.iter().map(|t| (*s, t))) {
            let y = Tensor { buf: Buf::Tensor(1), map: x.map.strided(stride), ..x };
            let op = Depthwise {
                geometry: Geometry { k, stride, dilation },
                channels: 1,
                x: View { x, coefs: None, relu: false },
                y,
                tasks: vec![Task { source: 0, w: param, v: param }],
            };
            let partial = Array { buf: Buf::Tensor(2), offset_bytes: 0, bytes: 4096 };
            out.extend(op.forward(tuning));
            out.extend(op.backward_data(y, x, |_| false, tuning));
            out.push(op.backward_weight(y, partial, tuning));
        }
    }
    assert_eq!(out.len(), 5 * 2 * tunings.len() * 3);
    out
}

/// The constants at the head of `depthwise.wgsl` are exactly the largest values that a form needs.
#[test]
fn the_depthwise_kernels_have_room_for_every_form() {
    let source = kernel("depthwise").unwrap();
    let constant = |name: &str| {
        let found = source.module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name));
        match source.module.global_expressions[found.expect(name).1.init] {
            naga::Expression::Literal(naga::Literal::U32(value)) => value,
            ref other => panic!("{name}: {other:?}"),
        }
    };
    let parses = |text: &str| {
        let text = text.to_owned().leak();
        reflect(&Source { name: "depthwise", text }).is_ok()
    };
    // For each constant the largest value that is needed, and a form that needs this value.
    let mut most: BTreeMap<&str, (u32, String)> = BTreeMap::new();
    for d in depthwise_forms() {
        let text = source.specialised(d.entry, &d.overrides).unwrap();
        let value = |name: &str| -> u32 {
            let start = format!("const {name}: u32 = ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix("u;"));
            line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
        };
        let (tile, row) = match d.entry {
            "backward_data" => (value("R") * value("XQ"), 4 * (2 + value("Q"))),
            _ => (value("R") * value("Q"), 4 * value("QUADS")),
        };
        let mut needs = vec![("MAX_TAPS", value("KK")), ("MAX_TILE", tile), ("MAX_ROW", row)];
        if d.entry == "backward_weight" {
            needs.push(("MAX_PART", value("PART")));
            assert!(value("PARTS") * value("PART") >= value("KK"));
            // The invocations of the last part also write the padding.
            assert!(value("LEN") - (value("PARTS") - 1) * value("PART") <= value("WG"));
        }
        for (name, needed) in needs {
            assert!(needed <= constant(name), "{name}: {needed} in {} {:?}", d.entry, d.overrides);
            if most.get(name).is_none_or(|(known, _)| *known < needed) {
                most.insert(name, (needed, text.clone()));
            }
        }
    }
    assert_eq!(most.len(), 4);
    for (name, (needed, text)) in most {
        assert_eq!(needed, constant(name), "{name} is larger than any form needs");
        // An array that is too small for a form is found when the form is parsed.
        let line = |value: u32| format!("const {name}: u32 = {value}u;");
        assert!(text.contains(&line(needed)) && parses(&text), "{name}");
        let small = text.replace(&line(needed), &line(needed / 2));
        assert!(!parses(&small) || name == "MAX_PART", "{name}: half as much is enough");
    }
}

/// A constant condition is decided before compilation. The condition may depend on overrides or on the variable of a
/// written-out loop. Other conditions stay.
#[test]
fn constant_conditions_are_folded() {
    let text = "override A: u32 = 1u;\noverride B: u32 = 2u;\n@compute @workgroup_size(1) fn f() {\n\
                // if (A == 1u) { a comment's brace\n\
                var x = 0u;\n\
                if (A == 1u && B > 1u) { x = 10u; } else { x = 20u; }\n\
                if (A == 2u) { x = 30u; } else if (x == 3u) { x = 40u; } else if (B == 2u) { x = 50u; } else { x = 60u; }\n\
                if (x > 1u) { if (B == 3u) { x = 70u; } x = 80u; } else { x = 90u; }\n\
                for (var i = 0u; i < 2u; i++) { //@unroll\nif (i == A) { x = 100u + i; } if (x < i) { return; } }\n}\n";
    let with = |a: u32, b: u32| specialise(text, "f", &[("A", a), ("B", b)]).unwrap();
    let numbers =
        |text: &str| -> Vec<u32> { (10..200).filter(|n| text.contains(&format!("x = {n}u"))).collect() };
    let plain = with(1, 2);
    assert_eq!(numbers(&plain), [10, 40, 50, 80, 90, 100]);
    assert!(
        plain.contains("if (x == 3u)") && plain.contains("if (x > 1u)") && plain.contains("if (x < i)"),
        "{plain}"
    );
    assert!(!plain.contains("A ==") && !plain.contains("comment"), "{plain}");
    assert_eq!(numbers(&with(2, 1)), [20, 30, 80, 90]);
    assert_eq!(numbers(&with(0, 3)), [20, 40, 60, 70, 80, 90, 100]);
    // The text is valid WGSL before and after.
    for text in [text.to_owned(), plain, with(2, 1), with(0, 3)] {
        reflect(&Source { name: "folded", text: text.leak() }).unwrap();
    }
    let unclosed = specialise("@compute @workgroup_size(1) fn f() { if (1u == 1u) { }", "f", &[]);
    assert!(unclosed.is_err(), "{unclosed:?}");
}

/// A `let` of a constant number becomes a `const` until the end of its block. A variable of its name hides it, and a
/// value that is no unsigned number stays. Functions that the entry point does not reach are dropped.
#[test]
fn constant_lets_become_constants_in_their_block() {
    let text = "override A: u32 = 3u;\n\
                fn unused(x: u32) -> u32 {\n    let far = array<u32, 2>(x, x);\n    return far[A];\n}\n\
                fn inner(x: u32) -> u32 { if (A == 3u) { return x + A; } return x - A; }\n\
                fn used(x: u32) -> u32 { return inner(x); }\n\
                @compute @workgroup_size(1) fn f() {\n\
                let a = 2u * A;\n\
                let signed = 1;\n\
                let is_large = A > 2u;\n\
                var x = used(a);\n\
                if (a == 6u) { x = 10u; }\n\
                { let b = a + 1u; if (b == 7u) { x = 20u; } }\n\
                { var a = x; a += 1u; if (a == 6u) { x = 30u; } }\n\
                for (var a = 0u; a < x; a++) { if (a == 6u) { x = 40u; } }\n\
                for (var i = 0u; i < 2u; i++) { //@unroll\n let c = i * a; if (c == 6u) { x = 50u + i; } else { x = 60u + i; } }\n\
                if (a == 7u) { x = 70u; }\n\
                if (is_large && signed == 1) { x = 80u; }\n}\n";
    let written = specialise(text, "f", &[]).unwrap();
    for there in ["const a: u32 = 6u;", "const b: u32 = 7u;", "const c: u32 = 0u;", "const c: u32 = 6u;"] {
        assert!(written.contains(there), "{there} in {written}");
    }
    // What a variable hides is decided at run time.
    assert_eq!(written.matches("if (a == 6u)").count(), 2, "{written}");
    for there in ["let signed = 1;", "let is_large", "if (is_large && signed == 1)", "fn used(", "fn inner("]
    {
        assert!(written.contains(there), "{there} in {written}");
    }
    // What is behind a `return` is dropped.
    for gone in ["x - A", "fn unused(", "x = 70u", "if (b ==", "if (c =="] {
        assert!(!written.contains(gone), "{gone} in {written}");
    }
    let kept: Vec<u32> = (10..90).filter(|n| written.contains(&format!("x = {n}u"))).collect();
    assert_eq!(kept, [10, 20, 30, 40, 50, 60, 80]);
    // The text of one form is valid by itself, although `unused` would read beyond its array.
    reflect(&Source { name: "folded", text: written.leak() }).unwrap();
}
