//! The bytes that a launch reads and writes, according to its shader. Also checks that a launch reads only bytes that
//! were written before, and does not write bytes that it reads through another binding.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use naga::valid::GlobalUse;
use parsec_nas::graph::{Extent, Mode, Plan, Request};
use parsec_nas::kernel::{Buf, Launch, Range, kernel};

use super::memory::region_of;

/// A binding with the bytes that its shader reads and writes.
#[derive(Clone, Debug)]
pub struct Access {
    pub name: &'static str,
    /// The whole range that is bound.
    pub bound: Range,
    /// The bytes that are read and the bytes that are written, if the parameters determine them. Otherwise the whole
    /// range.
    pub reads: Vec<Range>,
    pub writes: Vec<Range>,
}

/// Whether an entry point reads and writes each of its variables, according to naga: (reads, writes) by name.
fn uses(shader: &'static str, entry: &'static str) -> BTreeMap<String, (bool, bool)> {
    type Known = BTreeMap<(&'static str, &'static str), BTreeMap<String, (bool, bool)>>;
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap();
    let of_entry = || {
        let kernel = kernel(shader).unwrap();
        let index = kernel.module.entry_points.iter().position(|e| e.name == entry).unwrap();
        let info = kernel.info.get_entry_point(index);
        let variables = kernel.module.global_variables.iter();
        let of_variable =
            |(handle, variable): (naga::Handle<naga::GlobalVariable>, &naga::GlobalVariable)| {
                let found = info[handle];
                let uses = (found.contains(GlobalUse::READ), found.contains(GlobalUse::WRITE));
                variable.name.clone().filter(|_| variable.binding.is_some()).map(|name| (name, uses))
            };
        variables.filter_map(of_variable).collect()
    };
    known.entry((shader, entry)).or_insert_with(of_entry).clone()
}

/// Whether a binding is only a placeholder. If an override says that there is no such operand, some range is bound all
/// the same.
fn is_idle(d: &Launch, name: &str) -> bool {
    let set = |name: &str| d.overrides.iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| *value);
    match (d.shader, name) {
        ("node", "a") => set("MODE_A") == 0,
        ("node", "b") => set("MODE_B") == 0,
        ("node", "coefs_a") => set("MODE_A") != 2,
        ("node", "coefs_b") => set("MODE_B") != 2,
        ("node", "drop") => set("DROP_A") + set("DROP_B") == 0,
        ("pool", "index") => set("MAX") == 0,
        ("batch_norm", "grad_coefs") => false,
        (_, "grad_coefs") | ("conv" | "pointwise" | "pool", "y") => set("BN") == 0,
        (_, "drop") => set("DROP") == 0,
        ("mix", "coefs") => set("NORM") == 0,
        ("global_pool", "x") => d.entry == "backward" && set("RELU") == 0,
        _ => false,
    }
}

/// The blocks of a bound tensor, and for each block whether the launch adds to the old content.
fn blocks(d: &Launch, name: &str, bound: &Range) -> Vec<(Range, bool)> {
    let p = |name: &str| d.params.get(name).unwrap()[0];
    // The fifth member of a map.
    let pitch = |name: &str| d.params.get(name).unwrap()[4];
    // Rows of tasks are of four words, those of "pointwise" of eight.
    let width = if d.shader == "pointwise" { 8 } else { 4 };
    let row = |table: &str, i: usize| &d.params.get(table).unwrap()[width * i..width * (i + 1)];
    // The blocks in the first `count` rows of a table. The word `channel` of a row is the first channel of a block.
    let some =
        |table: &str, count: u32, channel: usize, channels: u32, pitch: u32, add: &dyn Fn(usize) -> bool| {
            let block = |i: usize| {
                let bytes = u64::from(pitch) * 16;
                let first = bytes * u64::from(row(table, i)[channel]);
                let range = Range {
                    buf: bound.buf,
                    offset_bytes: bound.offset_bytes + first,
                    len_bytes: bytes * u64::from(channels),
                };
                (range, add(i))
            };
            (0..count as usize).map(block).collect()
        };
    // There are as many tasks as the grid is deep.
    let tasks = |channel: usize, channels: u32, pitch: u32, add: &dyn Fn(usize) -> bool| {
        some("tasks", d.grid[2], channel, channels, pitch, add)
    };
    // The number of channels of a task is the height of the grid.
    let channels = d.grid[1];
    let adds = d.overrides.contains(&("ADD", 1));
    match (d.shader, name) {
        ("depthwise" | "pool" | "subsample", "x" | "dx") => {
            // In the backward pass there are as many sources as the grid is deep.
            let is_backward = d.bindings.iter().any(|(name, _)| *name == "dx");
            let table = if is_backward { "sources" } else { "tasks" };
            some(table, d.grid[2], 0, channels, pitch("x"), &|i| is_backward && row("sources", i)[3] == 1)
        }
        ("pool", "dz" | "y") => {
            let n_tasks = (0..d.grid[2] as usize).map(|i| row("sources", i)[2]).sum();
            some("tasks", n_tasks, usize::from(name == "y"), channels, pitch("y"), &|_| true)
        }
        ("pool", "out") => tasks(1, channels, pitch("y"), &|_| false),
        ("pointwise", "x" | "dx") => tasks(0, p("ci"), pitch("x"), &|i| row("tasks", i)[4] == 1),
        ("pointwise", "out") => tasks(2, p("co"), pitch("x"), &|_| adds),
        ("pointwise", "y") => tasks(2, p("co"), pitch("x"), &|_| true),
        ("pointwise", "dz") => tasks(3, p("co"), pitch("x"), &|_| true),
        ("global_pool", "pooled") => {
            // `pooled` has [C][N] of all channels. x holds some of the channels, from `first` on.
            let x = d.bindings.iter().find(|(name, _)| *name == "x").map_or(0, |(_, x)| x.len_bytes);
            // The first member of a map is the number of images.
            let (row, channels) = (u64::from(p("x")) * 4, x / (u64::from(pitch("x")) * 16));
            let offset_bytes = bound.offset_bytes + u64::from(p("first")) * row;
            vec![(Range { offset_bytes, len_bytes: channels * row, ..*bound }, false)]
        }
        ("conv", "out") => vec![(*bound, adds)],
        ("conv" | "apply" | "global_pool" | "window_pool", "dx") => vec![(*bound, p("add") == 1)],
        ("mix", "out" | "dx") => vec![(*bound, p("add") == 1)],
        _ => vec![(*bound, true)],
    }
}

/// The bindings that a launch reads or writes.
pub fn accesses(d: &Launch) -> Vec<Access> {
    let uses = uses(d.shader, d.entry);
    let of = |(name, bound): &(&'static str, Range)| {
        let (reads, writes) = uses[*name];
        let blocks = blocks(d, name, bound);
        let read = blocks.iter().filter(|(_, adds)| reads && (*adds || !writes));
        Access {
            name,
            bound: *bound,
            reads: read.map(|(range, _)| *range).collect(),
            writes: blocks.iter().filter(|_| writes).map(|(range, _)| *range).collect(),
        }
    };
    d.bindings.iter().filter(|(name, _)| !is_idle(d, name)).map(of).collect()
}

fn overlap(a: &Range, b: &Range) -> bool {
    let end = |r: &Range| r.offset_bytes + r.len_bytes;
    a.buf == b.buf && a.offset_bytes < end(b) && b.offset_bytes < end(a)
}

/// An error if a launch goes outside of a binding, or if it writes bytes that it reads or writes under another name.
/// Different blocks of one tensor may be read under one name and written under another: a pool reads the gradient of
/// one node and adds to the gradient of another node.
fn check_launch(d: &Launch) -> Result<(), String> {
    let meet = |a: &[Range], b: &[Range]| a.iter().any(|a| b.iter().any(|b| overlap(a, b)));
    let inside = |r: &Range, bound: &Range| {
        r.offset_bytes >= bound.offset_bytes
            && r.offset_bytes + r.len_bytes <= bound.offset_bytes + bound.len_bytes
    };
    let all = accesses(d);
    for (i, a) in all.iter().enumerate() {
        if !a.reads.iter().chain(&a.writes).all(|r| inside(r, &a.bound)) {
            return Err(format!("{}.{} goes outside of what is bound: {a:?}", d.shader, d.entry));
        }
        for b in all[..i].iter().chain(&all[i + 1..]) {
            let race = meet(&a.writes, &b.reads) || meet(&a.writes, &b.writes);
            if race {
                return Err(format!("{}.{} touches the same bytes as {a:?} and {b:?}", d.shader, d.entry));
            }
        }
    }
    Ok(())
}

/// Whether the host, an earlier plan or the executor fills a buffer before the plan runs.
fn is_given(buf: Buf, request: &Request<'_>) -> bool {
    let (whole, branch) = (request.extent == Extent::Whole, request.extent == Extent::Branch);
    match buf {
        Buf::V | Buf::Grad | Buf::State | Buf::Identity | Buf::Scalars | Buf::ClassWeights => true,
        Buf::Images(input) | Buf::Labels(input) => input == request.input,
        Buf::DropPath => request.drop_path,
        Buf::Mix => request.net.n_factors > 0,
        Buf::MixGrad => request.mode == Mode::Factors,
        Buf::Trunk(_) | Buf::TrunkCoefs => branch,
        Buf::TrunkGrad(_) => !whole,
        // The plan fills these buffers itself, or does not use them.
        Buf::Page(_)
        | Buf::Coefs
        | Buf::Packed
        | Buf::Results
        | Buf::Logits(_)
        | Buf::Kept
        | Buf::Momentum
        | Buf::Lanes(_)
        | Buf::Norms
        | Buf::Tensor(_)
        | Buf::Small(_)
        | Buf::Extra(_) => false,
    }
}

/// The first byte, and the byte after the last one.
type Bytes = (u64, u64);

/// The parts of `range` that `list` does not cover.
fn holes(range: Bytes, list: &[Bytes]) -> Vec<Bytes> {
    list.iter().fold(vec![range], |holes, &(from, to)| {
        let parts = holes.into_iter().flat_map(|(start, end)| [(start, end.min(from)), (start.max(to), end)]);
        parts.filter(|(start, end)| start < end).collect()
    })
}

/// An error if a launch reads bytes that neither an earlier launch nor the filling of the inputs wrote, or if a launch
/// replaces written bytes of a tensor instead of adding to them.
fn check_order(plan: &Plan, request: &Request<'_>) -> Result<(), String> {
    // The written ranges (start, end) by buffer. Pages have one entry per tensor, since tensors share bytes.
    let mut written: BTreeMap<(Buf, Option<u32>), Vec<Bytes>> = BTreeMap::new();
    for (at, d) in plan.launches.iter().enumerate() {
        let place = |range: &Range| {
            let region = region_of(plan, at, range);
            let start = range.offset_bytes - region.map_or(0, |(_, region)| region.offset_bytes);
            ((range.buf, region.map(|(id, _)| id)), (start, start + range.len_bytes))
        };
        let all = accesses(d);
        for a in all.iter().filter(|a| !is_given(a.bound.buf, request)) {
            let what = format!("launch {at}, {}.{}, {} in {:?}", d.shader, d.entry, a.name, a.bound);
            for range in &a.reads {
                let (key, range) = place(range);
                let holes = holes(range, written.get(&key).map_or(&[], Vec::as_slice));
                // Partial sums start at multiples of 256 bytes. The bytes between them belong to no task.
                let padding = |(start, end): &Bytes| d.shader == "reduce" && end - start < 256;
                let missing: Vec<_> = holes.iter().filter(|hole| !padding(hole)).collect();
                if !missing.is_empty() {
                    return Err(format!("{what}: {missing:?} of {range:?} was written by nobody"));
                }
            }
            for range in a.writes.iter().filter(|range| !a.reads.contains(range)) {
                let (key, range) = place(range);
                let list = written.get(&key).map_or(&[][..], Vec::as_slice);
                let again = list.iter().find(|(start, end)| *start < range.1 && range.0 < *end);
                if key.1.is_some() && again.is_some() {
                    return Err(format!("{what}: {range:?} replaces what was written"));
                }
            }
        }
        for range in all.iter().flat_map(|a| &a.writes).filter(|range| !is_given(range.buf, request)) {
            let (key, range) = place(range);
            let list = written.entry(key).or_default();
            if !list.contains(&range) {
                list.push(range);
            }
        }
    }
    Ok(())
}

/// [`check_launch`] of all launches, then [`check_order`].
pub fn check(plan: &Plan, request: &Request<'_>) -> Result<(), String> {
    plan.launches.iter().try_for_each(check_launch)?;
    check_order(plan, request)
}

/// The checks find an error in every launch of a plan that is made wrong.
#[test]
fn what_is_wrong_is_found() {
    let genotype = parsec_nas::selftest::child::everything();
    let mut owned = super::random_requests(1).next().unwrap();
    owned.spec = crate::nets::Cells { layers: 3, height: 8, width: 8, channels: 4, ..owned.spec };
    owned.layout = super::layout_of(&owned.spec, &genotype);
    (owned.genotype, owned.mode, owned.lowering.fuse) = (genotype, Mode::Train, true);
    let (request, plan) = (owned.request(), owned.plan());
    let good = |plan: &Plan| check(plan, &request).is_ok();
    assert!(good(&plan));
    let with = |at: usize, change: &dyn Fn(&mut Launch)| {
        let mut plan = plan.clone();
        change(&mut plan.launches[at]);
        plan
    };
    let rebind = |d: &mut Launch, name: &str, range: Range| {
        d.bindings.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, bound)| *bound = range);
    };
    let mut tried = 0;
    for (at, d) in plan.launches.iter().enumerate() {
        let of_tensors: Vec<Access> =
            accesses(d).into_iter().filter(|a| matches!(a.bound.buf, Buf::Page(_) | Buf::Coefs)).collect();
        // A launch that adds to its output may do so wherever something was written, so only other outputs are tried.
        let written = of_tensors.iter().find(|a| !a.writes.is_empty() && a.reads.is_empty());
        let read = of_tensors.iter().find(|a| a.writes.is_empty() && matches!(a.bound.buf, Buf::Page(_)));
        // The result is written to another place, so that its readers find nothing.
        if let Some(out) = written {
            let elsewhere = Range { buf: Buf::Grad, offset_bytes: 0, ..out.bound };
            let lost = with(at, &|d| rebind(d, out.name, elsewhere));
            let tensor = |at: usize, range: &Range| region_of(&plan, at, range).map(|(id, _)| id);
            let home = tensor(at, &out.bound);
            let reads = |at: usize, a: &Access| {
                let same = a.bound.buf == out.bound.buf && tensor(at, &a.bound) == home;
                same && a.reads.iter().any(|r| out.writes.iter().any(|w| overlap(r, w)))
            };
            let mut later = plan.launches.iter().enumerate().skip(at + 1);
            let is_read = later.any(|(at, d)| accesses(d).iter().any(|a| reads(at, a)));
            assert!(!is_read || !good(&lost), "launch {at}, {}.{}: {} is lost", d.shader, d.entry, out.name);
            tried += usize::from(is_read);
        }
        // The result overwrites an operand.
        if let (Some(out), Some(x)) = (written, read) {
            let bad = with(at, &|d| rebind(d, out.name, x.bound));
            assert!(!good(&bad), "launch {at}, {}.{}: {} on {}", d.shader, d.entry, out.name, x.name);
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried} changes");
}

/// The table of outputs by hand has the variables that the shaders write. For two more variables the parameters decide
/// whether they are written.
#[test]
fn the_table_of_outputs_is_that_of_the_shaders() {
    for owned in super::random_requests(40) {
        for d in owned.plan().launches {
            let by_hand = super::memory::outputs(&d);
            for (name, (_, writes)) in uses(d.shader, d.entry) {
                let sometimes = matches!((d.shader, &*name), ("batch_norm", "state") | ("pool", "index"));
                let listed = by_hand.contains(&&*name);
                assert!(listed == writes || (sometimes && writes), "{}.{}: {name}", d.shader, d.entry);
            }
        }
    }
}
