//! Ten steps of SGD and three steps of Algorithm 1, made of the network's pieces, against PyTorch's numbers of each
//! step.

use parsec_nas::config::Baseline;
use parsec_nas::files::tensors::Tensors;
use parsec_nas::gpu::{Child, Network, Update};
use parsec_nas::graph::{Layout, Lowering, Mode};
use parsec_nas::kernel::Buf;
use parsec_nas::search::importance;
use parsec_nas::search::prior_update::{Adam, Moments, ascend, gradient};
use parsec_nas::space::prior::PerSlot;
use parsec_nas::space::{Alpha, CellKind, Darts, Genotype, Prior};
use parsec_nas::space::{NetworkKind, StemKind};
use serde_json::Value;

use super::super::nets;
use super::{close, numbers, open, primitives, read, read_json};
use crate::nets::Cells;

fn spec(info: &Value) -> Cells {
    let count = |key: &str| info[key].as_u64().unwrap() as usize;
    Cells {
        kind: NetworkKind::Search,
        stem: StemKind::Cifar,
        in_channels: count("in_channels"),
        height: 12,
        width: 12,
        n_classes: count("classes"),
        layers: count("layers"),
        channels: count("channels"),
        auxiliary: false,
    }
}

fn update(info: &Value, step: usize) -> Update {
    let number = |value: &Value| value.as_f64().unwrap();
    Update {
        lr: number(&info["lr"][step]),
        momentum: number(&info["momentum"]),
        weight_decay: info["weight_decay"].as_f64().unwrap_or(3e-4),
        max_norm: number(&info["clip"]),
    }
}

fn upload(network: &mut Network, input: u8, tensors: &Tensors, prefix: &str) {
    let images: Vec<f32> = numbers(tensors, &format!("{prefix}.images")).iter().map(|x| *x as f32).collect();
    let labels: Vec<u32> = numbers(tensors, &format!("{prefix}.labels")).iter().map(|l| *l as u32).collect();
    network.upload(input, &images, &labels).unwrap();
}

/// The numbers of the named tensors of a buffer, one tensor after another.
fn flat(network: &mut Network, buf: Buf, names: &[String]) -> Vec<f64> {
    let values = network.read_all(buf).unwrap();
    let layout = network.layout();
    names.iter().flat_map(|name| layout.get(name).unwrap().unpack(&values)).map(f64::from).collect()
}

fn set(network: &mut Network, tensors: &Tensors, prefix: &str, names: &[String]) -> Vec<f64> {
    let mut v = vec![0f32; network.layout().v_len as usize];
    for name in names {
        let values: Vec<f32> =
            numbers(tensors, &format!("{prefix}{name}")).iter().map(|x| *x as f32).collect();
        network.layout().get(name).unwrap().pack(&values, &mut v);
    }
    network.write_all(Buf::V, &v).unwrap();
    flat(network, Buf::V, names)
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn ten_steps_of_sgd(fuse: bool) {
    let Some(gpu) = open() else { return };
    let (info, tensors) = (read_json("trajectory.json"), read("trajectory.safetensors"));
    let genotype = Genotype::parse(info["genotype"].as_str().unwrap()).unwrap();
    let spec = spec(&info);
    let mut names = spec.used_params(&genotype);
    names.sort();
    let stored: Vec<String> =
        tensors.keys().filter_map(|k| k.strip_prefix("v0.")).map(str::to_owned).collect();
    assert_eq!(names, stored);
    let net = nets::child(&spec, &genotype);
    let layout = Layout::new(net.params()).unwrap();
    let mut network =
        Network::new(gpu, spec.image(), layout, Lowering { fuse, ..Lowering::default() }).unwrap();
    let start = set(&mut network, &tensors, "v0.", &names);

    let (lls, norms) = (numbers(&tensors, "log_likelihood_sum"), numbers(&tensors, "gradient_norm"));
    for step in 0..10 {
        upload(&mut network, 0, &tensors, &format!("batch.{step}"));
        network.run(Child::new(&net, Mode::Train, 0)).unwrap();
        let found = network.last_result(0).unwrap().sum();
        close(&format!("log-likelihood of step {step}"), &[found], &[lls[step]], 2e-5);
        let update = update(&info, step);
        network.step(update).unwrap();
        let clip = network.clip().unwrap();
        close(&format!("norm at step {step}"), &[clip.norm], &[norms[step]], 1e-4);
        close("clip factor", &[clip.factor], &[(update.max_norm / (norms[step] + 1e-6)).min(1.0)], 1e-4);
    }
    let cat = |prefix: &str| -> Vec<f64> {
        names.iter().flat_map(|n| numbers(&tensors, &format!("{prefix}{n}"))).collect()
    };
    let end = flat(&mut network, Buf::V, &names);
    close("the way of v", &minus(&end, &start), &minus(&cat("v."), &start), 1e-4);
    close("momentum", &flat(&mut network, Buf::Momentum, &names), &cat("momentum."), 1e-4);
    assert!(network.read_all(Buf::Grad).unwrap().iter().all(|g| *g == 0.0), "a step clears the gradient");
}

#[test]
fn ten_steps_of_sgd_fused() {
    ten_steps_of_sgd(true);
}

#[test]
fn ten_steps_of_sgd_with_plain_kernels() {
    ten_steps_of_sgd(false);
}

/// The numbers of each slot. A tensor holds two slots.
fn per_slot(tensors: &Tensors, prefix: &str) -> PerSlot {
    let tensor = |kind: CellKind, node: usize| numbers(tensors, &format!("{prefix}.{}.{node}", kind.name()));
    let all = CellKind::ALL.into_iter().flat_map(|kind| (0..4).map(move |node| tensor(kind, node)));
    all.flat_map(|both| both.chunks(both.len() / 2).map(<[f64]>::to_vec).collect::<Vec<_>>()).collect()
}

fn all(values: &PerSlot) -> Vec<f64> {
    values.concat()
}

#[test]
fn three_steps_of_algorithm_1() {
    let Some(gpu) = open() else { return };
    let (info, tensors) = (read_json("parsec_steps.json"), read("parsec_steps.safetensors"));
    let list = |key: &str| -> Vec<String> {
        info[key].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect()
    };
    let (names, space) = (list("names"), Darts::over(&primitives(&info["primitives"])));
    let spec = spec(&info);
    let layout = Layout::new(spec.params(None, space.primitives())).unwrap();
    let mut network = Network::new(gpu, spec.image(), layout, Lowering::default()).unwrap();
    let mut v = set(&mut network, &tensors, "v.0.", &names);
    let mut stored = v.clone();

    let mut prior = Prior::uniform(&space).with(per_slot(&tensors, "pi.0"));
    let mut moments = Moments { m: per_slot(&tensors, "adam_m.0"), v: per_slot(&tensors, "adam_v.0") };
    let number = |value: &Value| value.as_f64().unwrap();
    let betas = [0, 1].map(|i| number(&info["adam_betas"][i]));
    let adam = Adam { lr: number(&info["pi_lr"]), beta1: betas[0], beta2: betas[1] };
    for t in 1..=3 {
        let indices = numbers(&tensors, &format!("alpha.{t}"));
        let alphas: Vec<Alpha> = indices
            .chunks_exact(16)
            .map(|choices| Alpha(choices.iter().map(|choice| *choice as u16).collect()))
            .collect();
        assert_eq!(alphas.len(), 4);
        let children: Vec<_> = alphas.iter().map(|a| nets::child(&spec, &space.genotype(a))).collect();
        upload(&mut network, 0, &tensors, &format!("search.{t}"));
        upload(&mut network, 1, &tensors, &format!("train.{t}"));

        for (slot, net) in children.iter().enumerate() {
            network.run(Child::new(net, Mode::Likelihood, 0)).unwrap();
            network.keep_results(slot, children.len(), 0).unwrap();
        }
        let lls: Vec<f64> = network.results(children.len(), 0).unwrap().iter().map(|r| r.sum()).collect();
        close("log-likelihoods", &lls, &numbers(&tensors, &format!("log_likelihood_sum.{t}")), 2e-5);
        let weights = importance::weights(&lls, 1.0);
        close("importance weights", &weights, &numbers(&tensors, &format!("weights.{t}")), 1e-4);

        for (net, weight) in children.iter().zip(&weights) {
            network.set_child_weight(*weight).unwrap();
            network.run(Child::new(net, Mode::Train, 1)).unwrap();
        }
        network.step(update(&info, t - 1)).unwrap();
        let clip = network.clip().unwrap();
        close("norm", &[clip.norm], &numbers(&tensors, &format!("gradient_norm.{t}")), 1e-4);
        close("clip factor", &[clip.factor], &numbers(&tensors, &format!("clip_factor.{t}")), 1e-4);
        let (new, wanted) = (flat(&mut network, Buf::V, &names), numbers(&tensors, &format!("v.{t}")));
        close(&format!("step {t} of v"), &minus(&new, &v), &minus(&wanted, &stored), 1e-3);
        close("v", &new, &wanted, 1e-5);
        (v, stored) = (new, wanted);
        let momentum = flat(&mut network, Buf::Momentum, &names);
        close("momentum", &momentum, &numbers(&tensors, &format!("momentum.{t}")), 1e-3);

        let g = gradient(&prior, &alphas, &weights, Baseline::None, &[]);
        ascend(&mut prior, &mut moments, &g, t as u64, adam);
        close("pi", &all(&prior.logits), &all(&per_slot(&tensors, &format!("pi.{t}"))), 1e-4);
        close("first moment", &all(&moments.m), &all(&per_slot(&tensors, &format!("adam_m.{t}"))), 1e-4);
        close("second moment", &all(&moments.v), &all(&per_slot(&tensors, &format!("adam_v.{t}"))), 1e-4);
    }
}
