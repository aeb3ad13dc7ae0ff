//! Layers and the values of the forward pass → gradients of the loss, from the last layer to the first.

use super::{AUX_WEIGHT, Run, Tape, Tensors, aux_window, parameters};
use crate::reference::layers::{FACTORS, Layer, Layers};
use crate::reference::{
    T4, adaptive_pool, avg_pool, batch_norm, concat, conv, cross_entropy, depthwise, global_pool, linear,
    max_pool, mix, node_sum, pointwise, relu, subsample,
};

impl Run<'_> {
    /// Gradient of the loss for every parameter of `layers`.
    pub(super) fn backward(&self, layers: &Layers, tape: &Tape) -> Tensors {
        // Gradients of the loss with respect to each layer's value, and of each parameter.
        let mut dvalues: Vec<T4> = tape.values.iter().map(T4::zeros_like).collect();
        let mut grads = Tensors::new();
        for (name, shape) in parameters(layers) {
            let zeros = vec![0.0; shape.iter().product()];
            grads.insert(name, (shape, zeros));
        }
        dvalues[layers.logits] = cross_entropy::backward(&tape.values[layers.logits], &self.batch.labels);
        if let Some(aux) = layers.aux_logits {
            let mut dz = cross_entropy::backward(&tape.values[aux], &self.batch.labels);
            dz.data.iter_mut().for_each(|g| *g *= AUX_WEIGHT);
            dvalues[aux] = dz;
        }
        for (l, layer) in layers.list.iter().enumerate().rev() {
            let dy = std::mem::replace(&mut dvalues[l], T4::zeros(0, 0, 0, 0));
            let (dxs, dparams) = self.layer_backward(l, layer, tape, &dy);
            for (x, dx) in dxs {
                dvalues[x].add(&dx);
            }
            for (name, dw) in dparams {
                // A pair that both slots drew runs twice with the same parameters: its gradients add up.
                if let Some((_, sum)) = grads.get_mut(&name) {
                    sum.iter_mut().zip(dw).for_each(|(s, g)| *s += g);
                }
            }
        }
        grads
    }

    /// Gradients of what layer `l` read, and of its parameters.
    #[allow(clippy::type_complexity)]
    fn layer_backward(
        &self,
        l: usize,
        layer: &Layer,
        tape: &Tape,
        dy: &T4,
    ) -> (Vec<(usize, T4)>, Vec<(String, Vec<f64>)>) {
        let value = |x: &usize| &tape.values[*x];
        let only = |x: &usize, dx: T4| (vec![(*x, dx)], Vec::new());
        let with = |x: &usize, weight: &String, (dx, dw)| (vec![(*x, dx)], vec![(weight.clone(), dw)]);
        match layer {
            Layer::Images | Layer::Zero { .. } => (Vec::new(), Vec::new()),
            Layer::Relu { x } => only(x, relu::backward(value(x), dy)),
            Layer::Conv { x, weight, win, .. } => {
                with(x, weight, conv::backward(value(x), self.param(weight), dy, *win))
            }
            Layer::Depthwise { x, weight, win, .. } => {
                with(x, weight, depthwise::backward(value(x), self.param(weight), dy, *win))
            }
            Layer::Pointwise { x, weight, .. } => {
                with(x, weight, pointwise::backward(value(x), self.param(weight), dy))
            }
            Layer::Subsample { x } => only(x, subsample::backward(dy)),
            Layer::Slice { x, first, .. } => only(x, concat::slice_backward(value(x), *first, dy)),
            Layer::MaxPool { x, .. } => only(x, max_pool::backward(value(x), &tape.winners[&l], dy)),
            Layer::AvgPool { x, win } => only(x, avg_pool::backward(value(x), dy, *win)),
            Layer::AuxPool { x, side, stride } => match aux_window(value(x), *side, *stride) {
                Some(win) => only(x, avg_pool::backward(value(x), dy, win)),
                None => only(x, adaptive_pool::backward(value(x), dy)),
            },
            Layer::BatchNorm { x, name, affine, .. } => {
                let gamma = self.affine(name, *affine).map(|(gamma, _)| gamma);
                let rule =
                    if self.running_are_used() { batch_norm::backward_eval } else { batch_norm::backward };
                let g = rule(value(x), &tape.stats[&l], gamma, dy);
                let dparams = vec![(format!("{name}.weight"), g.dgamma), (format!("{name}.bias"), g.dbeta)];
                (vec![(*x, g.dx)], if *affine { dparams } else { Vec::new() })
            }
            Layer::Sum { terms: [a, b], drop } => {
                let [da, db] = node_sum::backward(dy, self.factors(drop));
                (vec![(*a, da), (*b, db)], Vec::new())
            }
            Layer::Concat { parts } => {
                let mut first = 0;
                let mut dxs = Vec::new();
                for part in parts {
                    let count = value(part).c;
                    dxs.push((*part, concat::slice(dy, first, count)));
                    first += count;
                }
                (dxs, Vec::new())
            }
            Layer::Mix { terms, n_factors } => {
                let factors = self.param(FACTORS);
                let (mut dxs, mut dfactors) = (Vec::new(), vec![0.0; *n_factors]);
                for (x, f) in terms {
                    let (dx, dfactor) = mix::backward(value(x), factors[*f], dy);
                    dxs.push((*x, dx));
                    dfactors[*f] = dfactor;
                }
                (dxs, vec![(FACTORS.to_owned(), dfactors)])
            }
            Layer::GlobalPool { x } => only(x, global_pool::backward(value(x), dy)),
            Layer::Linear { x, name, .. } => {
                let g = linear::backward(value(x), self.param(&format!("{name}.weight")), dy);
                let dparams = vec![(format!("{name}.weight"), g.dw), (format!("{name}.bias"), g.db)];
                (vec![(*x, g.dx)], dparams)
            }
        }
    }
}
