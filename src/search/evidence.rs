//! All children that a search saw → the effect of each choice.
//!
//! The likelihood of a child minus the mean of its step is regressed on its choices: ℓ_tk − ℓ̄_t = Σ_s (β_s(α_tk) −
//! mean over the step) + noise. The regression uses all K children of every step, whereas importance weights use almost
//! only the best child. The model is additive: if two choices have an effect only together, this effect is noise in the
//! model. A ridge of one observation without an effect keeps rarely seen choices near 0.

use super::moments::Moments;
use crate::space::Alpha;

/// A child of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The step, from 1.
    pub step: u64,
    /// Choices of the child.
    pub alpha: Alpha,
    /// Mean log-likelihood on the search batch, nats per image.
    pub score: f64,
}

/// Effect of one choice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effect {
    /// Difference from the mean over the choices of the slot, nats per image.
    pub effect: f64,
    /// Standard error of the effect.
    pub error: f64,
    /// Number of children with the choice.
    pub n: usize,
}

/// Effects of all choices.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Effects by slot and choice.
    pub effects: Vec<Vec<Effect>>,
    /// Number of children seen.
    pub n_children: usize,
    /// Standard deviation of the residuals, nats per image.
    pub noise: f64,
    /// Correlation of the effects found from the odd steps with those found from the even steps: 1 if the evidence is
    /// all signal, 0 if it is all noise. `None` if one half of the steps has no evidence.
    pub agreement: Option<f64>,
    /// Covariance of the coefficients.
    covariance: Vec<Vec<f64>>,
}

impl Evidence {
    /// The evidence of the children of a search, where slot i has `n_choices[i]` choices. `None` if no step had two
    /// different children.
    pub fn of(n_choices: &[usize], seen: &[Seen]) -> Option<Self> {
        let all = Regression::of(n_choices, seen.iter());
        let (solution, covariance) = all.solve()?;
        let of_steps = |odd: bool| {
            let half = Regression::of(n_choices, seen.iter().filter(|s| (s.step % 2 == 1) == odd));
            half.solve().map(|(beta, _)| centred(n_choices, &beta))
        };
        let agreement = of_steps(true).zip(of_steps(false)).and_then(|(a, b)| correlation(&a, &b));
        let (values, mut i) = (centred(n_choices, &solution), 0);
        let mut effects = Vec::new();
        for &n in n_choices {
            let own = i..i + n;
            let error = |at: usize| {
                let contrast = |j: usize| f64::from(u8::from(j == at)) - 1.0 / n as f64;
                let rows = own
                    .clone()
                    .map(|j| own.clone().map(|k| contrast(j) * contrast(k) * covariance[j][k]).sum::<f64>());
                rows.sum::<f64>().max(0.0).sqrt()
            };
            let effect = |at: usize| Effect { effect: values[at], error: error(at), n: all.counts[at] };
            effects.push(own.clone().map(effect).collect());
            i += n;
        }
        Some(Self {
            effects,
            n_children: all.moments.n_children,
            noise: all.noise(&solution),
            agreement,
            covariance,
        })
    }

    /// The sum of the effects of an architecture's choices, and its standard error, in nats per image. The mean over
    /// all architectures is 0.
    pub fn advantage(&self, alpha: &Alpha) -> (f64, f64) {
        let mut contrast = Vec::new();
        let mut sum = 0.0;
        for (effects, choice) in self.effects.iter().zip(&alpha.0) {
            let chosen = usize::from(*choice);
            sum += effects.get(chosen).map_or(0.0, |e| e.effect);
            let n = effects.len() as f64;
            contrast.extend((0..effects.len()).map(|i| f64::from(u8::from(i == chosen)) - 1.0 / n));
        }
        let row = |i: usize| contrast.iter().zip(&self.covariance[i]).map(|(c, v)| c * v).sum::<f64>();
        let variance: f64 = contrast.iter().enumerate().map(|(i, c)| c * row(i)).sum();
        (sum, variance.max(0.0).sqrt())
    }
}

/// The normal equations of the additive model: a feature for each choice of each slot.
struct Regression {
    moments: Moments,
    counts: Vec<usize>,
    n_slots: usize,
}

impl Regression {
    fn of<'a>(n_choices: &[usize], seen: impl Iterator<Item = &'a Seen>) -> Self {
        let starts: Vec<usize> = (0..n_choices.len()).map(|slot| n_choices[..slot].iter().sum()).collect();
        let n = n_choices.iter().sum();
        let mut r = Self { moments: Moments::zero(n), counts: vec![0; n], n_slots: n_choices.len() };
        let seen: Vec<&Seen> = seen.filter(|s| s.alpha.0.len() == starts.len()).collect();
        for step in seen.chunk_by(|a, b| a.step == b.step).filter(|step| step.len() > 1) {
            let features = |s: &&Seen| -> (Vec<usize>, f64) {
                let of_slot = |(start, choice): (&usize, &u16)| start + usize::from(*choice);
                (starts.iter().zip(&s.alpha.0).map(of_slot).collect(), s.score)
            };
            let step: Vec<_> = step.iter().map(features).collect();
            step.iter().flat_map(|(own, _)| own).for_each(|&i| r.counts[i] += 1);
            r.moments.add(&step);
        }
        r
    }

    /// Coefficients and their covariance.
    fn solve(&self) -> Option<(Vec<f64>, Vec<Vec<f64>>)> {
        if !self.moments.any_varied() {
            return None;
        }
        let mut ridged = self.moments.gram.clone();
        ridged.iter_mut().enumerate().for_each(|(i, row)| row[i] += 1.0);
        let mut inverse = inverse(ridged);
        let times = |row: &Vec<f64>| row.iter().zip(&self.moments.moment).map(|(a, b)| a * b).sum::<f64>();
        let solution: Vec<f64> = inverse.iter().map(times).collect();
        let variance = self.noise(&solution).powi(2);
        inverse.iter_mut().flatten().for_each(|x| *x *= variance);
        Some((solution, inverse))
    }

    /// Standard deviation of the residuals.
    fn noise(&self, solution: &[f64]) -> f64 {
        let explained: f64 = solution.iter().zip(&self.moments.moment).map(|(b, m)| b * m).sum();
        let free = (0..solution.len()).filter(|&i| self.moments.is_varied(i)).count();
        let free = free.saturating_sub(self.n_slots);
        let degrees = self.moments.n_children.saturating_sub(self.moments.n_steps + free).max(1);
        ((self.moments.square - explained).max(0.0) / degrees as f64).sqrt()
    }
}

/// Subtracts the mean over the choices of each slot.
fn centred(n_choices: &[usize], values: &[f64]) -> Vec<f64> {
    let (mut out, mut rest) = (Vec::new(), values);
    for &n in n_choices {
        let (own, others) = rest.split_at(n);
        let mean = own.iter().sum::<f64>() / n.max(1) as f64;
        out.extend(own.iter().map(|x| x - mean));
        rest = others;
    }
    out
}

/// Pearson's correlation. `None` if one of the two lists is constant.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len() as f64;
    let [mean_a, mean_b] = [a, b].map(|x| x.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// The inverse of a symmetric positive definite matrix, by Gauss-Jordan elimination without pivoting.
fn inverse(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for p in 0..a.len() {
        let pivot = 1.0 / a[p][p];
        a[p][p] = 1.0;
        a[p].iter_mut().for_each(|x| *x *= pivot);
        let row = a[p].clone();
        for (_, other) in a.iter_mut().enumerate().filter(|(i, _)| *i != p) {
            let factor = other[p];
            if factor != 0.0 {
                other[p] = 0.0;
                other.iter_mut().zip(&row).for_each(|(x, r)| *x -= factor * r);
            }
        }
    }
    a
}
