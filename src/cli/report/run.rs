//! The folder of a run → its page.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::name_of;
use crate::cli::Ui;
use crate::cli::compare::HEAD;
use crate::config::{Choose, Config, Method, Resolved, TrainConfig};
use crate::data::{Account, Role};
use crate::error::{Error, Result, quoted, word};
use crate::report::course::Point;
use crate::report::page::{Cell, Page, ReplayStep};
use crate::report::scatter::Dot;
use crate::report::trust::Trust;
use crate::report::{self, History, doubts};
use crate::run::{CONSENSUS, Checkpoint, Manifest, RunDir, checkpoint};
use crate::search::retrace::{Recorded, Retrace};
use crate::search::take_prior;
use crate::space::{Alpha, NetworkKind, NetworkSpec, Prior, Space, read_architecture};

/// The course of π is drawn at this many steps.
const N_POINTS: usize = 80;
/// A replay has this many drawings.
const N_DRAWINGS: usize = 24;
/// The picture of the children has this many.
const N_DOTS: usize = 2000;
/// The table of the children has this many.
const N_BEST: usize = 12;

/// What a page about a run is made of.
struct Told {
    run: RunDir,
    manifest: Manifest,
    history: History,
    /// `result.json` of a finished run.
    result: Value,
    account: Option<Account>,
    space: Arc<dyn Space>,
    spec: NetworkSpec,
    /// The present architecture.
    alpha: Option<Alpha>,
    /// Its text, as a file of the run has it.
    genotype: Option<String>,
    /// The newest checkpoint that can be read.
    newest: Result<Checkpoint>,
}

/// The page about the run in `folder`, and its doubts. `beside` is the folder of the page.
pub fn page(folder: &Path, beside: &Path, ui: &Ui) -> Result<(Page, Vec<String>)> {
    if !folder.join("manifest.json").exists() && is_comparison(folder) {
        let (config, folder_word) = (word(&folder.join("config.toml")), word(folder));
        let try_this =
            format!("the same command again, which goes on: parsec compare {config} --run {folder_word}");
        let expected = "a finished comparison, with comparison.json";
        return Err(Error::file(folder, None, expected, "an unfinished one", try_this));
    }
    let run = RunDir::open(folder)?;
    let manifest = run.manifest()?;
    let is_training = manifest.kind == TrainConfig::KIND;
    let (space, channels, kind) = if is_training {
        let config = run.train_config()?;
        (config.space()?, config.network.channels, NetworkKind::Final)
    } else {
        let config = run.config()?;
        (config.space()?, config.network.channels, NetworkKind::Search)
    };
    let of_data = |key: &str| manifest.data[key].as_u64().unwrap_or(0) as usize;
    let spec = NetworkSpec {
        kind,
        space: Arc::clone(&space),
        channels,
        in_channels: of_data("channels"),
        height: of_data("height"),
        width: of_data("width"),
        n_classes: of_data("n_classes"),
    };
    let result = if run.is_finished() { run.result()? } else { Value::Null };
    let genotype = result["genotype"].as_str().map(str::to_owned);
    let genotype = genotype.or_else(|| std::fs::read_to_string(run.file("genotype.txt")).ok());
    let genotype = genotype.map(|text| text.trim().to_owned());
    let alpha = genotype.as_ref().and_then(|text| read_architecture(&*space, text).ok());
    let history = History::read(&run.metrics_path())?;
    let account = serde_json::from_value(manifest.read.clone()).ok();
    let newest = run.checkpoints().newest_good().map(|(newest, _)| newest);
    let told = Told { run, manifest, history, result, account, space, spec, alpha, genotype, newest };
    told.page(folder, beside, ui)
}

impl Told {
    fn page(&self, folder: &Path, beside: &Path, ui: &Ui) -> Result<(Page, Vec<String>)> {
        let Manifest { kind, version, adapter, driver, backend, total_steps, .. } = &self.manifest;
        let name = name_of(folder);
        let is_consensus = kind == CONSENSUS;
        let steps_done = self.result["steps"].as_u64().unwrap_or(self.history.last_step);
        let state = match (self.run.is_finished(), self.history.last_step) {
            _ if is_consensus => String::new(),
            (true, _) => format!("finished, {steps_done} steps"),
            (false, step) => format!("at step {step} of {total_steps}"),
        };
        let on =
            if adapter.is_empty() { String::new() } else { format!(", on {adapter} ({backend}, {driver})") };
        let lead = format!("parsec {version}, {kind}{}{state}{on}", if state.is_empty() { "" } else { ", " });
        let mut page = Page::new(&format!("{name}: {kind}"), &lead);

        page.section("Result");
        self.result(&mut page);
        if let Some(alpha) = &self.alpha {
            page.section("Architecture");
            let svg = report::architecture_svg(&*self.space, alpha);
            page.figure(&svg, "The architecture, from the input to the output", true);
        }
        let (course, broken) = self.course()?;
        let mut doubts = self.doubts()?;
        // Damage is said on the terminal too.
        let damage: Vec<String> = broken.into_iter().chain(self.unreadable()).collect();
        damage.iter().for_each(|damage| ui.warn(damage));
        doubts.extend(damage);
        if !doubts.is_empty() {
            page.section("What to distrust");
            page.doubts(&doubts);
        }
        if !self.history.is_empty() {
            page.section("Curves");
            page.curves(&report::curves::panels(&self.history));
        }
        self.prior(&mut page, &course)?;
        self.children(&mut page);
        self.data(&mut page);
        self.costs(&mut page);
        self.settings(&mut page)?;
        self.reproduce(&mut page, folder, beside);
        Ok((page, doubts))
    }

    fn result(&self, page: &mut Page) {
        let percent = |value: &Value| value.as_f64().map(|accuracy| format!("{:.2} %", 100.0 * accuracy));
        let result = &self.result;
        let is_training = self.manifest.kind == TrainConfig::KIND;
        if let Some(accuracy) = percent(&result["report"]["accuracy"]).or(percent(&result["accuracy"])) {
            page.big(&accuracy);
            let n = self.n_images().map_or("the".to_owned(), |n| format!("the {n}"));
            page.paragraph(&match (is_training, result["report"].is_null()) {
                (true, true) => format!("of {n} held-out images are classified correctly, with running statistics."),
                (true, false) => format!("of {n} images to report are classified correctly. Nothing was chosen by them."),
                (false, _) => format!(
                    "of {n} held-out images are classified correctly with the shared weights. The accuracy after a training of \
                     its own is another one."
                ),
            });
        } else if result.is_null() {
            page.paragraph("The run is not finished. So far:");
        }
        if let Some(alpha) = &self.alpha {
            page.verbatim(&self.space.print(alpha));
        }
        let by_evidence = self.manifest.kind == CONSENSUS || self.is_by_evidence();
        if let Some(mode) = result["mode"].as_str().filter(|mode| by_evidence && result["genotype"] != **mode)
        {
            page.paragraph("It was chosen by the likelihoods of all children. The prior's most probable architecture is another:");
            page.verbatim(mode);
        }
        if let Some(trust) = self.trust() {
            page.verbatim(&trust.text());
        }
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        let mut row = |what: &str, value: Option<String>| {
            rows.extend(value.map(|value| vec![Cell::from(what), Cell::from(value)]));
        };
        if is_training {
            let best =
                percent(&result["best_accuracy"]).map(|a| format!("{a}, at step {}", result["best_step"]));
            row("held out, last weights", percent(&result["accuracy"]));
            row("held out, best checkpoint", best);
        }
        if let Some(alpha) = self.alpha.as_ref().filter(|_| self.spec.check().is_ok()) {
            let net = NetworkSpec { kind: NetworkKind::Final, ..self.spec.clone() };
            let counts = report::summary::Counts::of(&net, alpha);
            let of = if is_training { "" } else { " (of a final network of the search's size)" };
            row("parameters", Some(format!("{}{of}", counts.parameters)));
            row("multiply-adds per image", Some(format!("{}{of}", counts.macs)));
        }
        row("agreement of the runs", percent(&result["agreement"]));
        if !rows.is_empty() {
            page.table(&[], rows);
        }
        if let Some(members) = result["runs"].as_array() {
            let row = |member: &Value| -> Vec<Cell> {
                let text = |key: &str| Cell::from(member[key].as_str().unwrap_or_default());
                vec![text("run"), text("genotype"), Cell::Number(member["log_prob"].to_string())]
            };
            page.table(
                &["run", "its architecture", "log-probability, nats"],
                members.iter().map(row).collect(),
            );
        }
    }

    fn trust(&self) -> Option<Trust> {
        serde_json::from_value(self.result["trust"].clone()).ok()
    }

    /// Number of images of the accuracy that is reported.
    fn n_images(&self) -> Option<usize> {
        let of_result = self.result["report"]["n"].as_u64().or(self.result["n"].as_u64());
        let role = |role| self.account.as_ref()?.part(role).map(|part| part.n);
        of_result.map(|n| n as usize).or_else(|| role(Role::Report)).or_else(|| role(Role::HeldOut))
    }

    /// Whether the result of the search is chosen by the likelihoods of all children.
    fn is_by_evidence(&self) -> bool {
        let config = self.run.config();
        config.is_ok_and(|c| c.algorithm.method == Method::Parsec && c.outcome.choose == Choose::Evidence)
    }

    /// Whether the run has a prior that moves.
    fn has_prior(&self) -> bool {
        match self.manifest.kind.as_str() {
            TrainConfig::KIND => false,
            CONSENSUS => true,
            _ => self.run.config().is_ok_and(|config| config.algorithm.method == Method::Parsec),
        }
    }

    /// The reason why no checkpoint can be read, if none can.
    fn unreadable(&self) -> Option<String> {
        let error = self.newest.as_ref().err()?.to_string();
        let reason = error.lines().next().unwrap_or_default();
        Some(format!("No checkpoint can be read, so parts of this page are missing: {reason}"))
    }

    fn doubts(&self) -> Result<Vec<String>> {
        if self.manifest.kind == CONSENSUS {
            return Ok(Vec::new());
        }
        let result_steps = self.result["steps"].as_u64();
        let mut doubts =
            doubts::of_any(&self.history, self.manifest.total_steps, result_steps, self.n_images());
        if let (None, Some(text)) = (&self.alpha, &self.genotype) {
            doubts.insert(
                0,
                format!(
                    "The architecture `{text}` of the run is none of its space: a file of the run is damaged."
                ),
            );
        }
        if self.manifest.kind == TrainConfig::KIND {
            let has_third = self.account.as_ref().is_some_and(|account| account.part(Role::Report).is_some());
            doubts.extend(doubts::of_training(&self.history, has_third));
        } else {
            let uniform: f64 = Prior::uniform(&*self.space).entropy().iter().sum();
            doubts.extend(doubts::of_search(
                &self.history,
                &doubts::Searched {
                    space: &*self.space,
                    chosen: self.alpha.as_ref(),
                    uniform: self.has_prior().then_some(uniform),
                    by_evidence: self.is_by_evidence(),
                    is_over: self.run.is_finished(),
                    trust: self.trust(),
                },
            ));
        }
        let passed_over = self.account.as_ref().map(Account::passed_over).unwrap_or_default();
        if !passed_over.is_empty() {
            doubts.push(format!("Of the data these were passed over: {passed_over}."));
        }
        if !self.manifest.excluded.is_empty() {
            let kernels = self.manifest.excluded.join(", ");
            doubts.push(format!(
                "Kernels that this adapter computes wrongly or compiles too slowly were left out: {kernels}."
            ));
        }
        Ok(doubts)
    }

    /// π after some of the steps, and the reason if they are not all. Empty if the method has no prior that moves, or
    /// nothing is left to compute it from.
    fn course(&self) -> Result<(Vec<Point>, Option<String>)> {
        let none = (Vec::new(), None);
        if self.manifest.kind != Config::KIND {
            return Ok(none);
        }
        let (config, checkpoints) = (self.run.config()?, self.run.checkpoints());
        let Ok(start) = checkpoint::read(&checkpoints.path_of(0)) else { return Ok(none) };
        let n_warm_up = self.history.drawn.iter().take_while(|drawn| drawn.warm_up).count() as u64;
        let Some(mut retrace) = Retrace::new(&config, &*self.space, &start.state, n_warm_up)? else {
            return Ok(none);
        };
        let every = (self.history.drawn.len() / N_POINTS).max(1);
        let point = |step: u64, prior: &Prior| Point { step, probabilities: prior.probabilities() };
        let mut points = vec![point(0, retrace.prior())];
        let mut broken = None;
        for (i, drawn) in self.history.drawn.iter().enumerate() {
            let (step, warm_up) = (drawn.step, drawn.warm_up);
            let (alphas, weights) = (&drawn.alphas, &drawn.weights);
            // A step that is missing is not noticed at once, since π changes little in a step.
            let follows = step == i as u64 + 1;
            if !follows || !retrace.follow(&Recorded { step, warm_up, alphas, weights }) {
                let because = if follows {
                    "the children of the next step are not those that the prior and the seed give"
                } else {
                    "the next step is missing"
                };
                broken = Some(format!("The replay ends at step {i}: {because} in metrics.jsonl."));
                break;
            }
            if (i + 1) % every == 0 || i + 1 == self.history.drawn.len() {
                points.push(point(step, retrace.prior()));
            }
        }
        Ok((points, broken))
    }

    /// The prior: its course, its replay, and the last one as a heat map.
    fn prior(&self, page: &mut Page, course: &[Point]) -> Result<()> {
        let newest = self.newest.as_ref().ok().filter(|_| self.has_prior());
        let prior = newest.and_then(|newest| take_prior(&newest.state, self.run.path(), &*self.space).ok());
        if prior.is_none() && course.len() < 2 {
            return Ok(());
        }
        page.section("The prior");
        if course.len() > 1 {
            let mode = |point: &Point| {
                let best = |p: &Vec<f64>| {
                    let by_p = |a: &usize, b: &usize| p[*a].total_cmp(&p[*b]).then(b.cmp(a));
                    (0..p.len()).max_by(by_p).unwrap_or(0) as u16
                };
                Alpha(point.probabilities.iter().map(best).collect())
            };
            let entropy = |point: &Point| {
                let terms = point.probabilities.iter().flatten().filter(|p| **p > 0.0);
                terms.map(|p| -p * p.ln()).sum()
            };
            // As many drawings as a page can hold, the last one among them.
            let every = course.len().div_ceil(N_DRAWINGS);
            let is_drawn = |i: usize| i == 0 || (course.len() - 1 - i).is_multiple_of(every);
            let step = |(i, point): (usize, &Point)| ReplayStep {
                step: point.step,
                entropy: entropy(point),
                mode: self.space.print(&mode(point)),
                drawing: if is_drawn(i) {
                    report::flow_svg(&*self.space, &point.probabilities)
                } else {
                    String::new()
                },
            };
            page.paragraph("The most probable architecture at each step, computed again from the metrics:");
            page.replay(&course.iter().enumerate().map(step).collect::<Vec<_>>());
            let svg = report::course_svg(&*self.space, course);
            page.figure(&svg, "Probability of each kind of choice over the steps, slot by slot", true);
        }
        if let Some(prior) = prior {
            let svg = report::prior_svg(&*self.space, &prior);
            page.figure(&svg, "The prior of the newest checkpoint", true);
        }
        Ok(())
    }

    /// The children: a picture of cost against likelihood, and a table of the best.
    fn children(&self, page: &mut Page) {
        let images = self.run.config().map_or(1, |config| config.search_batch()).max(1) as f64;
        let searched = self.history.drawn.iter().filter(|drawn| !drawn.warm_up);
        /// What is known of an architecture: how often it was drawn, the sum of its advantages, its last step.
        #[derive(Default)]
        struct Known {
            n: usize,
            sum: f64,
            last: u64,
        }
        let mut known: BTreeMap<&Alpha, Known> = BTreeMap::new();
        let mut all: Vec<(&Alpha, f64, u64)> = Vec::new();
        for drawn in searched {
            let n = drawn.log_likelihood.len().max(1) as f64;
            let mean = drawn.log_likelihood.iter().sum::<f64>() / n;
            for (alpha, score) in drawn.alphas.iter().zip(&drawn.log_likelihood) {
                if !self.space.contains(alpha) {
                    continue;
                }
                let advantage = (score - mean) / images;
                let entry = known.entry(alpha).or_default();
                entry.n += 1;
                entry.sum += advantage;
                entry.last = drawn.step;
                all.push((alpha, advantage, drawn.step));
            }
        }
        if all.is_empty() || self.spec.check().is_err() {
            return;
        }
        page.section("Children");
        page.paragraph(&format!("{} children after the warm-up, {} different ones.", all.len(), known.len()));
        let every = all.len().div_ceil(N_DOTS);
        let mut macs: BTreeMap<&Alpha, f64> = BTreeMap::new();
        let last_step = self.history.last_step.max(1) as f64;
        let mut macs_of = |alpha: &'_ Alpha| self.spec.macs(alpha) as f64 / 1e6;
        let dots: Vec<Dot> = all
            .iter()
            .step_by(every)
            .map(|(alpha, advantage, step)| {
                let macs = *macs.entry(alpha).or_insert_with(|| macs_of(alpha));
                Dot { macs, advantage: *advantage, time: *step as f64 / last_step }
            })
            .collect();
        let result = self.alpha.as_ref().map(&mut macs_of);
        let svg = report::children_svg(&dots, result);
        page.figure(&svg, "One dot for a child, light early and dark late in the search", true);
        let mut best: Vec<(&&Alpha, &Known)> = known.iter().collect();
        // The mean of few draws is uncertain, so each has one draw more, at the step's mean.
        let mean = |known: &Known| known.sum / (known.n as f64 + 1.0);
        best.sort_by(|a, b| mean(b.1).total_cmp(&mean(a.1)));
        let row = |(alpha, known): (&&Alpha, &Known)| -> Vec<Cell> {
            vec![
                Cell::from(self.space.print(alpha)),
                Cell::Number(known.n.to_string()),
                Cell::Number(format!("{:+.4}", mean(known))),
                Cell::Number(known.last.to_string()),
            ]
        };
        let rows: Vec<Vec<Cell>> = best.into_iter().take(N_BEST).map(row).collect();
        let heads = [
            "architecture",
            "drawn",
            "log-likelihood less its step's mean, nats/image (mean with one draw more at 0)",
            "last step",
        ];
        page.folded_table(&format!("The {} best by their own batches", rows.len()), &heads, rows);
    }

    fn data(&self, page: &mut Page) {
        page.section("Data");
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        let mut row = |what: &str, value: String| rows.push(vec![Cell::from(what), Cell::from(value)]);
        if let Some(account) = &self.account {
            page.paragraph(&account.to_string());
            for part in &account.parts {
                let role = match part.role {
                    Role::Train => "training",
                    Role::HeldOut => "held out",
                    Role::Report => "to report",
                };
                let place =
                    if part.place.is_empty() { String::new() } else { format!(" from {}", part.place) };
                row(role, format!("{} images{place}, sha256 {}", part.n, part.sha256));
            }
        } else if !self.manifest.data.is_null() {
            row("identity", self.manifest.data.to_string());
        }
        let names = &self.manifest.class_names;
        if !names.is_empty() {
            row("classes", names.join(", "));
        }
        let list = |key: &str| self.manifest.normalisation[key].as_array().cloned().unwrap_or_default();
        let numbers = |list: Vec<Value>| {
            list.iter().filter_map(Value::as_f64).map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ")
        };
        let (mean, std) = (numbers(list("mean")), numbers(list("std")));
        if !mean.is_empty() {
            row("normalisation", format!("mean {mean}; deviation {std}"));
        }
        page.table(&[], rows);
    }

    fn costs(&self, page: &mut Page) {
        if self.history.is_empty() {
            return;
        }
        page.section("Costs");
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        let phases = self.history.below("seconds");
        let total: f64 = self.history.sum_below("seconds").iter().map(|p| p.1).sum();
        for phase in phases {
            let sum: f64 = self.history.column(&format!("seconds.{phase}")).iter().map(|p| p.1).sum();
            let share = 100.0 * sum / total.max(1e-12);
            rows.push(vec![
                Cell::from(phase),
                Cell::Number(format!("{sum:.1} s")),
                Cell::Number(format!("{share:.0} %")),
            ]);
        }
        rows.push(vec![
            Cell::from("all steps"),
            Cell::Number(format!("{total:.1} s")),
            Cell::Number(String::new()),
        ]);
        let mut steps: Vec<f64> = self.history.sum_below("seconds").iter().map(|p| p.1).collect();
        steps.sort_by(f64::total_cmp);
        if let Some(median) = steps.get(steps.len() / 2) {
            let median = Cell::Number(format!("{:.1} ms", 1e3 * median));
            rows.push(vec![Cell::from("a step (median)"), median, Cell::Number(String::new())]);
        }
        let arena = self.history.column("arena_bytes").iter().map(|p| p.1).fold(0.0, f64::max);
        let arena = Cell::Number(format!("{:.1} MiB", arena / f64::from(1 << 20)));
        rows.push(vec![Cell::from("activations, at most"), arena, Cell::Number(String::new())]);
        page.table(&["", "in all", "part"], rows);
    }

    fn settings(&self, page: &mut Page) -> Result<()> {
        page.section("Settings");
        let Value::Object(settings) = &self.manifest.config else { return Ok(()) };
        let show = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if self.manifest.kind == Config::KIND {
            let embedded = settings.get("data").and_then(Value::as_str) == Some("embedded");
            let preset = if embedded { Config::preset()? } else { Config::paper()? };
            let preset = crate::run::manifest::config_json(&preset)?;
            let differs = |key: &&String| settings.get(*key) != preset.get(*key);
            let rows: Vec<Vec<Cell>> = settings
                .keys()
                .filter(differs)
                .map(|key| {
                    let was = preset.get(key).map_or("-".to_owned(), show);
                    vec![Cell::from(key.as_str()), Cell::from(show(&settings[key])), Cell::from(was)]
                })
                .collect();
            page.table(&["differs from the preset", "value", "in the preset"], rows);
        }
        let all = settings.iter().map(|(key, value)| vec![Cell::from(key.as_str()), Cell::from(show(value))]);
        page.folded_table("All settings", &["setting", "value"], all.collect());
        Ok(())
    }

    fn reproduce(&self, page: &mut Page, folder: &Path, beside: &Path) {
        page.section("How to reproduce");
        let Manifest { kind, version, seed, .. } = &self.manifest;
        let config = folder.join("config.toml");
        if kind == CONSENSUS {
            page.paragraph("A consensus follows from its searches, without an adapter.");
        } else {
            let mut lines = Vec::new();
            // A relative place of the data is below the folder in which it was given.
            lines.extend(self.manifest.data_from.as_ref().map(|from| format!("cd {}", word(from))));
            let config = std::path::absolute(&config).unwrap_or(config);
            let config = if self.manifest.data_from.is_some() { config } else { folder.join("config.toml") };
            let data =
                self.manifest.data_at.as_ref().map_or(String::new(), |at| format!(" --data {}", quoted(at)));
            lines.push(format!("parsec {kind} {}{data} --run NEW     # the same run again", word(&config)));
            for part in self.manifest.lengths.parts().iter().skip(1) {
                let (from, steps) = (part.from, part.steps);
                lines.push(format!(
                    "parsec resume NEW --steps {steps}     # interrupted at step {from}, or ended there"
                ));
            }
            let folder_word = word(folder);
            lines.push(format!("parsec resume {folder_word}     # goes on, or says that it is finished"));
            lines.push(format!(
                "parsec show {folder_word}     # the architecture, its counts and the prior as text"
            ));
            page.verbatim(&lines.join("\n"));
            page.paragraph(&format!(
                "Version {version} with seed {seed} on the same adapter and driver gives the same bits, if the data have the \
                 hashes above. On another adapter the results agree to rounding at first, and then take other ways."
            ));
        }
        let present = |name: &str| folder.join(name).exists();
        let files =
            ["config.toml", "manifest.json", "metrics.jsonl", "result.json", "genotype.txt", "cells.svg"];
        let link = |name: &str| -> Vec<Cell> {
            let path = folder.join(name);
            let to = path.strip_prefix(beside).map_or_else(|_| path.clone(), Path::to_owned);
            vec![Cell::Link(name.to_owned(), to.display().to_string())]
        };
        page.table(&["files"], files.iter().filter(|name| present(name)).map(|name| link(name)).collect());
    }
}

/// Whether the folder is that of a comparison.
fn is_comparison(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
    text.starts_with(HEAD)
}
