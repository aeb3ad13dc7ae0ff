//! Batch norm → launches of `batch_norm.wgsl`: statistics and coefficients forward, sums and coefficients
//! backward. The normalised values are never stored, because consumers apply the coefficients while loading.

use super::{Array, GradView, MAX_TASKS, NOWHERE, Param, Tensor, Tuning, WORKGROUP, chunked, groups, launch};
use crate::kernel::{Buf, Launch, Params, Range};

/// Normalisation of a block of channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// No normalisation: the coefficients are those of the identity.
    Identity,
    /// Batch norm without affine parameters (search cells).
    Plain,
    /// Batch norm with gamma and beta. Running statistics are updated where their offsets are given.
    Affine {
        /// gamma \[C\].
        gamma: Param,
        /// beta \[C\].
        beta: Param,
        /// Offsets of the running mean and variance in the state buffer.
        running: Option<[u32; 2]>,
    },
}

impl Norm {
    /// The same normalisation for `channels` of the channels, from channel `first` on.
    pub fn part(self, first: u32, channels: u32) -> Self {
        let part = |p: Param| Param { offset: p.offset + first, len: channels };
        match self {
            Self::Affine { gamma, beta, running } => {
                let running = running.map(|at| at.map(|offset| offset + first));
                Self::Affine { gamma: part(gamma), beta: part(beta), running }
            }
            other => other,
        }
    }
}

/// The place of a block's gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradSource {
    /// First channel of the gradient tensor.
    pub channel: u32,
    /// Number of times that the block is a term (2 for a pair drawn twice).
    pub multiplier: f32,
    /// First drop-path factor of the block.
    pub drop: u32,
}

/// Batch norm over `blocks.len()` blocks of `block` channels of x from channel `first` on.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// The tensor that is normalised.
    pub x: Tensor,
    /// Coefficients of x, one quad per channel.
    pub coefs: Array,
    /// First channel of x that is normalised.
    pub first: u32,
    /// Channels per block.
    pub block: u32,
    /// Normalisation of each block.
    pub blocks: Vec<Norm>,
    /// The buffer of running statistics.
    pub state: Range,
}

impl BatchNorm {
    /// Number of channels that are normalised.
    pub fn channels(&self) -> u32 {
        self.block * self.blocks.len() as u32
    }

    /// Bytes of the partial sums, forward or backward.
    pub fn partial_bytes(&self) -> u64 {
        u64::from(self.channels()) * u64::from(chunked(self.x.map.quads(), self.channels()).1) * 16
    }

    /// Bytes that `finalize` or `backward_finalize` touches: partial sums, coefficients, and a few numbers per
    /// channel.
    fn finalize_bytes(&self) -> u64 {
        self.partial_bytes() + 48 * u64::from(self.channels())
    }

    /// Bytes of dgamma and dbeta, f32 \[2\]\[channels\].
    pub fn dparams_bytes(&self) -> u64 {
        (u64::from(self.channels()) * 8).next_multiple_of(16)
    }

    fn affine_params(&self) -> Vec<Param> {
        let pairs = self.blocks.iter().filter_map(|b| match b {
            Norm::Affine { gamma, beta, .. } => Some([*gamma, *beta]),
            _ => None,
        });
        pairs.flatten().collect()
    }

    fn params(&self, sources: &[GradSource]) -> (Params, Range) {
        assert!(self.blocks.len() <= MAX_TASKS);
        let affine = self.affine_params();
        // A range must be bound even if there are no affine parameters.
        let (w, w_first) = if affine.is_empty() {
            (Range { buf: Buf::V, offset_bytes: 0, len_bytes: 16 }, 0)
        } else {
            super::cover(Buf::V, &affine)
        };
        let (rounds, chunks) = chunked(self.x.map.quads(), self.channels());
        let affine = self.blocks.iter().map(|b| match b {
            Norm::Identity => [NOWHERE - 1; 4],
            Norm::Plain => [NOWHERE; 4],
            Norm::Affine { gamma, beta, running } => {
                let [mean, var] = running.unwrap_or([NOWHERE; 2]);
                [gamma.offset - w_first, beta.offset - w_first, mean, var]
            }
        });
        let params = Params::new()
            .map("x", self.x.map.words())
            .set("first", self.first)
            .set("channels", self.channels())
            .set("block", self.block)
            .set("rounds", rounds)
            .set("chunks", chunks)
            .rows("affine", affine)
            .rows("tasks", sources.iter().map(|s| [s.channel, s.multiplier.to_bits(), s.drop, 0]));
        (params, w)
    }

    /// Coefficients from the statistics of the batch. Running statistics are updated where they are given.
    pub fn forward(&self, partial: Array, tuning: &Tuning) -> [Launch; 2] {
        let (params, w) = self.params(&[]);
        let chunks = chunked(self.x.map.quads(), self.channels()).1;
        let ragged = vec![("RAGGED", self.x.map.ragged())];
        let overrides = vec![("RAGGED", self.x.map.ragged()), ("U", tuning.unroll)];
        let x = ("x", self.x.range());
        let partial = ("partial", partial.range());
        [
            Launch {
                flops: 4 * u64::from(self.channels()) * u64::from(self.x.map.count()),
                bytes: self.x.channel_bytes() * u64::from(self.channels()),
                ..launch(
                    "batch_norm",
                    "statistics",
                    overrides,
                    vec![x, partial],
                    params.clone(),
                    [chunks, self.channels(), 1],
                )
            },
            Launch {
                bytes: self.finalize_bytes(),
                ..launch(
                    "batch_norm",
                    "finalize",
                    ragged,
                    vec![partial, ("coefs", self.coefs.range()), ("w", w), ("state", self.state)],
                    params,
                    [groups(self.channels()), 1, 1],
                )
            },
        ]
    }

    /// Coefficients from the running statistics.
    pub fn from_running(&self) -> Launch {
        let (params, w) = self.params(&[]);
        launch(
            "batch_norm",
            "from_running",
            vec![("RAGGED", self.x.map.ragged())],
            vec![("coefs", self.coefs.range()), ("w", w), ("state", self.state)],
            params,
            [groups(self.channels()), 1, 1],
        )
    }

    /// Coefficients of the backward pass (`g.bn`), dgamma and dbeta, from the gradients of norm(x). `sources` has
    /// the place of each block's gradient.
    pub fn backward(
        &self,
        g: &GradView,
        sources: &[GradSource],
        partial: Array,
        dparams: Array,
        tuning: &Tuning,
    ) -> [Launch; 2] {
        let (params, _) = self.params(sources);
        let chunks = chunked(self.x.map.quads(), self.channels()).1;
        let mut overrides = vec![("RAGGED", self.x.map.ragged())];
        overrides.push(("DROP", u32::from(g.drop.is_some())));
        let mut sums = overrides.clone();
        sums.push(("U", tuning.unroll));
        let partial = ("partial", partial.range());
        let coefs = ("coefs", self.coefs.range());
        [
            Launch {
                flops: 4 * u64::from(self.channels()) * u64::from(self.x.map.count()),
                bytes: 2 * self.x.channel_bytes() * u64::from(self.channels()),
                ..launch(
                    "batch_norm",
                    "backward_sums",
                    sums,
                    vec![
                        ("x", self.x.range()),
                        coefs,
                        ("dz", g.dz.range()),
                        partial,
                        ("drop", g.drop_range()),
                    ],
                    params.clone(),
                    [chunks, self.channels(), 1],
                )
            },
            Launch {
                bytes: self.finalize_bytes(),
                ..launch(
                    "batch_norm",
                    "backward_finalize",
                    overrides,
                    vec![partial, coefs, ("grad_coefs", g.coefs_range()), ("dparams", dparams.range())],
                    params,
                    [groups(self.channels()), 1, 1],
                )
            },
        ]
    }

    /// Stores dx = a·dz + b·(x − mean) + c for the normalised channels, with the coefficients in `g.bn`. dx is for
    /// consumers that do not apply the coefficients while loading.
    pub fn backward_apply(&self, g: &GradView, sources: &[GradSource], dx: Tensor) -> Launch {
        let (params, _) = self.params(sources);
        let overrides = vec![("DROP", u32::from(g.drop.is_some()))];
        let bindings = vec![
            ("x", self.x.range()),
            ("dz", g.dz.range()),
            ("found", g.coefs_range()),
            ("dx", dx.range()),
            ("drop", g.drop_range()),
        ];
        let grid = [self.x.map.quads().div_ceil(4 * WORKGROUP), self.channels(), 1];
        Launch {
            flops: 4 * u64::from(self.channels()) * u64::from(self.x.map.count()),
            bytes: 3 * self.x.channel_bytes() * u64::from(self.channels()),
            ..launch("batch_norm", "backward_apply", overrides, bindings, params, grid)
        }
    }
}
