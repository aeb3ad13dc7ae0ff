//! The best architecture according to the likelihoods of children, on likelihoods whose truth is known.

use parsec_nas::rng::{Purpose, stream};
use parsec_nas::search::best::best;
use parsec_nas::search::evidence::{Evidence, Seen};
use parsec_nas::space::chain::CHOICES;
use parsec_nas::space::{Alpha, Chain, Darts, Prior, Space};
use rand::RngExt;

/// `n_steps` steps of `k` children that are drawn uniformly. The score of a child is its `truth`, plus noise of up to
/// `noise`, plus a number for the whole step.
fn drawn(
    space: &dyn Space,
    n_steps: u64,
    k: u32,
    noise: f64,
    seed: u64,
    truth: impl Fn(&Alpha) -> f64,
) -> Vec<Seen> {
    let prior = Prior::uniform(space);
    let mut rng = stream(seed, Purpose::Test, 80, 0);
    let mut seen = Vec::new();
    for step in 1..=n_steps {
        // All children of a step have this number in common, so the number must not matter.
        let batch: f64 = rng.random_range(-5.0..5.0);
        for _ in 0..k {
            let alpha = prior.sample(&mut rng);
            let score =
                truth(&alpha) + batch + if noise > 0.0 { rng.random_range(-noise..noise) } else { 0.0 };
            seen.push(Seen { step, alpha, score });
        }
    }
    seen
}

/// If every chain is seen without noise and effects are additive, the best chain is found. All chains are enumerated.
#[test]
fn the_best_of_all_chains_is_found() {
    let chain = Chain::over(&[2, 2], &CHOICES, None);
    for seed in 0..20 {
        let mut rng = stream(seed, Purpose::Test, 81, 0);
        let worth: Vec<[f64; 3]> = (0..4).map(|_| [(); 3].map(|()| rng.random_range(0.0..1.0))).collect();
        let truth = |alpha: &Alpha| alpha.0.iter().zip(&worth).map(|(c, w)| w[usize::from(*c)]).sum::<f64>();
        let all: Vec<Alpha> =
            (0..81u16).map(|i| Alpha((0..4).map(|slot| i / 3u16.pow(slot) % 3).collect())).collect();
        let step = |step: u64| all.iter().map(move |alpha| (step, alpha.clone()));
        let seen: Vec<Seen> =
            (1..=2).flat_map(step).map(|(step, alpha)| Seen { step, score: truth(&alpha), alpha }).collect();
        let found = best(&chain, &seen, None).unwrap();
        let wanted = all.iter().max_by(|a, b| truth(a).total_cmp(&truth(b))).unwrap();
        assert_eq!(&found.alpha, wanted);
        assert!(found.prediction > 0.999 && found.n_children == 162, "{found:?}");
    }
}

/// A primitive with a small effect in every slot of a cell is found by the effect that the slots share. The effects of
/// single choices are smaller than the noise.
#[test]
fn choices_lend_their_kin_strength() {
    let cells = Darts::default();
    let wanted = "sep_conv_5x5(";
    let chosen = |alpha: &Alpha, group: usize| {
        let slots = alpha.0.iter().enumerate().filter(|(slot, _)| cells.slots()[*slot].group == group);
        slots
            .filter(|(slot, choice)| cells.choice_name(*slot, usize::from(**choice)).starts_with(wanted))
            .count()
    };
    let (mut by_kin, mut alone) = (0, 0);
    for seed in 0..4 {
        let seen = drawn(&cells, 150, 4, 0.15, seed, |alpha| 0.02 * chosen(alpha, 1) as f64);
        by_kin += chosen(&best(&cells, &seen, None).unwrap().alpha, 1);
        let n_choices: Vec<usize> = cells.slots().iter().map(|slot| slot.n_choices).collect();
        let effects = Evidence::of(&n_choices, &seen).unwrap().effects;
        let largest = effects.iter().map(|slot| {
            (0..slot.len()).max_by(|a, b| slot[*a].effect.total_cmp(&slot[*b].effect)).unwrap() as u16
        });
        alone += chosen(&Alpha(largest.collect()), 1);
    }
    assert!(by_kin >= 28 && by_kin > alone + 8, "of 32 slots {by_kin} with their kin, {alone} alone");
}

#[test]
fn identities_are_limited_and_nothing_comes_of_nothing() {
    let chain = Chain::default();
    // Identities are the best choices here.
    let skips = |alpha: &Alpha| alpha.0.iter().filter(|choice| **choice == 0).count();
    let seen = drawn(&chain, 60, 4, 0.0, 0, |alpha| skips(alpha) as f64 + 0.1 * f64::from(alpha.0[0]));
    assert_eq!(skips(&best(&chain, &seen, None).unwrap().alpha), 8);
    let limited = best(&chain, &seen, Some(3)).unwrap().alpha;
    // With stride 2 the choice `identity` is no skip.
    let n_skips = (0..8).filter(|slot| chain.is_skip(*slot, usize::from(limited.0[*slot]))).count();
    assert_eq!((skips(&limited), n_skips), (6, 3));

    // The order of the children of a step does not matter.
    let mut turned = seen.clone();
    turned.chunk_by_mut(|a, b| a.step == b.step).for_each(<[Seen]>::reverse);
    assert_eq!(best(&chain, &turned, Some(3)).unwrap().alpha, limited);

    assert_eq!(best(&chain, &[], None), None);
    let single = drawn(&chain, 10, 1, 0.1, 0, |_| 0.0);
    assert_eq!(best(&chain, &single, None), None, "one child a step has none to be compared with");
    let equal: Vec<Seen> = (0..4).map(|_| Seen { step: 1, alpha: Alpha(vec![1; 8]), score: 1.0 }).collect();
    assert_eq!(best(&chain, &equal, None), None);
}

/// An operation that is drawn twice is one operation. If this is worth less, another choice replaces one of the two.
#[test]
fn an_operation_is_not_drawn_twice_where_that_is_worth_less() {
    let cells = Darts::default();
    let twice = |alpha: &Alpha| alpha.0.chunks(2).filter(|node| node[0] == node[1]).count();
    let good = |alpha: &Alpha| {
        let named = |(slot, choice): (usize, &u16)| {
            cells.choice_name(slot, usize::from(*choice)).starts_with("sep_conv_5x5(k-2")
        };
        alpha.0.iter().enumerate().filter(|choice| named(*choice)).count()
    };
    for (cost, wanted) in [(0.0, 8), (0.3, 0)] {
        let truth = |alpha: &Alpha| 0.1 * good(alpha) as f64 - cost * twice(alpha) as f64;
        let seen = drawn(&cells, 400, 4, 0.05, 5, truth);
        let alpha = best(&cells, &seen, None).unwrap().alpha;
        assert_eq!(twice(&alpha), wanted, "cost {cost}: {}", cells.print(&alpha));
        assert!(good(&alpha) >= 8, "{}", cells.print(&alpha));
    }
}
