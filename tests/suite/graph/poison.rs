//! A child reads only data that it has written itself, so its results do not depend on the old content of the arena.

use parsec_nas::gpu::{Child, Network};
use parsec_nas::graph::init::initial;
use parsec_nas::graph::{Extent, Mode};
use parsec_nas::kernel::Buf;
use parsec_nas::space::NetworkKind;

use super::super::replay::open;
use super::{Owned, random_requests};

/// Bits of logits, results, gradient and running statistics. All memory of the child is filled with `word` before the
/// pass.
pub(super) fn bits(network: &mut Network, owned: &Owned, word: u32) -> Vec<Vec<u32>> {
    let child = Child { drop_path: owned.drop_path, ..Child::new(owned.net(), owned.mode, 0) };
    let plan = network.plan_of(child).unwrap();
    network.reserve([owned.net()], Mode::Train, owned.batch, Extent::Whole).unwrap();
    let pages = plan.regions.pages.iter().enumerate().map(|(i, bytes)| (Buf::Page(i as u16), *bytes));
    for (buf, bytes) in
        pages.chain([(Buf::Coefs, plan.regions.coefs_bytes), (Buf::Packed, plan.packed_bytes)])
    {
        let words = vec![word; bytes as usize / 4];
        network.gpu().ensure(buf, bytes).unwrap();
        network.gpu().write(buf, 0, bytemuck::cast_slice(&words)).unwrap();
    }
    let layout = network.layout();
    let (v, mut state) = (initial(layout, 3), vec![0f32; layout.state_len as usize]);
    for (name, entry) in layout.running().filter(|(name, _)| name.ends_with("running_var")) {
        assert!(!name.is_empty());
        entry.pack(&vec![1.0; entry.spec.len()], &mut state);
    }
    network.write_all(Buf::V, &v).unwrap();
    network.write_all(Buf::State, &state).unwrap();
    network.write_all(Buf::Grad, &vec![0f32; v.len()]).unwrap();
    network.run(child).unwrap();
    assert_eq!(network.arena_bytes(), plan.arena_bytes(), "what is allocated is what is planned");
    let log_likelihood = network.last_result(0).unwrap().log_likelihood;
    assert!(log_likelihood.iter().all(|l| l.is_finite()), "{log_likelihood:?}");
    let results = [
        network.logits(0, 0).unwrap(),
        log_likelihood,
        network.read_all(Buf::Grad).unwrap(),
        network.read_all(Buf::State).unwrap(),
    ];
    results.map(|values| values.iter().map(|x| x.to_bits()).collect()).to_vec()
}

/// The network with an uploaded batch.
pub(super) fn loaded(owned: &Owned) -> Option<Network> {
    let mut network =
        Network::new(open()?, owned.spec.image(), owned.layout.clone(), owned.lowering).unwrap();
    let (n, spec) = (owned.batch as usize, &owned.spec);
    let pixels = n * spec.in_channels * spec.height * spec.width;
    let images: Vec<f32> = (0..pixels).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let labels: Vec<u32> = (0..n).map(|i| (i % spec.n_classes) as u32).collect();
    network.upload(0, &images, &labels).unwrap();
    if owned.drop_path {
        network.upload_drop_path(&vec![1.25; 8 * spec.layers * n]).unwrap();
    }
    Some(network)
}

#[test]
fn a_poisoned_arena_changes_nothing() {
    for (i, owned) in
        random_requests(200).filter(|o| o.spec.layers <= 3 && o.mode == Mode::Train).take(4).enumerate()
    {
        let Some(mut network) = loaded(&owned) else { return };
        let spec = &owned.spec;
        let clean = bits(&mut network, &owned, 0);
        assert!(clean[2].iter().any(|g| *g != 0), "there is a gradient");
        let what = format!("case {i}, {:?}, fused: {}", spec.kind, owned.lowering.fuse);
        assert_eq!(clean, bits(&mut network, &owned, f32::NAN.to_bits()), "{what}");
        assert_eq!(spec.kind == NetworkKind::Search, clean[3].iter().all(|s| *s == 0), "{what}");
    }
}
