//! α of the mixed network (Eq. 2): for each edge of a cell, logits over the primitives.
//!
//! A path's factor is the softmax over its edge. Everything flat is `[kind][edge][primitive]`, primitives in the
//! order of the space.

use super::prior::log_softmax;
use super::{CellKind, Genotype, N_EDGES, N_KINDS, N_NODES, N_SLOTS, Pair, Primitive, Space, edge};

/// Logits of all edges.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// `[kind][edge][primitive]`.
    pub logits: Vec<f64>,
    n_primitives: usize,
}

impl Mixture {
    /// All logits 0.
    pub fn uniform(space: &Space) -> Self {
        let n_primitives = space.primitives().len();
        Self { logits: vec![0.0; N_KINDS * N_EDGES * n_primitives], n_primitives }
    }

    /// The factors of the paths: the softmax over each edge.
    pub fn factors(&self) -> Vec<f64> {
        self.logits.chunks(self.n_primitives).flat_map(log_softmax).map(f64::exp).collect()
    }

    /// The gradient of the logits from that of the factors: of one edge `f_j (g_j − Σ_i f_i g_i)`.
    pub fn gradient(&self, of_factors: &[f64]) -> Vec<f64> {
        let factors = self.factors();
        let edges = factors.chunks(self.n_primitives).zip(of_factors.chunks(self.n_primitives));
        let of_edge = |(f, g): (&[f64], &[f64])| {
            let mean: f64 = f.iter().zip(g).map(|(f, g)| f * g).sum();
            f.iter().zip(g).map(|(f, g)| f * (g - mean)).collect::<Vec<f64>>()
        };
        edges.flat_map(of_edge).collect()
    }

    /// Entropy in nats of the softmax, summed over the edges of each kind of cell.
    pub fn entropy(&self) -> [f64; N_KINDS] {
        let per_kind = N_EDGES * self.n_primitives;
        let of = |kind: CellKind| {
            let edges = self.logits[kind.index() * per_kind..][..per_kind].chunks(self.n_primitives);
            let log_p = edges.flat_map(log_softmax).filter(|l| l.is_finite());
            -log_p.map(|l| l.exp() * l).sum::<f64>()
        };
        CellKind::ALL.map(of)
    }

    /// The architecture that the DARTS reference reads from it: of each node the two edges with the largest
    /// factor of anything but `none`, and on each the primitive, again not `none`, that has it. Edges in the
    /// order of that factor; ties go to the earlier one.
    pub fn decode(&self, space: &Space) -> Genotype {
        let factors = self.factors();
        let cell = |kind: CellKind| {
            let best = |node: usize, input: usize| {
                let at = (kind.index() * N_EDGES + edge(node, input)) * self.n_primitives;
                let mut best = (f64::NEG_INFINITY, Pair { input, primitive: Primitive::None });
                for (factor, &primitive) in factors[at..].iter().zip(space.primitives()) {
                    if primitive != Primitive::None && *factor > best.0 {
                        best = (*factor, Pair { input, primitive });
                    }
                }
                best
            };
            std::array::from_fn(|node| {
                let mut edges: Vec<(f64, Pair)> = (0..node + 2).map(|input| best(node, input)).collect();
                edges.sort_by(|a, b| b.0.total_cmp(&a.0));
                // Every node has at least two edges.
                std::array::from_fn::<_, N_SLOTS, _>(|slot| edges[slot].1)
            })
        };
        let [normal, reduce] = CellKind::ALL.map(cell);
        debug_assert_eq!(normal.len(), N_NODES);
        Genotype { normal, reduce }
    }
}
