//! The ways of drawing the children of a step. Every way has the distribution of the prior, and strata share the
//! choices evenly.

use crate::with;
use parsec_nas::config::{Draws, Samples, TrainWeights};
use parsec_nas::search::Rules;
use parsec_nas::search::draws::draw;
use parsec_nas::space::{Chain, Darts, Primitive, Prior, Space};

use super::super::replay::distance;
use super::{all, config, run, search};

fn rules(k: u32, draws: Draws, warm_up: Option<u64>, explore: f64) -> Rules {
    let config = with(config(), |c| {
        c.algorithm.samples = Samples::Fixed(k);
        c.algorithm.draws = draws;
        c.algorithm.explore = explore;
        c.algorithm.warmup = 0.0;
    });
    Rules { warm_up, ..Rules::of(&config, 1) }
}

fn slanted(space: &dyn Space) -> Prior {
    let mut prior = Prior::uniform(space);
    for (i, logit) in prior.logits.iter_mut().flatten().enumerate() {
        *logit = (1.7 * i as f64).sin();
    }
    prior
}

/// The share of each choice of each slot in all draws of `steps` steps from `first` on.
fn shares(prior: &Prior, rules: &Rules, first: u64, steps: u64) -> Vec<Vec<f64>> {
    let mut counts: Vec<Vec<f64>> = prior.logits.iter().map(|logits| vec![0.0; logits.len()]).collect();
    let mut total = 0.0;
    for t in first..first + steps {
        for alpha in draw(prior, rules, t).alphas {
            alpha.0.iter().zip(&mut counts).for_each(|(choice, counts)| counts[usize::from(*choice)] += 1.0);
            total += 1.0;
        }
    }
    counts.iter_mut().flatten().for_each(|count| *count /= total);
    counts
}

/// In the warm-up a uniform prior draws every choice exactly equally often over whole rounds, whatever K is.
#[test]
fn a_warm_up_is_strictly_fair() {
    let cells = Darts::over(&[Primitive::SkipConnect, Primitive::SepConv3x3, Primitive::AvgPool3x3]);
    for space in [&Chain::default() as &dyn Space, &cells] {
        let prior = Prior::uniform(space);
        for k in [1, 4, 5] {
            let rules = rules(k, Draws::Stratified, Some(1000), 0.0);
            // A round has 3 draws for the chain, and 6, 9, 12 or 15 draws for cells. 180 steps are whole rounds of
            // each.
            for (slot, shares) in shares(&prior, &rules, 180, 180).iter().enumerate() {
                let fair = 1.0 / shares.len() as f64;
                assert!(shares.iter().all(|s| (s - fair).abs() < 1e-12), "K = {k}, slot {slot}: {shares:?}");
            }
        }
    }
}

/// Every way of drawing has the distribution of the prior, or of the mixture with the uniform one. Shares over many
/// steps are within five standard deviations, and strata are within two.
#[test]
fn every_way_of_drawing_has_the_prior_s_distribution() {
    let space = Chain::default();
    let prior = slanted(&space);
    let p = prior.probabilities();
    for (draws, warm_up, explore, of_sd) in [
        (Draws::Independent, Some(0), 0.0, 5.0),
        (Draws::Independent, Some(0), 0.25, 5.0),
        (Draws::Stratified, Some(0), 0.0, 2.0),
        (Draws::Stratified, Some(0), 0.25, 2.0),
        // In the warm-up a prior that is not uniform, such as a transferred one, keeps its distribution too.
        (Draws::Stratified, Some(1 << 30), 0.25, 2.0),
    ] {
        let explores = if warm_up == Some(0) { explore } else { 0.0 };
        let (k, steps) = (8, 2000);
        for (slot, shares) in shares(&prior, &rules(k, draws, warm_up, explore), 0, steps).iter().enumerate()
        {
            for (share, p) in shares.iter().zip(&p[slot]) {
                let q = (1.0 - explores) * p + explores / 3.0;
                let sd = (q * (1.0 - q) / (f64::from(k) * steps as f64)).sqrt();
                assert!((share - q).abs() < of_sd * sd, "{draws}, slot {slot}: {share} for {q} ({sd})");
            }
        }
    }
}

/// With strata the choices of two slots stay independent, so that the mean of any function of a child is its mean under
/// the prior.
#[test]
fn strata_leave_slots_independent() {
    let prior = slanted(&Chain::default());
    let p = prior.probabilities();
    let rules = rules(6, Draws::Stratified, Some(0), 0.0);
    let (mut both, mut n) = ([[0.0; 3]; 3], 0.0);
    for t in 0..4000 {
        for alpha in draw(&prior, &rules, t).alphas {
            both[usize::from(alpha.0[2])][usize::from(alpha.0[5])] += 1.0;
            n += 1.0;
        }
    }
    for (a, row) in both.iter().enumerate() {
        for (b, count) in row.iter().enumerate() {
            let q = p[2][a] * p[5][b];
            let sd = (q * (1.0 - q) / n).sqrt();
            assert!((count / n - q).abs() < 5.0 * sd, "{a}, {b}: {} for {q}", count / n);
        }
    }
}

/// Independent draws, as in the paper, are the draws of version 0.1.0: each child has its own stream, and all ratios
/// are 1.
#[test]
fn independent_draws_are_those_of_before() {
    use parsec_nas::rng::{Purpose, stream};
    let prior = slanted(&Chain::default());
    let drawn = draw(&prior, &rules(3, Draws::Independent, Some(9), 0.0), 5);
    let own = |k| prior.sample(&mut stream(config().session.seed, Purpose::Sample, 5, k));
    assert_eq!(drawn.alphas, [own(0), own(1), own(2)]);
    assert_eq!(drawn.ratios, [1.0; 3]);
}

/// In the warm-up all children train v alike, and no likelihood is computed on the search batch.
#[test]
fn a_warm_up_by_part_trains_all_children_alike() {
    let warm = with(config(), |c| {
        c.algorithm.warmup = 0.5;
        c.algorithm.draws = Draws::Stratified;
    });
    let Some(mut one) = search(warm.clone()) else { return };
    let records = run(&mut one, 4);
    let waits: Vec<bool> = records.iter().map(|r| r.warm_up).collect();
    assert_eq!(waits, [true, true, false, false]);
    for record in &records[..2] {
        assert_eq!(record.weights, [1.0 / 3.0; 3]);
        assert_eq!((record.skipped, record.log_likelihood.len(), record.alpha.len()), (0, 3, 3));
        // The likelihoods are those of the train batch, so their mean over the children is the loss.
        let mean = record.log_likelihood.iter().sum::<f64>() / 3.0;
        assert!((record.train_loss + mean / 8.0).abs() < 1e-12, "{} {mean}", record.train_loss);
        assert!(record.entropy.values().sum::<f64>() > 0.0);
    }
    assert_ne!(records[2].weights, [1.0 / 3.0; 3]);

    // The setting `train_weights` does not change the warm-up, which is the first two steps.
    let uniform = with(warm, |c| c.algorithm.train_weights = TrainWeights::Uniform);
    let Some(mut other) = search(uniform) else { return };
    let again = run(&mut other, 3);
    assert_eq!(again[..2], records[..2]);
    // After the warm-up the weights for π are still the same, but the update of v is different.
    assert_eq!(again[2].weights, records[2].weights);
    let (a, b) = (one.snapshot().unwrap(), other.snapshot().unwrap());
    assert!(distance(&all(&a, "v."), &all(&b, "v.")) > 0.0);
}

/// The log-likelihoods of a larger search batch are sums over all of its images, whole or in micro-batches.
#[test]
fn a_search_batch_of_its_own_size() {
    let Some(mut small) = search(config()) else { return };
    let mut large = search(with(config(), |c| c.algorithm.search_batch = Some(24))).unwrap();
    let (a, b) = (run(&mut small, 1), run(&mut large, 1));
    assert_eq!(a[0].alpha, b[0].alpha);
    for (few, many) in a[0].log_likelihood.iter().zip(&b[0].log_likelihood) {
        assert!((many / few - 3.0).abs() < 0.2, "{many} of 24 images, {few} of 8");
    }
    assert!(b[0].accuracy <= 1.0);
    let mut parts = search(with(config(), |c| {
        c.algorithm.search_batch = Some(24);
        c.execution.micro_batch = Some(4);
    }))
    .unwrap();
    let c = run(&mut parts, 1);
    for (whole, parts) in b[0].log_likelihood.iter().zip(&c[0].log_likelihood) {
        assert!((whole / parts - 1.0).abs() < 0.1, "{whole} {parts}");
    }
}
