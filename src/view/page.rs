//! The folder of a run → its page.

use std::path::Path;

use serde_json::Value;

use super::{Children, Course, RunView, name_of};
use crate::config::{Config, Resolved};
use crate::data::Role;
use crate::error::{Result, quoted, word};
use crate::report;
use crate::report::course::Point;
use crate::report::page::{Cell, Page, ReplayStep};
use crate::run::{CONSENSUS, Checkpoint, Manifest};
use crate::search::take_prior;

/// The course of π is drawn at this many steps or half as many.
const N_POINTS: usize = 160;
/// A replay has this many drawings.
const N_DRAWINGS: usize = 24;
/// The picture of the children has this many.
const N_DOTS: usize = 2000;
/// The table of the children has this many.
const N_BEST: usize = 12;

/// What a page about a run is made of.
struct Told {
    view: RunView,
    /// The newest checkpoint that can be read.
    newest: Result<Checkpoint>,
}

/// A page about a run.
pub struct RunPage {
    /// The page.
    pub page: Page,
    /// Reasons to distrust the result, damage among them.
    pub doubts: Vec<String>,
    /// What is damaged.
    pub damage: Vec<String>,
}

/// The page about the run in `folder`. `beside` is the folder of the page.
///
/// # Errors
/// The errors of [`RunView::read`].
pub fn of_run(folder: &Path, beside: &Path) -> Result<RunPage> {
    let view = RunView::read(folder)?;
    let newest = view.run.checkpoints().newest_good().map(|(newest, _)| newest);
    Told { view, newest }.page(folder, beside)
}

impl Told {
    fn page(&self, folder: &Path, beside: &Path) -> Result<RunPage> {
        let mut page =
            Page::new(&format!("{}: {}", name_of(folder), self.view.manifest.kind), &self.view.lead());
        page.section("Result");
        self.result(&mut page);
        if let Some(alpha) = &self.view.alpha {
            page.section("Architecture");
            let svg = report::architecture_svg(&*self.view.space, alpha);
            page.figure(&svg, "The architecture, from the input to the output", true);
        }
        let course = Course::of(&self.view, N_POINTS)?;
        let broken = course.as_ref().and_then(|course| course.broken.clone());
        let damage: Vec<String> = broken.into_iter().chain(self.unreadable()).collect();
        let doubts = [self.view.doubts(), damage.clone()].concat();
        if !doubts.is_empty() {
            page.section("What to distrust");
            page.doubts(&doubts);
        }
        if !self.view.history.is_empty() {
            page.section("Curves");
            page.curves(&report::curves::panels(&self.view.history));
        }
        self.prior(&mut page, course.as_ref().map_or(&[], Course::points));
        self.children(&mut page);
        self.data(&mut page);
        self.costs(&mut page);
        self.settings(&mut page)?;
        self.reproduce(&mut page, folder, beside);
        Ok(RunPage { page, doubts, damage })
    }

    /// The reason why no checkpoint can be read, if none can.
    fn unreadable(&self) -> Option<String> {
        let error = self.newest.as_ref().err()?.to_string();
        let reason = error.lines().next().unwrap_or_default();
        Some(format!("No checkpoint can be read, so parts of this page are missing: {reason}"))
    }

    fn result(&self, page: &mut Page) {
        let percent = |value: &Value| value.as_f64().map(|accuracy| format!("{:.2} %", 100.0 * accuracy));
        let result = &self.view.result;
        let is_training = self.view.is_training();
        if let Some((accuracy, of)) = self.view.accuracy() {
            page.big(&format!("{:.2} %", 100.0 * accuracy));
            page.paragraph(&of);
        } else if result.is_null() {
            page.paragraph("The run is not finished. So far:");
        }
        if let Some(alpha) = &self.view.alpha {
            page.verbatim(&self.view.space.print(alpha));
        }
        let by_evidence = self.view.is_consensus() || self.view.is_by_evidence();
        if let Some(mode) = result["mode"].as_str().filter(|mode| by_evidence && result["genotype"] != **mode)
        {
            page.paragraph("It was chosen by the likelihoods of all children. The prior's most probable architecture is another:");
            page.verbatim(mode);
        }
        if let Some(trust) = self.view.trust() {
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
        if let Some(counts) = self.view.counts() {
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

    /// The prior: its course, its replay, and the last one as a heat map.
    fn prior(&self, page: &mut Page, course: &[Point]) {
        let view = &self.view;
        let newest = self.newest.as_ref().ok().filter(|_| view.has_prior());
        let prior = newest.and_then(|newest| take_prior(&newest.state, view.run.path(), &*view.space).ok());
        if prior.is_none() && course.len() < 2 {
            return;
        }
        page.section("The prior");
        if course.len() > 1 {
            // As many drawings as a page can hold, the last one among them.
            let every = course.len().div_ceil(N_DRAWINGS);
            let is_drawn = |i: usize| i == 0 || (course.len() - 1 - i).is_multiple_of(every);
            let step = |(i, point): (usize, &Point)| ReplayStep {
                step: point.step,
                entropy: point.entropy(),
                mode: view.space.print(&point.mode()),
                drawing: if is_drawn(i) {
                    report::flow_svg(&*self.view.space, &point.probabilities)
                } else {
                    String::new()
                },
            };
            page.paragraph("The most probable architecture at each step, computed again from the metrics:");
            page.replay(&course.iter().enumerate().map(step).collect::<Vec<_>>());
            let svg = report::course_svg(&*self.view.space, course);
            page.figure(&svg, "Probability of each kind of choice over the steps, slot by slot", true);
        }
        if let Some(prior) = prior {
            let svg = report::prior_svg(&*self.view.space, &prior);
            page.figure(&svg, "The prior of the newest checkpoint", true);
        }
    }

    /// The children: a picture of cost against likelihood, and a table of the best.
    fn children(&self, page: &mut Page) {
        let Children { n, n_different, dots, result_macs, best } = Children::of(&self.view, N_DOTS, N_BEST);
        if n == 0 {
            return;
        }
        page.section("Children");
        page.paragraph(&format!("{n} children after the warm-up, {n_different} different ones."));
        let svg = report::children_svg(&dots, result_macs);
        page.figure(&svg, "One dot for a child, light early and dark late in the search", true);
        let row = |best: super::Best| -> Vec<Cell> {
            vec![
                Cell::from(best.genotype),
                Cell::Number(best.n.to_string()),
                Cell::Number(format!("{:+.4}", best.advantage)),
                Cell::Number(best.last.to_string()),
            ]
        };
        let rows: Vec<Vec<Cell>> = best.into_iter().map(row).collect();
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
        if let Some(account) = &self.view.account {
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
        } else if !self.view.manifest.data.is_null() {
            row("identity", self.view.manifest.data.to_string());
        }
        let names = &self.view.manifest.class_names;
        if !names.is_empty() {
            row("classes", names.join(", "));
        }
        let list = |key: &str| self.view.manifest.normalisation[key].as_array().cloned().unwrap_or_default();
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
        if self.view.history.is_empty() {
            return;
        }
        page.section("Costs");
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        let phases = self.view.history.below("seconds");
        let total: f64 = self.view.history.sum_below("seconds").iter().map(|p| p.1).sum();
        for phase in phases {
            let sum: f64 = self.view.history.column(&format!("seconds.{phase}")).iter().map(|p| p.1).sum();
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
        let mut steps: Vec<f64> = self.view.step_seconds();
        steps.sort_by(f64::total_cmp);
        if let Some(median) = steps.get(steps.len() / 2) {
            let median = Cell::Number(format!("{:.1} ms", 1e3 * median));
            rows.push(vec![Cell::from("a step (median)"), median, Cell::Number(String::new())]);
        }
        let arena = self.view.history.column("arena_bytes").iter().map(|p| p.1).fold(0.0, f64::max);
        let arena = Cell::Number(format!("{:.1} MiB", arena / f64::from(1 << 20)));
        rows.push(vec![Cell::from("activations, at most"), arena, Cell::Number(String::new())]);
        page.table(&["", "in all", "part"], rows);
    }

    fn settings(&self, page: &mut Page) -> Result<()> {
        page.section("Settings");
        let Value::Object(settings) = &self.view.manifest.config else { return Ok(()) };
        let show = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if self.view.manifest.kind == Config::KIND {
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
        let Manifest { kind, version, seed, .. } = &self.view.manifest;
        let config = folder.join("config.toml");
        if kind == CONSENSUS {
            page.paragraph("A consensus follows from its searches, without an adapter.");
        } else {
            let mut lines = Vec::new();
            // A relative place of the data is below the folder in which it was given.
            lines.extend(self.view.manifest.data_from.as_ref().map(|from| format!("cd {}", word(from))));
            let config = std::path::absolute(&config).unwrap_or(config);
            let config =
                if self.view.manifest.data_from.is_some() { config } else { folder.join("config.toml") };
            let data = self
                .view
                .manifest
                .data_at
                .as_ref()
                .map_or(String::new(), |at| format!(" --data {}", quoted(at)));
            lines.push(format!("parsec {kind} {}{data} --run NEW     # the same run again", word(&config)));
            for part in self.view.manifest.lengths.parts().iter().skip(1) {
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
