//! The eight operations of the DARTS space, by name and index.

/// A primitive operation; the order is the reference's and gives the index `p` in parameter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Primitive {
    /// The zero operation.
    None,
    /// Max pool 3x3, pad 1.
    MaxPool3x3,
    /// Average pool 3x3, pad 1, padding not counted.
    AvgPool3x3,
    /// Identity at stride 1, FactorizedReduce at stride 2.
    SkipConnect,
    /// Two depthwise-separable 3x3 convolutions.
    SepConv3x3,
    /// Two depthwise-separable 5x5 convolutions.
    SepConv5x5,
    /// A depthwise-separable 3x3 convolution with dilation 2.
    DilConv3x3,
    /// A depthwise-separable 5x5 convolution with dilation 2.
    DilConv5x5,
}

impl Primitive {
    /// All primitives in the reference's order.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::MaxPool3x3,
        Self::AvgPool3x3,
        Self::SkipConnect,
        Self::SepConv3x3,
        Self::SepConv5x5,
        Self::DilConv3x3,
        Self::DilConv5x5,
    ];

    /// The name used in genotypes and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MaxPool3x3 => "max_pool_3x3",
            Self::AvgPool3x3 => "avg_pool_3x3",
            Self::SkipConnect => "skip_connect",
            Self::SepConv3x3 => "sep_conv_3x3",
            Self::SepConv5x5 => "sep_conv_5x5",
            Self::DilConv3x3 => "dil_conv_3x3",
            Self::DilConv5x5 => "dil_conv_5x5",
        }
    }

    /// Position in [`Self::ALL`]: the index `p` in the search parent's parameter names.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The primitive called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Whether it is one of the two pools.
    pub fn is_pool(self) -> bool {
        matches!(self, Self::MaxPool3x3 | Self::AvgPool3x3)
    }

    /// The primitive whose name is closest to `name`, for a hint; none if nothing is close.
    pub fn nearest(name: &str) -> Option<Self> {
        // Longer words are no misspelling, and the distance takes quadratic time.
        if name.len() > 40 {
            return None;
        }
        let distance = |p: &Self| edit_distance(name, p.name());
        Self::ALL.into_iter().min_by_key(distance).filter(|p| distance(p) <= p.name().len() / 2)
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// Insertions, deletions and replacements of one character that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
