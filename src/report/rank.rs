//! Two numbers for each of several items → agreement of the two orders: rank correlations, with an interval.
//!
//! The results depend only on the arguments. Equal values share the mean of their ranks (mid-ranks).

/// The quantile of the standard normal distribution that bounds a two-sided interval of 95 %.
const Z95: f64 = 1.959_963_984_540_054;

/// The rank of each value, from 1 for the smallest. Equal values have the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let equal = order[start..].iter().take_while(|i| values[**i] == values[order[start]]).count();
        let equal = equal.max(1);
        let rank = start as f64 + (equal as f64 + 1.0) / 2.0;
        order[start..start + equal].iter().for_each(|i| ranks[*i] = rank);
        start += equal;
    }
    ranks
}

/// Spearman's rank correlation ρ of two lists of the same length: the correlation of their ranks, −1 to 1. `None` if
/// all values of a list are equal.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let centred = |values: &[f64]| {
        let mean = (values.len() as f64 + 1.0) / 2.0;
        ranks(values).into_iter().map(|rank| rank - mean).collect::<Vec<f64>>()
    };
    let (x, y) = (centred(x), centred(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norm = (dot(&x, &x) * dot(&y, &y)).sqrt();
    (norm > 0.0).then(|| (dot(&x, &y) / norm).clamp(-1.0, 1.0))
}

/// The 95 % interval of a rank correlation `rho` of `n` pairs: Fisher's z = artanh ρ ± 1.96 σ, with the variance σ² =
/// (1 + ρ²/2)/(n − 3) of Bonett and Wright (Psychometrika 65, 2000). `None` for fewer than four pairs. The interval of
/// a correlation of exactly ±1 has width 0, however few the pairs are.
pub fn spearman_interval(rho: f64, n: usize) -> Option<[f64; 2]> {
    if n < 4 {
        return None;
    }
    let half = Z95 * ((1.0 + rho * rho / 2.0) / (n as f64 - 3.0)).sqrt();
    Some([-half, half].map(|side| (rho.atanh() + side).tanh()))
}

/// Kendall's τ_b of two lists of the same length, −1 to 1: the number of pairs in the same order minus the number of
/// pairs in opposite order, divided by the geometric mean of the numbers of pairs with different values in each list.
/// `None` if all values of a list are equal.
pub fn kendall(x: &[f64], y: &[f64]) -> Option<f64> {
    let (mut balance, mut apart_x, mut apart_y) = (0i64, 0u64, 0u64);
    for i in 0..x.len() {
        for j in 0..i {
            let (a, b) = (x[i].total_cmp(&x[j]) as i64, y[i].total_cmp(&y[j]) as i64);
            balance += a * b;
            apart_x += u64::from(a != 0);
            apart_y += u64::from(b != 0);
        }
    }
    let norm = (apart_x as f64).sqrt() * (apart_y as f64).sqrt();
    (norm > 0.0).then(|| balance as f64 / norm)
}
