//! The mixed network (Eq. 2) in the same buffers: all paths at once, each with a factor.

use bytemuck::cast_slice;

use super::{Key, Network};
use crate::error::Result;
use crate::graph::{Extent, Mode, Plan};
use crate::kernel::Buf;
use crate::space::{Genotype, N_EDGES, N_KINDS, Paths, Primitive};

/// [`crate::space::Paths`] that own their parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OwnedPaths {
    Child(Box<Genotype>),
    All(Vec<Primitive>),
}

/// A mixed network to run.
#[derive(Clone, Copy, Debug)]
pub struct Mixed<'a> {
    /// The primitives of each edge, in the order of the factors.
    pub primitives: &'a [Primitive],
    /// Likelihood, gradient of the weights (`Train`), or of the factors.
    pub mode: Mode,
    /// Which uploaded batch.
    pub split: u8,
}

impl OwnedPaths {
    pub(super) fn borrow(&self) -> Paths<'_> {
        match self {
            Self::Child(genotype) => Paths::Child(genotype),
            Self::All(primitives) => Paths::All(primitives),
        }
    }
}

/// How many factors a mixed network over so many primitives has: \[kinds\]\[edges\]\[primitives\].
pub fn n_factors(primitives: &[Primitive]) -> usize {
    N_KINDS * N_EDGES * primitives.len()
}

impl Network {
    /// Makes the arena large enough for the mixed network, both gradients, before anything runs.
    ///
    /// Errors: [`crate::Error::Memory`] with what is needed.
    pub fn reserve_mixed(&mut self, primitives: &[Primitive], batch: u32) -> Result<()> {
        for mode in [Mode::Train, Mode::Factors] {
            let paths = OwnedPaths::All(primitives.to_vec());
            let key = Key { paths, mode, extent: Extent::Whole, batch, split: 0, drop_path: false };
            let plan = self.plan(&key)?;
            self.make_room(&key, &plan)?;
        }
        // Accumulated into, so it must not move later.
        self.ensure(Buf::MixGrad, n_factors(primitives) as u64 * 4)
    }

    fn key_mixed(&self, mixed: Mixed<'_>) -> Key {
        Key {
            paths: OwnedPaths::All(mixed.primitives.to_vec()),
            mode: mixed.mode,
            extent: Extent::Whole,
            batch: self.batches[usize::from(mixed.split)],
            split: mixed.split,
            drop_path: false,
        }
    }

    /// The plan of the mixed network at the size of the uploaded batch.
    pub fn plan_of_mixed(&self, mixed: Mixed<'_>) -> Result<Plan> {
        self.plan(&self.key_mixed(mixed))
    }

    /// Uploads the factors \[kinds\]\[edges\]\[primitives\] for the batch of `split`.
    pub fn upload_factors(&mut self, factors: &[f32], split: u8) -> Result<()> {
        // By example, as kernels read drop-path factors.
        let n = self.batches[usize::from(split)] as usize;
        let mut all: Vec<f32> = factors.iter().flat_map(|f| std::iter::repeat_n(*f, n)).collect();
        all.resize(all.len().next_multiple_of(4), 0.0);
        self.ensure(Buf::Mix, all.len() as u64 * 4)?;
        self.ensure(Buf::MixGrad, factors.len() as u64 * 4)?;
        self.gpu.write(Buf::Mix, 0, cast_slice(&all))
    }

    /// Submits the mixed network on the batch of its split, with the factors uploaded last; else as
    /// [`Self::run`]. In [`Mode::Factors`] the gradient of the factors was added to the accumulated one
    /// afterwards, times the weight of [`Self::set_child_weight`].
    pub fn run_mixed(&mut self, mixed: Mixed<'_>) -> Result<()> {
        let key = self.key_mixed(mixed);
        self.on_host(|network| network.launch(key))
    }

    /// The accumulated gradient of `count` factors, which is cleared. Waits.
    pub fn take_factor_gradient(&mut self, count: usize) -> Result<Vec<f32>> {
        let gradient = self.read(Buf::MixGrad, count)?;
        self.gpu.write(Buf::MixGrad, 0, cast_slice(&vec![0f32; count]))?;
        Ok(gradient)
    }
}
