//! Every setting, declared once: its type, its range, its name in files and flags, its help. The help texts and
//! `docs/settings.md` are made from the declarations.
//!
//! `NAME: TYPE = DEFAULT, was BEFORE => KIND, "VALUE";` A setting has the value DEFAULT if neither the preset nor the
//! user sets the setting. A setting of type `Option` without a default is then not set. A setting has the value BEFORE
//! in configurations that are older than the setting.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::class_weights::ClassWeights;
use super::keys::{Key, Kind};
use super::types::{
    Baseline, Choose, Draws, Every, Memory, Method, Samples, Schedule, Stem, Temper, TrainWeights,
    check_data, check_space,
};
use crate::data::Size;
use crate::space::Primitive;

macro_rules! settings {
    ($(
        $(#[doc = $title:literal])+
        $concern:ident {
            $(
                $(#[doc = $help:literal])+
                $name:ident: $type:ty $(= $default:tt)? $(, was $was:tt)? => $kind:expr, $value:literal;
            )+
        }
    )+) => { $(
        $(#[doc = $title])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct $concern {
            $( $(#[doc = $help])+ pub $name: $type, )+
        }

        impl $concern {
            /// The subject of these settings, and their declarations.
            pub const CONCERN: super::keys::Concern = super::keys::Concern {
                title: concat!($($title),+),
                keys: &[$(Key {
                    name: stringify!($name),
                    kind: $kind,
                    value: $value,
                    help: concat!($($help),+),
                    default: settings!(@text $($default)?),
                    was: settings!(@text $($was)?),
                }),+],
            };
        }
    )+ };
    (@text) => { None };
    (@text $value:tt) => { Some(stringify!($value)) };
}

settings! {
    /// Images
    Images {
        /// Images
        data: String => Kind::Text(check_data), "SPEC";
        /// Height and width in pixels to which the images of a folder are resized; one number: squares
        size: Option<Size> => Kind::Size(4, 512), "SIDE|H,W";
        /// Go on without the images of a folder that are damaged, and count them
        skip_bad_images: bool = false, was false => Kind::Bool, "BOOL";
        /// Mean per channel of the pixels in 0..1, separated by commas; default: computed
        mean: Option<Vec<f64>> => Kind::PerChannel(-1e3, 1e3), "LIST";
        /// Standard deviation per channel of the pixels in 0..1, separated by commas; default: computed
        std: Option<Vec<f64>> => Kind::PerChannel(1e-6, 1e3), "LIST";
        /// Padding in pixels of the random crop; 0: no crop. Default of a search: none in fewer than ten passes over the
        /// images, then an eighth of their longer side
        crop_pad: u32 = 0 => Kind::Int(0, 64), "N";
        /// Random horizontal flips
        flip: bool = false => Kind::Bool, "BOOL";
        /// Weight of each class in the loss, for unbalanced data: none; balanced, n / (K n_c) for n_c of n training images;
        /// or one number per class in the order of the classes, separated by commas
        class_weights: ClassWeights = "none", was "none" => Kind::ClassWeights, "WEIGHTS";
    }

    /// Network
    Network {
        /// The search space: darts, cells of two kinds; macro, a chain of MobileNetV2 blocks. Default: that of the
        /// architecture or run, or darts
        space: String = "darts", was "darts" => Kind::Text(check_space), "darts|macro";
        /// Layers of each stage of a chain, separated by commas (2,3,3)
        stages: Option<Vec<usize>> => Kind::Counts(1, 64), "LIST";
        /// What each layer of a chain may be, separated by commas: identity, mbE_kK (identity,mb3_k3,mb6_k5)
        choices: Option<Vec<String>> => Kind::Words, "LIST";
        /// Channels of a chain's head; default: 40 times --channels
        head: Option<usize> => Kind::Int(1, 16_384), "H";
        /// Cells of the network
        layers: usize = 8 => Kind::Int(1, 256), "L";
        /// Channels of the first cells, or of a chain's stem; even
        channels: usize = 16 => Kind::Even(2, 1024), "C";
    }

    /// Length
    Length {
        /// Examples per batch
        batch: usize = 64 => Kind::Int(1, 32_768), "N";
        /// Steps in all
        steps: u64, was 0 => Kind::Int(1, 1_000_000_000), "N";
        /// Passes over the images trained on, instead of --steps
        epochs: Option<u64> => Kind::Int(1, 1_000_000), "N";
    }

    /// Weights
    Sgd {
        /// First learning rate of the weights. Default of a search: by its length, 0.1 to 0.025
        lr: f64 = 0.025 => Kind::Positive(100.0), "X";
        /// Last learning rate of the weights
        lr_min: f64 = 0.001 => Kind::Float(0.0, 100.0), "X";
        /// Momentum of the weights' SGD
        momentum: f64 = 0.9 => Kind::Float(0.0, 0.9999), "X";
        /// Weight decay of the weights
        weight_decay: f64 = 3e-4 => Kind::Float(0.0, 1.0), "X";
        /// Norm to which the weights' gradient is clipped
        grad_clip: f64 = 5.0 => Kind::Positive(1e9), "X";
    }

    /// Algorithm
    Algorithm {
        /// How to search: parsec; darts, all paths at once; random, whose prior stays as it is and whose result is a draw
        /// from it; random_search, whose children train the weights alike and whose result is the best child seen
        method: Method = "parsec", was "parsec" => Kind::Word(Method::WORDS), "parsec|darts|random|random_search";
        /// The paper's algorithm to the letter: no warm-up, importance weights, no baseline, one batch size, plain draws,
        /// the most probable architecture
        paper: bool = false, was true => Kind::Bool, "BOOL";
        /// Primitives to draw from, separated by commas; `all` for all eight
        primitives: Vec<Primitive> = [
            "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"
        ] => Kind::Names, "LIST";
        /// Architectures drawn per step: a number, or auto:LAMBDA for LAMBDA times the entropy of the prior in nats, from 2 to
        /// 64 (auto:0.32 begins at 16: seven primitives have 50.3 nats)
        samples: Samples = 16 => Kind::Samples, "K|auto:LAMBDA";
        /// How the children of a step are drawn: each for itself, or spread evenly over the choices of each slot
        draws: Draws = "stratified", was "independent" => Kind::Word(Draws::WORDS), "independent|stratified";
        /// Part of each slot's draws that are uniform; the importance weights are corrected for it
        explore: f64 = 0.3, was 0.0 => Kind::Float(0.0, 0.99), "EPS";
        /// Part of the steps, at the start, that trains the weights only: all children alike, every choice equally often
        warmup: f64 = 0.5, was 0.0 => Kind::Float(0.0, 0.99), "FRACTION";
        /// Epochs at the start that train the weights only, in place of --warmup
        warmup_epochs: u64 = 0 => Kind::Int(0, 1_000_000), "N";
        /// Weight of each child in the weights' gradient after the warm-up
        train_weights: TrainWeights = "uniform", was "importance" => Kind::Word(TrainWeights::WORDS), "importance|uniform";
        /// No backward pass for children whose weights sum to at most this
        drop_mass: f64 = 0.001 => Kind::Float(0.0, 0.5), "MASS";
        /// Examples per batch of the search split; default: the batch, or 256 if that is more, but no more than 4 batches
        search_batch: Option<usize> => Kind::Int(1, 1_048_576), "N";
        /// Part of the training set used for the prior
        search_fraction: f64 = 0.5 => Kind::Float(0.01, 0.99), "X";
        /// Algorithm 1 literally: no child skipped, none merged
        reference: bool = false => Kind::Bool, "BOOL";
    }

    /// Prior
    PriorSettings {
        /// Learning rate of the prior; default: by the length of the run
        prior_lr: f64 = 3e-4 => Kind::Positive(100.0), "X";
        /// Adam's first decay for the prior
        prior_beta1: f64 = 0.5 => Kind::Float(0.0, 0.999_999), "X";
        /// Adam's second decay for the prior
        prior_beta2: f64 = 0.999 => Kind::Float(0.0, 0.999_999), "X";
        /// Tempering of the importance weights: none, an exponent, or a target sample size
        temper: Temper = "none" => Kind::Text(|s| s.parse::<Temper>().map(drop)), "none|BETA|ess:TARGET";
        /// Baseline of the prior's gradient
        baseline: Baseline = "mean", was "none" => Kind::Word(Baseline::WORDS), "none|mean";
        /// Leave the prior as it is (the random baseline)
        freeze_prior: bool = false => Kind::Bool, "BOOL";
        /// Start from the prior of another run
        prior_from: Option<PathBuf> => Kind::NonEmpty("a run folder"), "RUN";
        /// Divide the logits of that prior by T: above 1 it is softer, below 1 sharper; 1 keeps it
        prior_temperature: Option<f64> => Kind::Positive(1e6), "T";
    }

    /// Result
    Outcome {
        /// The architecture that a search ends with: the most probable one of the prior, or the best one by the likelihoods of
        /// all its children
        choose: Choose = "evidence", was "mode" => Kind::Word(Choose::WORDS), "mode|evidence";
        /// Choose an architecture with at most N skip connections in each cell, or identities in the chain
        max_skips: Option<usize> => Kind::Int(0, 64), "N";
        /// End when the most probable architecture has not changed for N steps of the prior; 0: only after all steps
        patience: u64 = 0, was 0 => Kind::Int(0, 1_000_000_000), "N";
    }

    /// Execution
    Execution {
        /// Start from the shared weights of another run of the same network, or of an exported file
        weights_from: Option<PathBuf> => Kind::NonEmpty("a run folder, a safetensors or a PyTorch file"), "RUN|FILE";
        /// Run each batch in micro-batches of M examples, for cards too small for the batch. M divides the batch. Batch
        /// norm's statistics are then those of each micro-batch, so results are not those of the whole batch
        micro_batch: Option<usize> => Kind::Int(1, 32_768), "M";
        /// Number of lanes in which the gradients of children are added. Another number gives another rounding
        lanes: usize = 8, was 1 => Kind::Int(1, 64), "N";
        /// Kernel variants: time them now and keep the choice for later runs; =false: the fixed choice; default: the choice
        /// kept on disk, or else the fixed one
        tune: Option<bool> => Kind::Bool, "BOOL";
        /// Write everything about each of the first M steps to RUN/trace
        trace_steps: u64 = 0 => Kind::Int(0, 1_000_000), "M";
    }

    /// Architecture
    Architecture {
        /// The architecture: a run that has one, a file with one, its text, or the name of a published one
        genotype: String => Kind::NonEmpty("a genotype, a file with one, or a run"), "G|RUN";
        /// Start from these weights, named as in the PyTorch modules; running statistics too if the file has them. For another
        /// number of classes the classifier begins anew
        weights: Option<PathBuf> => Kind::NonEmpty("a training run, a safetensors or a PyTorch file"), "RUN|FILE";
        /// The first layers: one convolution at full size, or three of stride 2
        stem: Stem = "cifar" => Kind::Word(Stem::WORDS), "cifar|imagenet";
    }

    /// Training
    Regularisation {
        /// How the learning rate falls
        schedule: Schedule = "cosine" => Kind::Word(Schedule::WORDS), "cosine|exponential";
        /// Factor of the learning rate from epoch to epoch (exponential)
        lr_decay: f64 = 0.97 => Kind::Positive(1.0), "X";
        /// Part of the target spread over all classes
        label_smoothing: f64 = 0.0 => Kind::Float(0.0, 0.99), "X";
        /// Weight of the auxiliary head's loss; 0: no such head
        auxiliary: f64 = 0.0 => Kind::Float(0.0, 10.0), "X";
        /// Probability of drop-path in the last epoch; it rises from 0 in proportion to the epoch
        drop_path: f64 = 0.0 => Kind::Float(0.0, 0.9), "X";
        /// Random parts of the image, 8 to 100 % of its area, scaled back to its size
        resized_crop: bool = false => Kind::Bool, "BOOL";
        /// Strength of random brightness, contrast and saturation
        jitter: f64 = 0.0 => Kind::Float(0.0, 1.0), "X";
        /// Largest random turn of the hue, as part of the colour circle
        hue: f64 = 0.0, was 0.0 => Kind::Float(0.0, 0.5), "X";
        /// Side of the square that is cut out; 0: none
        cutout: u32 = 0 => Kind::Int(0, 512), "PIXELS";
    }

    /// Run
    Session {
        /// Key of every random number
        seed: u64 = 0 => Kind::Int(0, i64::MAX), "N";
        /// Run folder to create; default: the next free runs/search-NNNN or runs/train-NNNN
        run: Option<PathBuf> => Kind::NonEmpty("a folder"), "DIR";
        /// Adapter to use: its index or a part of its name; default: the fastest class
        device: Option<String> => Kind::NonEmpty("an index or a part of a device's name"), "INDEX|SUBSTRING";
        /// Compute cheap tensors again in the backward pass: half the memory, same results
        memory: Memory = "normal", was "normal" => Kind::Word(Memory::WORDS), "normal|low";
        /// The plain kernels instead of the fused ones
        reference_kernels: bool = false => Kind::Bool, "BOOL";
        /// Loader threads; 0: one per core
        threads: usize = 0 => Kind::Int(0, 1024), "N";
        /// Memory for scaled images in MiB. A larger set stays on disk, and its images are read when they are used. The
        /// results are the same
        image_memory: usize = 256, was 256 => Kind::Int(0, 1_048_576), "MIB";
        /// When a checkpoint is written, besides the first and the last: at the end only, after every epoch, or after so many
        /// steps
        checkpoint_every: Every = "epoch" => Kind::Every, "end|epoch|N";
        /// How many of the last checkpoints to keep, besides the best
        keep_checkpoints: usize = 2 => Kind::Int(1, 1_000_000), "N";
        /// When held-out images are evaluated: at the end only, after every epoch, or after so many steps
        eval_every: Every = "end" => Kind::Every, "end|epoch|N";
    }
}
