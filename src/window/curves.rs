//! The curves and the children of one run or of two, as plots.

use std::sync::Arc;

use egui::{Color32, Ui};
use egui_plot::{Corner, Legend, Line, Plot, PlotPoints, Points, VLine};

use super::watch::Seen;
use crate::report::plot::{COLOURS, Style};

/// Height of a plot, points.
const HEIGHT: f32 = 150.0;
/// The curve of the smoothed numbers is drawn over the raw ones, which are as faint as this.
const FAINT: f32 = 0.25;

/// Shows the curves. Those of two runs are in the same plots. `step`: the step of the replay.
pub fn curves(ui: &mut Ui, runs: &[Arc<Seen>], step: Option<f64>) {
    let mut titles: Vec<&str> = Vec::new();
    for panel in runs.iter().flat_map(|run| &run.curves) {
        if !titles.contains(&panel.title.as_str()) {
            titles.push(&panel.title);
        }
    }
    for title in titles {
        let panels = runs.iter().enumerate().filter_map(|(i, run)| {
            run.curves.iter().find(|panel| panel.title == title).map(|panel| (i, run, panel))
        });
        let panels: Vec<_> = panels.collect();
        let Some((_, _, first)) = panels.first() else { continue };
        let heading = match first.y_label.as_str() {
            "" => title.to_owned(),
            unit => format!("{title}, {unit}"),
        };
        ui.strong(heading);
        let is_over_steps = first.x_label == "step";
        let plot = Plot::new(title)
            .height(HEIGHT)
            .allow_scroll(false)
            .legend(Legend::default().position(Corner::RightTop))
            .x_axis_label(first.x_label.as_str());
        plot.show(ui, |plot| {
            for (i, run, panel) in &panels {
                // A smoothed series and its mean have one name and one colour.
                let mut names: Vec<&str> = Vec::new();
                for series in &panel.series {
                    if !names.contains(&series.name.as_str()) {
                        names.push(&series.name);
                    }
                    let place = names.len() - 1 + i * 3;
                    let colour = colour(COLOURS[place % COLOURS.len()]);
                    let name = match runs.len() {
                        1 => series.name.clone(),
                        _ => format!("{}: {}", run.name, series.name),
                    };
                    let points = || PlotPoints::from_iter(series.points.iter().map(|p| [p.0, p.1]));
                    let colour =
                        if series.style == Style::Smoothed { colour.gamma_multiply(FAINT) } else { colour };
                    plot.line(Line::new(name.clone(), points()).color(colour).width(1.6));
                    if series.style == Style::Marked || series.points.len() == 1 {
                        plot.points(Points::new(name, points()).color(colour).radius(2.5));
                    }
                }
            }
            if let Some(step) = step.filter(|_| is_over_steps) {
                plot.vline(VLine::new("step", step).color(Color32::GRAY));
            }
        });
    }
}

/// Shows the children of a search: their costs against their likelihoods.
pub fn children(ui: &mut Ui, runs: &[Arc<Seen>]) {
    if runs.iter().all(|run| run.children.n == 0) {
        return;
    }
    ui.strong("Children: log-likelihood less the step's mean, nats per image");
    let plot = Plot::new("Children").height(1.3 * HEIGHT).allow_scroll(false);
    let plot = plot
        .legend(Legend::default().position(Corner::RightTop))
        .x_axis_label("million multiply-adds of the final network, per image");
    plot.show(ui, |plot| {
        for (i, run) in runs.iter().enumerate() {
            let name = if runs.len() == 1 { String::new() } else { format!("{}: ", run.name) };
            // By time, in thirds: light early and dark late.
            for (third, label) in ["first third", "second third", "last third"].into_iter().enumerate() {
                let is_in = |time: f64| ((time * 3.0).ceil() as usize).clamp(1, 3) == third + 1;
                let dots = run.children.dots.iter().filter(|dot| is_in(dot.time));
                let dots: PlotPoints<'_> = dots.map(|dot| [dot.macs, dot.advantage]).collect();
                let colour = colour(COLOURS[i % COLOURS.len()]).gamma_multiply(0.3 + 0.3 * third as f32);
                plot.points(Points::new(format!("{name}{label}"), dots).color(colour).radius(2.0));
            }
            if let Some(macs) = run.children.result_macs {
                let line = VLine::new(format!("{name}the result"), macs);
                plot.vline(line.color(colour(COLOURS[(i + 1) % COLOURS.len()])));
            }
        }
    });
}

/// The colour of a drawing, such as `#2f6fb7`.
fn colour(text: &str) -> Color32 {
    Color32::from_hex(text).unwrap_or(Color32::GRAY)
}
