//! Distance of f32 results from f64 results.

use std::collections::BTreeMap;

/// ‖got − want‖ / ‖want‖.
pub fn distance(got: &[f32], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let off: f64 = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
    let size: f64 = want.iter().map(|w| w * w).sum();
    (off / size.max(f64::MIN_POSITIVE)).sqrt()
}

/// ‖got − want‖ / ‖want‖ over all tensors of a gradient together. Both gradients must have the same names.
pub fn gradient_distance(got: &BTreeMap<String, Vec<f32>>, want: &BTreeMap<&String, Vec<f64>>) -> f64 {
    if !got.keys().eq(want.keys().copied()) {
        return f64::INFINITY;
    }
    let all = |values: &mut dyn Iterator<Item = f32>| values.collect::<Vec<f32>>();
    let got = all(&mut got.values().flatten().copied());
    distance(&got, &want.values().flatten().copied().collect::<Vec<f64>>())
}
