//! The folder of a comparison → its page.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result, word};
use crate::report::comparison::{Entry, comparison_svg, comparison_text};
use crate::report::page::{Cell, Page};
use crate::report::paired::Difference;
use crate::view::name_of;

/// The page about a comparison.
pub fn page(folder: &Path) -> Result<Page> {
    let path = folder.join("comparison.json");
    let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    let read = |value: &Value, key: &str| value[key].clone();
    let damaged = |e: serde_json::Error| {
        let try_this = "the same parsec compare again, which writes it from its runs";
        Error::file(&path, None, "the result of a comparison", e.to_string(), try_this)
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    let entries: Vec<Entry> = serde_json::from_value(read(&value, "runs")).map_err(damaged)?;
    let differences: Vec<Difference> =
        serde_json::from_value(read(&value, "differences")).map_err(damaged)?;
    let name = name_of(folder);
    let on = value["adapter"].as_str().unwrap_or_default();
    let lead = format!(
        "a comparison of {} runs on {}, {on}",
        entries.len(),
        value["data"].as_str().unwrap_or_default()
    );
    let mut page = Page::new(&format!("{name}: comparison"), &lead);
    page.section("Result");
    page.verbatim(&comparison_text(&entries));
    let key = value["table"]["key"].as_str().unwrap_or_default();
    let lines: Vec<String> = differences.iter().map(|difference| difference.text(key)).collect();
    if !lines.is_empty() {
        page.verbatim(&lines.join("\n"));
    }
    page.figure(
        &comparison_svg(&entries),
        "A dot for each seed, the mean, and a deviation to either side",
        true,
    );
    let mut doubts = Vec::new();
    let seeds = entries.iter().map(|entry| entry.seed).collect::<BTreeSet<_>>().len();
    if seeds < 5 {
        let s = if seeds == 1 { "" } else { "s" };
        doubts.push(format!(
            "{seeds} seed{s}: the interval of a difference is wide, and its size is a guess. More seeds in the configuration, \
             and the same command goes on."
        ));
    }
    for difference in &differences {
        if difference.low.zip(difference.high).is_some_and(|(low, high)| low < 0.0 && high > 0.0) {
            doubts.push(format!(
                "{} and {}: the interval of the difference contains 0, so either may be the better one.",
                difference.method, difference.against
            ));
        }
    }
    if !doubts.is_empty() {
        page.section("What to distrust");
        page.doubts(&doubts);
    }
    page.section("Runs");
    let row = |entry: &Entry| -> Vec<Cell> {
        let accuracy = entry.accuracy.map_or("-".to_owned(), |accuracy| format!("{:.2}", 100.0 * accuracy));
        let published =
            entry.by_table.and_then(|t| t.published).map_or("-".to_owned(), |p| format!("{p:.2}"));
        vec![
            Cell::from(entry.method.as_str()),
            Cell::Number(entry.seed.to_string()),
            Cell::Number(accuracy),
            Cell::Number(published),
            Cell::Number(format!("{:.3}", entry.macs as f64 / 1e6)),
            Cell::Number(entry.parameters.to_string()),
            Cell::Number(format!("{:.0}", entry.search_seconds)),
            Cell::from(entry.genotype.as_str()),
        ]
    };
    let heads = [
        "method",
        "seed",
        "accuracy %",
        "published",
        "MACs, millions",
        "parameters",
        "search, s",
        "architecture",
    ];
    page.table(&heads, entries.iter().map(row).collect());
    page.section("How to reproduce");
    let config = word(&folder.join("config.toml"));
    page.verbatim(&format!("parsec compare {config} --run NEW-FOLDER"));
    Ok(page)
}
