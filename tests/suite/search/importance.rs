//! Weights, their effective sample size, tempering, and the children that have no backward pass.

use parsec_nas::config::Temper;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::search::importance::{ess, exponent, kept, weights};
use rand::RngExt;

fn near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= tolerance, "{found:?} against {expected:?}");
    }
}

#[test]
fn weights_are_exact_where_products_of_likelihoods_underflow() {
    // Likelihoods of many examples underflow: e^-147, of 64 examples with 2.3 nats each, in f32, and e^-14720 in f64.
    let quarters = [-14_720.0, -14_720.0 + 3f64.ln()];
    near(&weights(&quarters, 1.0), &[0.25, 0.75], 1e-12);
    near(&weights(&[-1e300, -1e300], 1.0), &[0.5, 0.5], 0.0);
    near(&weights(&[0.0, -800.0, -1e308], 1.0), &[1.0, 0.0, 0.0], 1e-300);
    near(&weights(&[1e308, -1e308], 1.0), &[1.0, 0.0], 0.0);
    near(&weights(&[-3.0], 1.0), &[1.0], 0.0);
    // The exponent applies to the likelihoods.
    near(&weights(&quarters, 2.0), &[0.1, 0.9], 1e-12);
    near(&weights(&quarters, 0.0), &[0.5, 0.5], 0.0);
    // The weights agree with the plain formula where the formula can be computed.
    let mut rng = stream(1, Purpose::Test, 50, 0);
    for _ in 0..50 {
        let lls: Vec<f64> = (0..16).map(|_| rng.random_range(-20.0..0.0)).collect();
        let total: f64 = lls.iter().map(|l| l.exp()).sum();
        let plain: Vec<f64> = lls.iter().map(|l| l.exp() / total).collect();
        near(&weights(&lls, 1.0), &plain, 1e-14);
        let shifted: Vec<f64> = lls.iter().map(|l| l - 5000.0).collect();
        near(&weights(&shifted, 1.0), &plain, 1e-11);
        assert!((weights(&lls, 1.0).iter().sum::<f64>() - 1.0).abs() < 1e-14);
    }
}

#[test]
fn effective_number_by_hand() {
    assert_eq!(ess(&[0.25; 4]), 4.0);
    assert_eq!(ess(&[0.0, 1.0, 0.0]), 1.0);
    assert_eq!(ess(&[0.5, 0.5, 0.0, 0.0]), 2.0);
    assert!((ess(&[0.9, 0.1]) - 1.0 / 0.82).abs() < 1e-15);
}

#[test]
fn tempering_meets_its_target() {
    let mut rng = stream(1, Purpose::Test, 51, 0);
    for _ in 0..50 {
        let lls: Vec<f64> = (0..16).map(|_| rng.random_range(-60.0..0.0)).collect();
        assert_eq!(exponent(Temper::None, &lls, &[]), 1.0);
        assert_eq!(exponent(Temper::Beta(0.3), &lls, &[]), 0.3);
        let plain = ess(&weights(&lls, 1.0));
        for target in [1.0, 2.0, 4.0, 15.0] {
            let beta = exponent(Temper::Ess(target), &lls, &[]);
            let reached = ess(&weights(&lls, beta));
            if plain >= target {
                assert_eq!(beta, 1.0, "already there");
            } else {
                assert!(beta < 1.0 && (reached - target).abs() < 1e-9, "{reached} instead of {target}");
            }
        }
        // A target of K, which means equal weights, needs the exponent 0.
        let reached = ess(&weights(&lls, exponent(Temper::Ess(16.0), &lls, &[])));
        assert!((reached - 16.0).abs() < 1e-6);
    }
    assert_eq!(exponent(Temper::Ess(3.0), &[-5.0; 4], &[]), 1.0, "equal children need no tempering");
}

#[test]
fn the_smallest_weights_are_left_out_up_to_the_mass() {
    let w = [0.5, 4e-4, 0.4, 5e-4, 0.0991, 0.0];
    let out =
        |mass| kept(&w, mass).iter().enumerate().filter(|(_, k)| !**k).map(|(i, _)| i).collect::<Vec<_>>();
    assert_eq!(out(1e-3), [1, 3, 5]);
    assert_eq!(out(8.9e-4), [1, 5], "the sum counts, not each weight");
    assert_eq!(out(3e-4), [5]);
    assert_eq!(out(0.0), [0; 0], "mass 0 leaves nothing out");
    assert_eq!(out(0.45), [1, 3, 4, 5], "0.4 more would be too much");
    assert_eq!(kept(&[1.0], 0.5), [true]);
    assert_eq!(
        kept(&[0.25; 4], 0.25),
        [false, true, true, true],
        "exactly the mass may go; the first of equals"
    );
    assert_eq!(kept(&[0.5, 0.5], 1.0), [false, true], "one child stays, whatever the mass");
}

/// As many children as possible are left out whose weights sum to at most the mass. All subsets are tried.
#[test]
fn as_many_as_possible_are_left_out() {
    let mut rng = stream(1, Purpose::Test, 52, 0);
    for _ in 0..200 {
        let lls: Vec<f64> = (0..7).map(|_| rng.random_range(-9.0..0.0)).collect();
        let w = weights(&lls, 1.0);
        let mass = 10f64.powf(rng.random_range(-4.0..-0.5));
        let most = (0u32..1 << 7)
            .filter(|s| (0..7).filter(|k| s >> k & 1 == 1).map(|k| w[k]).sum::<f64>() <= mass)
            .map(u32::count_ones)
            .max();
        let kept = kept(&w, mass);
        assert_eq!(Some(kept.iter().filter(|k| !**k).count() as u32), most);
        let left_out: f64 = w.iter().zip(&kept).filter(|(_, k)| !**k).map(|(w, _)| w).sum();
        assert!(left_out <= mass);
    }
}
