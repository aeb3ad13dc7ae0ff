//! The importance-weighted estimator of ∇_π log p(y|X, π) against exact enumeration, on a space whose
//! likelihood depends on two nodes of the normal cell only: 4 · 9 architectures that differ.

use parsec_nas::config::Baseline;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::search::importance::{corrected, weights};
use parsec_nas::search::prior_update::{Adam, Moments, ascend, gradient};
use parsec_nas::space::prior::PerSlot;
use parsec_nas::space::{Alpha, Darts, Primitive, Prior};
use rand::RngExt;

use super::super::replay::{distance, norm};

fn space() -> Darts {
    Darts::over(&[Primitive::SepConv3x3])
}

/// All choices of both slots of nodes 0 and 1 of the normal cell. The other slots are as in `rest`.
fn architectures(rest: Alpha) -> Vec<Alpha> {
    let mut list = Vec::new();
    for i in 0..36u16 {
        let mut alpha = rest.clone();
        alpha.0[..4].copy_from_slice(&[i % 2, i / 2 % 2, i / 4 % 3, i / 12]);
        list.push(alpha);
    }
    list
}

/// A log-likelihood that is no sum over slots.
fn log_lik(alpha: &Alpha) -> f64 {
    let [a, b, c, d] = [0, 1, 2, 3].map(|slot: usize| f64::from(alpha.0[slot]));
    -500.0 + 1.3 * a - 0.7 * b + 0.9 * c * (1.0 - a) - 0.6 * d * d + 1.1 * f64::from(u8::from(a == b)) * c
}

fn log_liks(alphas: &[Alpha]) -> Vec<f64> {
    alphas.iter().map(log_lik).collect()
}

fn flat(values: &PerSlot) -> Vec<f64> {
    values.concat()
}

fn zero() -> Alpha {
    Alpha(vec![0; 16])
}

/// A prior whose probabilities are no round numbers.
fn prior() -> Prior {
    let mut prior = Prior::uniform(&space());
    for (i, logit) in prior.logits.iter_mut().flatten().enumerate() {
        *logit = (1.7 * i as f64).sin();
    }
    prior
}

/// log p(y|X, π) = log Σ_α p(α|π) p(y|X, α), over the nodes that matter.
fn log_marginal(prior: &Prior) -> f64 {
    let slot = |slot: usize, chosen: u16| {
        let logits = &prior.logits[slot];
        logits[usize::from(chosen)] - logits.iter().map(|l| l.exp()).sum::<f64>().ln()
    };
    let terms = architectures(zero()).into_iter().map(|alpha| {
        let log_p: f64 = (0..4).map(|s| slot(s, alpha.0[s])).sum();
        (log_p + log_lik(&alpha) + 500.0).exp()
    });
    terms.sum::<f64>().ln() - 500.0
}

/// The exact gradient of [`log_marginal`] by central differences, which is an independent formula.
fn exact(prior: &Prior) -> Vec<f64> {
    let mut gradient = Moments::zeros(prior).m;
    let mut moved = prior.clone();
    for (slot, g) in gradient.iter_mut().enumerate() {
        for (i, g) in g.iter_mut().enumerate() {
            let at = prior.logits[slot][i];
            let mut value = |logit: f64| {
                moved.logits[slot][i] = logit;
                log_marginal(&moved)
            };
            *g = (value(at + 1e-5) - value(at - 1e-5)) / 2e-5;
            moved.logits[slot][i] = at;
        }
    }
    flat(&gradient)
}

fn estimate(prior: &Prior, alphas: &[Alpha], baseline: Baseline) -> Vec<f64> {
    flat(&gradient(prior, alphas, &weights(&log_liks(alphas), 1.0), baseline, &[]))
}

/// The gradient for the slots on which the likelihood depends.
fn of_varied_slots(prior: &Prior, gradient: &[f64]) -> Vec<f64> {
    gradient[..prior.logits[..4].iter().map(Vec::len).sum()].to_vec()
}

/// If a sample has every architecture in proportion to its probability under π, the estimator is the exact gradient,
/// and the weights are the posterior.
#[test]
fn a_sample_in_the_prior_s_proportions_is_exact() {
    let mut prior = Prior::uniform(&space());
    // Probabilities 1/4, 3/4 | 1/3, 2/3 | 1/4, 1/4, 1/2 | 1/5, 1/5, 3/5.
    let counts = [vec![1, 3], vec![1, 2], vec![1, 1, 2], vec![1, 1, 3]];
    for (logits, counts) in prior.logits.iter_mut().zip(&counts) {
        *logits = counts.iter().map(|n| f64::from(*n).ln()).collect();
    }
    let mut alphas = Vec::new();
    for alpha in architectures(zero()) {
        let times: i32 = (0..4).map(|s| counts[s][usize::from(alpha.0[s])]).product();
        alphas.extend(std::iter::repeat_n(alpha, times as usize));
    }
    assert_eq!(alphas.len(), 4 * 3 * 4 * 5);
    let wanted = of_varied_slots(&prior, &exact(&prior));
    for baseline in [Baseline::None, Baseline::Mean] {
        let found = of_varied_slots(&prior, &estimate(&prior, &alphas, baseline));
        assert!(distance(&found, &wanted) < 1e-7 * norm(&wanted), "{found:?} {wanted:?}");
    }
    let w = weights(&log_liks(&alphas), 1.0);
    let marginal = log_marginal(&prior);
    for (alpha, w) in alphas.iter().zip(&w) {
        // p(α|y) = p(y|α) p(α) / p(y). Each copy is one of 240 equally likely draws.
        let posterior = (log_lik(alpha) - marginal).exp() / 240.0;
        assert!((w - posterior).abs() < 1e-12);
    }
}

/// K architectures from the prior, as a search draws them.
fn drawn(prior: &Prior, k: u64, repeat: u64) -> Vec<Alpha> {
    (0..k).map(|i| prior.sample(&mut stream(repeat, Purpose::Test, 53, i))).collect()
}

/// Self-normalised weights are biased for small K. The bias falls with 1/K, and the error of one estimate with 1/√K, so
/// that sixteen times the children give a quarter of the error.
#[test]
fn the_estimator_converges_to_the_exact_gradient() {
    let prior = prior();
    let wanted = exact(&prior);
    let one = |k, repeat| estimate(&prior, &drawn(&prior, k, repeat), Baseline::None);
    let mean_error = |k: u64| {
        let errors = (0..8).map(|repeat| distance(&one(k, repeat), &wanted));
        errors.sum::<f64>() / 8.0 / norm(&wanted)
    };
    let [few, some, many] = [16, 256, 4096].map(mean_error);
    assert!(some < 0.5 * few && many < 0.5 * some && many < 0.3, "{few} {some} {many}");

    let bias = |k: u64, repeats: u64| {
        let mut mean = vec![0.0; wanted.len()];
        for repeat in 0..repeats {
            mean.iter_mut().zip(one(k, repeat)).for_each(|(m, g)| *m += g / repeats as f64);
        }
        let [mean, wanted] = [mean, wanted.clone()].map(|g| of_varied_slots(&prior, &g));
        distance(&mean, &wanted) / norm(&wanted)
    };
    let [rough, fine] = [bias(16, 1000), bias(256, 250)];
    assert!(fine < 0.1 && fine < 0.4 * rough, "bias {rough} at K = 16, {fine} at K = 256");
}

/// The exact expectation over all pairs of children (K = 2), with and without the baseline.
#[test]
fn the_baseline_leaves_the_expectation_and_lowers_the_variance() {
    let prior = prior();
    let all = architectures(zero());
    // The probabilities of the fixed slots are left out.
    let of_choice = prior.probabilities();
    let p: Vec<f64> =
        all.iter().map(|a| (0..4).map(|s| of_choice[s][usize::from(a.0[s])]).product()).collect();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let moments = |baseline: Baseline| {
        let (mut mean, mut square) = (Vec::new(), 0.0);
        for (a, p_a) in all.iter().zip(&p) {
            for (b, p_b) in all.iter().zip(&p) {
                let g = of_varied_slots(&prior, &estimate(&prior, &[a.clone(), b.clone()], baseline));
                mean.resize(g.len(), 0.0);
                mean.iter_mut().zip(&g).for_each(|(m, g)| *m += p_a * p_b * g);
                square += p_a * p_b * norm(&g).powi(2);
            }
        }
        let variance = square - norm(&mean).powi(2);
        (mean, variance)
    };
    let (mean, variance) = moments(Baseline::None);
    let (mean_with, variance_with) = moments(Baseline::Mean);
    assert!(norm(&mean) > 0.05 && distance(&mean, &mean_with) < 1e-12);
    assert!(variance_with < variance, "{variance_with} against {variance}");
}

/// The children are drawn from q = (1 − ε) π + ε uniform, and their weights are corrected. A sample in the proportions
/// of q gives the exact gradient, and the weights are the posterior.
#[test]
fn a_sample_in_the_mixture_s_proportions_is_exact() {
    let mut prior = Prior::uniform(&space());
    // π: 1/4, 3/4 | 1/4, 3/4 | 1/6, 1/6, 2/3 | 1/6, 1/6, 2/3; half of each and half uniform:
    // q: 3/8, 5/8 | 3/8, 5/8 | 1/4, 1/4, 1/2 | 1/4, 1/4, 1/2.
    let pi = [
        vec![0.25, 0.75],
        vec![0.25, 0.75],
        vec![1.0 / 6.0, 1.0 / 6.0, 2.0 / 3.0],
        vec![1.0 / 6.0, 1.0 / 6.0, 2.0 / 3.0],
    ];
    for (logits, p) in prior.logits.iter_mut().zip(&pi) {
        *logits = p.iter().map(|p: &f64| p.ln()).collect();
    }
    let counts = [vec![3, 5], vec![3, 5], vec![1, 1, 2], vec![1, 1, 2]];
    let (mut alphas, mut ratios) = (Vec::new(), Vec::new());
    for alpha in architectures(zero()) {
        let choices = (0..4).map(|s| (s, usize::from(alpha.0[s])));
        let times: i32 = choices.clone().map(|(s, c)| counts[s][c]).product();
        let q = |s: usize, c: usize| f64::from(counts[s][c]) / f64::from(counts[s].iter().sum::<i32>());
        let ratio: f64 = choices.map(|(s, c)| pi[s][c] / q(s, c)).product();
        // The ratio that the program computes. u is in the middle of the interval of the choice.
        let middle = |slot: usize, _: usize| {
            let c = usize::from(alpha.0[slot.min(15)]);
            let before: f64 = if slot < 4 { (0..c).map(|i| q(slot, i)).sum() } else { 0.0 };
            if slot < 4 { before + 0.5 * q(slot, c) } else { 0.0 }
        };
        let (same, of_program) = prior.at(0.5, middle);
        assert_eq!(same.0[..4], alpha.0[..4]);
        assert!((of_program - ratio).abs() < 1e-12, "{of_program} {ratio}");
        alphas.extend(std::iter::repeat_n(alpha, times as usize));
        ratios.extend(std::iter::repeat_n(ratio, times as usize));
    }
    let wanted = of_varied_slots(&prior, &exact(&prior));
    let w = corrected(&log_liks(&alphas), 1.0, &ratios);
    assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    for baseline in [Baseline::None, Baseline::Mean] {
        let found = of_varied_slots(&prior, &flat(&gradient(&prior, &alphas, &w, baseline, &ratios)));
        assert!(distance(&found, &wanted) < 1e-7 * norm(&wanted), "{found:?} {wanted:?}");
    }
    let marginal = log_marginal(&prior);
    let n: f64 = 64.0 * 16.0;
    for ((alpha, w), ratio) in alphas.iter().zip(&w).zip(&ratios) {
        assert!((w - (log_lik(alpha) - marginal).exp() * ratio / n).abs() < 1e-12);
    }
    // Without the correction the gradient is another one.
    let plain = of_varied_slots(&prior, &estimate(&prior, &alphas, Baseline::None));
    assert!(distance(&plain, &wanted) > 0.05 * norm(&wanted));
}

/// The exact expectation over all pairs of children from q. The baseline (1/K) π/q does not change the expectation.
#[test]
fn the_baseline_of_a_mixture_has_mean_zero() {
    let prior = prior();
    let all = architectures(zero());
    let p = prior.probabilities();
    let epsilon = 0.3;
    let q_of = |s: usize, c: usize| (1.0 - epsilon) * p[s][c] + epsilon / p[s].len() as f64;
    let choices = |a: &Alpha| (0..4).map(|s| (s, usize::from(a.0[s]))).collect::<Vec<_>>();
    let q: Vec<f64> = all.iter().map(|a| choices(a).iter().map(|&(s, c)| q_of(s, c)).product()).collect();
    let ratio: Vec<f64> =
        all.iter().map(|a| choices(a).iter().map(|&(s, c)| p[s][c] / q_of(s, c)).product()).collect();
    assert!((q.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let mean = |baseline: Baseline| {
        let mut mean = vec![0.0; 10];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                let (pair, ratios) = ([a.clone(), b.clone()], [ratio[i], ratio[j]]);
                let w = corrected(&log_liks(&pair), 1.0, &ratios);
                let g = of_varied_slots(&prior, &flat(&gradient(&prior, &pair, &w, baseline, &ratios)));
                mean.iter_mut().zip(&g).for_each(|(m, g)| *m += q[i] * q[j] * g);
            }
        }
        mean
    };
    let [plain, with] = [Baseline::None, Baseline::Mean].map(mean);
    assert!(norm(&plain) > 0.05 && distance(&plain, &with) < 1e-12, "{plain:?} {with:?}");
}

/// Ascending the exact gradient with Adam raises the evidence.
#[test]
fn ascending_raises_the_evidence() {
    let (mut prior, adam) = (Prior::uniform(&space()), Adam { lr: 0.05, beta1: 0.5, beta2: 0.999 });
    let mut moments = Moments::zeros(&prior);
    let before = log_marginal(&prior);
    for t in 1..=100 {
        let alphas = drawn(&prior, 64, t);
        let g = gradient(&prior, &alphas, &weights(&log_liks(&alphas), 1.0), Baseline::None, &[]);
        ascend(&mut prior, &mut moments, &g, t, adam);
    }
    let best = architectures(zero()).iter().map(log_lik).fold(f64::NEG_INFINITY, f64::max);
    let after = log_marginal(&prior);
    assert!(after > before + 0.8 * (best - before), "{before} → {after}, at most {best}");
    let mode = prior.mode();
    assert_eq!(log_lik(&mode), best, "the mode is the most likely architecture");
}

#[test]
fn adam_is_the_reference_s() {
    use parsec_nas::reference::adam;
    let mut rng = stream(1, Purpose::Test, 54, 0);
    let mut prior = prior();
    let mut moments = Moments::zeros(&prior);
    let (mut x, mut m, mut v) = (flat(&prior.logits), flat(&moments.m), flat(&moments.v));
    let settings = adam::Adam { lr: 0.03, betas: (0.5, 0.999), eps: 1e-8 };
    for t in 1..=20 {
        let mut g = Moments::zeros(&prior).m;
        g.iter_mut().flatten().for_each(|g| *g = rng.random_range(-1.0..1.0));
        if t == 7 {
            g[0][0] = 0.0;
        }
        ascend(&mut prior, &mut moments, &g, t, Adam { lr: 0.03, beta1: 0.5, beta2: 0.999 });
        adam::ascend(&mut x, &mut m, &mut v, &flat(&g), t, settings);
        assert!(distance(&flat(&prior.logits), &x) < 1e-14 * norm(&x));
        assert!(distance(&flat(&moments.m), &m) < 1e-14 && distance(&flat(&moments.v), &v) < 1e-14);
    }
}
