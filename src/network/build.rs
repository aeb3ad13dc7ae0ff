//! Layers, added one after another → a network.

use super::{Kind, Layer, Net, Shape, Term, Window};

/// A network that is being built. Layers are identified by their positions.
#[derive(Debug)]
pub struct Builder {
    layers: Vec<Layer>,
    /// Whether batch norms keep running statistics, as in final networks.
    running: bool,
    block: usize,
    /// Whether layers that are added now differ between architectures.
    chosen: bool,
    auxiliary: bool,
}

impl Builder {
    /// A network that reads images of this shape. `running` says whether its batch norms keep running statistics.
    pub fn new(image: Shape, running: bool) -> Self {
        let images = Layer {
            name: "images".into(),
            kind: Kind::Images,
            inputs: Vec::new(),
            shape: image,
            block: 0,
            joint: true,
            fixed: true,
            auxiliary: false,
        };
        Self { layers: vec![images], running, block: 0, chosen: false, auxiliary: false }
    }

    /// Begins the next block, and returns its number.
    pub fn next_block(&mut self) -> usize {
        self.block = self.layers.iter().map(|l| l.block).max().unwrap_or(0) + 1;
        self.block
    }

    /// Sets whether the next layers differ between architectures. Returns the previous setting.
    pub fn set_chosen(&mut self, chosen: bool) -> bool {
        std::mem::replace(&mut self.chosen, chosen)
    }

    /// Adds the layers of `add` as the auxiliary head behind layer `x`, in the block of `x`.
    pub fn auxiliary<T>(&mut self, x: usize, add: impl FnOnce(&mut Self) -> T) -> T {
        let block = std::mem::replace(&mut self.block, self.layers[x].block);
        self.auxiliary = true;
        let added = add(self);
        (self.block, self.auxiliary) = (block, false);
        added
    }

    /// The extents of a layer's value.
    pub fn shape(&self, x: usize) -> Shape {
        self.layers[x].shape
    }

    /// Makes `x` a joint, which any number of layers may read.
    pub fn joint(&mut self, x: usize) -> usize {
        self.layers[x].joint = true;
        x
    }

    fn push(&mut self, name: impl Into<String>, kind: Kind, inputs: Vec<usize>, shape: Shape) -> usize {
        let fixed = !self.chosen && inputs.iter().all(|x| self.layers[*x].fixed);
        let (block, auxiliary) = (self.block, self.auxiliary);
        let layer = Layer { name: name.into(), kind, inputs, shape, block, joint: false, fixed, auxiliary };
        self.layers.push(layer);
        self.layers.len() - 1
    }

    /// max(x, 0).
    pub fn relu(&mut self, x: usize) -> usize {
        self.push("", Kind::Relu, vec![x], self.shape(x))
    }

    /// A convolution of all channels into `c` channels, without bias.
    pub fn conv(&mut self, name: impl Into<String>, x: usize, c: usize, window: Window) -> usize {
        let shape = Shape { c, ..self.shape(x).behind(window) };
        self.push(name, Kind::Conv(window), vec![x], shape)
    }

    /// A convolution of each channel by itself, without bias.
    pub fn depthwise(&mut self, name: impl Into<String>, x: usize, window: Window) -> usize {
        self.push(name, Kind::Depthwise(window), vec![x], self.shape(x).behind(window))
    }

    /// A 1x1 convolution of stride 2 in two halves; see [`Kind::FactorizedReduce`].
    pub fn factorized_reduce(&mut self, name: impl Into<String>, x: usize, c: usize) -> usize {
        let shape = Shape { c, ..self.shape(x).behind(Window { stride: 2, ..Window::POINT }) };
        self.push(name, Kind::FactorizedReduce, vec![x], shape)
    }

    /// Batch norm.
    pub fn norm(&mut self, name: impl Into<String>, x: usize, affine: bool) -> usize {
        let running = self.running;
        self.push(name, Kind::Norm { affine, running }, vec![x], self.shape(x))
    }

    /// A pool: the maximum or the mean of each window.
    pub fn pool(&mut self, name: impl Into<String>, x: usize, max: bool, window: Window) -> usize {
        let kind = if max { Kind::MaxPool(window) } else { Kind::AvgPool(window) };
        self.push(name, kind, vec![x], self.shape(x).behind(window))
    }

    /// The sum of layers of this shape. The sum is a joint.
    pub fn sum(&mut self, name: impl Into<String>, terms: Vec<(usize, Term)>, shape: Shape) -> usize {
        let (inputs, terms) = terms.into_iter().unzip();
        let sum = self.push(name, Kind::Sum(terms), inputs, shape);
        self.joint(sum)
    }

    /// Layers side by side in channels. The concatenation is a joint.
    pub fn concat(&mut self, name: impl Into<String>, parts: Vec<usize>) -> usize {
        let c = parts.iter().map(|x| self.shape(*x).c).sum();
        let shape = Shape { c, ..self.shape(parts[0]) };
        let concat = self.push(name, Kind::Concat, parts, shape);
        self.joint(concat)
    }

    /// Means that result in maps of 2x2; see [`Kind::PoolTo2x2`].
    pub fn pool_to_2x2(&mut self, name: impl Into<String>, x: usize, window: Option<usize>) -> usize {
        let shape = Shape { h: 2, w: 2, ..self.shape(x) };
        self.push(name, Kind::PoolTo2x2 { window }, vec![x], shape)
    }

    /// The mean of each channel.
    pub fn global_pool(&mut self, name: impl Into<String>, x: usize) -> usize {
        self.push(name, Kind::GlobalPool, vec![x], Shape { h: 1, w: 1, ..self.shape(x) })
    }

    /// A linear layer with bias, of a map of one pixel.
    pub fn linear(&mut self, name: impl Into<String>, x: usize, n_out: usize) -> usize {
        self.push(name, Kind::Linear, vec![x], Shape { c: n_out, h: 1, w: 1 })
    }

    /// The network whose logits are the values of these layers.
    pub fn finish(self, logits: usize, auxiliary_logits: Option<usize>) -> Net {
        let terms = || {
            self.layers.iter().filter_map(|l| if let Kind::Sum(terms) = &l.kind { Some(terms) } else { None })
        };
        let count = |number: fn(&Term) -> Option<usize>| {
            terms().flatten().filter_map(number).map(|n| n + 1).max().unwrap_or(0)
        };
        let (n_drops, n_factors) = (count(|t| t.drop), count(|t| t.factor));
        Net { n_drops, n_factors, layers: self.layers, logits, auxiliary_logits }
    }
}
