//! PyTorch's numbers (`tests/fixtures`) against `replay`, the oracle and the pieces of Algorithm 1.

use std::path::{Path, PathBuf};

use parsec_nas::files::tensors::{self, Data, Tensors};
use parsec_nas::space::Primitive;
use serde_json::Value;

mod bad_input;
pub mod children;
mod mixed;
mod paths;
mod pieces;

pub use super::gpu::open;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn read(name: &str) -> Tensors {
    tensors::read(&fixture(name)).unwrap().0
}

pub fn read_json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// Primitives from their names.
fn primitives(names: &Value) -> Vec<Primitive> {
    let by_name = |name: &Value| Primitive::from_name(name.as_str().unwrap()).unwrap();
    names.as_array().unwrap().iter().map(by_name).collect()
}

/// The numbers of a tensor, whatever their type.
pub fn numbers(tensors: &Tensors, name: &str) -> Vec<f64> {
    match &tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).data {
        Data::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Data::F64(v) => v.clone(),
        Data::I64(v) => v.iter().map(|x| *x as f64).collect(),
        other => panic!("{name}: {}", other.dtype()),
    }
}

pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// ‖found − expected‖.
pub fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    norm(&found.iter().zip(expected).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// Checks that ‖found − expected‖ is at most `tolerance` times ‖expected‖.
#[track_caller]
pub fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    let (error, scale) = (distance(found, expected), norm(expected));
    // With this comparison a NaN fails.
    assert!(error <= tolerance * scale, "{what}: off by {:.2e}, allowed {tolerance:.0e}", error / scale);
}
