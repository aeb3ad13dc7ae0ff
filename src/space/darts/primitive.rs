//! The operations of the DARTS space. Each has one row with its name and its layers.

use crate::network::{Builder, Window};

/// A part of a primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Max pool 3x3, pad 1. In a search a batch norm follows.
    MaxPool,
    /// Average pool 3x3, pad 1, padding not counted. In a search a batch norm follows.
    AvgPool,
    /// ReLU, two 1x1 convolutions of stride 2 on the pixels at even and odd places, batch norm.
    FactorizedReduce,
    /// ReLU.
    Relu,
    /// A depthwise convolution. The first of a primitive has the stride of the primitive; later ones keep the map.
    Depthwise {
        /// Taps along a side.
        k: usize,
        /// Distance between taps.
        dilation: usize,
    },
    /// A 1x1 convolution.
    Pointwise,
    /// Batch norm.
    Norm,
}

use Step::{AvgPool, Depthwise, FactorizedReduce, MaxPool, Norm, Pointwise, Relu};

/// A primitive as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// The index `p` in the search parent's parameter names.
    pub index: usize,
    /// The name used in genotypes and configurations.
    pub name: &'static str,
    /// The steps of the primitive. Without steps it is the identity.
    pub steps: &'static [Step],
    /// The steps of the primitive at stride 2.
    pub halving: &'static [Step],
}

/// Defines the primitives by their rows: the variant, its name, its steps, and its steps at stride 2 if they differ.
macro_rules! primitives {
    ($($(#[$doc:meta])* $variant:ident $name:literal $steps:expr $(, at stride 2 $halving:expr)?;)*) => {
        /// A primitive operation. The order is the same as in the DARTS implementation, and gives the index `p` in
        /// parameter names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Primitive {
            $($(#[$doc])* $variant,)*
            /// A primitive that a user of the library defines.
            Other(&'static Row),
        }

        const NAMED: &[Primitive] = &[$(Primitive::$variant),*];
        const ROWS: [Row; NAMED.len()] = [$(Row {
            index: Primitive::$variant.position(),
            name: $name,
            steps: &$steps,
            halving: first!($(&$halving,)? &$steps),
        }),*];

        impl Primitive {
            const fn position(self) -> usize {
                // A constant expression cannot search a table, but it can count variants.
                let mut at = 0;
                $(if matches!(self, Self::$variant) { return at; } at += 1;)*
                at
            }
        }
    };
}

/// The first of some expressions.
macro_rules! first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}

primitives! {
    /// The zero operation.
    None "none" [];
    /// Max pool 3x3, pad 1.
    MaxPool3x3 "max_pool_3x3" [MaxPool];
    /// Average pool 3x3, pad 1, padding not counted.
    AvgPool3x3 "avg_pool_3x3" [AvgPool];
    /// Identity at stride 1, FactorizedReduce at stride 2.
    SkipConnect "skip_connect" [], at stride 2 [FactorizedReduce];
    /// Two depthwise-separable 3x3 convolutions.
    SepConv3x3 "sep_conv_3x3" twice(3);
    /// Two depthwise-separable 5x5 convolutions.
    SepConv5x5 "sep_conv_5x5" twice(5);
    /// A depthwise-separable 3x3 convolution with dilation 2.
    DilConv3x3 "dil_conv_3x3" separable(3, 2);
    /// A depthwise-separable 5x5 convolution with dilation 2.
    DilConv5x5 "dil_conv_5x5" separable(5, 2);
}

/// ReLU, depthwise, pointwise, batch norm.
pub const fn separable(k: usize, dilation: usize) -> [Step; 4] {
    [Relu, Depthwise { k, dilation }, Pointwise, Norm]
}

/// Two separable convolutions, one after the other.
pub const fn twice(k: usize) -> [Step; 8] {
    let [relu, depthwise, pointwise, norm] = separable(k, 1);
    [relu, depthwise, pointwise, norm, relu, depthwise, pointwise, norm]
}

impl Primitive {
    /// All primitives in the order of the DARTS implementation.
    pub const ALL: [Self; NAMED.len()] = {
        let mut all = [Self::None; NAMED.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = NAMED[i];
            i += 1;
        }
        all
    };

    /// The row of this primitive.
    pub fn row(self) -> &'static Row {
        match self {
            Self::Other(row) => row,
            named => &ROWS[named.position()],
        }
    }

    /// The name used in genotypes and configurations.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The index `p` in the search parent's parameter names. The primitives of [`Self::ALL`] have their position as
    /// index.
    pub fn index(self) -> usize {
        self.row().index
    }

    /// The primitive called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Adds the layers of the primitive behind `x`, with stride 1 or 2 and names that begin with `prefix`. The result
    /// is `x` itself for the identity and `None` for the zero operation.
    pub(crate) fn add(
        self,
        b: &mut Builder,
        x: usize,
        prefix: &str,
        stride: usize,
        search: bool,
    ) -> Option<usize> {
        if self == Self::None {
            return None;
        }
        let c = b.shape(x).c;
        let (mut y, mut stride_left) = (x, stride);
        let steps = if stride == 2 { self.row().halving } else { self.row().steps };
        for (i, step) in steps.iter().enumerate() {
            let name = format!("{prefix}.op.{i}");
            y = match *step {
                MaxPool | AvgPool => {
                    let window = Window::same(3, std::mem::replace(&mut stride_left, 1), 1);
                    let y = b.pool(prefix, y, *step == MaxPool, window);
                    if search { b.norm(format!("{prefix}.1"), y, false) } else { y }
                }
                FactorizedReduce => factorized_reduce(b, y, prefix, c, !search),
                Relu => b.relu(y),
                Depthwise { k, dilation } => {
                    b.depthwise(name, y, Window::same(k, std::mem::replace(&mut stride_left, 1), dilation))
                }
                Pointwise => b.conv(name, y, c, Window::POINT),
                Norm => b.norm(name, y, !search),
            };
        }
        Some(y)
    }

    /// Distance between the taps of the first depthwise convolution.
    pub fn dilation(self) -> Option<usize> {
        self.row()
            .steps
            .iter()
            .find_map(|s| if let Depthwise { dilation, .. } = s { Some(*dilation) } else { None })
    }

    /// Whether the primitive is one of the two pools.
    pub fn is_pool(self) -> bool {
        self.row().steps.iter().any(|step| matches!(step, MaxPool | AvgPool))
    }

    /// The primitive whose name is closest to `name`, for a hint. `None` if no name is close.
    pub fn nearest(name: &str) -> Option<Self> {
        // A longer word is no misspelling of a primitive, and the distance takes quadratic time.
        if name.len() > 40 {
            return None;
        }
        let distance = |p: &Self| strsim::levenshtein(name, p.name());
        Self::ALL.into_iter().min_by_key(distance).filter(|p| distance(p) <= p.name().len() / 2)
    }

    /// The convolution or the pool whose name is closest to `name`, if `name` is one of a convolution or pool.
    pub(super) fn nearest_of_kind(name: &str) -> Option<Self> {
        let kind = ["conv", "pool"].into_iter().find(|kind| name.len() <= 40 && name.contains(kind))?;
        let of_kind = Self::ALL.into_iter().filter(|p| p.name().contains(kind));
        of_kind.min_by_key(|p| strsim::levenshtein(name, p.name()))
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// ReLU, two 1x1 convolutions of stride 2 beside each other, batch norm.
pub(crate) fn factorized_reduce(b: &mut Builder, x: usize, prefix: &str, c: usize, affine: bool) -> usize {
    let y = b.relu(x);
    let y = b.factorized_reduce(prefix, y, c);
    b.norm(format!("{prefix}.bn"), y, affine)
}
