//! The history of a run → its curves.

use std::path::Path;

use super::history::History;
use super::plot::{Panel, Series, Style, panels_svg, smoothed};
use crate::error::Result;

/// Number of points of the picture of the prior's decision.
const N_WINDOWS: usize = 20;

/// Curves of the metrics in `metrics.jsonl`. `None` while the file holds no step.
///
/// # Errors
/// [`crate::Error::Io`] if the file cannot be read. Lines that are no objects are skipped.
pub fn metrics_svg(path: &Path) -> Result<Option<String>> {
    let history = History::read(path)?;
    Ok((!history.is_empty()).then(|| panels_svg(&panels(&history))))
}

/// The curves of a search or of a training. A panel without a number is left out.
pub fn panels(history: &History) -> Vec<Panel> {
    let series = |name: &str, column: &str, style: Style| {
        Series::new(name, history.column(column).to_vec()).styled(style)
    };
    let by_step = |title: &str, y_label: &str, series: Vec<Series>| Panel {
        title: title.into(),
        x_label: "step".into(),
        y_label: y_label.into(),
        series,
    };
    // In the warm-up the accuracy is that of the train batch.
    let searched = history.after_warm_up("accuracy");
    let mut panels = if history.is_search() {
        let groups = history.below("entropy").into_iter().map(|group| {
            let points = history.column(&format!("entropy.{group}")).to_vec();
            Series::new(group, points)
        });
        vec![
            by_step(
                "Accuracy",
                "part of the images",
                vec![
                    Series::new("search batch, weighted", searched).styled(Style::Smoothed),
                    series("train batch, weighted", "train_accuracy", Style::Smoothed),
                    series("mode, held out", "mode_accuracy", Style::Marked),
                ],
            ),
            by_step(
                "Loss on the train batch",
                "nats per image",
                vec![series("loss", "train_loss", Style::Smoothed)],
            ),
            by_step("Entropy of the prior", "nats", groups.collect()),
            by_step("Effective sample size", "children", vec![series("ESS", "ess", Style::Smoothed)]),
            decision(history),
            by_step("Children of a step", "K", vec![series("K", "samples", Style::Line)]),
        ]
    } else {
        vec![
            by_step(
                "Accuracy",
                "part of the images",
                vec![
                    series("train batch", "accuracy", Style::Smoothed),
                    series("held out", "held_out_accuracy", Style::Marked),
                ],
            ),
            by_step(
                "Loss",
                "nats per image",
                vec![
                    series("train batch", "loss", Style::Smoothed),
                    series("held out", "held_out_loss", Style::Marked),
                ],
            ),
            by_step("Learning rate", "", vec![series("lr", "lr", Style::Line)]),
            by_step(
                "Norm of the gradient",
                "before clipping",
                vec![series("norm", "grad_norm", Style::Smoothed)],
            ),
        ]
    };
    // A constant number of children is in the settings. Without several children there is no sample.
    let samples = history.column("samples");
    if samples.iter().all(|p| p.1 == samples[0].1) {
        panels.retain(|panel| panel.y_label != "K");
    }
    if samples.iter().all(|p| p.1 <= 1.0) && !samples.is_empty() {
        panels.retain(|panel| panel.y_label != "children");
    }
    panels.iter_mut().for_each(|panel| panel.series.retain(|series| !series.points.is_empty()));
    panels.retain(|panel| !panel.series.is_empty());
    panels
}

/// The entropy of the prior over the accuracy of the children, in windows of the steps: whether the prior decides before
/// or after the weights tell the children apart.
fn decision(history: &History) -> Panel {
    let accuracy = smoothed(history.column("train_accuracy"));
    let entropy = history.sum_below("entropy");
    let stretch = entropy.len().div_ceil(N_WINDOWS).max(1);
    let mean = |points: &[(f64, f64)]| points.iter().map(|p| p.1).sum::<f64>() / points.len() as f64;
    let windows = accuracy.chunks(stretch).zip(entropy.chunks(stretch));
    let points = windows.map(|(accuracy, entropy)| (mean(accuracy), mean(entropy))).collect();
    Panel {
        title: "Decision of the prior, by twentieths of the steps".into(),
        x_label: "accuracy on the train batch".into(),
        y_label: "entropy of the prior, nats".into(),
        series: vec![Series::new("entropy", points).styled(Style::Marked)],
    }
}
