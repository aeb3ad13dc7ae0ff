//! Rank correlations against numbers by hand and by SciPy; `parsec rank` from outside.

use parsec_nas::report::rank::{kendall, ranks, spearman, spearman_interval};

fn close(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!((found - expected).abs() < 1e-13, "{found} is not {expected}");
}

/// Both correlations and the interval.
fn check(x: &[f64], y: &[f64], [rho, tau, low, high]: [f64; 4]) {
    let found = spearman(x, y);
    close(found, rho);
    close(kendall(x, y), tau);
    let interval = spearman_interval(found.unwrap(), x.len()).unwrap();
    close(Some(interval[0]), low);
    close(Some(interval[1]), high);
}

#[test]
fn equal_values_share_the_mean_of_their_ranks() {
    assert_eq!(ranks(&[3.1, 1.2, 5.5, 2.2, 9.7, 2.2, 7.1]), [4.0, 1.0, 5.0, 2.5, 7.0, 2.5, 6.0]);
    assert_eq!(ranks(&[2.0; 4]), [2.5; 4]);
    assert_eq!(ranks(&[]), [0.0; 0]);
}

#[test]
fn correlations_of_few_pairs_are_those_by_hand() {
    let up = [1.0, 2.0, 3.0, 4.0];
    // 1 − 6 Σd²/(n(n² − 1)) with Σd² = 2; five pairs in order, one not.
    close(spearman(&up, &[1.0, 2.0, 4.0, 3.0]), 0.8);
    close(kendall(&up, &[1.0, 2.0, 4.0, 3.0]), 4.0 / 6.0);
    close(spearman(&up, &[10.0, 20.0, 30.0, 31.0]), 1.0);
    close(kendall(&up, &[-1.0, -2.0, -3.0, -9.0]), -1.0);
    assert_eq!(spearman_interval(1.0, 4), Some([1.0, 1.0]));
    // Of three pairs nothing is known, and equal values have no order.
    assert_eq!(spearman_interval(0.5, 3), None);
    assert_eq!((spearman(&up, &[7.0; 4]), kendall(&[7.0; 4], &up)), (None, None));
}

/// `scipy.stats` 1.x: `spearmanr`, `kendalltau`; the interval by its formula in NumPy.
#[test]
fn correlations_with_ties_are_those_of_scipy() {
    let x = [3.1, 1.2, 5.5, 2.2, 9.7, 2.2, 7.1, 0.4, 5.5, 6.3];
    let y = [2.0, 1.0, 4.0, 4.0, 8.5, 3.0, 7.0, 0.5, 9.0, 4.0];
    let expected = [0.8210032962032697, 0.7059312080025175, 0.2943356256592296, 0.9651728393749163];
    check(&x, &y, expected);
    let a: Vec<f64> = (0..60).map(|i| f64::from(i * 37 % 101) / 7.0).collect();
    let b = (0..60).map(|i| f64::from((i * 53 + i * i * 5) % 89 / 4) + 0.3 * f64::from(i * 37 % 101 / 5));
    let b: Vec<f64> = b.collect();
    let expected = [0.25788793664813964, 0.18490252622137027, -4.003831712265856e-05, 0.4836433137061282];
    check(&a, &b, expected);
}
