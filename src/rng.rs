//! (seed, purpose, step, index) → an independent stream of random numbers.
//!
//! Randomness is counter-based. There is no generator state to save, and neither the order in which streams are drawn
//! nor the number of threads that draw them can change a result.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Purpose of a stream. Two purposes never share random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial values of the weights; index = position of the parameter.
    Init = 1,
    /// Child architectures; step = training step, index = child.
    Sample = 2,
    /// Shuffling of the search split; step = epoch.
    ShuffleSearch = 3,
    /// Shuffling of the train split; step = epoch.
    ShuffleTrain = 4,
    /// Augmentation of one example; step = training step, index = position in the batch.
    AugmentSearch = 5,
    /// Augmentation of one example; step = training step, index = position in the batch.
    AugmentTrain = 6,
    /// Which examples belong to the search split.
    Split = 7,
    /// Drop-path masks; step = training step.
    DropPath = 8,
    /// Cutout squares; step = training step, index = position in the batch.
    Cutout = 9,
    /// Test and benchmark data.
    Test = 10,
    /// Samples drawn from a prior for display.
    Show = 11,
    /// The architecture that a random search ends with.
    Result = 12,
    /// Strata of a slot's draws; step = training step, index = slot.
    Strata = 13,
    /// Strata of a slot's draws in the warm-up; step = number of the round through all choices, index = slot.
    Fair = 14,
    /// Entries drawn from a table of architectures.
    Table = 15,
    /// Random architectures with which a result is compared.
    Compared = 16,
}

/// The stream for `purpose` at (`step`, `index`).
///
/// The key is the 32 bytes (seed, purpose, step, index), each little-endian 64 bits.
pub fn stream(seed: u64, purpose: Purpose, step: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, step, index]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
