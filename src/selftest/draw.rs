//! Random weights and a random batch for a network. The adapter and the reference get the same numbers.

use super::setup::Setup;
use crate::network::{ParamRole, ParamSpec};
use crate::reference::network::{Batch, Tensors};
use crate::space::{NetworkSpec, Paths};

/// A network's weights and a batch, for the adapter and the reference.
pub struct Draw {
    /// Weights by DARTS names.
    pub weights: Tensors,
    /// \[N\]\[C\]\[H\]\[W\].
    pub images: Vec<f64>,
    /// \[N\].
    pub labels: Vec<usize>,
    /// \[cells * 8\]\[N\].
    pub drop_path: Option<Vec<f64>>,
}

/// Random weights for `params`, and a random batch.
pub fn draw(spec: &NetworkSpec, params: &[ParamSpec], n: usize, drop_path: bool, index: u64) -> Draw {
    let mut s = Setup::new(&format!("draw {index}"));
    let mut weights = Tensors::new();
    for param in params {
        let around = |s: &mut Setup, middle: f64, spread: f64| {
            let values = s.noise(param.len() as u32);
            // Values are rounded to f32, so that both sides have the same numbers.
            values.iter().map(|v| f64::from((middle + spread * v) as f32)).collect::<Vec<f64>>()
        };
        let values = match param.role {
            ParamRole::Weight { fan_in } | ParamRole::Bias { fan_in } => {
                around(&mut s, 0.0, 1.0 / (fan_in as f64).sqrt())
            }
            ParamRole::BnWeight => around(&mut s, 1.0, 0.3),
            ParamRole::BnBias | ParamRole::RunningMean => around(&mut s, 0.0, 0.3),
            ParamRole::RunningVar => around(&mut s, 1.0, 0.5),
            ParamRole::NumBatchesTracked => continue,
        };
        weights.insert(param.name.clone(), (param.shape.clone(), values));
    }
    let images = s.noise((n * spec.in_channels * spec.height * spec.width) as u32);
    let labels = (0..n).map(|_| s.below(spec.n_classes as u32) as usize).collect();
    let rows = spec.net(Paths::All).n_drops as u32;
    let factors = drop_path.then(|| s.drop_factors(rows, n as u32).1);
    Draw { weights, images, labels, drop_path: factors }
}

impl Draw {
    /// The images in the form that the adapter reads.
    pub fn images_f32(&self) -> Vec<f32> {
        self.images.iter().map(|v| *v as f32).collect()
    }

    /// The labels in the form that the adapter reads.
    pub fn labels_u32(&self) -> Vec<u32> {
        self.labels.iter().map(|l| *l as u32).collect()
    }

    /// The batch in the form that the reference reads.
    pub fn batch(&self, spec: &NetworkSpec) -> Batch {
        let n = self.labels.len();
        let shape = [n, spec.in_channels, spec.height, spec.width];
        let mut batch = Batch::from_nchw(shape, &self.images, &self.labels);
        for (i, factors) in self.drop_path.iter().flat_map(|f| f.chunks_exact(n)).enumerate() {
            batch.drop_path.insert(i, factors.to_vec());
        }
        batch
    }
}
