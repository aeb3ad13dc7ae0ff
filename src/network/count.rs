//! A network → its named tensors and its multiply-adds.

use super::{Kind, Layer, Net, ParamRole, ParamSpec};

impl Net {
    /// Every named tensor, in the order of registration.
    pub fn params(&self) -> Vec<ParamSpec> {
        self.layers.iter().flat_map(|layer| self.layer_params(layer)).collect()
    }

    /// Number of trained parameters, either of the auxiliary head or of all other layers.
    pub fn parameter_count(&self, auxiliary: bool) -> u64 {
        let params = self.params();
        let counted = params.iter().filter(|p| p.role.is_trained() && p.auxiliary == auxiliary);
        counted.map(|p| p.len() as u64).sum()
    }

    /// Multiply-adds of the convolutions and linear layers for one image. The auxiliary head is left out, because
    /// it does not run at inference.
    pub fn macs(&self) -> u64 {
        self.layers.iter().filter(|l| !l.auxiliary).map(|l| self.layer_macs(l)).sum()
    }

    /// Multiply-adds of one layer for one image.
    pub fn layer_macs(&self, layer: &Layer) -> u64 {
        let weights: usize = self
            .layer_params(layer)
            .iter()
            .filter(|p| matches!(p.role, ParamRole::Weight { .. }))
            .map(ParamSpec::len)
            .sum();
        (weights * layer.shape.h * layer.shape.w) as u64
    }

    /// The entries of a layer in a state dictionary, parameters before buffers.
    pub fn layer_params(&self, layer: &Layer) -> Vec<ParamSpec> {
        let entry = |suffix: &str, shape: &[usize], role| ParamSpec {
            name: format!("{}.{suffix}", layer.name),
            shape: shape.to_vec(),
            role,
            auxiliary: layer.auxiliary,
        };
        let weight = |suffix: &str, shape: &[usize]| {
            entry(suffix, shape, ParamRole::Weight { fan_in: shape[1..].iter().product() })
        };
        let c = layer.shape.c;
        match layer.kind {
            Kind::Conv(window) => {
                vec![weight("weight", &[c, self.input_shape(layer).c, window.k, window.k])]
            }
            Kind::Depthwise(window) => vec![weight("weight", &[c, 1, window.k, window.k])],
            Kind::FactorizedReduce => {
                let shape = [c / 2, self.input_shape(layer).c, 1, 1];
                ["conv_1.weight", "conv_2.weight"].map(|name| weight(name, &shape)).to_vec()
            }
            Kind::Norm { affine, running } => {
                let parameters = [("weight", ParamRole::BnWeight), ("bias", ParamRole::BnBias)];
                let means =
                    [("running_mean", ParamRole::RunningMean), ("running_var", ParamRole::RunningVar)];
                let per_channel =
                    parameters.iter().filter(|_| affine).chain(means.iter().filter(|_| running));
                let mut list: Vec<_> = per_channel.map(|(name, role)| entry(name, &[c], *role)).collect();
                if running {
                    list.push(entry("num_batches_tracked", &[], ParamRole::NumBatchesTracked));
                }
                list
            }
            Kind::Linear => {
                let n_in = self.input_shape(layer).c;
                vec![weight("weight", &[c, n_in]), entry("bias", &[c], ParamRole::Bias { fan_in: n_in })]
            }
            Kind::Images
            | Kind::MaxPool(_)
            | Kind::AvgPool(_)
            | Kind::Relu
            | Kind::Sum(_)
            | Kind::Concat
            | Kind::PoolTo2x2 { .. }
            | Kind::GlobalPool => Vec::new(),
        }
    }
}
