//! A genotype, its network's counts and a prior → text for people, JSON for programs.

use std::fmt::Write as _;

use std::sync::Arc;

use serde_json::{Value, json};

use super::trust::Trust;
use crate::error::{Error, Result};
use crate::graph::{Extent, Layout, Lowering, Memory, Mode, Plan, Request};
use crate::network::ParamSpec;
use crate::search::best::Best;
use crate::search::evidence::{Effect, Evidence};
use crate::space::{Alpha, Paths, Prior, Space, Tally};
use crate::space::{NetworkKind, NetworkSpec};

/// Number of choices listed per slot, the most probable first.
const N_LISTED: usize = 3;

/// Costs of a network.
pub struct Counts {
    /// Parameters of the final network, or of the whole parent for a search network.
    pub parameters: u64,
    /// Parameters of the auxiliary head; 0 without such a head.
    pub auxiliary: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// Number of the parent's parameters that the child uses. `None` for a final network.
    pub child: Option<u64>,
}

impl Counts {
    /// Counts the network of an architecture.
    pub fn of(spec: &NetworkSpec, alpha: &Alpha) -> Self {
        let child = spec.net(Paths::Child(alpha));
        let trained = |params: Vec<ParamSpec>| -> u64 {
            let counted = params.iter().filter(|p| p.role.is_trained() && !p.auxiliary);
            counted.map(|p| p.len() as u64).sum()
        };
        Self {
            parameters: trained(spec.params(alpha)),
            auxiliary: child.parameter_count(true),
            macs: spec.macs(alpha),
            child: (spec.kind == NetworkKind::Search).then(|| child.parameter_count(false)),
        }
    }
}

/// Planned costs of one forward and backward pass of a child.
pub struct Training {
    /// Number of images at once.
    pub batch: u32,
    /// The plan, or the reason why there is none.
    pub plan: Result<Plan>,
}

impl Training {
    /// Plans the architecture's network with `batch` images.
    pub fn of(spec: &NetworkSpec, alpha: &Alpha, batch: u32, memory: Memory) -> Self {
        let net = spec.net(Paths::Child(alpha));
        let plan = Layout::new(net.params()).and_then(|layout| {
            let lowering = Lowering { memory, ..Lowering::default() };
            let (mode, extent, input, drop_path) = (Mode::Train, Extent::Whole, 0, false);
            Plan::new(Request { net: &net, layout: &layout, batch, mode, extent, input, drop_path, lowering })
        });
        Self { batch, plan }
    }
}

/// The information about a network.
pub struct Known<'a> {
    /// The network without its architecture.
    pub spec: &'a NetworkSpec,
    /// The architecture.
    pub alpha: &'a Alpha,
    /// Costs of the network.
    pub counts: Counts,
    /// Costs of training the network.
    pub training: Training,
    /// The run's newest prior, with its space.
    pub prior: Option<&'a (Arc<dyn Space>, Prior)>,
    /// The evidence of the run about the choices.
    pub evidence: Option<&'a Evidence>,
    /// The best architecture according to the run's children, if there is one.
    pub best: Option<&'a Best>,
    /// The trust in the result of the run.
    pub trust: Option<Trust>,
    /// Architectures drawn from the prior, with their log-probabilities.
    pub samples: &'a [(Alpha, f64)],
}

impl Known<'_> {
    /// The information as JSON. If there is a prior, it includes the entropies and the probability of every choice.
    pub fn to_json(&self) -> Result<String> {
        let Self { counts, training, .. } = self;
        let mut value = json!({
            "genotype": self.spec.space.print(self.alpha),
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
            value["launches"] = json!(plan.launches.len());
            value["flops"] = json!(plan.flops);
        }
        if let Some((space, prior)) = self.prior {
            value["entropy"] = json!(space.by_group(&prior.entropy()));
            for (key, text) in space.settings() {
                let words: Vec<&str> = text.split(',').collect();
                match key {
                    "primitives" | "choices" => value[key] = json!(words),
                    "stages" => value[key] = words.iter().filter_map(|n| n.parse::<usize>().ok()).collect(),
                    _ => {}
                }
            }
            per_slot(&mut value["probabilities"], &**space, prior.probabilities());
            if let Some(evidence) = self.evidence {
                let of = |what: fn(&Effect) -> f64| {
                    evidence.effects.iter().map(|slot| slot.iter().map(what).collect()).collect()
                };
                let (agreement, noise) = (evidence.agreement, evidence.noise);
                let n = evidence.n_children;
                value["evidence"] = json!({ "n_children": n, "noise": noise, "agreement": agreement });
                if let Some(best) = self.best {
                    value["evidence"]["genotype"] = space.print(&best.alpha).into();
                    value["evidence"]["prediction"] = best.prediction.into();
                }
                per_slot(&mut value["evidence"]["effects"], &**space, of(|e| e.effect));
                per_slot(&mut value["evidence"]["errors"], &**space, of(|e| e.error));
            }
        }
        if let Some(trust) = self.trust {
            value["trust"] = json!(trust);
        }
        if !self.samples.is_empty() {
            let space = self.prior.map_or(&self.spec.space, |(space, _)| space);
            let sample =
                |(alpha, log_p): &(Alpha, f64)| json!({ "genotype": space.print(alpha), "log_prob": log_p });
            value["samples"] = self.samples.iter().map(sample).collect();
        }
        let text = serde_json::to_string_pretty(&value);
        text.map(|text| text + "\n")
            .map_err(|e| Error::usage("output", "values that JSON can hold", e.to_string(), ""))
    }

    /// The information as text for people.
    pub fn to_text(&self) -> String {
        let Self { spec, counts, training, .. } = self;
        let mut text = format!("{}\n\n", spec.space.print(self.alpha));
        let mut line = |what: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{what:<17}{value}");
        };
        line("network", described(spec));
        match counts.child {
            None => line("parameters", thousands(counts.parameters)),
            Some(child) => {
                line("parameters", format!("{} of the parent", thousands(counts.parameters)));
                line("", format!("{} of this child", thousands(child)));
            }
        }
        if counts.auxiliary > 0 {
            line("auxiliary head", format!("{} parameters more", thousands(counts.auxiliary)));
        }
        line("MACs per image", thousands(counts.macs));
        let plan = match &training.plan {
            Ok(plan) => format!(
                "{:.1} MiB of activations, {} launches, {:.2} GFLOP",
                plan.arena_bytes() as f64 / f64::from(1 << 20),
                plan.launches.len(),
                plan.flops as f64 / 1e9
            ),
            Err(e) => e.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        line("training", format!("{} images at once: {plan}", training.batch));
        for (group, name) in spec.space.groups().iter().enumerate() {
            let Tally { skips, pools, of } = spec.space.tally(self.alpha, group);
            if spec.space.name() == "darts" {
                line(&format!("{name} cell"), format!("{skips} skip, {pools} pool of {of} operations"));
            } else {
                line(name, format!("{skips} identity of {of}"));
            }
        }
        if let Some((space, prior)) = self.prior {
            text += &prior_text(&**space, prior, self.evidence);
            let (mode, shown) = (prior.mode(), self.spec.space.print(self.alpha));
            for (what, alpha) in [
                ("the prior's mode", self.best.map(|_| &mode)),
                ("the architecture that all children speak for", self.best.map(|b| &b.alpha)),
            ] {
                if let Some(other) = alpha.map(|alpha| space.print(alpha)).filter(|other| *other != shown) {
                    let _ = writeln!(text, "\n{what} is another: {other}");
                }
            }
        }
        if let Some(trust) = self.trust {
            let _ = write!(text, "\n{}\n", trust.text());
        }
        let space = self.prior.map_or(&spec.space, |(space, _)| space);
        for (i, (sample, log_p)) in self.samples.iter().enumerate() {
            let _ = write!(text, "\nsample {}, log p = {log_p:.2}\n{}\n", i + 1, space.print(sample));
        }
        text
    }
}

/// Description of a network without its architecture.
fn described(spec: &NetworkSpec) -> String {
    let kind = if spec.kind == NetworkKind::Search { "search" } else { "final" };
    let images = format!("images {}x{}x{}", spec.in_channels, spec.height, spec.width);
    let form = form(&*spec.space);
    format!("{kind}, {form}, {} channels, {} classes, {images}", spec.channels, spec.n_classes)
}

/// Description of how the networks of a space are stacked.
fn form(space: &dyn Space) -> String {
    let settings = space.settings();
    let value = |key: &str| settings.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str());
    match (value("layers"), value("stages")) {
        (Some(layers), _) => format!("{layers} cells"),
        (None, Some(stages)) => format!("stages of {stages} layers"),
        (None, None) => format!("{} layers", space.slots().len()),
    }
}

/// Writes one number per choice into `value`, in the form of the logits in a trace.
fn per_slot(value: &mut Value, space: &dyn Space, numbers: Vec<Vec<f64>>) {
    let mut slots = numbers.into_iter();
    for table in space.prior_tables() {
        let n_slots = if table.shape.len() > 1 { table.shape[0] } else { 1 };
        let here: Vec<Vec<f64>> = slots.by_ref().take(n_slots).collect();
        let here = if table.shape.len() > 1 { json!(here) } else { json!(here.concat()) };
        match table.name.split_once('.') {
            // Tables with numbers in their names become lists.
            Some((group, _)) => match value[group].as_array_mut() {
                Some(list) => list.push(here),
                None => value[group] = json!([here]),
            },
            None => match value.as_array_mut() {
                Some(list) => list.push(here),
                None => *value = json!([here]),
            },
        }
    }
}

/// The entropy of each group of slots and the most probable choices of each slot, with the effects of these choices.
fn prior_text(space: &dyn Space, prior: &Prior, evidence: Option<&Evidence>) -> String {
    let mut text = String::new();
    if let Some(evidence) = evidence {
        let n = evidence.n_children;
        let _ = write!(
            text,
            "\nof each choice: probability, and its effect +- error on the log-likelihood, against the mean over its slot,\n\
             in thousandths of a nat per image (from {n} children, with the shared weights)\n"
        );
    }
    let effect = |slot: usize, choice: usize| {
        let effect = evidence.and_then(|e| e.effects.get(slot)?.get(choice));
        effect.map_or(String::new(), |e| format!(" {:>+5.0} +- {:<3.0}", 1e3 * e.effect, 1e3 * e.error))
    };
    let (entropy, uniform) = (prior.entropy(), Prior::uniform(space).entropy());
    let probabilities = prior.probabilities();
    for (group, name) in space.groups().iter().enumerate() {
        let title = if space.name() == "darts" { format!("{name} cell") } else { (*name).to_owned() };
        let _ = writeln!(text, "\n{title}, entropy {:.2} of {:.2} nats", entropy[group], uniform[group]);
        for (slot, p) in probabilities.iter().enumerate().filter(|(s, _)| space.slots()[*s].group == group) {
            let mut ranked: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            let listed: Vec<String> = ranked
                .iter()
                .take(N_LISTED)
                .map(|&(choice, p)| {
                    let name = space.choice_name(slot, choice);
                    format!("{name:<18} {:>5.1} %{}", 100.0 * p, effect(slot, choice))
                })
                .collect();
            let _ = writeln!(text, "  {}  {}", space.slot_name(slot), listed.join("   "));
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
