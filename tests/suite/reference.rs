//! The oracle against central finite differences and numbers worked out by hand.

use parsec_nas::reference::T4;
use parsec_nas::rng::{Purpose, stream};
use rand::RngExt;

mod convolutions;
mod layers;
mod mixed;
mod networks;
mod pools;
mod search_step;
mod updates;

/// `len` numbers in (−1, 1), always the same for one `key`.
fn noise(key: u64, len: usize) -> Vec<f64> {
    let mut rng = stream(7, Purpose::Test, 0, key);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn tensor(key: u64, c: usize, n: usize, h: usize, w: usize) -> T4 {
    T4 { c, n, h, w, data: noise(key, c * n * h * w) }
}

/// A tensor whose elements differ by at least 0.01 from each other, and by at least 0.005 from 0.
fn without_kinks(key: u64, c: usize, n: usize, h: usize, w: usize) -> T4 {
    let mut order: Vec<usize> = (0..c * n * h * w).collect();
    let keys = noise(key, order.len());
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
    let middle = order.len() as f64 / 2.0;
    let mut x = T4::zeros(c, n, h, w);
    for (rank, element) in order.into_iter().enumerate() {
        x.data[element] = 0.01 * (rank as f64 - middle.floor() + 0.5);
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Checks that `gradient` is the gradient of `f` at `x`, by central differences.
fn check_gradient(name: &str, x: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{name}: one derivative per element");
    let step = 1e-5;
    let mut moved = x.to_vec();
    for e in 0..x.len() {
        moved[e] = x[e] + step;
        let above = f(&moved);
        moved[e] = x[e] - step;
        let below = f(&moved);
        moved[e] = x[e];
        let numeric = (above - below) / (2.0 * step);
        let error = (numeric - gradient[e]).abs();
        assert!(
            error <= 1e-7 * (1.0 + numeric.abs()),
            "{name}, element {e}: {} against {numeric} by finite differences",
            gradient[e]
        );
    }
}

/// Checks that `dx` is the gradient of `Σ y·dy` with respect to `x`, where y is the result of `forward`.
fn check_input(name: &str, x: &T4, dy: &T4, dx: &T4, forward: impl Fn(&T4) -> T4) {
    check_gradient(name, &x.data, &dx.data, |data| {
        dot(&forward(&T4 { data: data.to_vec(), ..*x }).data, &dy.data)
    });
}

fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "element {i}: {a} against {b}");
    }
}

/// (channels, batch, height, width): odd sizes, one channel, batch 1.
const SHAPES: [(usize, usize, usize, usize); 4] = [(1, 1, 5, 5), (3, 2, 7, 4), (2, 3, 6, 9), (4, 1, 8, 8)];
