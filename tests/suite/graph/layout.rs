//! Parameters by name ↔ their places in `v`.

use parsec_nas::graph::Layout;
use parsec_nas::network::ParamRole;
use parsec_nas::space::Primitive;

use super::{Owned, random_requests};

fn layouts() -> impl Iterator<Item = (Owned, Layout)> {
    random_requests(40).map(|owned| {
        let child = Layout::new(owned.spec.child_params(&owned.genotype)).unwrap();
        (owned, child)
    })
}

#[test]
fn tensors_start_at_256_bytes_and_do_not_overlap() {
    for (owned, child) in layouts() {
        for layout in [&owned.layout, &child] {
            for trained in [true, false] {
                let entries = layout.iter().map(|(_, e)| e).filter(|e| e.spec.role.is_trained() == trained);
                let end = if trained { layout.v_len } else { layout.state_len };
                let mut last = 0;
                for entry in entries {
                    assert!(
                        entry.param.offset.is_multiple_of(64) && entry.param.offset >= last,
                        "{}",
                        entry.spec.name
                    );
                    last = entry.param.offset + entry.param.len;
                    assert!(last <= end && entry.param.len as usize >= entry.spec.len());
                }
                assert!(end.is_multiple_of(64));
            }
        }
    }
}

/// Every element has a place of its own, and the padding between elements stays zero.
#[test]
fn values_come_back_and_rows_are_padded_with_zeros() {
    for (owned, child) in layouts() {
        for layout in [&owned.layout, &child] {
            let mut v = vec![0f32; layout.v_len as usize];
            let values = |index: usize, len: usize| {
                (0..len).map(|i| (1 + index * 1000 + i) as f32).collect::<Vec<_>>()
            };
            for (index, (_, entry)) in layout.trained().enumerate() {
                entry.pack(&values(index, entry.spec.len()), &mut v);
            }
            let mut filled = 0;
            for (index, (name, entry)) in layout.trained().enumerate() {
                assert_eq!(entry.unpack(&v), values(index, entry.spec.len()), "{name}");
                filled += entry.spec.len();
                // The rows of a convolution's weight, one per output channel, are whole quads.
                if let [co, ci, k, _] = *entry.spec.shape {
                    let row_len = ci * k * k;
                    let padded = row_len.next_multiple_of(4);
                    assert_eq!(entry.param.len as usize, co * padded, "{name}");
                    for row in 0..co {
                        let row = &v[entry.param.offset as usize + row * padded..][..padded];
                        assert!(
                            row[..row_len].iter().all(|x| *x != 0.0)
                                && row[row_len..].iter().all(|x| *x == 0.0),
                            "{name}"
                        );
                    }
                }
            }
            assert_eq!(v.iter().filter(|x| **x != 0.0).count(), filled);
        }
    }
}

#[test]
fn names_are_those_of_the_network() {
    for (owned, child) in layouts() {
        let (spec, genotype) = (&owned.spec, &owned.genotype);
        let named: Vec<&str> = owned.layout.iter().map(|(name, _)| name).collect();
        let params = spec.params(Some(genotype), &Primitive::ALL);
        assert_eq!(named, params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>());
        let used: Vec<String> = child.trained().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(used, spec.used_params(genotype));
        for (name, entry) in child.iter() {
            assert_eq!(
                owned.layout.get(name).unwrap().spec,
                entry.spec,
                "a child's tensors are its parent's"
            );
        }
        let counted = child.trained().filter(|(_, e)| !e.spec.auxiliary).map(|(_, e)| e.spec.len() as u64);
        assert_eq!(counted.sum::<u64>(), spec.child_parameter_count(genotype));
        let running = |(_, e): &(&str, &parsec_nas::graph::layout::Entry)| {
            matches!(e.spec.role, ParamRole::RunningMean | ParamRole::RunningVar)
        };
        assert_eq!(child.running().count(), child.iter().filter(running).count());
        assert!(child.get("no such name").is_none());
    }
}
