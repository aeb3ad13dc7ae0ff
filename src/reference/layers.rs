//! A network's description and genotype → the list of its layers, in the order of the forward pass.
//!
//! A layer names the earlier layers it reads by their position in the list, and its parameters by the
//! names and shapes of the reference implementation's files. Backward goes through the same list from the
//! end. Written from the definition of the networks alone, apart from the graph that the device runs.

use super::{Window, avg_pool};
use crate::space::{CellArch, CellKind, Genotype, Pair, Primitive};

/// Which of the two networks of a genotype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A child of the search parent: shared weights, batch norms without parameters, always with batch
    /// statistics, a batch norm after every pool.
    Search,
    /// The network that is trained by itself.
    Final,
}

/// What stands before the first cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// One 3x3 convolution at full size.
    Cifar,
    /// Three 3x3 convolutions of stride 2.
    ImageNet,
}

/// A network but for its genotype and weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Search child or final network.
    pub kind: Kind,
    /// The stem; the auxiliary head is the one that belongs to it.
    pub stem: Stem,
    /// Cells.
    pub layers: usize,
    /// C of the first cell.
    pub channels: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Outputs.
    pub classes: usize,
    /// Whether the auxiliary head is there (0.4 times its cross-entropy is added to the loss).
    pub auxiliary: bool,
}

/// One layer; `usize`s named `x` are positions of earlier layers.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The batch itself; always layer 0.
    Images,
    Relu {
        x: usize,
    },
    Conv {
        x: usize,
        weight: String,
        ci: usize,
        co: usize,
        win: Window,
    },
    Depthwise {
        x: usize,
        weight: String,
        c: usize,
        win: Window,
    },
    Pointwise {
        x: usize,
        weight: String,
        ci: usize,
        co: usize,
    },
    Subsample {
        x: usize,
    },
    Slice {
        x: usize,
        first: usize,
        count: usize,
    },
    MaxPool {
        x: usize,
        stride: usize,
    },
    AvgPool {
        x: usize,
        win: Window,
    },
    /// The auxiliary head's pool: 5x5 without pad on maps of the preset's side, else adaptive to 2x2.
    AuxPool {
        x: usize,
        side: usize,
        stride: usize,
    },
    /// `name` is the prefix of its five tensors; in the search only the stem's are affine.
    BatchNorm {
        x: usize,
        name: String,
        c: usize,
        affine: bool,
    },
    /// Node sum; a term that may be dropped carries its (cell, op).
    Sum {
        terms: [usize; 2],
        drop: [Option<(usize, usize)>; 2],
    },
    Concat {
        parts: Vec<usize>,
    },
    /// `none`: zeros.
    Zero {
        x: usize,
        stride: usize,
    },
    GlobalPool {
        x: usize,
    },
    Linear {
        x: usize,
        name: String,
        features: usize,
        classes: usize,
    },
}

impl Layer {
    /// Names and shapes of the parameters that have a gradient.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Conv {
                weight, ci, co, win, ..
            } => vec![(weight.clone(), vec![*co, *ci, win.k, win.k])],
            Self::Depthwise { weight, c, win, .. } => vec![(weight.clone(), vec![*c, 1, win.k, win.k])],
            Self::Pointwise { weight, ci, co, .. } => vec![(weight.clone(), vec![*co, *ci, 1, 1])],
            Self::BatchNorm {
                name,
                c,
                affine: true,
                ..
            } => {
                vec![
                    (format!("{name}.weight"), vec![*c]),
                    (format!("{name}.bias"), vec![*c]),
                ]
            }
            Self::Linear {
                name,
                features,
                classes,
                ..
            } => {
                vec![
                    (format!("{name}.weight"), vec![*classes, *features]),
                    (format!("{name}.bias"), vec![*classes]),
                ]
            }
            _ => Vec::new(),
        }
    }
}

/// The layers of a network and where its outputs are.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// In the order of the forward pass.
    pub list: Vec<Layer>,
    /// The layer that holds the logits.
    pub logits: usize,
    /// The layer that holds the auxiliary head's logits.
    pub aux_logits: Option<usize>,
}

/// The position of a layer and its channels.
type Out = (usize, usize);

struct Builder {
    kind: Kind,
    list: Vec<Layer>,
}

/// The layers of `net` with the cells of `genotype`.
pub fn build(net: &Net, genotype: &Genotype) -> Layers {
    let mut b = Builder {
        kind: net.kind,
        list: vec![Layer::Images],
    };
    let (mut s0, mut s1) = match net.stem {
        Stem::Cifar => {
            let x = b.conv_bn((0, net.in_channels), 3 * net.channels, 1, "stem.0", "stem.1");
            (x, x)
        }
        Stem::ImageNet => {
            let c = net.channels;
            let x = b.conv_bn((0, net.in_channels), c / 2, 2, "stem0.0", "stem0.1");
            let x = b.relu(x);
            let s0 = b.conv_bn(x, c, 2, "stem0.3", "stem0.4");
            let x = b.relu(s0);
            (s0, b.conv_bn(x, c, 2, "stem1.1", "stem1.2"))
        }
    };
    let mut c = net.channels;
    let mut reduced = net.stem == Stem::ImageNet;
    let mut aux_logits = None;
    for cell in 0..net.layers {
        let reduce = cell == net.layers / 3 || cell == 2 * net.layers / 3;
        let kind = if reduce {
            CellKind::Reduce
        } else {
            CellKind::Normal
        };
        if reduce {
            c *= 2;
        }
        let out = b.cell(cell, kind, genotype, [s0, s1], c, reduced);
        (s0, s1, reduced) = (s1, out, reduce);
        if net.auxiliary && cell == 2 * net.layers / 3 {
            aux_logits = Some(b.auxiliary_head(out, net));
        }
    }
    let x = b.push(Layer::GlobalPool { x: s1.0 });
    let logits = b.linear((x, s1.1), "classifier", net.classes);
    Layers {
        list: b.list,
        logits,
        aux_logits,
    }
}

impl Builder {
    fn push(&mut self, layer: Layer) -> usize {
        self.list.push(layer);
        self.list.len() - 1
    }

    fn relu(&mut self, (x, c): Out) -> Out {
        (self.push(Layer::Relu { x }), c)
    }

    fn conv(&mut self, (x, ci): Out, co: usize, win: Window, name: &str) -> Out {
        (
            self.push(Layer::Conv {
                x,
                weight: format!("{name}.weight"),
                ci,
                co,
                win,
            }),
            co,
        )
    }

    fn pointwise(&mut self, (x, ci): Out, co: usize, name: &str) -> Out {
        (
            self.push(Layer::Pointwise {
                x,
                weight: format!("{name}.weight"),
                ci,
                co,
            }),
            co,
        )
    }

    fn depthwise(&mut self, (x, c): Out, win: Window, name: &str) -> Out {
        (
            self.push(Layer::Depthwise {
                x,
                weight: format!("{name}.weight"),
                c,
                win,
            }),
            c,
        )
    }

    fn linear(&mut self, (x, features): Out, name: &str, classes: usize) -> usize {
        self.push(Layer::Linear {
            x,
            name: name.to_owned(),
            features,
            classes,
        })
    }

    /// A batch norm that is affine in both networks: the stem's and the auxiliary head's.
    fn affine_bn(&mut self, (x, c): Out, name: &str) -> Out {
        (
            self.push(Layer::BatchNorm {
                x,
                name: name.to_owned(),
                c,
                affine: true,
            }),
            c,
        )
    }

    /// A cell's batch norm: affine in the final network only.
    fn cell_bn(&mut self, (x, c): Out, name: &str) -> Out {
        let affine = self.kind == Kind::Final;
        (
            self.push(Layer::BatchNorm {
                x,
                name: name.to_owned(),
                c,
                affine,
            }),
            c,
        )
    }

    /// The stems' 3x3 convolution, pad 1, and its batch norm.
    fn conv_bn(&mut self, x: Out, co: usize, stride: usize, conv: &str, bn: &str) -> Out {
        let y = self.conv(
            x,
            co,
            Window {
                k: 3,
                stride,
                pad: 1,
                dilation: 1,
            },
            conv,
        );
        self.affine_bn(y, bn)
    }

    fn relu_conv_bn(&mut self, x: Out, co: usize, name: &str) -> Out {
        let y = self.relu(x);
        let y = self.pointwise(y, co, &format!("{name}.op.1"));
        self.cell_bn(y, &format!("{name}.op.2"))
    }

    fn factorized_reduce(&mut self, x: Out, co: usize, name: &str) -> Out {
        let (y, ci) = self.relu(x);
        let both = self.push(Layer::Subsample { x: y });
        let even = self.push(Layer::Slice {
            x: both,
            first: 0,
            count: ci,
        });
        let odd = self.push(Layer::Slice {
            x: both,
            first: ci,
            count: ci,
        });
        let (even, _) = self.pointwise((even, ci), co / 2, &format!("{name}.conv_1"));
        let (odd, _) = self.pointwise((odd, ci), co / 2, &format!("{name}.conv_2"));
        let y = self.push(Layer::Concat {
            parts: vec![even, odd],
        });
        self.cell_bn((y, co), &format!("{name}.bn"))
    }

    fn cell(
        &mut self,
        cell: usize,
        kind: CellKind,
        genotype: &Genotype,
        inputs: [Out; 2],
        c: usize,
        after_reduction: bool,
    ) -> Out {
        let name0 = format!("cells.{cell}.preprocess0");
        let first = if after_reduction {
            self.factorized_reduce(inputs[0], c, &name0)
        } else {
            self.relu_conv_bn(inputs[0], c, &name0)
        };
        let second = self.relu_conv_bn(inputs[1], c, &format!("cells.{cell}.preprocess1"));
        let arch: &CellArch = match kind {
            CellKind::Normal => &genotype.normal,
            CellKind::Reduce => &genotype.reduce,
        };
        let mut nodes = vec![first, second];
        for (node, slots) in arch.iter().enumerate() {
            let (mut terms, mut drop) = ([0; 2], [None; 2]);
            for (slot, pair) in slots.iter().enumerate() {
                let stride = if kind == CellKind::Reduce && pair.input < 2 {
                    2
                } else {
                    1
                };
                let op = 2 * node + slot;
                let name = match self.kind {
                    Kind::Search => search_op_name(cell, node, *pair),
                    Kind::Final => format!("cells.{cell}._ops.{op}"),
                };
                terms[slot] = self.primitive(pair.primitive, nodes[pair.input], stride, &name).0;
                let identity = pair.primitive == Primitive::SkipConnect && stride == 1;
                if self.kind == Kind::Final && !identity {
                    drop[slot] = Some((cell, op));
                }
            }
            nodes.push((self.push(Layer::Sum { terms, drop }), c));
        }
        let parts = nodes[2..].iter().map(|node| node.0).collect();
        (self.push(Layer::Concat { parts }), 4 * c)
    }

    fn primitive(&mut self, primitive: Primitive, (x, c): Out, stride: usize, name: &str) -> Out {
        match primitive {
            Primitive::None => (self.push(Layer::Zero { x, stride }), c),
            Primitive::MaxPool3x3 => {
                let y = self.push(Layer::MaxPool { x, stride });
                self.bn_after_pool((y, c))
            }
            Primitive::AvgPool3x3 => {
                let y = self.push(Layer::AvgPool {
                    x,
                    win: avg_pool::window(stride),
                });
                self.bn_after_pool((y, c))
            }
            Primitive::SkipConnect if stride == 1 => (x, c),
            Primitive::SkipConnect => self.factorized_reduce((x, c), c, name),
            Primitive::SepConv3x3 => self.sep_conv((x, c), 3, stride, name),
            Primitive::SepConv5x5 => self.sep_conv((x, c), 5, stride, name),
            Primitive::DilConv3x3 => self.dil_conv((x, c), 3, stride, name),
            Primitive::DilConv5x5 => self.dil_conv((x, c), 5, stride, name),
        }
    }

    fn bn_after_pool(&mut self, x: Out) -> Out {
        match self.kind {
            Kind::Search => self.cell_bn(x, ""),
            Kind::Final => x,
        }
    }

    fn sep_conv(&mut self, x: Out, k: usize, stride: usize, name: &str) -> Out {
        let mut y = x;
        for (first, stride) in [(1, stride), (5, 1)] {
            y = self.relu(y);
            y = self.depthwise(
                y,
                Window {
                    k,
                    stride,
                    pad: k / 2,
                    dilation: 1,
                },
                &format!("{name}.op.{first}"),
            );
            y = self.pointwise(y, x.1, &format!("{name}.op.{}", first + 1));
            y = self.cell_bn(y, &format!("{name}.op.{}", first + 2));
        }
        y
    }

    fn dil_conv(&mut self, x: Out, k: usize, stride: usize, name: &str) -> Out {
        let y = self.relu(x);
        let y = self.depthwise(
            y,
            Window {
                k,
                stride,
                pad: k - 1,
                dilation: 2,
            },
            &format!("{name}.op.1"),
        );
        let y = self.pointwise(y, x.1, &format!("{name}.op.2"));
        self.cell_bn(y, &format!("{name}.op.3"))
    }

    fn auxiliary_head(&mut self, x: Out, net: &Net) -> usize {
        let (side, stride) = match net.stem {
            Stem::Cifar => (8, 3),
            Stem::ImageNet => (7, 2),
        };
        let (y, c) = self.relu(x);
        let y = self.push(Layer::AuxPool { x: y, side, stride });
        let y = self.pointwise((y, c), 128, "auxiliary_head.features.2");
        let y = self.affine_bn(y, "auxiliary_head.features.3");
        let y = self.relu(y);
        let win = Window {
            k: 2,
            stride: 1,
            pad: 0,
            dilation: 1,
        };
        let mut y = self.conv(y, 768, win, "auxiliary_head.features.5");
        if net.stem == Stem::Cifar {
            y = self.affine_bn(y, "auxiliary_head.features.6");
        }
        let y = self.relu(y);
        self.linear(y, "auxiliary_head.classifier", net.classes)
    }
}

/// The prefix of a path's parameters in the search parent: edges are numbered node by node, input by input.
fn search_op_name(cell: usize, node: usize, pair: Pair) -> String {
    let before: usize = (0..node).map(|n| 2 + n).sum();
    format!(
        "cells.{cell}._ops.{}._ops.{}",
        before + pair.input,
        pair.primitive.index()
    )
}
