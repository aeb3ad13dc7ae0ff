//! The values that change from step to step.

use parsec_nas::train::schedule::{drop_path, drop_path_factors, lr};

use super::config;

#[test]
fn the_cosine_falls_from_lr_to_lr_min() {
    let c = config(&[("steps", 100.into()), ("lr", 0.1.into()), ("lr_min", 0.02.into())]);
    assert_eq!(lr(&c, 0, 10), 0.1);
    assert!((lr(&c, 50, 10) - 0.06).abs() < 1e-15);
    assert!((lr(&c, 100, 10) - 0.02).abs() < 1e-15);
    assert!((0..100).all(|step| lr(&c, step + 1, 10) < lr(&c, step, 10)));
}

#[test]
fn the_exponential_falls_from_epoch_to_epoch() {
    let c = config(&[
        ("schedule", "exponential".into()),
        ("lr", 0.1.into()),
        ("lr_decay", 0.5.into()),
        ("lr_min", 0.02.into()),
    ]);
    let at = |step| lr(&c, step, 10);
    assert_eq!([at(0), at(9), at(10), at(19), at(20)], [0.1, 0.1, 0.05, 0.05, 0.025]);
    assert_eq!(at(30), 0.02, "never below lr_min");
}

#[test]
fn drop_path_rises_with_the_epoch() {
    let c = config(&[("steps", 100.into()), ("drop_path", 0.2.into())]);
    assert_eq!([0, 9, 10, 50].map(|step| drop_path(&c, step, 10)), [0.0, 0.0, 0.02, 0.1]);
    assert!((drop_path(&c, 99, 10) - 0.18).abs() < 1e-15);
    // In a training shorter than an epoch drop-path stays at 0.
    let short = config(&[("steps", 5.into()), ("drop_path", 0.2.into())]);
    assert_eq!(drop_path(&short, 4, 10), 0.0);
}

#[test]
fn drop_path_factors_are_keyed_and_keep_the_mean() {
    let (p, n, rows) = (0.2, 500, 3 * 8);
    let factors = drop_path_factors(p, 3, 7, rows, n);
    assert_eq!(factors.len(), rows * n);
    let kept = (1.0 / 0.8) as f32;
    assert!(factors.iter().all(|f| *f == 0.0 || *f == kept));
    // With 12,000 draws the dropped part has a standard deviation of 0.0037.
    let dropped = factors.iter().filter(|f| **f == 0.0).count() as f64 / factors.len() as f64;
    assert!((dropped - p).abs() < 0.015, "{dropped}");
    assert_eq!(factors, drop_path_factors(p, 3, 7, rows, n));
    for other in [drop_path_factors(p, 4, 7, rows, n), drop_path_factors(p, 3, 8, rows, n)] {
        assert_ne!(factors, other);
    }
    // Each operation has its own draws, and the draws do not depend on the size of the batch.
    assert_ne!(factors[..n], factors[n..2 * n]);
    assert_eq!(drop_path_factors(p, 3, 7, rows, 8)[..8], factors[..8]);
    assert!(drop_path_factors(0.0, 3, 7, rows, n).iter().all(|f| *f == 1.0));
}
