//! A trained network → its graph, layer by layer. Each node is named like its module in PyTorch.

use std::ops::Range;

use super::graph::{Builder, float, int, ints};
use super::{proto, value};
use crate::error::{Error, Result};
use crate::export::Trained;
use crate::network::{Kind, Layer, Net, Shape, Window};

/// Number that every batch norm adds to the variance.
const EPS: f32 = 1e-5;
/// Weight of the old value in running statistics. Inference does not use it, but the operator has this attribute.
const MOMENTUM: f32 = 0.9;

/// The graph of `network`. With `fold`, batch norms are folded into the convolutions before them.
pub fn graph(network: &Trained, fold: bool) -> Result<proto::Graph> {
    let net = network.net();
    let mut writer = Writer { network, net: &net, fold, b: Builder::default() };
    let mut names: Vec<String> = Vec::new();
    for at in 0..net.layers.len() {
        // Layers that only training needs have no value here.
        let name = if net.layers[at].auxiliary { String::new() } else { writer.layer(at, &names)? };
        names.push(name);
    }
    let (node, initializer) = writer.b.finish("logits");
    let Shape { c, h, w } = net.image();
    Ok(proto::Graph {
        node,
        name: "network".into(),
        initializer,
        input: vec![value("images", &[c, h, w])],
        output: vec![value("logits", &[net.n_classes()])],
    })
}

struct Writer<'a> {
    network: &'a Trained,
    net: &'a Net,
    fold: bool,
    b: Builder,
}

impl Writer<'_> {
    /// Adds a layer to the graph and returns the name of its value. `names` holds the names of the layers before it.
    fn layer(&mut self, at: usize, names: &[String]) -> Result<String> {
        let layer = &self.net.layers[at];
        let name = layer.name.as_str();
        let inputs: Vec<&str> = layer.inputs.iter().map(|x| names[*x].as_str()).collect();
        let x = inputs.first().copied().unwrap_or_default();
        Ok(match &layer.kind {
            Kind::Images => name.to_owned(),
            Kind::Relu => self.b.relu(x),
            Kind::MaxPool(window) => self.b.node("MaxPool", name, &[x], settings(*window, false)),
            Kind::AvgPool(window) => {
                let mut settings = settings(*window, false);
                settings.push(int("count_include_pad", 0));
                self.b.node("AveragePool", name, &[x], settings)
            }
            Kind::FactorizedReduce => self.factorized_reduce(at, x)?,
            Kind::Depthwise(window) => {
                let norm = self.norm_behind(at, 0..layer.shape.c);
                self.conv(name, x, *window, layer.shape.c, norm)?
            }
            Kind::Conv(window) => {
                let norm = self.norm_behind(at, 0..layer.shape.c);
                self.conv(name, x, *window, 1, norm)?
            }
            Kind::Norm { .. } => self.norm(at, x)?,
            Kind::Sum(_) => match inputs[..] {
                [] => self.zeros(layer),
                [x] => x.to_owned(),
                [first, ref rest @ ..] => {
                    let mut sum = first.to_owned();
                    for (i, x) in rest.iter().enumerate() {
                        let name = if i + 1 == rest.len() { name.to_owned() } else { format!("{name}.{i}") };
                        sum = self.b.node("Add", &name, &[&sum, x], vec![]);
                    }
                    sum
                }
            },
            Kind::Concat => self.b.node("Concat", name, &inputs, vec![int("axis", 1)]),
            Kind::GlobalPool => {
                let x = self.b.node("GlobalAveragePool", name, &[x], vec![]);
                self.b.node("Flatten", "features", &[&x], vec![int("axis", 1)])
            }
            Kind::Linear => {
                let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
                for name in [&weight, &bias] {
                    let (shape, numbers) = self.network.f32s(name)?;
                    self.b.floats(name, shape, numbers);
                }
                self.b.node("Gemm", "logits", &[x, &weight, &bias], vec![int("transB", 1)])
            }
            Kind::PoolTo2x2 { .. } => return Err(Error::internal("inference has no auxiliary head")),
        })
    }

    /// Adds two convolutions: one reads the even pixels, the other the odd pixels.
    fn factorized_reduce(&mut self, at: usize, x: &str) -> Result<String> {
        let layer = &self.net.layers[at];
        let (name, half) = (&layer.name, layer.shape.c / 2);
        let [conv_1, conv_2] = ["conv_1", "conv_2"].map(|part| format!("{name}.{part}"));
        let window = Window { stride: 2, ..Window::POINT };
        let starts = self.b.integers("odd.starts", &[1, 1]);
        let ends = self.b.integers("odd.ends", &[i64::MAX, i64::MAX]);
        let axes = self.b.integers("odd.axes", &[2, 3]);
        let odd = self.b.node("Slice", &format!("{name}.odd"), &[x, &starts, &ends, &axes], vec![]);
        let norms = [0..half, half..2 * half].map(|channels| self.norm_behind(at, channels));
        let [first, second] = norms;
        let a = self.conv(&conv_1, x, window, 1, first)?;
        let b = self.conv(&conv_2, &odd, window, 1, second)?;
        Ok(self.b.node("Concat", &format!("{name}.concat"), &[&a, &b], vec![int("axis", 1)]))
    }

    /// The batch norm that is folded into a convolution, and the range of its channels.
    fn norm_behind(&self, at: usize, channels: Range<usize>) -> Option<(String, Range<usize>)> {
        let next = self.net.layers.get(at + 1).filter(|next| next.inputs == [at])?;
        matches!(next.kind, Kind::Norm { .. }).then(|| (next.name.clone(), channels)).filter(|_| self.fold)
    }

    /// Adds a convolution, with a batch norm folded into it if one is given.
    fn conv(
        &mut self,
        name: &str,
        x: &str,
        window: Window,
        groups: usize,
        norm: Option<(String, Range<usize>)>,
    ) -> Result<String> {
        let network = self.network;
        let weight_name = format!("{name}.weight");
        let (shape, weight) = network.f32s(&weight_name)?;
        let mut settings = settings(window, true);
        settings.push(int("group", groups as i64));
        let mut inputs = vec![x.to_owned()];
        match norm {
            None => inputs.push(self.b.floats(&weight_name, shape, weight)),
            Some((norm, channels)) => {
                let (weight, bias) = fold(weight, &self.coefficients(&norm)?[channels]);
                inputs.push(self.b.floats(&weight_name, shape, &weight));
                inputs.push(self.b.floats(&format!("{name}.bias"), &[bias.len()], &bias));
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.b.node("Conv", name, &inputs, settings))
    }

    /// Adds a batch norm, unless it was folded into the convolution before it.
    fn norm(&mut self, at: usize, x: &str) -> Result<String> {
        let name = &self.net.layers[at].name;
        let before = &self.net.layers[self.net.layers[at].inputs[0]].kind;
        if self.fold && matches!(before, Kind::Conv(_) | Kind::Depthwise(_) | Kind::FactorizedReduce) {
            return Ok(x.to_owned());
        }
        let mut inputs = vec![x.to_owned()];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            let part = format!("{name}.{part}");
            let (shape, numbers) = self.network.f32s(&part)?;
            inputs.push(self.b.floats(&part, shape, numbers));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let settings = vec![float("epsilon", EPS), float("momentum", MOMENTUM)];
        Ok(self.b.node("BatchNormalization", name, &inputs, settings))
    }

    /// The coefficients (a, b) of every channel with which the batch norm `name` at inference is `a·x + b`.
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

    /// Adds zeros, the value of a node without terms.
    fn zeros(&mut self, layer: &Layer) -> String {
        let name = &layer.name;
        let n = self.b.node("Shape", &format!("{name}.n"), &["images"], vec![int("start", 0), int("end", 1)]);
        let extents = [layer.shape.c, layer.shape.h, layer.shape.w].map(|extent| extent as i64);
        let extents = self.b.integers(&format!("{name}.extents"), &extents);
        let shape = self.b.node("Concat", &format!("{name}.shape"), &[&n, &extents], vec![int("axis", 0)]);
        self.b.node("ConstantOfShape", name, &[&shape], vec![])
    }
}

/// A window as attributes of an operator. With `dilated`, the attributes include the dilation.
fn settings(window: Window, dilated: bool) -> Vec<proto::Attribute> {
    let [side, stride, pad, dilation] =
        [window.k, window.stride, window.pad, window.dilation].map(|value| value as i64);
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

/// `a·(w * x) + b = (a·w) * x + b`: the weights, grouped by output channel, and the bias.
fn fold(weight: &[f32], coefficients: &[(f64, f64)]) -> (Vec<f32>, Vec<f32>) {
    let per_channel = (weight.len() / coefficients.len().max(1)).max(1);
    let channels = weight.chunks(per_channel).zip(coefficients);
    let weight = channels.flat_map(|(w, (a, _))| w.iter().map(move |w| (f64::from(*w) * a) as f32)).collect();
    (weight, coefficients.iter().map(|(_, b)| *b as f32).collect())
}
