//! A layered graph → the order of the items in each layer with few crossings, and the vertical positions of the items.
//!
//! Barycentre sweeps (Sugiyama, Tagawa, Toda 1981); the best order found is kept. The positions are the least-squares
//! fit to the positions of the neighbours, under the constraints of the order and of the least distances.

/// Number of sweeps over the layers. The order settles within a few.
const N_SWEEPS: usize = 24;

/// Items in layers, joined by links from one layer to the next.
pub struct Layered {
    /// Items of each layer.
    pub layers: Vec<Vec<usize>>,
    /// Links as (from, to), between adjacent layers.
    pub links: Vec<(usize, usize)>,
    /// Height of each item with its margin.
    pub heights: Vec<f64>,
    /// Weight of each link. A link with a large weight is drawn straighter.
    pub weights: Vec<f64>,
}

impl Layered {
    /// Orders all layers except the first, which keeps its order.
    pub fn reduce_crossings(&mut self) {
        let mut best = (self.n_crossings(), self.layers.clone());
        for sweep in 0..N_SWEEPS {
            let down = sweep % 2 == 0;
            let n_layers = self.layers.len();
            for step in 1..n_layers {
                let at = if down { step } else { n_layers - 1 - step };
                if at > 0 {
                    self.sort_layer(at, down);
                }
            }
            let crossings = self.n_crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// Sorts a layer by the mean position of its neighbours in the layer before (or after).
    fn sort_layer(&mut self, at: usize, from_before: bool) {
        let position = self.positions();
        let key = |item: usize| {
            let near = self.links.iter().filter_map(|&(a, b)| match from_before {
                true => (b == item).then(|| position[a]),
                false => (a == item).then(|| position[b]),
            });
            let near: Vec<f64> = near.map(|p| p as f64).collect();
            if near.is_empty() { position[item] as f64 } else { near.iter().sum::<f64>() / near.len() as f64 }
        };
        let mut keyed: Vec<(f64, usize)> = self.layers[at].iter().map(|&i| (key(i), i)).collect();
        // The sort is stable: items with equal keys keep their order.
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.layers[at] = keyed.into_iter().map(|(_, item)| item).collect();
    }

    fn positions(&self) -> Vec<usize> {
        let mut position = vec![0; self.heights.len()];
        for layer in &self.layers {
            for (i, &item) in layer.iter().enumerate() {
                position[item] = i;
            }
        }
        position
    }

    fn layer_of(&self) -> Vec<usize> {
        let mut layer_of = vec![0; self.heights.len()];
        for (l, layer) in self.layers.iter().enumerate() {
            for &item in layer {
                layer_of[item] = l;
            }
        }
        layer_of
    }

    fn n_crossings(&self) -> usize {
        let (position, layer) = (self.positions(), self.layer_of());
        let mut n = 0;
        for (i, &(a, b)) in self.links.iter().enumerate() {
            for &(c, d) in &self.links[..i] {
                let crossed = (position[a] < position[c]) != (position[b] < position[d]);
                let apart = position[a] != position[c] && position[b] != position[d];
                n += usize::from(layer[a] == layer[c] && apart && crossed);
            }
        }
        n
    }

    /// Vertical position of each item's middle. The smallest upper end of an item is 0.
    pub fn place(&self) -> Vec<f64> {
        let mut y = vec![0.0; self.heights.len()];
        for layer in &self.layers {
            let total: f64 = layer.iter().map(|&i| self.heights[i]).sum();
            let mut top = -total / 2.0;
            for &item in layer {
                y[item] = top + self.heights[item] / 2.0;
                top += self.heights[item];
            }
        }
        for sweep in 0..2 * N_SWEEPS {
            for step in 0..self.layers.len() {
                let at = if sweep % 2 == 0 { step } else { self.layers.len() - 1 - step };
                self.place_layer(at, &mut y);
            }
        }
        let top = (0..y.len()).map(|i| y[i] - self.heights[i] / 2.0).fold(f64::INFINITY, f64::min);
        y.into_iter().map(|y| y - top).collect()
    }

    /// Moves the items of a layer to the weighted means of their neighbours, as far as the distances allow.
    /// This is isotonic regression by pooling adjacent violators.
    fn place_layer(&self, at: usize, y: &mut [f64]) {
        let layer = &self.layers[at];
        // Distance of each middle from the first middle when all items touch.
        let mut offsets = Vec::with_capacity(layer.len());
        let mut offset = 0.0;
        for (i, &item) in layer.iter().enumerate() {
            if i > 0 {
                offset += (self.heights[layer[i - 1]] + self.heights[item]) / 2.0;
            }
            offsets.push(offset);
        }
        // Pools of (weight, weighted sum, number of items).
        let mut pools: Vec<(f64, f64, usize)> = Vec::new();
        for (&item, offset) in layer.iter().zip(&offsets) {
            let (mut weight, mut sum) = (0.0, 0.0);
            for (&(a, b), w) in self.links.iter().zip(&self.weights) {
                let other = if a == item { b } else { a };
                if a == item || b == item {
                    weight += w;
                    sum += w * y[other];
                }
            }
            let wanted = if weight > 0.0 { sum / weight } else { y[item] };
            let weight = weight.max(0.1);
            pools.push((weight, weight * (wanted - offset), 1));
            while let [.., a, b] = pools[..] {
                if a.1 / a.0 <= b.1 / b.0 {
                    break;
                }
                pools.truncate(pools.len() - 2);
                pools.push((a.0 + b.0, a.1 + b.1, a.2 + b.2));
            }
        }
        let starts = pools.iter().flat_map(|&(weight, sum, n)| std::iter::repeat_n(sum / weight, n));
        for ((&item, offset), start) in layer.iter().zip(&offsets).zip(starts) {
            y[item] = start + offset;
        }
    }
}
