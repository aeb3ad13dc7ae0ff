//! Regions and lifetimes of planned tensors.

use parsec_nas::graph::memory::{PAGE_BYTES, Region, place};
use parsec_nas::graph::{Layout, Mode, Plan};
use parsec_nas::kernel::{Buf, Launch, Params, Range, kernel};
use parsec_nas::{Error, rng};
use rand::RngExt;

use super::random_requests;

/// The variables that an entry point writes, according to its shader.
pub(super) fn outputs(d: &Launch) -> Vec<&'static str> {
    let entry = kernel(d.shader).unwrap().entry(d.entry).unwrap();
    let written = entry.bindings.iter().filter(|b| b.is_written).map(|b| b.name.as_str());
    let names: Vec<_> = written.collect();
    assert!(!names.is_empty(), "{}::{} writes nothing", d.shader, d.entry);
    names
}

fn overlap(a: &Region, b: &Region) -> bool {
    let alive = a.first <= b.last && b.first <= a.last;
    let bytes =
        a.offset_bytes < b.offset_bytes + b.len_bytes && b.offset_bytes < a.offset_bytes + a.len_bytes;
    a.page == b.page && alive && bytes
}

/// Number of pairs of regions that live at the same time and share bytes.
pub(super) fn overlaps(plan: &Plan) -> usize {
    let regions: Vec<&Region> = plan.regions.regions.values().collect();
    let mut n = 0;
    for (i, a) in regions.iter().enumerate() {
        n += regions[i + 1..].iter().filter(|b| overlap(a, b)).count();
    }
    n
}

/// The region that contains a range of a page at launch `at`.
pub(super) fn region_of<'a>(plan: &'a Plan, at: usize, range: &Range) -> Option<(u32, &'a Region)> {
    let Buf::Page(page) = range.buf else { return None };
    let inside = |r: &Region| {
        r.page == page
            && r.first <= at
            && at <= r.last
            && r.offset_bytes <= range.offset_bytes
            && range.offset_bytes + range.len_bytes <= r.offset_bytes + r.len_bytes
    };
    let (id, region) = plan
        .regions
        .regions
        .iter()
        .find(|(_, r)| inside(r))
        .unwrap_or_else(|| panic!("launch {at} binds {range:?}, which is in no region that is alive"));
    Some((*id, region))
}

/// Checks that tensors that live at the same time share no bytes, that bindings are inside of tensors, and that a
/// tensor lives from the first launch that writes it to the last launch that binds it.
pub fn check(plan: &Plan, layout: &Layout) {
    assert_eq!(overlaps(plan), 0);
    for region in plan.regions.regions.values() {
        assert!(
            region.offset_bytes.is_multiple_of(256)
                && region.len_bytes.is_multiple_of(256)
                && region.len_bytes > 0
        );
        assert!(region.offset_bytes + region.len_bytes <= plan.regions.pages[usize::from(region.page)]);
    }
    assert!(plan.regions.pages.iter().all(|bytes| *bytes <= PAGE_BYTES));
    assert_eq!(plan.arena_bytes(), plan.regions.pages.iter().sum::<u64>());

    let mut seen = std::collections::BTreeMap::new();
    for (at, d) in plan.launches.iter().enumerate() {
        for (name, r) in &d.bindings {
            let end = r.offset_bytes + r.len_bytes;
            let room = match r.buf {
                // If there are no coefficients, one quad is bound but not read.
                Buf::Coefs => plan.regions.coefs_bytes.max(16),
                Buf::Packed => plan.packed_bytes,
                Buf::V | Buf::Grad => u64::from(layout.v_len) * 4,
                Buf::State => u64::from(layout.state_len) * 4,
                _ => u64::MAX,
            };
            assert!(end <= room, "{}.{}: {name} ends at {end} of {room}", d.shader, d.entry);
        }
        let bound: Vec<_> =
            d.bindings.iter().filter_map(|(name, r)| Some((*name, region_of(plan, at, r)?))).collect();
        for (_, (id, region)) in &bound {
            let first = *seen.entry(*id).or_insert(at);
            assert_eq!(first, region.first, "a life starts with its first binding");
            let written = bound.iter().any(|(name, (other, _))| other == id && outputs(d).contains(name));
            assert!(
                first < at || written,
                "tensor {id} is read by {}.{} before anything wrote it",
                d.shader,
                d.entry
            );
        }
    }
    assert_eq!(seen.len(), plan.regions.regions.len());
    let ends = plan.regions.regions.iter().all(|(id, region)| {
        let d = &plan.launches[region.last];
        d.bindings.iter().any(|(_, r)| region_of(plan, region.last, r).is_some_and(|(other, _)| other == *id))
    });
    assert!(ends, "a life ends with its last binding");
}

#[test]
fn the_check_of_overlaps_can_fail() {
    let owned = random_requests(1).next().unwrap().with(Mode::Train, true);
    let mut plan = owned.plan();
    let first = *plan.regions.regions.values().next().unwrap();
    let neighbour = plan
        .regions
        .regions
        .values_mut()
        .find(|r| **r != first && r.first <= first.last && first.first <= r.last);
    neighbour.unwrap().offset_bytes = first.offset_bytes;
    assert!(overlaps(&plan) > 0);
}

/// The pages are not much larger than all tensors that live at the same time, at the launch where these are the
/// largest.
#[test]
fn memory_is_close_to_what_lives_at_once() {
    for owned in random_requests(60) {
        let plan = owned.plan();
        let alive = |at: usize| -> u64 {
            let regions = plan.regions.regions.values();
            regions.filter(|r| r.first <= at && at <= r.last).map(|r| r.len_bytes).sum()
        };
        let most = (0..plan.launches.len()).map(alive).max().unwrap();
        assert!(plan.arena_bytes() >= most);
        assert!(
            plan.arena_bytes() <= most + most / 4,
            "{} bytes for {most} alive at once",
            plan.arena_bytes()
        );
    }
}

/// Tensors with random lives and sizes. Some are too large to share a page.
#[test]
fn placement_fills_pages_and_refuses_what_is_larger() {
    for i in 0..30 {
        let mut rng = rng::stream(1, rng::Purpose::Test, 41, i);
        let n = rng.random_range(1..60);
        let sizes: Vec<u64> = (0..n).map(|_| rng.random_range(1..PAGE_BYTES / 3)).collect();
        let mut launches = Vec::new();
        for _ in 0..40 {
            let bind =
                |id: u32| Range { buf: Buf::Tensor(id), offset_bytes: 0, len_bytes: sizes[id as usize] };
            let ids = [rng.random_range(0..n), rng.random_range(0..n)];
            launches.push(launch(ids.map(|id| ("y", bind(id as u32))).to_vec()));
        }
        let regions = place(&mut launches, &sizes, PAGE_BYTES).unwrap();
        assert!(regions.pages.iter().all(|bytes| (1..=PAGE_BYTES).contains(bytes)));
        let plan = Plan { launches, regions, flops: 0, bytes: 0, packed_bytes: 0 };
        assert_eq!(overlaps(&plan), 0);
        for (at, d) in plan.launches.iter().enumerate() {
            assert!(d.bindings.iter().all(|(_, r)| region_of(&plan, at, r).is_some()));
        }
    }
    let range = Range { buf: Buf::Tensor(0), offset_bytes: 0, len_bytes: 256 };
    let error = place(&mut [launch(vec![("y", range)])], &[PAGE_BYTES + 1], PAGE_BYTES).unwrap_err();
    assert!(matches!(error, Error::Memory { have_bytes: PAGE_BYTES, .. }), "{error:?}");
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("128.0 MiB") && error.to_string().contains("--batch"), "{error}");
    // One launch cannot bind weights that are larger than a page.
    let range = Range { buf: Buf::V, offset_bytes: 0, len_bytes: PAGE_BYTES + 256 };
    let error = place(&mut [launch(vec![("w", range)])], &[], PAGE_BYTES).unwrap_err();
    assert!(matches!(error, Error::Memory { .. }) && error.to_string().contains("--channels"), "{error}");
}

fn launch(bindings: Vec<(&'static str, Range)>) -> Launch {
    Launch {
        shader: "fill",
        entry: "fill",
        overrides: vec![],
        bindings,
        params: Params::new(),
        grid: [1; 3],
        flops: 0,
        bytes: 0,
    }
}
