//! A trained network → its graph: stem, cells, classifier, each named like its module in the reference.

use std::ops::Range;

use super::graph::{Builder, float, int, ints};
use super::{proto, value};
use crate::error::Result;
use crate::export::Trained;
use crate::graph::spec::{CellSpec, StemKind};
use crate::space::{N_SLOTS, Pair, Primitive};

/// Added to the variance by every batch norm.
const EPS: f32 = 1e-5;
/// Share of the new in running statistics; inference does not use it, but it is a setting of the operator.
const MOMENTUM: f32 = 0.9;

/// The window of a convolution or a pool.
#[derive(Clone, Copy)]
struct Window {
    side: usize,
    stride: usize,
    pad: usize,
    dilation: usize,
    /// Of a convolution: every channel by itself.
    depthwise: bool,
}

/// One pixel.
const POINT: Window = Window { side: 1, stride: 1, pad: 0, dilation: 1, depthwise: false };
/// Its neighbours too.
const SQUARE: Window = Window { side: 3, pad: 1, ..POINT };

/// The graph of `network`; with `fold`, batch norms are a part of the convolutions before them.
pub fn graph(network: &Trained, fold: bool) -> Result<proto::Graph> {
    let spec = &network.spec;
    let mut writer = Writer { network, fold, b: Builder::default() };
    let (mut s0, mut s1) = writer.stem()?;
    for cell in spec.cells() {
        let s2 = writer.cell(&cell, &s0, &s1)?;
        (s0, s1) = (s1, s2);
    }
    writer.classifier(&s1)?;
    let (node, initializer) = writer.b.finish("logits");
    Ok(proto::Graph {
        node,
        name: "network".into(),
        initializer,
        input: vec![value("images", &[spec.in_channels, spec.height, spec.width])],
        output: vec![value("logits", &[spec.n_classes])],
    })
}

struct Writer<'a> {
    network: &'a Trained,
    fold: bool,
    b: Builder,
}

impl Writer<'_> {
    /// The inputs of cell 0.
    fn stem(&mut self) -> Result<(String, String)> {
        let window = |stride| Window { stride, ..SQUARE };
        Ok(match self.network.spec.stem {
            StemKind::Cifar => {
                let s = self.conv_norm("stem.0", "stem.1", "images", &window(1))?;
                (s.clone(), s)
            }
            StemKind::ImageNet => {
                let half = self.conv_norm("stem0.0", "stem0.1", "images", &window(2))?;
                let half = self.b.relu(&half);
                let s0 = self.conv_norm("stem0.3", "stem0.4", &half, &window(2))?;
                let quarter = self.b.relu(&s0);
                let s1 = self.conv_norm("stem1.1", "stem1.2", &quarter, &window(2))?;
                (s0, s1)
            }
        })
    }

    fn cell(&mut self, cell: &CellSpec, s0: &str, s1: &str) -> Result<String> {
        let prefix = format!("cells.{}", cell.index);
        let [pre0, pre1] = [0, 1].map(|i| format!("{prefix}.preprocess{i}"));
        let mut states = vec![
            if cell.prev_reduction {
                self.factorized_reduce(&pre0, s0)?
            } else {
                self.relu_conv_norm(&pre0, s0)?
            },
            self.relu_conv_norm(&pre1, s1)?,
        ];
        let nodes = *self.network.genotype.cell(cell.kind);
        for (node, slots) in nodes.iter().enumerate() {
            let mut terms = vec![];
            for (slot, &pair) in slots.iter().enumerate() {
                let name = format!("{prefix}._ops.{}", node * N_SLOTS + slot);
                terms.extend(self.op(&name, pair, cell.stride(pair.input), &states[pair.input])?);
            }
            let name = format!("{prefix}.node{}", node + 2);
            states.push(match terms.as_slice() {
                [a, b] => self.b.node("Add", &name, &[a, b], vec![]),
                [a] => a.clone(),
                _ => self.zeros(&name, cell),
            });
        }
        let nodes: Vec<&str> = states[2..].iter().map(String::as_str).collect();
        Ok(self.b.node("Concat", &prefix, &nodes, vec![int("axis", 1)]))
    }

    /// One term of a node; nothing for `none`.
    fn op(&mut self, name: &str, pair: Pair, stride: usize, x: &str) -> Result<Option<String>> {
        let pool = Window { stride, ..SQUARE };
        let dilated = Window { stride, dilation: 2, depthwise: true, ..SQUARE };
        Ok(Some(match pair.primitive {
            Primitive::None => return Ok(None),
            Primitive::MaxPool3x3 => self.b.node("MaxPool", name, &[x], pool.settings(false)),
            Primitive::AvgPool3x3 => {
                let mut settings = pool.settings(false);
                settings.push(int("count_include_pad", 0));
                self.b.node("AveragePool", name, &[x], settings)
            }
            Primitive::SkipConnect if stride == 2 => self.factorized_reduce(name, x)?,
            Primitive::SkipConnect => x.to_owned(),
            Primitive::SepConv3x3 => self.sep_conv(name, x, 3, stride)?,
            Primitive::SepConv5x5 => self.sep_conv(name, x, 5, stride)?,
            Primitive::DilConv3x3 => self.separable(name, 1, x, &Window { pad: 2, ..dilated })?,
            Primitive::DilConv5x5 => self.separable(name, 1, x, &Window { side: 5, pad: 4, ..dilated })?,
        }))
    }

    fn sep_conv(&mut self, name: &str, x: &str, side: usize, stride: usize) -> Result<String> {
        let window = |stride| Window { side, stride, pad: side / 2, depthwise: true, ..SQUARE };
        let x = self.separable(name, 1, x, &window(stride))?;
        self.separable(name, 5, &x, &window(1))
    }

    /// ReLU, depthwise, pointwise, norm; the latter three at positions `at..at + 3` of an op's sequence.
    fn separable(&mut self, name: &str, at: usize, x: &str, window: &Window) -> Result<String> {
        let [depthwise, pointwise, norm] = [at, at + 1, at + 2].map(|i| format!("{name}.op.{i}"));
        let x = self.b.relu(x);
        let x = self.conv(&depthwise, &x, window, None)?;
        self.conv_norm(&pointwise, &norm, &x, &POINT)
    }

    fn relu_conv_norm(&mut self, name: &str, x: &str) -> Result<String> {
        let x = self.b.relu(x);
        self.conv_norm(&format!("{name}.op.1"), &format!("{name}.op.2"), &x, &POINT)
    }

    /// ReLU, then one convolution reads the even pixels and one the odd ones; norm.
    fn factorized_reduce(&mut self, name: &str, x: &str) -> Result<String> {
        let [conv_1, conv_2, norm] = ["conv_1", "conv_2", "bn"].map(|part| format!("{name}.{part}"));
        let half = self.network.f32s(&format!("{conv_1}.weight"))?.0[0];
        let window = Window { stride: 2, ..POINT };
        let x = self.b.relu(x);
        let starts = self.b.integers("odd.starts", &[1, 1]);
        let ends = self.b.integers("odd.ends", &[i64::MAX, i64::MAX]);
        let axes = self.b.integers("odd.axes", &[2, 3]);
        let odd = self.b.node("Slice", &format!("{name}.odd"), &[&x, &starts, &ends, &axes], vec![]);
        let a = self.conv(&conv_1, &x, &window, Some((&norm, 0..half)))?;
        let b = self.conv(&conv_2, &odd, &window, Some((&norm, half..2 * half)))?;
        let x = self.b.node("Concat", &format!("{name}.concat"), &[&a, &b], vec![int("axis", 1)]);
        self.norm(&norm, x)
    }

    /// A convolution and the batch norm behind it.
    fn conv_norm(&mut self, conv: &str, norm: &str, x: &str, window: &Window) -> Result<String> {
        let c_out = self.network.f32s(&format!("{conv}.weight"))?.0[0];
        let x = self.conv(conv, x, window, Some((norm, 0..c_out)))?;
        self.norm(norm, x)
    }

    /// A convolution; folding makes it one with the `channels` of the batch norm `norm` that follows.
    fn conv(
        &mut self,
        name: &str,
        x: &str,
        window: &Window,
        norm: Option<(&str, Range<usize>)>,
    ) -> Result<String> {
        let network = self.network;
        let weight_name = format!("{name}.weight");
        let (shape, weight) = network.f32s(&weight_name)?;
        let mut settings = window.settings(true);
        settings.push(int("group", if window.depthwise { shape[0] as i64 } else { 1 }));
        let (mut inputs, mut folded) = (vec![x.to_owned()], None);
        if let Some((norm, channels)) = norm.filter(|_| self.fold) {
            folded = Some(fold(weight, &self.coefficients(norm)?[channels]));
        }
        match folded {
            None => inputs.push(self.b.floats(&weight_name, shape, weight)),
            Some((weight, bias)) => {
                inputs.push(self.b.floats(&weight_name, shape, &weight));
                inputs.push(self.b.floats(&format!("{name}.bias"), &[bias.len()], &bias));
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.b.node("Conv", name, &inputs, settings))
    }

    /// The batch norm `name`, unless folding has put it into the convolutions already.
    fn norm(&mut self, name: &str, x: String) -> Result<String> {
        if self.fold {
            return Ok(x);
        }
        let mut inputs = vec![x];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            let part = format!("{name}.{part}");
            let (shape, numbers) = self.network.f32s(&part)?;
            inputs.push(self.b.floats(&part, shape, numbers));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let settings = vec![float("epsilon", EPS), float("momentum", MOMENTUM)];
        Ok(self.b.node("BatchNormalization", name, &inputs, settings))
    }

    /// The batch norm `name` at inference as `a·x + b`: (a, b) of every channel.
    fn coefficients(&self, name: &str) -> Result<Vec<(f64, f64)>> {
        let [weight, bias, mean, var] = [
            self.network.f32s(&format!("{name}.weight"))?.1,
            self.network.f32s(&format!("{name}.bias"))?.1,
            self.network.f32s(&format!("{name}.running_mean"))?.1,
            self.network.f32s(&format!("{name}.running_var"))?.1,
        ];
        let channel = |c: usize| {
            let a = f64::from(weight[c]) / (f64::from(var[c]) + f64::from(EPS)).sqrt();
            (a, f64::from(bias[c]) - a * f64::from(mean[c]))
        };
        Ok((0..weight.len()).map(channel).collect())
    }

    /// A node of a cell to which nothing is added.
    fn zeros(&mut self, name: &str, cell: &CellSpec) -> String {
        let n = self.b.node("Shape", &format!("{name}.n"), &["images"], vec![int("start", 0), int("end", 1)]);
        let extents = [cell.c, cell.h, cell.w].map(|extent| extent as i64);
        let extents = self.b.integers(&format!("{name}.extents"), &extents);
        let shape = self.b.node("Concat", &format!("{name}.shape"), &[&n, &extents], vec![int("axis", 0)]);
        self.b.node("ConstantOfShape", name, &[&shape], vec![])
    }

    fn classifier(&mut self, x: &str) -> Result<()> {
        let x = self.b.node("GlobalAveragePool", "global_pooling", &[x], vec![]);
        let x = self.b.node("Flatten", "features", &[&x], vec![int("axis", 1)]);
        let network = self.network;
        let [weight, bias] = ["classifier.weight", "classifier.bias"];
        for name in [weight, bias] {
            let (shape, numbers) = network.f32s(name)?;
            self.b.floats(name, shape, numbers);
        }
        self.b.node("Gemm", "logits", &[&x, weight, bias], vec![int("transB", 1)]);
        Ok(())
    }
}

impl Window {
    /// As settings of an operator; `dilated` where it may have a dilation.
    fn settings(&self, dilated: bool) -> Vec<proto::Attribute> {
        let [side, stride, pad, dilation] =
            [self.side, self.stride, self.pad, self.dilation].map(|value| value as i64);
        let mut out = vec![
            ints("kernel_shape", &[side, side]),
            ints("strides", &[stride, stride]),
            ints("pads", &[pad, pad, pad, pad]),
        ];
        if dilated {
            out.push(ints("dilations", &[dilation, dilation]));
        }
        out
    }
}

/// `a·(w * x) + b = (a·w) * x + b`: the weights, by output channel, and the bias.
fn fold(weight: &[f32], coefficients: &[(f64, f64)]) -> (Vec<f32>, Vec<f32>) {
    let per_channel = (weight.len() / coefficients.len().max(1)).max(1);
    let channels = weight.chunks(per_channel).zip(coefficients);
    let weight = channels.flat_map(|(w, (a, _))| w.iter().map(move |w| (f64::from(*w) * a) as f32)).collect();
    (weight, coefficients.iter().map(|(_, b)| *b as f32).collect())
}
