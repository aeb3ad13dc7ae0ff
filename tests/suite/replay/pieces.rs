//! PyTorch's primitives and cells against compositions of the oracle's operations, which are written out here again.

use std::collections::BTreeMap;

use parsec_nas::files::tensors::{self, Tensors};
use parsec_nas::reference::{
    T4, Window, avg_pool, batch_norm, concat, conv, depthwise, max_pool, node_sum, pointwise, relu, subsample,
};
use parsec_nas::space::{Genotype, Primitive, edge};
use serde_json::Value;

use super::{close, fixture, numbers};

type Named = BTreeMap<String, Vec<f64>>;
type Back = Box<dyn Fn(&T4) -> (T4, Named)>;

/// Layers that were applied one after another, with their backward passes.
struct Chain<'a> {
    weights: &'a Named,
    y: T4,
    back: Vec<Back>,
}

impl<'a> Chain<'a> {
    fn new(x: &T4, weights: &'a Named) -> Self {
        Self { weights, y: x.clone(), back: Vec::new() }
    }

    fn push(mut self, y: T4, back: impl Fn(&T4) -> (T4, Named) + 'static) -> Self {
        self.y = y;
        self.back.push(Box::new(back));
        self
    }

    /// (dx, dw by name) from dy.
    fn backward(&self, dy: &T4) -> (T4, Named) {
        let (mut g, mut named) = (dy.clone(), Named::new());
        for back in self.back.iter().rev() {
            let (dx, dw) = back(&g);
            g = dx;
            named.extend(dw);
        }
        (g, named)
    }

    fn relu(self) -> Self {
        let x = self.y.clone();
        let y = relu::forward(&x);
        self.push(y, move |dy| (relu::backward(&x, dy), Named::new()))
    }

    fn convolution(self, name: &str, co: usize, win: Window) -> Self {
        let (x, w, name) = (self.y.clone(), self.weights[name].clone(), name.to_owned());
        let y = conv::forward(&x, &w, co, win);
        self.push(y, move |dy| {
            let (dx, dw) = conv::backward(&x, &w, dy, win);
            (dx, Named::from([(name.clone(), dw)]))
        })
    }

    fn depthwise(self, name: &str, win: Window) -> Self {
        let (x, w, name) = (self.y.clone(), self.weights[name].clone(), name.to_owned());
        let y = depthwise::forward(&x, &w, win);
        self.push(y, move |dy| {
            let (dx, dw) = depthwise::backward(&x, &w, dy, win);
            (dx, Named::from([(name.clone(), dw)]))
        })
    }

    fn pointwise(self, name: &str, co: usize) -> Self {
        let (x, w, name) = (self.y.clone(), self.weights[name].clone(), name.to_owned());
        let y = pointwise::forward(&x, &w, co);
        self.push(y, move |dy| {
            let (dx, dw) = pointwise::backward(&x, &w, dy);
            (dx, Named::from([(name.clone(), dw)]))
        })
    }

    fn norm(self) -> Self {
        let x = self.y.clone();
        let stats = batch_norm::statistics(&x);
        let y = batch_norm::forward(&x, &stats, None);
        self.push(y, move |dy| (batch_norm::backward(&x, &stats, None, dy).dx, Named::new()))
    }

    fn affine_norm(self, name: &str) -> Self {
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        let [gamma, beta] = names.each_ref().map(|n| self.weights[n].clone());
        let x = self.y.clone();
        let stats = batch_norm::statistics(&x);
        let y = batch_norm::forward(&x, &stats, Some((&gamma, &beta)));
        self.push(y, move |dy| {
            let g = batch_norm::backward(&x, &stats, Some(&gamma), dy);
            let [weight, bias] = names.clone();
            (g.dx, Named::from([(weight, g.dgamma), (bias, g.dbeta)]))
        })
    }

    fn max_pool(self, stride: usize) -> Self {
        let x = self.y.clone();
        let (y, winners) = max_pool::forward(&x, stride);
        self.push(y, move |dy| (max_pool::backward(&x, &winners, dy), Named::new()))
    }

    fn avg_pool(self, stride: usize) -> Self {
        let x = self.y.clone();
        let win = avg_pool::window(stride);
        let y = avg_pool::forward(&x, win);
        self.push(y, move |dy| (avg_pool::backward(&x, dy, win), Named::new()))
    }

    fn zero(self, stride: usize) -> Self {
        let x = self.y.clone();
        let y = T4::zeros(x.c, x.n, x.h.div_ceil(stride), x.w.div_ceil(stride));
        self.push(y, move |_| (x.zeros_like(), Named::new()))
    }

    fn relu_conv_bn(self, prefix: &str, co: usize) -> Self {
        self.relu().pointwise(&format!("{prefix}op.1.weight"), co).norm()
    }

    fn factorized_reduce(self, prefix: &str, co: usize) -> Self {
        let chain = self.relu();
        let (x, c) = (subsample::forward(&chain.y), chain.y.c);
        let names = [1, 2].map(|i| format!("{prefix}conv_{i}.weight"));
        let w = names.each_ref().map(|n| chain.weights[n].clone());
        let halves = [0, 1].map(|i| pointwise::forward(&concat::slice(&x, i * c, c), &w[i], co / 2));
        let y = concat::forward(&[&halves[0], &halves[1]]);
        let back = move |dy: &T4| {
            let (mut dx, mut named) = (x.zeros_like(), Named::new());
            for i in 0..2 {
                let half = concat::slice(&x, i * c, c);
                let (dhalf, dw) = pointwise::backward(&half, &w[i], &concat::slice(dy, i * (co / 2), co / 2));
                dx.add(&concat::slice_backward(&x, i * c, &dhalf));
                named.insert(names[i].clone(), dw);
            }
            (subsample::backward(&dx), named)
        };
        chain.push(y, back).norm()
    }

    fn separable(self, prefix: &str, at: usize, win: Window) -> Self {
        let c = self.y.c;
        let chain = self.relu().depthwise(&format!("{prefix}op.{at}.weight"), win);
        chain.pointwise(&format!("{prefix}op.{}.weight", at + 1), c).norm()
    }

    fn primitive(self, primitive: Primitive, stride: usize, prefix: &str) -> Self {
        let c = self.y.c;
        let separated = |k: usize, stride| Window { k, stride, pad: k / 2, dilation: 1 };
        let dilated = |k: usize| Window { k, stride, pad: k - 1, dilation: 2 };
        match primitive {
            Primitive::None => self.zero(stride),
            Primitive::MaxPool3x3 => self.max_pool(stride).norm(),
            Primitive::AvgPool3x3 => self.avg_pool(stride).norm(),
            Primitive::SkipConnect if stride == 1 => self,
            Primitive::SkipConnect => self.factorized_reduce(prefix, c),
            Primitive::SepConv3x3 => {
                self.separable(prefix, 1, separated(3, stride)).separable(prefix, 5, separated(3, 1))
            }
            Primitive::SepConv5x5 => {
                self.separable(prefix, 1, separated(5, stride)).separable(prefix, 5, separated(5, 1))
            }
            Primitive::DilConv3x3 => self.separable(prefix, 1, dilated(3)),
            Primitive::DilConv5x5 => self.separable(prefix, 1, dilated(5)),
            Primitive::Other(row) => panic!("{} has no fixture", row.name),
        }
    }
}

fn maps(tensors: &Tensors, name: &str) -> T4 {
    let [n, c, h, w] = *tensors[name].shape else { panic!("{name}: {:?}", tensors[name].shape) };
    T4::from_nchw(n, c, h, w, &numbers(tensors, name))
}

fn open(name: &str) -> (Tensors, Value, Named) {
    let (tensors, metadata) = tensors::read(&fixture(&format!("{name}.safetensors"))).unwrap();
    let weights = tensors.keys().filter_map(|k| k.strip_prefix("w.")).map(str::to_owned);
    let weights = weights.map(|name| (name.clone(), numbers(&tensors, &format!("w.{name}")))).collect();
    (tensors, serde_json::from_str(&metadata["info"]).unwrap(), weights)
}

/// The stored numbers are rounded to f32: 6e-8.
const TOLERANCE: f64 = 3e-7;

fn compare(what: &str, tensors: &Tensors, found: &[(&str, &T4)], gradients: &Named) {
    for (name, found) in found {
        let expected = maps(tensors, name);
        assert_eq!((found.c, found.n, found.h, found.w), (expected.c, expected.n, expected.h, expected.w));
        close(&format!("{what}, {name}"), &found.data, &expected.data, TOLERANCE);
    }
    assert_eq!(gradients.len(), tensors.keys().filter(|k| k.starts_with("dw.")).count(), "{what}");
    for (name, found) in gradients {
        close(&format!("{what}, dw.{name}"), found, &numbers(tensors, &format!("dw.{name}")), TOLERANCE);
    }
}

#[test]
fn primitives_in_f64() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".safetensors").filter(|name| name.starts_with("op_")) else {
            continue;
        };
        count += 1;
        let (tensors, info, weights) = open(name);
        let stride = info["stride"].as_u64().unwrap() as usize;
        let co = info["channels_out"].as_u64().unwrap_or_default() as usize;
        let x = Chain::new(&maps(&tensors, "x"), &weights);
        let chain = match info["primitive"].as_str().unwrap() {
            "relu_conv_bn" => x.relu_conv_bn("", co),
            "factorized_reduce" => x.factorized_reduce("", co),
            "conv 3x3, affine BN" => {
                x.convolution("0.weight", co, Window { k: 3, stride, pad: 1, dilation: 1 }).affine_norm("1")
            }
            primitive => x.primitive(Primitive::from_name(primitive).unwrap(), stride, ""),
        };
        let (dx, dw) = chain.backward(&maps(&tensors, "dy"));
        compare(name, &tensors, &[("y", &chain.y), ("dx", &dx)], &dw);
    }
    assert_eq!(count, 20, "eight primitives at two strides, and the four other modules");
}

fn cell(name: &str) {
    let (tensors, info, weights) = open(name);
    let genotype = Genotype::parse(info["genotype"].as_str().unwrap()).unwrap();
    let reduction = info["cell"] == "reduce";
    let arch = if reduction { genotype.reduce } else { genotype.normal };
    let c = info["channels"].as_u64().unwrap() as usize;
    let x0 = Chain::new(&maps(&tensors, "x0"), &weights);
    let s0 = if info["reduction_prev"] == true {
        x0.factorized_reduce("preprocess0.", c)
    } else {
        x0.relu_conv_bn("preprocess0.", c)
    };
    let s1 = Chain::new(&maps(&tensors, "x1"), &weights).relu_conv_bn("preprocess1.", c);

    let mut nodes = vec![s0.y.clone(), s1.y.clone()];
    let mut terms = Vec::new();
    for (node, slots) in arch.iter().enumerate() {
        let two = slots.map(|pair| {
            let stride = if reduction && pair.input < 2 { 2 } else { 1 };
            let prefix = format!("_ops.{}._ops.{}.", edge(node, pair.input), pair.primitive.index());
            Chain::new(&nodes[pair.input], &weights).primitive(pair.primitive, stride, &prefix)
        });
        nodes.push(node_sum::forward(&two[0].y, &two[1].y, [None; 2]));
        terms.push(two);
    }
    let y = concat::forward(&nodes[2..].iter().collect::<Vec<_>>());

    let dy = maps(&tensors, "dy");
    let mut dnodes: Vec<T4> = nodes.iter().map(T4::zeros_like).collect();
    for (node, d) in dnodes[2..].iter_mut().enumerate() {
        *d = concat::slice(&dy, node * c, c);
    }
    let mut gradients = Named::new();
    for (node, slots) in arch.iter().enumerate().rev() {
        for (pair, chain) in slots.iter().zip(&terms[node]) {
            let (dx, named) = chain.backward(&dnodes[node + 2].clone());
            dnodes[pair.input].add(&dx);
            for (name, dw) in named {
                // A pair drawn twice is one set of weights.
                let sum = gradients.entry(name).or_insert_with(|| vec![0.0; dw.len()]);
                sum.iter_mut().zip(dw).for_each(|(s, g)| *s += g);
            }
        }
    }
    let (dx0, named0) = s0.backward(&dnodes[0]);
    let (dx1, named1) = s1.backward(&dnodes[1]);
    gradients.extend(named0);
    gradients.extend(named1);
    compare(name, &tensors, &[("y", &y), ("dx0", &dx0), ("dx1", &dx1)], &gradients);
}

#[test]
fn normal_cell_after_a_reduction_in_f64() {
    cell("cell_normal");
}

#[test]
fn reduction_cell_in_f64() {
    cell("cell_reduce");
}
