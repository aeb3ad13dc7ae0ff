//! A network without its architecture.

use std::sync::Arc;

use super::{Alpha, Paths, Space};
use crate::error::Result;
use crate::network::{Net, ParamSpec, Shape};

/// Kind of network that is built from an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkKind {
    /// The over-parameterised parent and its children. Only the stem's batch norms have parameters, and batch norms
    /// always use the statistics of the batch.
    Search,
    /// The network of one architecture: affine batch norms with running statistics.
    Final,
}

/// A network without its architecture.
#[derive(Clone, Debug)]
pub struct NetworkSpec {
    /// The space that builds the layers.
    pub space: Arc<dyn Space>,
    /// Search parent or final network.
    pub kind: NetworkKind,
    /// Channels of the images.
    pub in_channels: usize,
    /// Height of the images in pixels.
    pub height: usize,
    /// Width of the images in pixels.
    pub width: usize,
    /// Number of classes.
    pub n_classes: usize,
    /// Channels of the first layers of the network.
    pub channels: usize,
}

impl PartialEq for NetworkSpec {
    fn eq(&self, other: &Self) -> bool {
        *self.space == *other.space
            && (self.kind, self.image(), self.n_classes, self.channels)
                == (other.kind, other.image(), other.n_classes, other.channels)
    }
}

impl NetworkSpec {
    /// Refuses sizes that cannot be built, before anything runs.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] naming the value.
    pub fn check(&self) -> Result<()> {
        // The upper ends keep every count within 64 bits. They also keep every loop of a kernel (over the pixels of an
        // image in the pools, over the classes in the cross-entropy) under the 65,535 iterations after which
        // some drivers stop silently.
        let ranges = [
            ("channels", self.channels, 2, 1024),
            ("channels of the images", self.in_channels, 1, 1024),
            ("image height", self.height, 1, 512),
            ("image width", self.width, 1, 512),
            ("classes", self.n_classes, 2, 20_000),
        ];
        for (what, value, least, most) in ranges {
            in_range(what, value, least, most)?;
        }
        self.space.check(self)
    }

    /// The same network with or without an auxiliary head, if the space can have one.
    #[must_use]
    pub fn with_auxiliary(self, on: bool) -> Self {
        let space = self.space.auxiliary(on && self.kind == NetworkKind::Final).unwrap_or(self.space);
        Self { space, ..self }
    }

    /// The extents of an image.
    pub fn image(&self) -> Shape {
        Shape { c: self.in_channels, h: self.height, w: self.width }
    }

    /// The layers of a child, of a final network or, with all paths, of the mixed network.
    pub fn net(&self, paths: Paths<'_>) -> Net {
        self.space.net(paths, self)
    }

    /// Every named tensor of the search parent.
    pub fn parent_params(&self) -> Vec<ParamSpec> {
        self.space.parent_params(self)
    }

    /// Every named tensor of the whole search parent, or of the final network of an architecture.
    pub fn params(&self, alpha: &Alpha) -> Vec<ParamSpec> {
        match self.kind {
            NetworkKind::Search => self.parent_params(),
            NetworkKind::Final => self.net(Paths::Child(alpha)).params(),
        }
    }

    /// Multiply-adds of the convolutions and linear layers for one image, without the auxiliary head. If a child of a
    /// search drew an operation twice, the operation is counted twice, because its node sums two terms.
    pub fn macs(&self, alpha: &Alpha) -> u64 {
        // A final network has a separate operation in every slot.
        Self { kind: NetworkKind::Final, ..self.clone() }.net(Paths::Child(alpha)).macs()
    }

    /// The architecture whose final network has the most multiply-adds. Among equal choices of a slot the first one is
    /// taken.
    ///
    /// Each slot in turn takes its best choice while the other slots stay, until no slot changes. In both spaces every
    /// slot adds its own multiply-adds. Therefore no architecture has more multiply-adds than the result.
    pub fn most_macs(&self) -> Alpha {
        let slots = self.space.slots();
        let mut alpha = Alpha(vec![0; slots.len()]);
        loop {
            let before = alpha.clone();
            for (i, slot) in slots.iter().enumerate() {
                let mut best: Option<(u64, u16)> = None;
                for choice in (0..slot.n_choices).filter_map(|choice| u16::try_from(choice).ok()) {
                    alpha.0[i] = choice;
                    let macs = self.macs(&alpha);
                    if best.is_none_or(|(most, _)| macs > most) {
                        best = Some((macs, choice));
                    }
                }
                alpha.0[i] = best.map_or(0, |(_, choice)| choice);
            }
            if alpha == before {
                return alpha;
            }
        }
    }
}

/// Refuses a count out of a range.
pub(super) fn in_range(what: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let try_this = if what == "image height" || what == "image width" {
        "another --size, or smaller images"
    } else {
        ""
    };
    Err(crate::Error::usage(what, format!("{least} to {most}"), value.to_string(), try_this))
}
