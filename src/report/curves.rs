//! The metrics of a run → its curves.

use std::path::Path;

use super::plot::{Panel, Series, panels_svg};
use crate::error::{Error, Result};

/// Curves of the metrics in `metrics.jsonl`. `None` while the file holds no step.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read. Lines that are no objects are skipped.
pub fn metrics_svg(path: &Path) -> Result<Option<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    let records: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if records.is_empty() {
        return Ok(None);
    }
    let series = |name: &str, pointer: &str| {
        let point = |r: &serde_json::Value| Some((r.get("step")?.as_f64()?, r.pointer(pointer)?.as_f64()?));
        Series { name: name.into(), points: records.iter().filter_map(point).collect() }
    };
    let panel = |title: &str, y_label: &str, series: Vec<Series>| Panel {
        title: title.into(),
        x_label: "step".into(),
        y_label: y_label.into(),
        series: series.into_iter().filter(|s| !s.points.is_empty()).collect(),
    };
    // The groups of slots of the search space.
    let entropies = records.iter().find_map(|r| r.get("entropy")?.as_object());
    let groups: Vec<&String> = entropies.into_iter().flat_map(|groups| groups.keys()).collect();
    // Only a search has importance weights.
    let panels = if records.iter().any(|r| r.get("ess").is_some()) {
        vec![
            panel(
                "Accuracy",
                "part of the images",
                vec![
                    series("search batch, weighted", "/accuracy"),
                    series("train batch, weighted", "/train_accuracy"),
                    series("mode, held out", "/mode_accuracy"),
                ],
            ),
            panel("Loss on the train batch", "nats per image", vec![series("loss", "/train_loss")]),
            panel(
                "Entropy of the prior",
                "nats",
                groups.iter().map(|group| series(group, &format!("/entropy/{group}"))).collect(),
            ),
            panel("Effective sample size", "children", vec![series("ESS", "/ess")]),
        ]
    } else {
        vec![
            panel(
                "Accuracy",
                "part of the images",
                vec![series("train batch", "/accuracy"), series("held out", "/held_out_accuracy")],
            ),
            panel(
                "Loss",
                "nats per image",
                vec![series("train batch", "/loss"), series("held out", "/held_out_loss")],
            ),
            panel("Learning rate", "", vec![series("lr", "/lr")]),
        ]
    };
    Ok(Some(panels_svg(&panels)))
}
