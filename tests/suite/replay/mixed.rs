//! PyTorch's numbers of a step with all paths at once, against the oracle, the adapter and the update of α.

use std::sync::Arc;

use parsec_nas::files::tensors::Tensors;
use parsec_nas::gpu::{Child, Network};
use parsec_nas::graph::{Layout, Lowering, Mode};
use parsec_nas::kernel::Buf;
use parsec_nas::network::Net;
use parsec_nas::reference::network::{self, Batch, FACTORS, Outcome, Tensors as Weights, evaluate};
use parsec_nas::search::darts::{ALPHA_DECAY, Relaxation, descend};
use parsec_nas::search::prior_update::Adam;
use parsec_nas::space::Darts;
use parsec_nas::space::{NetworkKind, StemKind};

use super::super::nets;
use super::{close, numbers, open, primitives, read, read_json};
use crate::nets::Cells;

const SIDE: usize = 8;

struct Step {
    tensors: Tensors,
    spec: Cells,
    space: Darts,
    layout: Layout,
    adam: Adam,
}

fn step() -> Step {
    let info = read_json("mixed_step.json");
    let count = |key: &str| info[key].as_u64().unwrap() as usize;
    let space = Darts::over(&primitives(&info["primitives"]));
    let spec = Cells {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: count("in_channels"),
        height: SIDE,
        width: SIDE,
        n_classes: count("classes"),
        layers: count("layers"),
        channels: count("channels"),
        auxiliary: false,
    };
    let layout = Layout::new(spec.params(None, space.primitives())).unwrap();
    let number = |v: &serde_json::Value| v.as_f64().unwrap();
    assert_eq!(number(&info["alpha_decay"]), ALPHA_DECAY);
    let [beta1, beta2] = [0, 1].map(|i| number(&info["adam_betas"][i]));
    let adam = Adam { lr: number(&info["alpha_lr"]), beta1, beta2 };
    Step { tensors: read("mixed_step.safetensors"), spec, space, layout, adam }
}

impl Step {
    fn darts(&self, which: &str) -> Relaxation {
        let mut darts = Relaxation::new(&self.space);
        darts.alpha.logits = numbers(&self.tensors, which);
        darts
    }

    fn net(&self) -> Arc<Net> {
        nets::mixed(&self.spec, self.space.primitives())
    }

    /// The parameters by name. The tensor `flat` holds all parameters one after another, in the order of their names.
    fn weights(&self, flat: &str) -> Weights {
        let mut shapes: Vec<_> =
            self.layout.trained().map(|(name, e)| (name, e.spec.shape.clone())).collect();
        shapes.sort();
        let (all, mut at) = (numbers(&self.tensors, flat), 0);
        let mut take = |(name, shape): (&str, Vec<usize>)| {
            let len: usize = shape.iter().product();
            at += len;
            (name.to_owned(), (shape, all[at - len..at].to_vec()))
        };
        let weights = shapes.into_iter().map(&mut take).collect();
        assert_eq!(at, all.len());
        weights
    }

    fn reference(&self, split: &str, darts: &Relaxation) -> Outcome {
        let mut weights = self.weights("v");
        let factors = darts.alpha.factors();
        weights.insert(FACTORS.into(), (vec![factors.len()], factors));
        let s = &self.spec;
        let labels: Vec<usize> =
            numbers(&self.tensors, &format!("{split}.labels")).iter().map(|l| *l as usize).collect();
        let images = numbers(&self.tensors, &format!("{split}.images"));
        let batch = Batch::from_nchw([labels.len(), s.in_channels, SIDE, SIDE], &images, &labels);
        evaluate(&self.net(), &weights, &batch, network::Mode::Train, true).unwrap()
    }
}

#[test]
fn the_step_in_f64() {
    let step = step();
    let mut darts = step.darts("alpha.before");
    let search = step.reference("search", &darts);
    close("logits", &search.logits, &numbers(&step.tensors, "search.logits"), 1e-6);
    let of_factors = &search.grads[FACTORS].1;
    close("gradient", &darts.alpha.gradient(of_factors), &numbers(&step.tensors, "alpha.gradient"), 1e-9);
    descend(&mut darts, of_factors, 1, step.adam);
    close("alpha", &darts.alpha.logits, &numbers(&step.tensors, "alpha.after"), 1e-9);
    let train = step.reference("train", &darts);
    close("logits", &train.logits, &numbers(&step.tensors, "train.logits"), 1e-6);
    for (name, (_, want)) in step.weights("gradient") {
        close(&name, &train.grads[&name].1, &want, 1e-6);
    }
}

#[test]
fn the_step_on_the_adapter() {
    let Some(gpu) = open() else { return };
    let step = step();
    let flat = |name: &str| -> Vec<f32> { numbers(&step.tensors, name).iter().map(|x| *x as f32).collect() };
    let mut v = vec![0f32; step.layout.v_len as usize];
    let given = step.weights("v");
    for (name, entry) in step.layout.trained() {
        entry.pack(&given[name].1.iter().map(|x| *x as f32).collect::<Vec<_>>(), &mut v);
    }
    let mut network = Network::new(gpu, step.spec.image(), step.layout.clone(), Lowering::default()).unwrap();
    network.write_all(Buf::V, &v).unwrap();
    let mut darts = step.darts("alpha.before");
    let mut run = |split: &str, darts: &Relaxation, mode| {
        let labels: Vec<u32> = flat(&format!("{split}.labels")).iter().map(|l| *l as u32).collect();
        network.upload(0, &flat(&format!("{split}.images")), &labels).unwrap();
        let factors: Vec<f32> = darts.alpha.factors().iter().map(|f| *f as f32).collect();
        network.upload_factors(&factors, 0).unwrap();
        network.run(Child::new(&step.net(), mode, 0)).unwrap();
        let wide = |x: Vec<f32>| x.into_iter().map(f64::from).collect::<Vec<f64>>();
        let logits = wide(network.logits(0, 0).unwrap());
        close(split, &logits, &numbers(&step.tensors, &format!("{split}.logits")), 2e-5);
        (wide(network.take_factor_gradient(factors.len()).unwrap()), network.read_all(Buf::Grad).unwrap())
    };
    let (of_factors, _) = run("search", &darts, Mode::Factors);
    close(
        "gradient of alpha",
        &darts.alpha.gradient(&of_factors),
        &numbers(&step.tensors, "alpha.gradient"),
        1e-4,
    );
    descend(&mut darts, &of_factors, 1, step.adam);
    // Adam's first step has the same size for every gradient. A gradient that is nearly 0 may have the other sign.
    let after = numbers(&step.tensors, "alpha.after");
    close("alpha", &darts.alpha.logits, &after, 1e-3);
    let (_, grad) = run("train", &step.darts("alpha.after"), Mode::Train);
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    let expected = step.weights("gradient");
    for (name, entry) in step.layout.trained() {
        found.extend(entry.unpack(&grad).into_iter().map(f64::from));
        wanted.extend(&expected[name].1);
    }
    close("gradient of v", &found, &wanted, 1e-4);
}
