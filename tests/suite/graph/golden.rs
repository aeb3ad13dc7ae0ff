//! Plans of small networks as text, launch by launch. A diff shows what a change of the lowering changes.
//!
//! A binding in a page is written as its tensor and the offset in the tensor. Another placement of the tensors then
//! changes only the table of tensors at the end, and not the launches.

use std::fmt::Write as _;

use parsec_nas::graph::{Extent, Layout, Loss, Lowering, Memory, Mode, Plan, Request};
use parsec_nas::kernel::{Buf, Launch, Range, kernel};
use parsec_nas::ops::Tuning;
use parsec_nas::selftest::child::{everything, the_rest};
use parsec_nas::space::{Genotype, Primitive};
use parsec_nas::space::{NetworkKind, StemKind};

use super::super::golden;
use crate::nets::{Cells, Of};

/// Largest number of columns of a line of parameters.
const WIDTH: usize = 118;

/// The plan as text: a head, three lines per launch, then the tensors.
pub fn text(plan: &Plan) -> String {
    let regions = &plan.regions;
    let mut out = format!(
        "launches {}\nflops {}\nbytes {}\npages {:?}\ncoefs {}\npacked {}\n\n",
        plan.launches.len(),
        plan.flops,
        plan.bytes,
        regions.pages,
        regions.coefs_bytes,
        plan.packed_bytes
    );
    for (at, d) in plan.launches.iter().enumerate() {
        launch(&mut out, plan, at, d);
    }
    out += "\ntensor: page+offset+length, first launch..last launch\n";
    for (id, r) in &regions.regions {
        let (page, offset, len) = (r.page, r.offset_bytes, r.len_bytes);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "t{id}: {page}+{offset}+{len}, {}..{}", r.first, r.last);
    }
    out
}

/// Writes the number, kernel, overrides, grid and work of a launch, then its bindings, then its parameters.
fn launch(out: &mut String, plan: &Plan, at: usize, d: &Launch) {
    let Launch { shader, entry, grid: [x, y, z], flops, bytes, .. } = d;
    let overrides: Vec<String> = d.overrides.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let _ = writeln!(
        out,
        "{at} {shader}::{entry} {{{}}} grid {x} {y} {z} flops {flops} bytes {bytes}",
        overrides.join(" ")
    );
    let bound: Vec<String> =
        d.bindings.iter().map(|(name, r)| format!("{name}={}", place(plan, at, r))).collect();
    wrapped(out, &bound);
    wrapped(out, &words(&d.params.pack(kernel(d.shader).unwrap()).unwrap()));
}

/// Writes words with spaces between them, on as many indented lines as they need.
fn wrapped(out: &mut String, words: &[String]) {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() && line.len() + word.len() > WIDTH {
            let _ = writeln!(out, "   {line}");
            line.clear();
        }
        line = line + " " + word;
    }
    if !line.is_empty() {
        let _ = writeln!(out, "   {line}");
    }
}

/// A range as buffer+offset+length in bytes. A range of a page is written as tensor+offset+length.
fn place(plan: &Plan, at: usize, r: &Range) -> String {
    let (mut offset, len) = (r.offset_bytes, r.len_bytes);
    let name = match r.buf {
        Buf::Page(_) => {
            let (id, region) = super::memory::region_of(plan, at, r).unwrap();
            offset -= region.offset_bytes;
            format!("t{id}")
        }
        Buf::Images(input) => format!("images{input}"),
        Buf::Labels(input) => format!("labels{input}"),
        Buf::Logits(which) => format!("logits{which}"),
        Buf::Trunk(i) => format!("trunk{i}"),
        Buf::TrunkGrad(i) => format!("trunk_grad{i}"),
        Buf::V
        | Buf::Grad
        | Buf::Lanes(_)
        | Buf::Momentum
        | Buf::State
        | Buf::ClassWeights
        | Buf::Results
        | Buf::Kept
        | Buf::DropPath
        | Buf::Mix
        | Buf::MixGrad
        | Buf::Scalars
        | Buf::Norms
        | Buf::Packed
        | Buf::Coefs
        | Buf::TrunkCoefs
        | Buf::Identity => format!("{:?}", r.buf).to_lowercase(),
        Buf::Tensor(_) | Buf::Small(_) | Buf::Extra(_) => panic!("launch {at} binds {r:?}"),
    };
    format!("{name}+{offset}+{len}")
}

/// The words of `params`. `-` is the word with all bits set ("nowhere"), a word that is too large for a count is
/// written as a float, and `a*n` is a word n times.
fn words(params: &[u32]) -> Vec<String> {
    let word = |w: u32| match w {
        u32::MAX => "-".into(),
        0x0100_0000.. => format!("{:?}f", f32::from_bits(w)),
        _ => w.to_string(),
    };
    let runs = params.chunk_by(|a, b| a == b);
    runs.map(|run| {
        if run.len() < 3 {
            vec![word(run[0]); run.len()]
        } else {
            vec![format!("{}*{}", word(run[0]), run.len())]
        }
    })
    .collect::<Vec<_>>()
    .concat()
}

fn spec(kind: NetworkKind, stem: StemKind) -> Cells {
    let side = if stem == StemKind::ImageNet { 32 } else { 8 };
    Cells {
        kind,
        stem,
        in_channels: 3,
        height: side,
        width: side,
        n_classes: 5,
        layers: 3,
        channels: 4,
        auxiliary: kind == NetworkKind::Final,
    }
}

/// Two genotypes. One has every primitive but `none`. The other has `none`, pairs drawn twice and skips.
fn genotypes() -> [(&'static str, Genotype); 2] {
    [("everything", everything()), ("the_rest", the_rest())]
}

struct Case<'a> {
    spec: Cells,
    paths: Of<'a>,
    mode: Mode,
    extent: Extent,
    lowering: Lowering,
}

impl<'a> Case<'a> {
    fn new(kind: NetworkKind, paths: Of<'a>, mode: Mode) -> Self {
        let (spec, extent) = (spec(kind, StemKind::Cifar), Extent::Whole);
        Self { spec, paths, mode, extent, lowering: Lowering::default() }
    }

    fn plan(&self) -> Plan {
        let genotype = match self.paths {
            Of::Child(genotype) => Some(genotype),
            Of::Mixed(_) => None,
        };
        let layout = Layout::new(self.spec.params(genotype, &Primitive::ALL)).unwrap();
        let net = self.spec.net(self.paths);
        let drop_path = self.spec.kind == NetworkKind::Final && self.mode == Mode::Train;
        let plan = Plan::new(Request {
            net: &net,
            layout: &layout,
            batch: 2,
            mode: self.mode,
            extent: self.extent,
            input: 0,
            drop_path,
            lowering: self.lowering,
        });
        plan.unwrap()
    }

    fn check(&self, name: &str) {
        golden::check(&format!("plan-{name}.txt"), &text(&self.plan()));
    }
}

#[test]
fn a_child_of_a_search() {
    for (name, genotype) in genotypes() {
        for (what, mode) in [("likelihood", Mode::Likelihood), ("train", Mode::Train)] {
            for (form, fuse) in [("fused", true), ("unfused", false)] {
                let mut case = Case::new(NetworkKind::Search, Of::Child(&genotype), mode);
                case.lowering.fuse = fuse;
                case.check(&format!("search-{what}-{form}-{name}"));
            }
        }
    }
}

/// Operations of one kind read both inputs of cell 1. The trunk has one of these inputs, so the operations run input by
/// input.
#[test]
fn a_branch_that_reads_trunk_and_child_alike() {
    let pairs = |list: &str| -> String {
        let pair = |word: &str| format!("('{}', {})", &word[1..], &word[..1]);
        list.split(' ').map(pair).collect::<Vec<_>>().join(", ")
    };
    let normal = pairs(
        "0skip_connect 0dil_conv_5x5 0max_pool_3x3 1sep_conv_3x3 1dil_conv_5x5 3sep_conv_3x3 4skip_connect 4dil_conv_5x5",
    );
    let reduce = pairs(
        "1sep_conv_3x3 1sep_conv_3x3 1skip_connect 1dil_conv_5x5 0dil_conv_5x5 1dil_conv_5x5 0dil_conv_5x5 2skip_connect",
    );
    let concat = "[2, 3, 4, 5]";
    let text = format!(
        "Genotype(normal=[{normal}], normal_concat={concat}, reduce=[{reduce}], reduce_concat={concat})"
    );
    let genotype = Genotype::parse(&text).unwrap();
    let mut case = Case::new(NetworkKind::Search, Of::Child(&genotype), Mode::Train);
    case.extent = Extent::Branch;
    case.check("branch-train-alike");
}

#[test]
fn trunk_and_branch() {
    for (name, genotype) in genotypes() {
        for (what, mode) in [("likelihood", Mode::Likelihood), ("train", Mode::Train)] {
            let mut case = Case::new(NetworkKind::Search, Of::Child(&genotype), mode);
            case.extent = Extent::Branch;
            case.check(&format!("branch-{what}-{name}"));
            // The trunk is the same for every architecture.
            case.extent = Extent::Trunk;
            case.check(&format!("trunk-{what}"));
        }
    }
}

#[test]
fn what_is_computed_again_in_little_memory() {
    for (name, genotype) in genotypes() {
        let mut case = Case::new(NetworkKind::Search, Of::Child(&genotype), Mode::Train);
        case.lowering.memory = Memory::Low;
        case.check(&format!("search-train-low-{name}"));
    }
}

/// The forms of a discrete GPU, with batch norm's backward applied while its result is loaded.
#[test]
fn other_forms_of_the_kernels() {
    let genotype = everything();
    let mut case = Case::new(NetworkKind::Search, Of::Child(&genotype), Mode::Train);
    case.lowering.tuning = Tuning { stored_dy: 0, ..Tuning::DISCRETE };
    case.check("search-train-loading-everything");
}

#[test]
fn a_final_network() {
    for (name, genotype) in genotypes() {
        for (what, mode) in [("evaluate", Mode::Evaluate), ("train", Mode::Train)] {
            let mut case = Case::new(NetworkKind::Final, Of::Child(&genotype), mode);
            case.lowering.loss = Loss { label_smoothing: 0.1, ..Loss::default() };
            case.check(&format!("final-{what}-{name}"));
        }
    }
    let genotype = the_rest();
    let mut case = Case::new(NetworkKind::Final, Of::Child(&genotype), Mode::Train);
    case.spec = spec(NetworkKind::Final, StemKind::ImageNet);
    case.check("final-train-imagenet-the_rest");
    case.lowering.fuse = false;
    case.check("final-train-imagenet-unfused-the_rest");
}

#[test]
fn a_mixed_network() {
    let mixed = |primitives: &[Primitive], what: &str, mode| {
        Case::new(NetworkKind::Search, Of::Mixed(primitives), mode).check(&format!("mixed-{what}"));
    };
    mixed(&Primitive::ALL[..], "likelihood", Mode::Likelihood);
    // One primitive for each kind of kernel. A backward pass of all primitives would be a long text.
    let few = [Primitive::None, Primitive::MaxPool3x3, Primitive::SkipConnect, Primitive::DilConv3x3];
    mixed(&few[..], "train", Mode::Train);
    mixed(&few[..], "factors", Mode::Factors);
}

#[test]
fn words_are_short_and_tell_counts_from_floats() {
    let one = 1f32.to_bits();
    assert_eq!(
        words(&[7, 7, 7, 7, 0, 0, u32::MAX, one, 1e-5f32.to_bits()]).join(" "),
        "7*4 0 0 - 1.0f 1e-5f"
    );
}
