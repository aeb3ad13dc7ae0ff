//! Named tensors of a network.

/// Role of a named tensor, which decides how the tensor is initialised and whether it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamRole {
    /// Weight of a convolution or a linear layer; drawn from U(±1/√fan_in).
    Weight {
        /// Inputs of one output.
        fan_in: usize,
    },
    /// Bias of a linear layer; drawn from U(±1/√fan_in).
    Bias {
        /// Inputs of one output.
        fan_in: usize,
    },
    /// Scale of a batch norm; starts at 1.
    BnWeight,
    /// Shift of a batch norm; starts at 0.
    BnBias,
    /// Running mean, not trained; starts at 0.
    RunningMean,
    /// Running variance, not trained; starts at 1.
    RunningVar,
    /// Counter of a batch norm, I64 without dimensions; starts at 0.
    NumBatchesTracked,
}

impl ParamRole {
    /// Whether the optimiser updates the tensor. The other tensors are buffers.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVar | Self::NumBatchesTracked)
    }
}

/// One entry of the network's state dictionary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParamSpec {
    /// Name in PyTorch's state dictionary.
    pub name: String,
    /// Shape in PyTorch: [C_out, C_in / groups, K, K], [n_out, n_in], \[C\] or [].
    pub shape: Vec<usize>,
    /// Role of the tensor.
    pub role: ParamRole,
    /// Whether the tensor belongs to the auxiliary head.
    pub auxiliary: bool,
}

impl ParamSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
