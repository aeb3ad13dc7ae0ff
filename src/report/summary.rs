//! A genotype, its network's counts and a prior → text for people, JSON for programs.

use std::fmt::Write as _;

use serde_json::json;

use crate::error::{Error, Result};
use crate::graph::spec::{NetworkKind, NetworkSpec};
use crate::graph::{Extent, Layout, Lowering, Memory, Mode, Plan, Request};
use crate::space::{CellKind, Genotype, N_NODES, N_SLOTS, Paths, Prior, Space};

/// Names of a pair's input, as in the drawings.
const INPUT_NAMES: [&str; N_NODES + 1] = ["k-2", "k-1", "0", "1", "2"];
/// Pairs listed per slot, the most probable first.
const N_LISTED: usize = 3;

/// What a network costs.
pub struct Counts {
    /// Of the final network; of the whole parent for a search network.
    pub parameters: u64,
    /// Of the auxiliary head, 0 without one.
    pub auxiliary: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// Of the parent's parameters, those the child uses; search networks only.
    pub child: Option<u64>,
}

impl Counts {
    /// Counts the genotype's network; a search parent is over the primitives of `space`.
    pub fn of(spec: &NetworkSpec, genotype: &Genotype, space: &Space) -> Self {
        Self {
            parameters: spec.parameter_count(Some(genotype), space.primitives()),
            auxiliary: spec.auxiliary_parameter_count(),
            macs: spec.macs(genotype),
            child: (spec.kind == NetworkKind::Search).then(|| spec.child_parameter_count(genotype)),
        }
    }
}

/// What one forward and backward pass of a child costs, as planned.
pub struct Training {
    /// Images at once.
    pub batch: u32,
    /// The plan, or why there is none.
    pub plan: Result<Plan>,
}

impl Training {
    /// Plans the genotype's network with `batch` images.
    pub fn of(spec: &NetworkSpec, genotype: &Genotype, batch: u32, memory: Memory) -> Self {
        let net = spec.net(Paths::Child(genotype));
        let plan = Layout::new(net.params()).and_then(|layout| {
            let lowering = Lowering { memory, ..Lowering::default() };
            let (mode, extent, split, drop_path) = (Mode::Train, Extent::Whole, 0, false);
            Plan::new(Request { net: &net, layout: &layout, batch, mode, extent, split, drop_path, lowering })
        });
        Self { batch, plan }
    }
}

/// As JSON; with a prior also its entropies and the probability of every pair.
pub fn to_json(
    genotype: &Genotype,
    counts: &Counts,
    training: &Training,
    prior: Option<&(Space, Prior)>,
    samples: &[(Genotype, f64)],
) -> Result<String> {
    let mut value = json!({
        "genotype": genotype.to_string(),
        "parameters": counts.parameters,
        "auxiliary_parameters": counts.auxiliary,
        "macs": counts.macs,
    });
    if let Some(child) = counts.child {
        value["child_parameters"] = json!(child);
    }
    value["batch"] = json!(training.batch);
    if let Ok(plan) = &training.plan {
        value["arena_bytes"] = json!(plan.arena_bytes());
        value["dispatches"] = json!(plan.dispatches.len());
        value["flops"] = json!(plan.flops);
    }
    if let Some((space, prior)) = prior {
        let [normal, reduce] = prior.entropy();
        value["entropy"] = json!({ "normal": normal, "reduce": reduce });
        let names: Vec<_> = space.primitives().iter().map(|p| p.name()).collect();
        value["primitives"] = json!(names);
        // [node][slot][pair], as in a trace.
        let slots = |node: &Vec<f64>| json!(node.chunks(node.len() / N_SLOTS).collect::<Vec<_>>());
        for (kind, nodes) in CellKind::ALL.into_iter().zip(&prior.probabilities()) {
            value["probabilities"][kind.name()] = nodes.iter().map(slots).collect();
        }
    }
    if !samples.is_empty() {
        let sample = |(g, log_p): &(Genotype, f64)| json!({ "genotype": g.to_string(), "log_prob": log_p });
        value["samples"] = samples.iter().map(sample).collect();
    }
    let text = serde_json::to_string_pretty(&value);
    text.map(|text| text + "\n")
        .map_err(|e| Error::usage("output", "values that JSON can hold", e.to_string(), ""))
}

/// As text for people.
pub fn to_text(
    genotype: &Genotype,
    spec: &NetworkSpec,
    counts: &Counts,
    training: &Training,
    prior: Option<&(Space, Prior)>,
    samples: &[(Genotype, f64)],
) -> String {
    let mut text = format!("{genotype}\n\n");
    let mut line = |what: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<17}{value}");
    };
    let kind = if spec.kind == NetworkKind::Search { "search" } else { "final" };
    line(
        "network",
        format!(
            "{kind}, {} cells, {} channels, {} classes, images {}x{}x{}",
            spec.layers, spec.channels, spec.n_classes, spec.in_channels, spec.height, spec.width
        ),
    );
    match counts.child {
        None => line("parameters", thousands(counts.parameters)),
        Some(child) => {
            line("parameters", format!("{} of the parent", thousands(counts.parameters)));
            line("", format!("{} of this child", thousands(child)));
        }
    }
    if spec.auxiliary {
        line("auxiliary head", format!("{} parameters more", thousands(counts.auxiliary)));
    }
    line("MACs per image", thousands(counts.macs));
    let plan = match &training.plan {
        Ok(plan) => format!(
            "{:.1} MiB of activations, {} launches, {:.2} GFLOP",
            plan.arena_bytes() as f64 / f64::from(1 << 20),
            plan.dispatches.len(),
            plan.flops as f64 / 1e9
        ),
        Err(e) => e.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    line("training", format!("{} images at once: {plan}", training.batch));
    for kind in CellKind::ALL {
        let (skips, pools) = (genotype.n_skips(kind), genotype.n_pools(kind));
        line(&format!("{} cell", kind.name()), format!("{skips} skip, {pools} pool of 8 operations"));
    }
    if let Some((space, prior)) = prior {
        text += &prior_text(space, prior);
    }
    for (i, (sample, log_p)) in samples.iter().enumerate() {
        let _ = write!(text, "\nsample {}, log p = {log_p:.2}\n{sample}\n", i + 1);
    }
    text
}

/// The entropy of each kind of cell and the most probable pairs of each slot.
fn prior_text(space: &Space, prior: &Prior) -> String {
    let mut text = String::new();
    let uniform = Prior::uniform(space).entropy();
    let probabilities = prior.probabilities();
    for kind in CellKind::ALL {
        let k = kind.index();
        let (entropy, most) = (prior.entropy()[k], uniform[k]);
        let _ = writeln!(text, "\n{} cell, entropy {entropy:.2} of {most:.2} nats", kind.name());
        for (node, p) in probabilities[k].iter().enumerate() {
            for (slot, p) in p.chunks(space.n_pairs(node)).enumerate() {
                let mut ranked: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
                ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
                let listed = ranked.iter().take(N_LISTED).map(|&(index, p)| {
                    let pair = space.pair(node, index);
                    format!(
                        "{:<18} {:>5.1} %",
                        format!("{}({})", pair.primitive.name(), INPUT_NAMES[pair.input]),
                        100.0 * p
                    )
                });
                let listed: Vec<_> = listed.collect();
                let _ = writeln!(text, "  node {node} slot {slot}  {}", listed.join("   "));
            }
        }
    }
    text
}

/// A count with commas between groups of three digits.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
