//! Results → files that other programs read: tensors, trained networks, ONNX models, Python modules.

pub mod network;
pub mod onnx;
pub mod python;

pub use network::{About, Trained};
