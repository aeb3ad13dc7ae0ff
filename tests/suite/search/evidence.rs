//! The regression of likelihoods on choices, on children whose true effects are known.

use parsec_nas::rng::{Purpose, stream};
use parsec_nas::search::evidence::{Evidence, Seen};
use parsec_nas::space::Alpha;
use rand::RngExt;

const N_CHOICES: [usize; 3] = [2, 3, 4];
const TRUTH: [&[f64]; 3] = [&[-0.1, 0.1], &[0.2, 0.0, -0.2], &[0.05, -0.15, 0.05, 0.05]];

/// `steps` steps of `k` children. Each step has a level of its own, and each child has noise with the standard
/// deviation `noise`.
fn children(steps: u64, k: usize, noise: f64, seed: u64) -> Vec<Seen> {
    let mut rng = stream(seed, Purpose::Test, 77, 0);
    let mut seen = Vec::new();
    for step in 1..=steps {
        let level = rng.random_range(-3.0..-1.0);
        for _ in 0..k {
            let alpha: Vec<u16> = N_CHOICES.iter().map(|n| rng.random_range(0..*n as u16)).collect();
            let worth: f64 = alpha.iter().zip(TRUTH).map(|(c, effects)| effects[usize::from(*c)]).sum();
            // The sum of twelve uniform numbers has variance 1.
            let normal: f64 = (0..12).map(|_| rng.random_range(-0.5..0.5)).sum();
            seen.push(Seen { step, alpha: Alpha(alpha), score: level + worth + noise * normal });
        }
    }
    seen
}

#[test]
fn effects_are_found_within_their_errors() {
    let (mut n, mut within, mut squares) = (0, 0, 0.0);
    for seed in 0..20 {
        let found = Evidence::of(&N_CHOICES, &children(100, 4, 0.1, seed)).unwrap();
        assert_eq!(found.n_children, 400);
        assert!((found.noise - 0.1).abs() < 0.015, "{}", found.noise);
        assert!(found.agreement.unwrap() > 0.95, "{:?}", found.agreement);
        for (effects, truth) in found.effects.iter().zip(TRUTH) {
            assert!(effects.iter().map(|e| e.effect).sum::<f64>().abs() < 1e-12);
            assert_eq!(effects.iter().map(|e| e.n).sum::<usize>(), 400);
            for (effect, truth) in effects.iter().zip(truth) {
                assert!(effect.error > 0.002 && effect.error < 0.02, "{effect:?}");
                let deviation = (effect.effect - truth) / effect.error;
                n += 1;
                within += usize::from(deviation.abs() < 1.96);
                squares += deviation * deviation;
            }
        }
    }
    // The errors are right: about 95 % of the intervals contain the truth, and deviations have the size of the errors.
    let (share, size) = (f64::from(within as u32) / f64::from(n), (squares / f64::from(n)).sqrt());
    assert!(share > 0.88 && (0.7..1.3).contains(&size), "{share} {size}");
}

/// The advantage of an architecture is the sum of its effects. Its error includes the covariance of the effects.
#[test]
fn an_architecture_s_advantage() {
    let (mut squares, repeats) = (0.0, 40);
    for seed in 0..repeats {
        let found = Evidence::of(&N_CHOICES, &children(60, 3, 0.1, seed)).unwrap();
        let (advantage, error) = found.advantage(&Alpha(vec![1, 0, 2]));
        let sum = found.effects[0][1].effect + found.effects[1][0].effect + found.effects[2][2].effect;
        assert!((advantage - sum).abs() < 1e-12);
        squares += ((advantage - 0.35) / error).powi(2);
    }
    let size = (squares / repeats as f64).sqrt();
    assert!((0.6..1.5).contains(&size), "{size}");
}

#[test]
fn noise_alone_does_not_agree_with_itself() {
    let mut mean = 0.0;
    for seed in 0..20 {
        let mut seen = children(50, 4, 0.1, seed);
        let mut rng = stream(seed, Purpose::Test, 78, 0);
        seen.iter_mut().for_each(|s| s.score = rng.random_range(-1.0..1.0));
        let found = Evidence::of(&N_CHOICES, &seen).unwrap();
        mean += found.agreement.unwrap() / 20.0;
        let (advantage, error) = found.advantage(&Alpha(vec![1, 0, 2]));
        assert!(advantage.abs() < 5.0 * error, "{advantage} {error}");
    }
    assert!(mean.abs() < 0.25, "{mean}");
}

/// One slot has two choices, and each step has one child of each choice. The effect is then half of a mean difference,
/// apart from the ridge.
#[test]
fn two_choices_by_hand() {
    let pair = |step: u64, a: f64, b: f64| {
        [(0, a), (1, b)].map(|(choice, score)| Seen { step, alpha: Alpha(vec![choice]), score })
    };
    let seen: Vec<Seen> = [pair(1, 1.0, 2.0), pair(2, 0.0, 1.5), pair(3, 5.0, 5.5)].concat();
    let found = Evidence::of(&[2], &seen).unwrap();
    // The differences are 1, 1.5 and 0.5, with the sum 3. The sum divided by 4 (three steps and a ridge of 1) is 0.75.
    // Each choice gets half of this.
    assert!(
        (found.effects[0][1].effect - 0.375).abs() < 1e-12
            && (found.effects[0][0].effect + 0.375).abs() < 1e-12
    );
    assert_eq!([found.effects[0][0].n, found.effects[0][1].n], [3, 3]);
}

#[test]
fn nothing_compared_is_no_evidence() {
    let same = |step| Seen { step, alpha: Alpha(vec![1, 2, 3]), score: -1.0 };
    assert_eq!(Evidence::of(&N_CHOICES, &[]), None);
    assert_eq!(Evidence::of(&N_CHOICES, &[same(1), same(2)]), None, "one child a step");
    assert_eq!(Evidence::of(&N_CHOICES, &[same(1), same(1)]), None, "equal children");
}
