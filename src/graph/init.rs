//! Initial values of v, as in PyTorch: U(−1/√fan_in, 1/√fan_in) for convolutions and the linear layer, 1 and 0 for
//! batch norms. Each tensor is drawn from its own stream.

use rand::Rng;

use super::Layout;
use crate::network::ParamRole;
use crate::rng::{Purpose, stream};

/// All values of `v` in the layout's order.
pub fn initial(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut v = vec![0f32; layout.v_len as usize];
    for (index, (_, entry)) in layout.iter().enumerate() {
        let values: Vec<f32> = match entry.spec.role {
            ParamRole::Weight { fan_in } | ParamRole::Bias { fan_in } => {
                let bound = 1.0 / (fan_in as f32).sqrt();
                let mut rng = stream(seed, Purpose::Init, 0, index as u64);
                (0..entry.spec.len()).map(|_| bound * (2.0 * unit(&mut rng) - 1.0)).collect()
            }
            ParamRole::BnWeight => vec![1.0; entry.spec.len()],
            ParamRole::BnBias => vec![0.0; entry.spec.len()],
            ParamRole::RunningMean | ParamRole::RunningVar | ParamRole::NumBatchesTracked => continue,
        };
        entry.pack(&values, &mut v);
    }
    v
}

/// The initial running statistics of batch norms: means 0, variances 1.
pub fn initial_state(layout: &Layout) -> Vec<f32> {
    let mut state = vec![0f32; layout.state_len as usize];
    for (_, entry) in layout.running().filter(|(_, e)| e.spec.role == ParamRole::RunningVar) {
        entry.pack(&vec![1.0; entry.spec.len()], &mut state);
    }
    state
}

/// Uniform in [0, 1), 24 random bits.
fn unit(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}
