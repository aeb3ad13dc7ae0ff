//! Layers and the values of the forward pass → gradients of the loss, from the last layer to the first.

use super::{AUX_WEIGHT, FACTORS, Mode, Run, Tape, Tensors, five, parameter_shapes, window};
use crate::network::{Kind, Layer};
use crate::reference::{
    T4, adaptive_pool, avg_pool, batch_norm, concat, conv, cross_entropy, depthwise, global_pool, linear,
    max_pool, mix, node_sum, pointwise, relu, subsample,
};

/// Gradients of a layer's inputs in their order, and gradients of the layer's parameters by name.
struct Grads {
    inputs: Vec<T4>,
    params: Vec<(String, Vec<f64>)>,
}

impl Grads {
    fn only(dx: T4) -> Self {
        Self { inputs: vec![dx], params: Vec::new() }
    }

    fn with(layer: &Layer, (dx, dw): (T4, Vec<f64>)) -> Self {
        Self { inputs: vec![dx], params: vec![(format!("{}.weight", layer.name), dw)] }
    }
}

impl Run<'_> {
    /// Gradient of the loss for every parameter.
    pub(super) fn backward(&self, tape: &Tape) -> Tensors {
        // Gradients of the loss with respect to each layer's value and to each parameter.
        let mut dvalues: Vec<T4> = tape.values.iter().map(T4::zeros_like).collect();
        let mut grads = Tensors::new();
        for (name, shape) in parameter_shapes(self.net) {
            let zeros = vec![0.0; shape.iter().product()];
            grads.insert(name, (shape, zeros));
        }
        let logits = self.net.logits;
        dvalues[logits] = self.of_logits(&tape.values[logits]);
        if let Some(aux) = self.net.auxiliary_logits.filter(|_| self.mode == Mode::Train) {
            let mut dz = self.of_logits(&tape.values[aux]);
            dz.data.iter_mut().for_each(|g| *g *= AUX_WEIGHT);
            dvalues[aux] = dz;
        }
        for (l, layer) in self.net.layers.iter().enumerate().rev().filter(|(_, layer)| self.runs(layer)) {
            let dy = std::mem::replace(&mut dvalues[l], T4::zeros(0, 0, 0, 0));
            let found = self.layer_backward(l, layer, tape, &dy);
            for (x, dx) in layer.inputs.iter().zip(found.inputs) {
                dvalues[*x].add(&dx);
            }
            for (name, dw) in found.params {
                if let Some((_, sum)) = grads.get_mut(&name) {
                    sum.iter_mut().zip(dw).for_each(|(s, g)| *s += g);
                }
            }
        }
        grads
    }

    /// Gradient of the weighted mean cross-entropy of logits `[K][N][1][1]`.
    fn of_logits(&self, z: &T4) -> T4 {
        let mut dz = cross_entropy::backward(z, &self.batch.labels);
        for class in dz.data.chunks_exact_mut(z.n) {
            class.iter_mut().zip(&self.batch.weights).for_each(|(g, weight)| *g *= weight);
        }
        dz
    }

    // This function is long, because each kind of layer has an arm.
    fn layer_backward(&self, l: usize, layer: &Layer, tape: &Tape, dy: &T4) -> Grads {
        let input = |i: usize| &tape.values[layer.inputs[i]];
        match &layer.kind {
            Kind::Images => Grads { inputs: Vec::new(), params: Vec::new() },
            Kind::Relu => Grads::only(relu::backward(input(0), dy)),
            Kind::Conv(w) if w.k == 1 && w.stride == 1 => {
                Grads::with(layer, pointwise::backward(input(0), self.weight(layer), dy))
            }
            Kind::Conv(w) => Grads::with(layer, conv::backward(input(0), self.weight(layer), dy, window(*w))),
            Kind::Depthwise(w) => {
                Grads::with(layer, depthwise::backward(input(0), self.weight(layer), dy, window(*w)))
            }
            Kind::FactorizedReduce => self.factorized_backward(layer, input(0), dy),
            Kind::MaxPool(_) => Grads::only(max_pool::backward(input(0), &tape.winners[&l], dy)),
            Kind::AvgPool(w) => Grads::only(avg_pool::backward(input(0), dy, window(*w))),
            Kind::PoolTo2x2 { window: Some(stride) } => {
                Grads::only(avg_pool::backward(input(0), dy, five(*stride)))
            }
            Kind::PoolTo2x2 { window: None } => Grads::only(adaptive_pool::backward(input(0), dy)),
            Kind::Norm { affine, running } => {
                let gamma = self.affine(&layer.name, *affine).map(|(gamma, _)| gamma);
                let fixed = *running && self.mode == Mode::Eval;
                let rule = if fixed { batch_norm::backward_eval } else { batch_norm::backward };
                let g = rule(input(0), &tape.stats[&l], gamma, dy);
                let name = &layer.name;
                let params = vec![(format!("{name}.weight"), g.dgamma), (format!("{name}.bias"), g.dbeta)];
                Grads { inputs: vec![g.dx], params: if *affine { params } else { Vec::new() } }
            }
            Kind::Sum(terms) if terms.iter().any(|t| t.factor.is_some()) => {
                let factors = self.param(FACTORS);
                let (mut inputs, mut dfactors) = (Vec::new(), vec![0.0; factors.len()]);
                for (i, term) in terms.iter().enumerate() {
                    let Some(f) = term.factor else { continue };
                    let (dx, dfactor) = mix::backward(input(i), factors[f], dy);
                    inputs.push(dx);
                    dfactors[f] = dfactor;
                }
                Grads { inputs, params: vec![(FACTORS.to_owned(), dfactors)] }
            }
            Kind::Sum(terms) => {
                let of_term = |term| {
                    let [_, once] = node_sum::backward(dy, [None, self.mask(term)]);
                    let mut dx = once.zeros_like();
                    (0..term.times).for_each(|_| dx.add(&once));
                    dx
                };
                Grads { inputs: terms.iter().map(of_term).collect(), params: Vec::new() }
            }
            Kind::Concat => {
                let mut first = 0;
                let mut inputs = Vec::new();
                for i in 0..layer.inputs.len() {
                    let count = input(i).c;
                    inputs.push(concat::slice(dy, first, count));
                    first += count;
                }
                Grads { inputs, params: Vec::new() }
            }
            Kind::GlobalPool => Grads::only(global_pool::backward(input(0), dy)),
            Kind::Linear => {
                let g = linear::backward(input(0), self.weight(layer), dy);
                let name = &layer.name;
                let params = vec![(format!("{name}.weight"), g.dw), (format!("{name}.bias"), g.db)];
                Grads { inputs: vec![g.dx], params }
            }
        }
    }

    fn factorized_backward(&self, layer: &Layer, x: &T4, dy: &T4) -> Grads {
        let both = subsample::forward(x);
        let half = layer.shape.c / 2;
        let (mut dboth, mut params) = (both.zeros_like(), Vec::new());
        for i in [1, 2] {
            let name = format!("{}.conv_{i}.weight", layer.name);
            let seen = concat::slice(&both, (i - 1) * x.c, x.c);
            let dy = concat::slice(dy, (i - 1) * half, half);
            let (dx, dw) = pointwise::backward(&seen, self.param(&name), &dy);
            dboth.add(&concat::slice_backward(&both, (i - 1) * x.c, &dx));
            params.push((name, dw));
        }
        Grads { inputs: vec![subsample::backward(&dboth)], params }
    }
}
