//! The end of a search: the limit on identities in the result, and the end after π has settled.

use crate::with;
use parsec_nas::run::Job;
use parsec_nas::space::{Alpha, Chain, Darts, Primitive, Prior, Space};
use proptest::prelude::*;

use super::{config, peaked, run, search};

/// The log-probability of the most probable architecture with at most `most` identities in a group, found by trying all
/// architectures.
fn by_trying(space: &dyn Space, prior: &Prior, most: usize) -> f64 {
    let mut all = vec![Vec::new()];
    for slot in space.slots() {
        let longer = |start: &Vec<u16>| {
            let start = start.clone();
            (0..slot.n_choices as u16).map(move |choice| [start.clone(), vec![choice]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    let fits = |alpha: &Alpha| (0..space.groups().len()).all(|group| space.tally(alpha, group).skips <= most);
    all.into_iter()
        .map(Alpha)
        .filter(fits)
        .map(|alpha| prior.log_prob(&alpha))
        .fold(f64::NEG_INFINITY, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_most_probable_with_few_identities(logits in prop::collection::vec(-2.0..2.0f64, 24), most in 0..6usize) {
        let space = Chain::default();
        let mut prior = Prior::uniform(&space);
        prior.logits.iter_mut().flatten().zip(&logits).for_each(|(to, from)| *to = *from);
        let found = prior.mode_with_skips(&space, most);
        prop_assert!(space.tally(&found, 0).skips <= most);
        let best = by_trying(&space, &prior, most);
        prop_assert!((prior.log_prob(&found) - best).abs() < 1e-12, "{} for {best}", prior.log_prob(&found));
    }
}

/// The limit holds for each cell by itself. An identity without an alternative stays.
#[test]
fn identities_of_cells() {
    let space = Darts::over(&[Primitive::SkipConnect, Primitive::SepConv3x3]);
    let mut prior = Prior::uniform(&space);
    for (slot, logits) in prior.logits.iter_mut().enumerate() {
        // In every slot the identity of the first input is the most probable choice, and more so in later slots.
        logits[0] = 1.0 + slot as f64;
    }
    let skips = |alpha: &Alpha| [0, 1].map(|group| space.tally(alpha, group).skips);
    assert_eq!(skips(&prior.mode()), [8, 8]);
    let two = prior.mode_with_skips(&space, 2);
    assert_eq!(skips(&two), [2, 2]);
    for cell in [0, 8] {
        let kept: Vec<bool> =
            (0..8).map(|slot| space.is_skip(cell + slot, usize::from(two.0[cell + slot]))).collect();
        assert_eq!(kept, [false, false, false, false, false, false, true, true], "the dearest are kept");
    }
    assert_eq!(prior.mode_with_skips(&space, 8), prior.mode());
    let only = Darts::over(&[Primitive::SkipConnect]);
    let prior = Prior::uniform(&only);
    assert_eq!(prior.mode_with_skips(&only, 0), prior.mode());
}

/// If π hardly moves, the search ends after `patience` steps. The count of steps is part of the state.
#[test]
fn patience_ends_a_search() {
    let patient = with(config(), |c| {
        c.outcome.patience = 3;
        c.prior.prior_lr = 1e-9;
        c.length.steps = 20;
    });
    let Some(mut one) = search(patient.clone()) else { return };
    one.set_prior(peaked(one.space(), 5.0));
    run(&mut one, 2);
    assert!(!one.has_settled() && one.total_steps() == 20);
    let middle = one.snapshot().unwrap();
    assert!(middle.contains_key("settled"));
    run(&mut one, 1);
    assert!(one.has_settled());
    assert_eq!((one.total_steps(), one.step_index()), (3, 3));

    // A search that continues from a state in the middle ends at the same step.
    let mut other = search(patient).unwrap();
    other.restore(2, &middle).unwrap();
    assert!(!other.has_settled());
    run(&mut other, 1);
    assert!(other.has_settled());

    // Without patience no steps are counted, and the state has no such tensor.
    let mut without = search(with(config(), |c| {
        c.prior.prior_lr = 1e-9;
        c.length.steps = 20;
    }))
    .unwrap();
    run(&mut without, 2);
    assert!(!without.snapshot().unwrap().contains_key("settled") && without.total_steps() == 20);
}
