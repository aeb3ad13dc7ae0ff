//! A loss that is not finite stops a search and leaves its state unchanged. Extents that cannot be built are refused.

use std::sync::Arc;

use crate::with;
use parsec_nas::config::Config;
use parsec_nas::data::{Dataset, Images, Normalisation};
use parsec_nas::gpu::{Network, Update};
use parsec_nas::graph::Lowering;
use parsec_nas::kernel::Buf;
use parsec_nas::search::{Search, Settings};
use parsec_nas::space::{Genotype, Primitive};
use parsec_nas::space::{NetworkKind, StemKind};
use parsec_nas::{Error, Result};

use super::super::replay::open;
use super::{config, dataset, run, search};
use crate::nets::Cells;

fn non_finite<T>(result: Result<T>, at: u64) {
    match result {
        Err(ref e @ Error::NonFinite { step, child, ref genotype, value }) => {
            assert_eq!(step, at);
            assert!(child < 3 && !value.is_finite());
            Genotype::parse(genotype).unwrap();
            let text = e.to_string();
            for word in [&format!("step {at}"), genotype, "--lr", "untouched"] {
                assert!(text.contains(word), "expected {word:?} in {text:?}");
            }
            assert_eq!(e.exit_code(), 1);
        }
        Err(e) => panic!("expected a loss that is no number, got {e}"),
        Ok(_) => panic!("expected a loss that is no number"),
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_search_before_anything_changes() {
    let Some(mut healthy) = search(config()) else { return };
    let records = run(&mut healthy, 2);
    let end = healthy.snapshot().unwrap();

    let mut broken = search(config()).unwrap();
    run(&mut broken, 1);
    let good = broken.network().read_all(Buf::V).unwrap();
    for value in [f32::NAN, f32::INFINITY] {
        broken.network().write_all(Buf::V, &vec![value; good.len()]).unwrap();
        let mut before = broken.snapshot().unwrap();
        before.retain(|name, _| !name.starts_with("v."));
        non_finite(broken.step(), 2);
        let mut after = broken.snapshot().unwrap();
        after.retain(|name, _| !name.starts_with("v."));
        assert_eq!(before, after);
        assert_eq!(broken.steps_done(), 1);
    }
    // With the old weights restored, the search continues as if there had been no failure.
    broken.network().write_all(Buf::V, &good).unwrap();
    assert_eq!(run(&mut broken, 1), records[1..]);
    assert_eq!(broken.snapshot().unwrap(), end);
}

#[test]
fn a_learning_rate_far_too_high_ends_in_that_error_with_the_state_of_the_last_good_step() {
    let Some(mut search) = search(with(config(), |c| {
        c.sgd.lr = 1e30;
        c.sgd.lr_min = 1e30;
        c.length.steps = 20;
    })) else {
        return;
    };
    for step in 1..=20 {
        let before = search.snapshot().unwrap();
        let result = search.step();
        if result.is_err() {
            non_finite(result, step);
            assert_eq!(before, search.snapshot().unwrap());
            assert_eq!(search.steps_done(), step - 1);
            return;
        }
    }
    panic!("twenty steps at a learning rate of 1e30");
}

/// A gradient that is not finite does not change v and momentum, and is discarded.
#[test]
fn a_gradient_that_is_no_number_is_not_applied() {
    let Some(gpu) = open() else { return };
    let spec = Cells {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: 1,
        height: 8,
        width: 8,
        n_classes: 3,
        layers: 3,
        channels: 2,
        auxiliary: false,
    };
    let layout = parsec_nas::graph::Layout::new(spec.params(None, &[Primitive::SkipConnect])).unwrap();
    let mut network = Network::new(gpu, spec.image(), layout, Lowering::default()).unwrap();
    let n = network.layout().v_len as usize;
    let (v, momentum) = (vec![0.5; n], vec![0.25; n]);
    network.write_all(Buf::V, &v).unwrap();
    network.write_all(Buf::Momentum, &momentum).unwrap();
    let update = Update { lr: 0.1, momentum: 0.9, weight_decay: 0.01, max_norm: 5.0 };
    // The square of 1e30 is infinite in f32.
    for value in [f32::NAN, f32::NEG_INFINITY, 1e30] {
        let mut gradient = vec![0.0; n];
        gradient[n / 3] = value;
        network.write_all(Buf::Grad, &gradient).unwrap();
        network.step(update).unwrap();
        assert!(!network.clip().unwrap().norm.is_finite());
        assert_eq!(network.read_all(Buf::V).unwrap(), v);
        assert_eq!(network.read_all(Buf::Momentum).unwrap(), momentum);
        assert!(network.read_all(Buf::Grad).unwrap().iter().all(|g| *g == 0.0));
    }
    network.step(update).unwrap();
    assert_eq!(network.clip().unwrap().norm, 0.0);
    let moved = 0.5 - 0.1 * (0.9 * 0.25 + 0.01 * 0.5);
    assert!(network.read_all(Buf::V).unwrap().iter().all(|v| (v - moved).abs() < 1e-6));
}

#[test]
fn searches_that_cannot_be_built() {
    let refused = |config: Config, dataset: Arc<Dataset>| -> Option<String> {
        let normalisation = Normalisation::of(&dataset.train);
        let settings = Settings::of(config, normalisation, Lowering::default()).unwrap();
        let error = Search::new(settings, dataset, open()?).err().unwrap();
        assert_eq!(error.exit_code(), 2, "{error}");
        Some(error.to_string())
    };
    let all = dataset();
    let Some(text) = refused(with(config(), |c| c.length.batch = 25), all.clone()) else { return };
    assert!(text.contains("--batch") && text.contains("1 to 24") && text.contains("25"), "{text}");
    let text = refused(with(config(), |c| c.network.channels = 5), all.clone()).unwrap();
    assert!(text.contains("channels") && text.contains("even"), "{text}");
    let cut = |images: &Images| {
        let rows = images.bytes().chunks_exact(28 * 28).flat_map(|image| image[..26 * 28].to_vec());
        Images { height: 26, pixels: rows.collect::<Vec<u8>>().into(), ..images.clone() }
    };
    let odd = Dataset { train: cut(&all.train), test: cut(&all.test), ..(*all).clone() };
    let text = refused(config(), Arc::new(odd)).unwrap();
    assert!(text.contains("26x28") && text.contains("multiples of 4"), "{text}");
}
